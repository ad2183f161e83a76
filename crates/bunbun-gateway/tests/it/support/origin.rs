//! An origin: a real HTTP/1.1 server on a free port, one thread per connection, that records every
//! request as it arrived.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use super::{PATIENCE, client::chunked};

/// A request as it arrived.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// The head, byte by byte.
    pub(crate) raw_head: String,
    /// The number of the connection, from 0.
    pub(crate) connection: usize,
}

impl Seen {
    /// A header's first value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_str())
    }

    /// All values of a header.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let named = self
            .headers
            .iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case(name));
        named.map(|(_, v)| v.as_str()).collect()
    }
}

/// The gateway's end of a connection, for a handler that answers.
pub(crate) struct Peer {
    pub(crate) stream: TcpStream,
    /// What arrived after the request and is not read yet.
    pub(crate) buffered: Vec<u8>,
    /// The request is a `HEAD`: its answer has no body.
    head_only: bool,
}

impl Peer {
    /// Sends bytes.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref());
    }

    /// Sends an answer with a length.
    pub(crate) fn answer(&mut self, status: u16, headers: &str, body: impl AsRef<[u8]>) {
        let body = body.as_ref();
        let length = body.len();
        let head = format!("HTTP/1.1 {status} X\r\n{headers}content-length: {length}\r\n\r\n");
        self.send([head.as_bytes(), if self.head_only { b"" } else { body }].concat());
    }

    /// Reads once into the buffer; false at the end.
    pub(crate) fn read_more(&mut self) -> bool {
        let mut space = [0_u8; 16 * 1024];
        match self.stream.read(&mut space) {
            Ok(0) | Err(_) => false,
            Ok(count) => {
                self.buffered.extend_from_slice(&space[..count]);
                true
            }
        }
    }

    /// So many bytes; fewer where the stream ends.
    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        while self.buffered.len() < count && self.read_more() {}
        let count = count.min(self.buffered.len());
        self.buffered.drain(..count).collect()
    }
}

type Handler = dyn Fn(&Seen, &mut Peer) -> bool + Send + Sync;

struct Shared {
    seen: Mutex<Vec<Seen>>,
    connections: AtomicUsize,
    open: Mutex<Vec<TcpStream>>,
    stopped: AtomicBool,
    handler: Box<Handler>,
}

/// A server that records.
pub(crate) struct Origin {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Origin {
    /// Answers every request with 200 and a JSON object that repeats it.
    pub(crate) fn echo() -> Self {
        Self::with(|seen, peer| {
            peer.answer(
                200,
                "content-type: application/json\r\nserver: origin/1\r\n",
                echoed(seen),
            );
            true
        })
    }

    /// Answers with a body that names the origin.
    pub(crate) fn named(name: &'static str) -> Self {
        Self::with(move |_, peer| {
            peer.answer(200, "content-type: text/plain\r\n", name);
            true
        })
    }

    /// Answers by a function, which says whether the connection is kept.
    pub(crate) fn with(handler: impl Fn(&Seen, &mut Peer) -> bool + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        Self::on(listener, handler)
    }

    /// The same on a given socket: for an origin that comes back on its old port.
    pub(crate) fn on(
        listener: TcpListener,
        handler: impl Fn(&Seen, &mut Peer) -> bool + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            seen: Mutex::default(),
            connections: AtomicUsize::new(0),
            open: Mutex::default(),
            stopped: AtomicBool::new(false),
            handler: Box::new(handler),
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if accepting.stopped.load(Ordering::Acquire) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let shared = Arc::clone(&accepting);
                std::thread::spawn(move || shared.serve(stream));
            }
        });
        Self { address, shared }
    }

    /// Where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many requests it saw.
    pub(crate) fn count(&self) -> usize {
        self.shared.seen.lock().expect("no panic").len()
    }

    /// How many connections were opened to it.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Acquire)
    }

    /// All requests since the last call.
    pub(crate) fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.shared.seen.lock().expect("no panic"))
    }

    /// The one request since the last call.
    #[track_caller]
    pub(crate) fn only(&self) -> Seen {
        let mut seen = self.take();
        assert_eq!(seen.len(), 1, "{seen:?}");
        seen.remove(0)
    }

    /// Stops listening and cuts every connection.
    pub(crate) fn stop(&self) {
        if self.shared.stopped.swap(true, Ordering::AcqRel) {
            return;
        }
        // Wakes the listener, which then ends and gives the port free.
        let _ = TcpStream::connect(self.address);
        self.cut();
    }

    /// Cuts every connection.
    pub(crate) fn cut(&self) {
        for stream in self.shared.open.lock().expect("no panic").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn serve(&self, stream: TcpStream) {
        let connection = self.connections.fetch_add(1, Ordering::AcqRel);
        let _ = stream.set_nodelay(true);
        let _ = stream.set_read_timeout(Some(PATIENCE * 3));
        if let Ok(copy) = stream.try_clone() {
            self.open.lock().expect("no panic").push(copy);
        }
        let mut peer = Peer {
            stream,
            buffered: Vec::new(),
            head_only: false,
        };
        while let Some(mut seen) = read_request(&mut peer) {
            seen.connection = connection;
            peer.head_only = seen.method == "HEAD";
            self.seen.lock().expect("no panic").push(seen.clone());
            if !(self.handler)(&seen, &mut peer) {
                break;
            }
        }
        let _ = peer.stream.shutdown(Shutdown::Both);
    }
}

/// The next request with its whole body; `None` at the end of the connection.
fn read_request(peer: &mut Peer) -> Option<Seen> {
    let (mut seen, length) = loop {
        if let Some(head) = parse_head(&peer.buffered) {
            break head;
        }
        if !peer.read_more() {
            return None;
        }
    };
    peer.buffered.drain(..length);
    if seen.header("transfer-encoding").is_some() {
        loop {
            if let Some((body, used)) = chunked(&peer.buffered) {
                peer.buffered.drain(..used);
                seen.body = body;
                return Some(seen);
            }
            if !peer.read_more() {
                return None;
            }
        }
    }
    let length = seen
        .header("content-length")
        .map_or(0, |text| text.parse().expect("a length"));
    seen.body = peer.bytes(length);
    (seen.body.len() == length).then_some(seen)
}

fn parse_head(bytes: &[u8]) -> Option<(Seen, usize)> {
    let mut space = [httparse::EMPTY_HEADER; 300];
    let mut head = httparse::Request::new(&mut space);
    let httparse::Status::Complete(length) = head.parse(bytes).expect("a request's head") else {
        return None;
    };
    let seen = Seen {
        method: head.method?.to_owned(),
        target: head.path?.to_owned(),
        headers: head
            .headers
            .iter()
            .map(|h| {
                (
                    h.name.to_owned(),
                    String::from_utf8_lossy(h.value).into_owned(),
                )
            })
            .collect(),
        raw_head: String::from_utf8_lossy(&bytes[..length]).into_owned(),
        ..Seen::default()
    };
    Some((seen, length))
}

/// What an echo says of a request.
pub(crate) fn echoed(seen: &Seen) -> String {
    serde_json::json!({
        "method": seen.method,
        "target": seen.target,
        "body": String::from_utf8_lossy(&seen.body),
    })
    .to_string()
}
