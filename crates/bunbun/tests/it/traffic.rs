//! A gateway under load: the binary with a `bunbun.toml`, an origin behind it, clients before it.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{binary::command, running::Running};

/// Longest wait for anything: reached only when a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until a condition holds.
#[track_caller]
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Starts `bunbun serve` with a file; its log goes to `log` in the folder.
pub(crate) fn serve(folder: &Path, file: &str, env: &[(&str, &str)]) -> Running {
    std::fs::write(folder.join("bunbun.toml"), file).expect("written");
    let mut all = vec![
        // Nothing listens there.
        ("DATABASE_URL", "postgres://app:app@127.0.0.1:1/app"),
        ("JWT_SECRET", "N8m2hVw0cQ4tYk7sLr1bXz6pJd3fGa9e"),
        ("DASHBOARD_PASSWORD", "correct-horse-battery"),
        ("ACCESS_LOG", "false"),
        ("LOG_FORMAT", "json"),
        ("HOST", "127.0.0.1"),
        ("WORKERS", "2"),
    ];
    all.extend_from_slice(env);
    let mut command = command(folder, &["serve", "--port", "0", "--json"], &all);
    command.stderr(File::create(folder.join("log")).expect("a file"));
    Running::start(command)
}

/// What the binary logged so far.
pub(crate) fn log(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("log")).expect("readable")
}

/// A file with the open route `/u` to an origin, and more.
pub(crate) fn route_to(origin: &Origin, more: &str) -> String {
    format!(
        "[gateway.upstreams.u]\nurls = ['http://{}']\n[[gateway.routes]]\nname = 'u'\npath = '/u'\n\
         upstream = 'u'\naccess = 'open'\n{more}",
        origin.address
    )
}

/// A server that answers `ok`, once it may; `GET …/tunnel` becomes an echo of bytes.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
}

struct State {
    answered: AtomicUsize,
    waiting: AtomicUsize,
    open: AtomicBool,
}

impl Origin {
    /// Answers at once, or not before [`Origin::open`].
    pub(crate) fn start(open: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(State {
            answered: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            open: AtomicBool::new(open),
        });
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                std::thread::spawn(move || state.serve(&stream));
            }
        });
        Self { address, state }
    }

    /// Lets it answer.
    pub(crate) fn open(&self) {
        self.state.open.store(true, Ordering::Release);
    }

    /// How many requests it answered.
    pub(crate) fn answered(&self) -> usize {
        self.state.answered.load(Ordering::Acquire)
    }

    /// How many requests it holds back.
    pub(crate) fn waiting(&self) -> usize {
        self.state.waiting.load(Ordering::Acquire)
    }
}

impl State {
    fn serve(&self, stream: &TcpStream) {
        let _ = stream.set_nodelay(true);
        let mut reader = BufReader::new(stream);
        let mut writer = stream;
        loop {
            let (mut is_tunnel, mut line) = (false, String::new());
            loop {
                line.clear();
                if reader.read_line(&mut line).unwrap_or(0) == 0 {
                    return;
                }
                is_tunnel |= line.starts_with("GET /tunnel");
                if line == "\r\n" {
                    break;
                }
            }
            if is_tunnel {
                let _ = writer.write_all(
                    b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n",
                );
                let _ = std::io::copy(&mut reader, &mut writer);
                return;
            }
            self.waiting.fetch_add(1, Ordering::AcqRel);
            while !self.open.load(Ordering::Acquire) {
                std::thread::sleep(Duration::from_millis(2));
            }
            self.waiting.fetch_sub(1, Ordering::AcqRel);
            self.answered.fetch_add(1, Ordering::AcqRel);
            if writer
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                .is_err()
            {
                return;
            }
        }
    }
}

/// A kept connection.
pub(crate) struct Client(pub(crate) TcpStream);

/// An answer, and whether the connection ends with it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
    pub(crate) is_last: bool,
}

impl Client {
    pub(crate) fn connect(server: &Running) -> Self {
        let stream = TcpStream::connect(&server.address).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_nodelay(true).expect("an option");
        Self(stream)
    }

    pub(crate) fn send(&mut self, target: &str) {
        let request = format!("GET {target} HTTP/1.1\r\nhost: gateway.test\r\n\r\n");
        // That the connection has ended shows when the answer is read.
        let _ = self.0.write_all(request.as_bytes());
    }

    /// The answer; `None` where the connection ended before it. One that breaks off is a failure.
    pub(crate) fn answer(&mut self) -> Option<Answer> {
        let (mut bytes, mut space) = (Vec::new(), [0; 4096]);
        loop {
            let text = String::from_utf8_lossy(&bytes);
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let field = |name: &str| {
                    head.lines()
                        .find_map(|line| line.strip_prefix(name))
                        .map(str::trim)
                };
                let length = field("content-length:").map_or(0, |n| n.parse().expect("a length"));
                if body.len() == length {
                    let status = head.split(' ').nth(1).and_then(|text| text.parse().ok());
                    return Some(Answer {
                        status: status.expect("a status"),
                        body: body.to_owned(),
                        is_last: field("connection:") == Some("close"),
                    });
                }
            }
            match self.0.read(&mut space) {
                Ok(count @ 1..) => bytes.extend_from_slice(&space[..count]),
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    panic!("nothing more came after {text:?}")
                }
                _ if bytes.is_empty() => return None,
                _ => panic!("the answer broke off after {text:?}"),
            }
        }
    }

    /// One request and its answer.
    pub(crate) fn get(&mut self, target: &str) -> Option<Answer> {
        self.send(target);
        self.answer()
    }
}
