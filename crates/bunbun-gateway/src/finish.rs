//! The last phase: when an answer's last byte is gone, or it broke off, the request is counted
//! and logged, once.

use std::{
    borrow::Cow,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bunbun_core::id::ProjectRef;
use bunbun_http::{BoxError, RequestId};
use bytes::Bytes;
use http::Method;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::{
    access_log::{AccessLog, Line},
    body::EdgeBody,
    route::Route,
};

/// What is known of a request when it ends.
pub(crate) struct Record {
    pub(crate) started: Instant,
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) request_id: RequestId,
    pub(crate) traceparent: http::HeaderValue,
    pub(crate) client_ip: IpAddr,
    pub(crate) project: Option<ProjectRef>,
    pub(crate) route: Option<Arc<Route>>,
    pub(crate) key: Option<Cow<'static, str>>,
    pub(crate) refusal: Option<&'static str>,
    pub(crate) upstream: Option<Duration>,
    pub(crate) status: u16,
    pub(crate) bytes: u64,
    pub(crate) log: Option<Arc<AccessLog>>,
}

impl Record {
    fn finish(&self, aborted: bool) {
        let took = self.started.elapsed();
        if let Some(route) = &self.route {
            route.metrics.count(self.status, took);
        } else {
            metrics::counter!("bunbun_requests_total", "route" => "none", "class" => "4xx")
                .increment(1);
        }
        let Some(log) = &self.log else { return };
        log.write(&Line {
            request_id: self.request_id.as_str(),
            trace_id: self
                .traceparent
                .to_str()
                .ok()
                .and_then(|t| t.get(3..35))
                .unwrap_or_default(),
            project: self.project.as_ref().map_or("", ProjectRef::as_str),
            route: self.route.as_ref().map(|route| &*route.name),
            method: self.method.as_str(),
            path: &self.path,
            status: self.status,
            bytes: self.bytes,
            duration: took,
            upstream: self.upstream,
            client_ip: self.client_ip,
            key: self.key.as_deref(),
            refusal: self.refusal,
            aborted,
        });
    }
}

/// An answer's body, with the record that its end completes.
pub struct FinishBody {
    body: EdgeBody,
    record: Option<Box<Record>>,
    /// Answers without a body are complete before the first poll.
    complete: bool,
}

impl FinishBody {
    pub(crate) fn new(body: EdgeBody, record: Box<Record>) -> Self {
        let complete = body.is_end_stream();
        Self {
            body,
            record: Some(record),
            complete,
        }
    }

    fn finish(&mut self, aborted: bool) {
        if let Some(record) = self.record.take() {
            record.finish(aborted);
        }
    }
}

impl HttpBody for FinishBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                let count = frame.data_ref().map_or(0, |data| data.len() as u64);
                if let Some(record) = &mut self.record {
                    record.bytes += count;
                }
                self.complete = self.body.is_end_stream();
            }
            Some(Err(error)) => {
                if let Some(record) = &self.record {
                    tracing::warn!(request_id = %record.request_id, %error, "answer broke off");
                }
                self.finish(true);
            }
            None => self.finish(false),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for FinishBody {
    fn drop(&mut self) {
        let head_only = self
            .record
            .as_ref()
            .is_some_and(|record| record.method == Method::HEAD);
        let aborted = !self.complete && !head_only;
        self.finish(aborted);
    }
}
