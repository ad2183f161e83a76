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
use time::OffsetDateTime;

/// Most bytes that wait to be written.
const MAX_WAITING: usize = 4 * 1024 * 1024;

/// One request, as it is logged. No secret is among these: the query is left out whole, since
/// `?apikey=` is one of its parameters. Parts that are not there are left out.
#[derive(Debug)]
pub struct Line<'r> {
    /// The request's id.
    pub request_id: &'r str,
    /// The trace's id.
    pub trace_id: &'r str,
    /// The project's reference.
    pub project: &'r str,
    /// The route's name.
    pub route: Option<&'r str>,
    /// The method.
    pub method: &'r str,
    /// The normalised path.
    pub path: &'r str,
    /// The answer's status.
    pub status: u16,
    /// Bytes of the answer's body that were sent.
    pub bytes: u64,
    /// From the request's head to the answer's last byte; logged as `duration_ms`.
    pub duration: Duration,
    /// Until the service's answer began; logged as `upstream_ms`.
    pub upstream: Option<Duration>,
    /// The client's address.
    pub client_ip: IpAddr,
    /// The role, or a fingerprint, of the application's key.
    pub key: Option<&'r str>,
    /// Why the gateway answered itself.
    pub refusal: Option<&'r str>,
    /// Whether the answer broke off.
    pub aborted: bool,
}

impl Line<'_> {
    /// Appends the members of a JSON object and its end. By hand: this is done for every request,
    /// and almost nothing in it needs escaping.
    fn write_members(&self, out: &mut Vec<u8>) {
        text(out, "\"request_id\":", self.request_id);
        text(out, ",\"trace_id\":", self.trace_id);
        text(out, ",\"project\":", self.project);
        if let Some(route) = self.route {
            text(out, ",\"route\":", route);
        }
        text(out, ",\"method\":", self.method);
        text(out, ",\"path\":", self.path);
        let mut digits = itoa::Buffer::new();
        out.extend_from_slice(b",\"status\":");
        out.extend_from_slice(digits.format(self.status).as_bytes());
        out.extend_from_slice(b",\"bytes\":");
        out.extend_from_slice(digits.format(self.bytes).as_bytes());
        out.extend_from_slice(b",\"duration_ms\":");
        millis(out, self.duration);
        if let Some(upstream) = self.upstream {
            out.extend_from_slice(b",\"upstream_ms\":");
            millis(out, upstream);
        }
        // An address has no character to escape.
        let _ = write!(out, ",\"client_ip\":\"{}\"", self.client_ip);
        if let Some(key) = self.key {
            text(out, ",\"key\":", key);
        }
        if let Some(refusal) = self.refusal {
            text(out, ",\"refusal\":", refusal);
        }
        if self.aborted {
            out.extend_from_slice(b",\"aborted\":true");
        }
        out.push(b'}');
    }
}

/// Appends a name, which holds its punctuation, and a JSON string.
fn text(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(name.as_bytes());
    // Without an early end, so that the compiler makes vectors of it.
    let is_special = |byte: u8| (byte < 0x20) | (byte == b'"') | (byte == b'\\');
    if value
        .bytes()
        .fold(false, |any, byte| any | is_special(byte))
    {
        // A Vec takes everything, and a text is always JSON.
        let _ = serde_json::to_writer(out, value);
    } else {
        out.push(b'"');
        out.extend_from_slice(value.as_bytes());
        out.push(b'"');
    }
}

/// Appends milliseconds with three decimals.
fn millis(out: &mut Vec<u8>, duration: Duration) {
    let micros = (duration.as_nanos() + 500) / 1_000;
    let mut digits = itoa::Buffer::new();
    out.extend_from_slice(digits.format(micros / 1_000).as_bytes());
    // The leading digit keeps the zeros, and becomes the point.
    let start = out.len();
    out.extend_from_slice(digits.format(1_000 + micros % 1_000).as_bytes());
    out[start] = b'.';
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
                bytes.extend_from_slice(b"{\"time\":\"");
                bytes.extend_from_slice(time.as_bytes());
                let start = bytes.len();
                let mut digits = itoa::Buffer::new();
                bytes.extend_from_slice(digits.format(1_000 + millis).as_bytes());
                bytes[start] = b'.';
                bytes.extend_from_slice(b"Z\",\"kind\":\"access\",");
                line.write_members(bytes);
            }
            Format::Pretty => {
                let _ = write!(
                    bytes,
                    "{} {} {} {} {:.1} ms {} B{}{}",
                    &time[11..],
                    line.status,
                    line.method,
                    line.path,
                    line.duration.as_secs_f64() * 1e3,
                    line.bytes,
                    line.route
                        .map_or_else(String::new, |route| format!(" → {route}")),
                    line.refusal
                        .map_or_else(String::new, |why| format!(" ({why})")),
                );
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::Line;

    fn parsed(line: &Line<'_>) -> Value {
        let mut out = b"{".to_vec();
        line.write_members(&mut out);
        serde_json::from_slice(&out).expect("JSON")
    }

    #[test]
    fn a_line_is_json_whatever_its_parts_hold() {
        let full = Line {
            request_id: "r",
            trace_id: "t",
            project: "default",
            route: Some("a \"quoted\" \\ route"),
            method: "GET",
            path: "/\n\u{1}\"ü",
            status: 200,
            bytes: 12,
            duration: Duration::from_nanos(1_005_499),
            upstream: Some(Duration::from_micros(61_020_007)),
            client_ip: "::1".parse().expect("an address"),
            key: Some("anon"),
            refusal: Some("no key"),
            aborted: true,
        };
        assert_eq!(
            parsed(&full),
            json!({
                "request_id": "r", "trace_id": "t", "project": "default",
                "route": "a \"quoted\" \\ route", "method": "GET", "path": "/\n\u{1}\"ü",
                "status": 200, "bytes": 12, "duration_ms": 1.005, "upstream_ms": 61020.007,
                "client_ip": "::1", "key": "anon", "refusal": "no key", "aborted": true,
            })
        );
        let bare = Line {
            route: None,
            upstream: None,
            key: None,
            refusal: None,
            aborted: false,
            ..full
        };
        let bare = parsed(&bare);
        for absent in ["route", "upstream_ms", "key", "refusal", "aborted"] {
            assert!(bare.get(absent).is_none(), "{absent}");
        }
    }
}
