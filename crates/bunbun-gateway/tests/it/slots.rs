//! Slots as the API calls them: the same for a service in this process and for one at a URL.

use std::{sync::Arc, time::Duration};

use bunbun_core::{Classify as _, Code};
use bunbun_gateway::{
    slot::{Filling, Slot, Slots},
    upstream::{Registry, Settings},
};
use bunbun_http::{
    Body, BoxError,
    body::{self, BodyTooLarge, Embedded, Fault},
    slots::{CallError, Shard, SlotCall as _},
};
use bytes::Bytes;
use futures_util::{future::BoxFuture, stream};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};

use crate::support::{ClosedPort, Origin};

const SHORT: Duration = Duration::from_millis(200);
const LONG: Duration = Duration::from_secs(20);

fn slots(filling: Filling, public_paths: bool) -> Slots {
    Slots(vec![Arc::new(Slot {
        name: "storage".into(),
        filling,
        public_paths,
    })])
}

fn remote(url: &str) -> Filling {
    let urls = [url.parse().expect("a URL")];
    let settings = Settings::of_service("storage", &urls);
    Filling::Remote(Registry::default().get(settings, 2).expect("an upstream"))
}

fn embedded<F>(answer: impl Fn(Request<Body>) -> F + Send + Sync + 'static) -> Filling
where
    F: Future<Output = Response<Body>> + Send + 'static,
{
    struct Service<A>(A);
    impl<A, F> Embedded for Service<A>
    where
        A: Fn(Request<Body>) -> F + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        fn call(&self, request: Request<Body>) -> BoxFuture<'static, Response<Body>> {
            Box::pin(self.0(request))
        }
    }
    Filling::Embedded(Arc::new(Service(answer)))
}

/// A service that answers with what it was sent.
fn echo() -> Filling {
    embedded(|request| async move {
        let shard = request.extensions().get::<Shard>().copied();
        let target = request.uri().to_string();
        let body = request.into_body().collect().await;
        let body = body.map(http_body_util::Collected::to_bytes);
        let mut response = Response::new(body::full(body.unwrap_or_default()));
        let shard = shard.map_or(0, |shard| shard.0);
        let headers = response.headers_mut();
        headers.insert("x-target", target.parse().expect("a value"));
        headers.insert("x-shard", shard.into());
        response
    })
}

fn request(method: &str, target: &str, body: Body) -> Request<Body> {
    let request = Request::builder().method(method).uri(target);
    let request = request.header("authorization", "Bearer token");
    request.extension(Shard(1)).body(body).expect("a request")
}

/// A body of some pieces, with a pause before each.
fn slowly(pieces: usize, pause: Duration) -> Body {
    let frames = stream::unfold(0, move |count| async move {
        tokio::time::sleep(pause).await;
        let frame: Result<_, BoxError> = Ok(Frame::data(Bytes::from_static(b"0123456789")));
        (count < pieces).then_some((frame, count + 1))
    });
    StreamBody::new(frames).boxed_unsync()
}

fn failing(error: impl Into<BoxError>) -> Body {
    let first: Result<_, BoxError> = Ok(Frame::data(Bytes::from_static(b"01234")));
    StreamBody::new(stream::iter([first, Err(error.into())])).boxed_unsync()
}

async fn text(response: Response<Body>) -> String {
    let bytes = response.into_body().collect().await.expect("a body");
    String::from_utf8(bytes.to_bytes().to_vec()).expect("UTF-8")
}

#[tokio::test]
async fn a_service_in_this_process_gets_the_request_as_it_is() {
    let slots = slots(echo(), false);
    let sent = request("POST", "/object/a?b=c", body::full("hello"));
    let response = slots.call("storage", sent, LONG).await.expect("an answer");
    assert_eq!(response.headers()["x-target"], "/object/a?b=c");
    assert_eq!(response.headers()["x-shard"], "1");
    assert_eq!(text(response).await, "hello");
}

#[tokio::test]
async fn a_service_at_a_url_gets_it_below_the_urls_path() {
    let origin = Origin::echo();
    let at = format!("{}/storage/v1", origin.url());
    let slots = slots(remote(&at), false);
    let sent = request("POST", "/object/a?b=c", body::full("hello"));
    let response = slots.call("storage", sent, LONG).await.expect("an answer");
    assert!(text(response).await.contains("hello"));
    let seen = origin.only();
    assert_eq!(seen.target, "/storage/v1/object/a?b=c");
    assert_eq!(seen.header("authorization"), Some("Bearer token"));
    let host = origin.address().to_string();
    assert_eq!(seen.header("host"), Some(host.as_str()));
    let empty = request("GET", "/status", body::empty());
    slots.call("storage", empty, LONG).await.expect("an answer");
    let seen = origin.only();
    assert_eq!(seen.header("transfer-encoding"), None);
    assert_eq!(seen.connection, 0, "the connection is used again");
}

#[tokio::test]
async fn a_gateway_behind_the_slot_gets_public_paths() {
    let origin = Origin::echo();
    let slots = slots(remote(&origin.url()), true);
    let sent = request("GET", "/object/a", body::empty());
    slots.call("storage", sent, LONG).await.expect("an answer");
    assert_eq!(origin.only().target, "/storage/v1/object/a");
}

#[tokio::test]
async fn an_empty_slot_says_what_to_set() {
    let slots = slots(Filling::Empty, false);
    for name in ["storage", "auth"] {
        let sent = request("GET", "/", body::empty());
        let error = slots.call(name, sent, LONG).await.expect_err("no service");
        assert_eq!(error.code(), Code::ServiceUnavailable);
        let message = error.public_message().expect("a sentence").into_owned();
        let variable = format!("{}_URL", name.to_uppercase());
        assert!(message.contains(&variable), "{message}");
        assert!(error.retry_after().is_some());
    }
}

#[tokio::test]
async fn a_dead_service_is_unavailable_and_nothing_is_told_of_it() {
    let port = ClosedPort::reserve();
    let dead = slots(remote(&port.url()), false);
    let cutting = Origin::with(|_, _| false);
    let cut = slots(remote(&cutting.url()), false);
    for slots in [dead, cut] {
        let sent = request("GET", "/", body::empty());
        let error = slots.call("storage", sent, LONG).await.expect_err("dead");
        assert_eq!(error.code(), Code::ServiceUnavailable, "{error:?}");
        let message = error.public_message().expect("a sentence").into_owned();
        assert!(!message.contains("127.0.0.1"), "{message}");
        assert!(error.retry_after().is_some());
    }
}

#[tokio::test]
async fn a_silent_service_is_a_timeout() {
    let silent = Origin::with(|_, peer| peer.read_more());
    let never = embedded(|_| std::future::pending());
    for filling in [remote(&silent.url()), never] {
        let slots = slots(filling, false);
        let sent = request("POST", "/", body::full("x"));
        let error = slots.call("storage", sent, SHORT).await.expect_err("late");
        assert_eq!(error.code(), Code::UpstreamTimeout, "{error:?}");
    }
}

#[tokio::test]
async fn a_long_upload_is_no_slow_answer() {
    let origin = Origin::echo();
    for filling in [remote(&origin.url()), echo()] {
        let slots = slots(filling, false);
        // Longer than the timeout together; the pauses are what is tested.
        let sent = request("POST", "/", slowly(10, SHORT / 4));
        let response = slots.call("storage", sent, SHORT).await.expect("an answer");
        assert!(text(response).await.contains("0123456789"));
    }
}

#[tokio::test]
async fn a_callers_faulty_body_is_the_callers_fault() {
    let origin = Origin::echo();
    for (error, expected) in [
        (BoxError::from(BodyTooLarge { limit: 5 }), Code::TooLarge),
        (BoxError::from("broke off"), Code::InvalidRequest),
    ] {
        let slots = slots(remote(&origin.url()), false);
        let sent = request("POST", "/", failing(error));
        let error = slots
            .call("storage", sent, LONG)
            .await
            .expect_err("a fault");
        assert_eq!(error.code(), expected, "{error:?}");
    }
    assert_eq!(origin.count(), 0, "no complete request");
    let known = CallError::Body(Fault::TooLarge(Some(7)));
    assert!(
        known
            .public_message()
            .is_some_and(|text| text.contains('7'))
    );
}

#[tokio::test]
async fn a_panic_costs_its_own_call() {
    let slots = slots(
        embedded(|request| async move {
            assert_ne!(request.uri().path(), "/panic", "as the test wants it");
            Response::new(body::empty())
        }),
        false,
    );
    let sent = request("GET", "/panic", body::empty());
    let error = slots
        .call("storage", sent, LONG)
        .await
        .expect_err("a panic");
    assert_eq!(error.code(), Code::Internal);
    assert_eq!(error.public_message(), None);
    let sent = request("GET", "/fine", body::empty());
    assert!(slots.call("storage", sent, LONG).await.is_ok());
}
