//! SIGTERM: what has begun is finished, nothing is lost, and it ends in time.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use crate::traffic::{Client, Origin, eventually, route_to, serve};

#[test]
fn a_drain_under_load_loses_no_request() {
    let (folder, origin) = (tempfile::tempdir().expect("a folder"), Origin::start(true));
    let server = serve(folder.path(), &route_to(&origin, ""), &[]);
    let served: usize = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|_| {
                let mut client = Client::connect(&server);
                scope.spawn(move || {
                    let mut served = 0;
                    // Between two answers the connection may end; such a request was not begun.
                    while let Some(answer) = client.get("/u") {
                        assert_eq!((answer.status, answer.body.as_str()), (200, "ok"));
                        served += 1;
                        if answer.is_last {
                            break;
                        }
                    }
                    served
                })
            })
            .collect();
        eventually("there is load", || origin.answered() > 500);
        server.signal("TERM");
        clients
            .into_iter()
            .map(|client| client.join().expect("no failure"))
            .sum()
    });
    assert_eq!(
        served,
        origin.answered(),
        "every request that was executed was answered"
    );
    server.stop();
}

#[test]
fn requests_under_way_are_finished_after_the_port_is_closed() {
    let (folder, origin) = (tempfile::tempdir().expect("a folder"), Origin::start(false));
    let server = serve(folder.path(), &route_to(&origin, ""), &[]);
    let mut clients: Vec<_> = (0..20).map(|_| Client::connect(&server)).collect();
    clients.iter_mut().for_each(|client| client.send("/u"));
    eventually("all are under way", || origin.waiting() == 20);
    server.signal("TERM");
    eventually("the port is closed", || {
        TcpStream::connect(&server.address).is_err()
    });
    origin.open();
    for client in &mut clients {
        let answer = client.answer().expect("an answer");
        assert_eq!((answer.status, answer.is_last), (200, true));
        assert_eq!(client.0.read(&mut [0; 8]).expect("an orderly end"), 0);
    }
    server.stop();
}

#[test]
fn tunnels_end_in_an_orderly_way() {
    let (folder, origin) = (tempfile::tempdir().expect("a folder"), Origin::start(true));
    let server = serve(folder.path(), &route_to(&origin, ""), &[]);
    let mut tunnels: Vec<_> = (0..20).map(|_| Client::connect(&server)).collect();
    for Client(stream) in &mut tunnels {
        let upgrade =
            "GET /u/tunnel HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\nping";
        stream.write_all(upgrade.as_bytes()).expect("it is sent");
        let mut seen = Vec::new();
        while !seen.ends_with(b"\r\n\r\nping") {
            let mut space = [0; 512];
            let count = stream.read(&mut space).expect("more");
            assert!(count > 0, "{}", String::from_utf8_lossy(&seen));
            seen.extend_from_slice(&space[..count]);
        }
    }
    server.signal("TERM");
    for Client(stream) in &mut tunnels {
        assert_eq!(stream.read(&mut [0; 8]).expect("an end, no reset"), 0);
    }
    drop(tunnels);
    server.stop();
}

#[test]
fn what_does_not_end_is_cut_off_in_time() {
    let (folder, origin) = (tempfile::tempdir().expect("a folder"), Origin::start(false));
    let server = serve(
        folder.path(),
        &route_to(&origin, ""),
        &[("DRAIN_TIMEOUT", "500ms")],
    );
    let mut client = Client::connect(&server);
    client.send("/u");
    eventually("it is under way", || origin.waiting() == 1);
    server.stop();
    assert_eq!(client.answer(), None);
}

/// A second signal changes nothing: `DRAIN_TIMEOUT` bounds the drain, SIGKILL ends it at once.
#[test]
fn a_second_signal_does_not_cut_the_drain_short() {
    let (folder, origin) = (tempfile::tempdir().expect("a folder"), Origin::start(false));
    let server = serve(folder.path(), &route_to(&origin, ""), &[]);
    let mut client = Client::connect(&server);
    client.send("/u");
    eventually("it is under way", || origin.waiting() == 1);
    for signal in ["TERM", "TERM", "INT", "HUP"] {
        server.signal(signal);
    }
    eventually("the port is closed", || {
        TcpStream::connect(&server.address).is_err()
    });
    server.signal("TERM");
    origin.open();
    assert_eq!(client.answer().expect("an answer").status, 200);
    server.stop();
}
