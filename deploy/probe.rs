//! The container's health check: ends with 0 when BunBun answers `GET /livez` with 200.
//!
//! The image has no shell and no curl, so this stands in for them; it needs nothing but the
//! standard library and is compiled by `rustc` alone. With TLS on, it only asks whether the port
//! accepts: a certificate made out for a public name says nothing about loopback.

use std::{
    env,
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    process::ExitCode,
    time::Duration,
};

const PATIENCE: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    match is_alive() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn is_alive() -> io::Result<bool> {
    let set = |name| env::var(name).ok().filter(|value| !value.is_empty());
    let port = set("PORT").and_then(|port| port.parse().ok()).unwrap_or(3000);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut connection = TcpStream::connect_timeout(&address, PATIENCE)?;
    if set("TLS_CERT_FILE").is_some() {
        return Ok(true);
    }
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.set_write_timeout(Some(PATIENCE))?;
    connection.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut status = [0; 12];
    connection.read_exact(&mut status)?;
    Ok(&status == b"HTTP/1.1 200")
}
