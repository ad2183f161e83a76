//! What tests of the upstream side need: one route, names that change, ports that refuse.

use std::{
    collections::HashMap,
    fmt::Write as _,
    io,
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex},
};

use bunbun_gateway::upstream::{Load, Resolve};
use futures_util::future::BoxFuture;
use socket2::{Domain, Socket, Type};

use super::Gateway;

/// A section `[gateway]` with the upstream `u` at these URLs behind the open route `/u`, and more
/// lines for either. The dialect is Kong 2's, which tells a failed upstream (502), a missing one
/// (503) and a slow one (504) apart.
pub(crate) fn one_route(urls: &[&str], upstream: &str, route: &str) -> String {
    let mut text = format!("dialect = 'kong2'\n[upstreams.u]\nurls = {urls:?}\n{upstream}\n");
    let _ = write!(
        text,
        "[[routes]]\nname = 'u'\npath = '/u'\nupstream = 'u'\naccess = 'open'\n{route}\n"
    );
    text
}

impl Gateway {
    /// The load of the upstream `u`.
    pub(crate) fn load(&self) -> Load {
        let all = self.registry.all();
        all.iter()
            .find(|upstream| upstream.name() == "u")
            .expect("the upstream u")
            .load()
    }
}

/// A resolver whose answers a test decides.
#[derive(Clone, Default)]
pub(crate) struct Names(Arc<Mutex<HashMap<String, Vec<SocketAddr>>>>);

impl Names {
    /// From now on the name has these addresses, whatever port is asked for.
    pub(crate) fn set(&self, name: &str, addresses: &[SocketAddr]) {
        self.0
            .lock()
            .expect("no panic")
            .insert(name.to_owned(), addresses.to_vec());
    }

    /// From now on the name does not resolve.
    pub(crate) fn forget(&self, name: &str) {
        self.0.lock().expect("no panic").remove(name);
    }
}

impl Resolve for Names {
    fn resolve<'r>(&'r self, host: &'r str, _: u16) -> BoxFuture<'r, io::Result<Vec<SocketAddr>>> {
        let found = self.0.lock().expect("no panic").get(host).cloned();
        Box::pin(async move { found.ok_or_else(|| io::Error::other("no such name")) })
    }
}

/// A port that is ours but refuses connections until it is opened.
pub(crate) struct ClosedPort {
    socket: Socket,
    pub(crate) address: SocketAddr,
}

impl ClosedPort {
    pub(crate) fn reserve() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.set_reuse_address(true).expect("an option");
        socket
            .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
            .expect("a free port");
        let address = socket
            .local_addr()
            .ok()
            .and_then(|a| a.as_socket())
            .expect("an address");
        Self { socket, address }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Listens, with so much room for connections that nobody has accepted.
    pub(crate) fn open(self, backlog: i32) -> TcpListener {
        self.socket.listen(backlog).expect("it listens");
        self.socket.into()
    }
}

/// A listener that nobody accepts from and whose queue is full: to connect to it takes forever.
pub(crate) fn full_listener() -> (TcpListener, Vec<Socket>) {
    let listener = ClosedPort::reserve().open(0);
    let address = listener.local_addr().expect("an address");
    let mut waiting = Vec::new();
    for _ in 0..4 {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.set_nonblocking(true).expect("an option");
        let _ = socket.connect(&address.into());
        waiting.push(socket);
    }
    (listener, waiting)
}
