//! The access log: one line per request, written by a thread of its own so that no request waits
//! for a terminal or disk. A reader that is too slow loses lines, which are counted; memory stays
//! bounded.

use std::{
    io::Write,
    net::IpAddr,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use parking_lot::{Condvar, Mutex};
use serde::Serialize;
use time::OffsetDateTime;

/// Most bytes that wait to be written.
const MAX_WAITING: usize = 4 * 1024 * 1024;

/// One request, as it is logged. No secret is among these: the query is left out whole, since
/// `?apikey=` is one of its parameters.
#[derive(Debug, Serialize)]
pub struct Line<'r> {
    /// The request's id.
    pub request_id: &'r str,
    /// The trace's id.
    pub trace_id: &'r str,
    /// The project's reference.
    pub project: &'r str,
    /// The route's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<&'r str>,
    /// The method.
    pub method: &'r str,
    /// The normalised path.
    pub path: &'r str,
    /// The answer's status.
    pub status: u16,
    /// Bytes of the answer's body that were sent.
    pub bytes: u64,
    /// Milliseconds from the request's head to the answer's last byte.
    pub duration_ms: f64,
    /// Milliseconds until the service's answer began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream_ms: Option<f64>,
    /// The client's address.
    pub client_ip: IpAddr,
    /// The role, or a fingerprint, of the application's key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<&'r str>,
    /// Why the gateway answered itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<&'r str>,
    /// Whether the answer broke off.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub aborted: bool,
}

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON object per line.
    Json,
    /// For people.
    Pretty,
}

#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    lost: u64,
    closed: bool,
    /// The second that `time` shows, so that it is formatted once per second.
    second: u64,
    time: String,
}

struct Shared {
    waiting: Mutex<Waiting>,
    news: Condvar,
    format: Format,
}

/// Writes lines. Dropping it writes what is left.
pub struct AccessLog {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

impl AccessLog {
    /// Writes to anything.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn new(format: Format, out: impl Write + Send + 'static) -> std::io::Result<Self> {
        let (waiting, news) = (Mutex::new(Waiting::default()), Condvar::new());
        let shared = Arc::new(Shared {
            waiting,
            news,
            format,
        });
        let for_writer = Arc::clone(&shared);
        let writer = std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || write_all(&for_writer, out))?;
        Ok(Self {
            shared,
            writer: Some(writer),
        })
    }

    /// Hands over a line.
    pub fn write(&self, line: &Line<'_>) {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        // Formatted before the lock: the workers share it.
        let mut text = Vec::with_capacity(512);
        let _ = match self.shared.format {
            Format::Json => serde_json::to_writer(&mut text, line).map_err(std::io::Error::other),
            Format::Pretty => write!(
                text,
                "{} {} {} {:.1} ms {} B{}{}",
                line.status,
                line.method,
                line.path,
                line.duration_ms,
                line.bytes,
                line.route
                    .map_or_else(String::new, |route| format!(" → {route}")),
                line.refusal
                    .map_or_else(String::new, |why| format!(" ({why})")),
            ),
        };
        let mut waiting = self.shared.waiting.lock();
        if waiting.bytes.len() > MAX_WAITING {
            waiting.lost += 1;
            return;
        }
        waiting.set_time(now);
        let was_empty = waiting.bytes.is_empty();
        let Waiting { bytes, time, .. } = &mut *waiting;
        let millis = now.subsec_millis();
        match self.shared.format {
            Format::Json => {
                let _ = write!(
                    bytes,
                    "{{\"time\":\"{time}.{millis:03}Z\",\"kind\":\"access\","
                );
                // Without the object's own brace.
                bytes.extend_from_slice(text.get(1..).unwrap_or_default());
            }
            Format::Pretty => {
                bytes.extend_from_slice(time.as_bytes().get(11..).unwrap_or_default());
                bytes.push(b' ');
                bytes.extend_from_slice(&text);
            }
        }
        bytes.push(b'\n');
        drop(waiting);
        if was_empty {
            self.shared.news.notify_one();
        }
    }
}

impl Waiting {
    fn set_time(&mut self, now: Duration) {
        if now.as_secs() == self.second && !self.time.is_empty() {
            return;
        }
        self.second = now.as_secs();
        let date = i64::try_from(self.second)
            .ok()
            .and_then(|second| OffsetDateTime::from_unix_timestamp(second).ok())
            .unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let (y, m, d) = date.to_calendar_date();
        let (h, min, s) = date.to_hms();
        self.time = format!("{y:04}-{:02}-{d:02}T{h:02}:{min:02}:{s:02}", u8::from(m));
    }
}

fn write_all(shared: &Shared, mut out: impl Write) {
    let mut batch = Vec::new();
    loop {
        let mut waiting = shared.waiting.lock();
        while waiting.bytes.is_empty() && !waiting.closed {
            shared.news.wait(&mut waiting);
        }
        let closed = waiting.closed;
        std::mem::swap(&mut batch, &mut waiting.bytes);
        let lost = std::mem::take(&mut waiting.lost);
        drop(waiting);
        if lost > 0 {
            let _ = writeln!(batch, "{{\"kind\":\"access\",\"lost_lines\":{lost}}}");
        }
        if out.write_all(&batch).and_then(|()| out.flush()).is_err() {
            metrics::counter!("bunbun_access_log_errors_total").increment(1);
        }
        batch.clear();
        batch.shrink_to(64 * 1024);
        if closed {
            return;
        }
        // Lines gather while this sleeps, so that a busy server writes few large batches.
        std::thread::sleep(Duration::from_millis(5));
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.shared.waiting.lock().closed = true;
        self.shared.news.notify_one();
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}
