//! Rows as they come, as NDJSON or CSV, with flat memory.
//!
//! The server is asked for a portion of rows at a time, so that neither side buffers more than
//! that, and the statement's timeout holds for each portion: a long export is not cut off, a
//! statement that computes for ever is.

use std::{sync::Arc, time::Duration};

use bunbun_core::Classify;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use serde_json::{Value, json};

use super::{
    super::{error::Error, pool::Pool},
    GRACE, Lease, Progress, Request, check,
    classify::Text,
    execute::{self, Replies, Reply},
    output, refuse_open_transaction,
    statements::Prepared,
};

/// Rows of one portion.
const PORTION: i32 = 4_096;

/// Size from which a chunk is sent on.
const CHUNK_BYTES: usize = 32 * 1024;

/// Longest wait for more rows before what there is is sent on.
const LINGER: Duration = Duration::from_millis(20);

/// The form of streamed rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowFormat {
    /// One JSON object per line. A failure in mid-stream is a last line `{"error": {…}}`.
    Ndjson,
    /// RFC 4180 with a header line; null is an empty field. A failure in mid-stream ends the
    /// stream with an error.
    Csv,
}

/// Writes the error that ends a stream of NDJSON.
pub(super) type Describe = fn(Error) -> Value;

/// As `/api/db` tells it.
fn describe(error: Error) -> Value {
    described(&error)
}

/// An error by its own code and words.
pub(crate) fn described(error: &impl Classify) -> Value {
    json!({"error": {
        "code": error.code().as_str(),
        "message": error.public_message().unwrap_or("The statement failed.".into()),
        "details": error.details().unwrap_or_else(|| json!({})),
    }})
}

/// Rows on their way.
pub type RowStream = BoxStream<'static, Result<Bytes, Error>>;

/// Runs a statement and streams its rows in chunks of about 32 KiB. It answers when the first row
/// is there or the statement has ended, so that a refusal is an error and not a broken stream.
///
/// Dropping the future or the stream cancels the statement in PostgreSQL.
///
/// # Errors
/// As [`super::run`].
pub async fn stream(pool: &Pool, request: Request, format: RowFormat) -> Result<RowStream, Error> {
    stream_with(pool, request, format, describe).await
}

/// As [`stream()`], with other words for an error in mid-stream.
pub(crate) async fn stream_with(
    pool: &Pool,
    request: Request,
    format: RowFormat,
    describe: Describe,
) -> Result<RowStream, Error> {
    let text = check(pool, &request)?;
    if text.statements > 1 {
        return Err(Error::invalid(
            "A text of several statements cannot be streamed.",
        ));
    }
    loop {
        let mut lease = pool.query_connection(text.may_repeat()).await?;
        lease.expect_effects(text.effects);
        let mut progress = Progress::new();
        match begin(&mut lease, &request, &text, &mut progress).await {
            Err(Error::Unavailable(_)) if lease.was_reused && progress.may_retry(&text) => {}
            Err(error) => return Err(error),
            Ok((statement, replies, first)) => {
                let rows = Rows {
                    lease,
                    request,
                    statement,
                    replies,
                    format,
                    describe,
                };
                return Ok(rows.into_stream(first));
            }
        }
    }
}

/// Sends the statement and waits for its first reply.
async fn begin(
    lease: &mut Lease,
    request: &Request,
    text: &Text,
    progress: &mut Progress,
) -> Result<(Arc<Prepared>, Replies, Reply), Error> {
    let work = async {
        let mut was_replanned = false;
        loop {
            let prepared = execute::prepare(lease, request, text).await?;
            execute::send_open(lease, &prepared.statement, request, PORTION).await?;
            progress.was_sent = true;
            let mut replies = Replies::new(lease, request);
            let error = match replies.next(lease).await {
                Ok(first) => return Ok((prepared.statement, replies, first)),
                Err(error) => error,
            };
            if !prepared.was_kept || !execute::is_stale(&error) {
                return Err(error);
            }
            lease.statements.forget(&request.sql);
            if was_replanned || !execute::means_replan(&error) {
                return Err(error);
            }
            was_replanned = true;
            if request.begin().is_some() {
                lease.run("ROLLBACK").await?;
            }
        }
    };
    let limit = request.timeout.saturating_add(GRACE);
    tokio::time::timeout(limit, work)
        .await
        .unwrap_or(Err(Error::StatementTimeout))
}

/// A statement whose rows are being read.
struct Rows {
    lease: Lease,
    request: Request,
    statement: Arc<Prepared>,
    replies: Replies,
    format: RowFormat,
    describe: Describe,
}

/// What comes next.
enum Stage {
    /// More rows; a reply may have been read already.
    Open(Box<Rows>, Option<Reply>),
    /// The error that ends the stream.
    Failed(Error),
    /// Nothing.
    Closed,
}

impl Rows {
    fn into_stream(self, first: Reply) -> RowStream {
        let mut header = Vec::new();
        if self.format == RowFormat::Csv {
            output::write_csv_header(&self.statement.columns, &mut header);
        }
        let start = (Stage::Open(Box::new(self), Some(first)), header);
        stream::unfold(start, |(stage, begun)| async move {
            match stage {
                Stage::Closed => None,
                Stage::Failed(error) => Some((Err(error), (Stage::Closed, Vec::new()))),
                Stage::Open(rows, reply) => {
                    let (chunk, stage) = rows.chunk(reply, begun).await;
                    Some((Ok(Bytes::from(chunk)), (stage, Vec::new())))
                }
            }
        })
        // A statement without rows has an empty last chunk.
        .filter(|item| std::future::ready(!matches!(item, Ok(chunk) if chunk.is_empty())))
        .boxed()
    }

    /// Reads until a chunk is full, no more comes for a while, or the statement has ended.
    async fn chunk(
        mut self: Box<Self>,
        mut read: Option<Reply>,
        mut out: Vec<u8>,
    ) -> (Vec<u8>, Stage) {
        while out.len() < CHUNK_BYTES {
            let reply = match read.take() {
                Some(reply) => reply,
                None => {
                    if !out.is_empty() && self.is_slow().await {
                        break;
                    }
                    match self.next().await {
                        Ok(reply) => reply,
                        Err(error) => return self.fail(error, out),
                    }
                }
            };
            let step = match reply {
                Reply::Row => {
                    self.write_row(&mut out);
                    Ok(())
                }
                Reply::Suspended => execute::ask_for_more(&mut self.lease, PORTION).await,
                Reply::Complete(..) => execute::close(&mut self.lease, &self.request).await,
                Reply::End => match refuse_open_transaction(&self.lease) {
                    Ok(()) => return (out, Stage::Closed),
                    Err(error) => Err(error),
                },
            };
            if let Err(error) = step {
                return self.fail(error, out);
            }
        }
        (out, Stage::Open(self, None))
    }

    /// Whether no further message comes in a moment.
    async fn is_slow(&mut self) -> bool {
        !self.lease.has_message()
            && tokio::time::timeout(LINGER, self.lease.fill())
                .await
                .is_err()
    }

    async fn next(&mut self) -> Result<Reply, Error> {
        if self.lease.has_message() {
            return self.replies.next(&mut self.lease).await;
        }
        // The server ends a statement in time; this is for a server that is gone.
        let limit = self.request.timeout.saturating_add(GRACE);
        tokio::time::timeout(limit, self.replies.next(&mut self.lease))
            .await
            .unwrap_or(Err(Error::StatementTimeout))
    }

    fn write_row(&self, out: &mut Vec<u8>) {
        let columns = &self.statement.columns;
        match self.format {
            RowFormat::Csv => output::write_csv_row(self.lease.body(), columns, out),
            RowFormat::Ndjson => {
                output::write_object(self.lease.body(), columns, out);
                out.push(b'\n');
            }
        }
    }

    /// Ends the stream, after what has been written.
    fn fail(self: Box<Self>, error: Error, mut out: Vec<u8>) -> (Vec<u8>, Stage) {
        if self.format == RowFormat::Csv {
            return (out, Stage::Failed(error));
        }
        let line = (self.describe)(error);
        out.extend_from_slice(line.to_string().as_bytes());
        out.push(b'\n');
        (out, Stage::Closed)
    }
}
