//! A Redis server of a test's own.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use super::eventually;

/// A running `redis-server`, which ends with this value.
pub(crate) struct Redis {
    address: SocketAddr,
    process: Child,
    _directory: TempDir,
}

impl Redis {
    /// Starts one on a free port; `None`, said aloud, where there is no Redis:
    /// `let Some(redis) = Redis::start() else { return };`
    ///
    /// # Panics
    /// In CI when there is none.
    pub(crate) fn start() -> Option<Self> {
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = free.local_addr().expect("an address");
        drop(free);
        Self::start_on(address)
    }

    /// The same on a given port, for one that comes back.
    #[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
    pub(crate) fn start_on(address: SocketAddr) -> Option<Self> {
        let directory = tempfile::tempdir().expect("a directory");
        let port = address.port().to_string();
        let spawned = Command::new("redis-server")
            .args([
                "--bind",
                "127.0.0.1",
                "--port",
                &port,
                "--save",
                "",
                "--appendonly",
                "no",
            ])
            .arg("--dir")
            .arg(directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        let process = match spawned {
            Ok(process) => process,
            Err(error) => {
                let in_ci =
                    std::env::var_os("CI").is_some_and(|value| value == "true" || value == "1");
                assert!(!in_ci, "CI needs redis-server: {error}");
                eprintln!("SKIPPED: no redis-server ({error})");
                return None;
            }
        };
        let redis = Self {
            address,
            process,
            _directory: directory,
        };
        eventually("redis answers", || redis.answers());
        Some(redis)
    }

    fn answers(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(self.address) else {
            return false;
        };
        let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
        let mut pong = [0; 7];
        stream.write_all(b"PING\r\n").is_ok()
            && stream.read_exact(&mut pong).is_ok()
            && pong == *b"+PONG\r\n"
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}/0", self.address)
    }

    /// How many keys it holds.
    pub(crate) fn keys(&self) -> String {
        let mut stream = TcpStream::connect(self.address).expect("a connection");
        stream.write_all(b"DBSIZE\r\nQUIT\r\n").expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        answer.lines().next().unwrap_or_default().to_owned()
    }

    /// Kills it, without a goodbye.
    pub(crate) fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}
