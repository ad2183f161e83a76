//! Reloads: by signal and by a changed file, under load, and with faults.

use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use crate::traffic::{Client, Origin, eventually, log, route_to, serve};

fn fixed(name: &str) -> String {
    format!(
        "[[gateway.routes]]\nname = '{name}'\npath = '/{name}'\naccess = 'open'\n\
         respond = {{ status = 200, body = 'I am {name}' }}\n"
    )
}

/// Puts another file in the place of `bunbun.toml` in one step, as editors and config maps do.
fn put(folder: &Path, file: &str) {
    let next = folder.join("next.toml");
    std::fs::write(&next, file).expect("written");
    std::fs::rename(&next, folder.join("bunbun.toml")).expect("moved");
}

#[test]
fn reloads_under_load_put_routes_in_force_and_fail_no_request() {
    let (folder, origin) = (tempfile::tempdir().expect("a folder"), Origin::start(true));
    let server = serve(folder.path(), &route_to(&origin, &fixed("always")), &[]);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let clients: Vec<_> = ["/u", "/u/x", "/always", "/u"]
            .into_iter()
            .map(|target| {
                let mut client = Client::connect(&server);
                let stop = &stop;
                scope.spawn(move || {
                    let mut served = 0;
                    while !stop.load(Ordering::Acquire) {
                        let answer = client.get(target).expect("the connection is kept");
                        assert_eq!((answer.status, answer.is_last), (200, false), "{answer:?}");
                        served += 1;
                    }
                    served
                })
            })
            .collect();
        for round in 0..20 {
            let name = format!("route-{round}");
            let file = route_to(&origin, &(fixed("always") + &fixed(&name)));
            put(folder.path(), &file);
            server.signal("HUP");
            let mut client = Client::connect(&server);
            eventually("the new route is there", || {
                let answer = client.get(&format!("/{name}")).expect("an answer");
                answer.status == 200 && answer.body == format!("I am {name}")
            });
            if round > 0 {
                let gone = client
                    .get(&format!("/route-{}", round - 1))
                    .expect("an answer");
                assert_ne!(gone.status, 200, "the route of before is gone");
            }
        }
        stop.store(true, Ordering::Release);
        for client in clients {
            assert!(client.join().expect("no failure") > 20);
        }
    });
    server.stop();
}

#[test]
fn a_file_that_has_changed_is_noticed() {
    let (folder, origin) = (tempfile::tempdir().expect("a folder"), Origin::start(true));
    let server = serve(folder.path(), &route_to(&origin, ""), &[]);
    let mut client = Client::connect(&server);
    assert_ne!(client.get("/new").expect("an answer").status, 200);
    put(folder.path(), &route_to(&origin, &fixed("new")));
    eventually("it is noticed", || {
        client.get("/new").expect("an answer").status == 200
    });
    server.stop();
}

#[test]
fn a_faulty_file_leaves_the_old_routes_and_is_told_with_its_faults() {
    let (folder, origin) = (tempfile::tempdir().expect("a folder"), Origin::start(true));
    let server = serve(folder.path(), &route_to(&origin, &fixed("old")), &[]);
    let mut client = Client::connect(&server);
    for (file, why) in [
        ("[gateway\n".to_owned(), "bunbun.toml"),
        (
            "[[gateway.routes]]\nname = 'x'\npath = '/x'\nupstream = 'nowhere'\n".to_owned(),
            "nowhere",
        ),
        (fixed("one") + &fixed("one"), "another route has this name"),
        ("[gateway]\ndialect = 'nginx'\n".to_owned(), "nginx"),
        (
            "[server]\ndrain_timeout = 'soon'\n".to_owned(),
            "drain_timeout",
        ),
    ] {
        let before = log(folder.path()).matches("was not reloaded").count();
        put(folder.path(), &file);
        server.signal("HUP");
        eventually("it is told", || {
            log(folder.path()).matches("was not reloaded").count() > before
        });
        let told = log(folder.path());
        let last = told
            .lines()
            .rfind(|line| line.contains("was not reloaded"))
            .expect("a line");
        assert!(last.contains(why), "{why} is missing in {last}");
        assert_eq!(client.get("/old").expect("an answer").body, "I am old");
        assert_eq!(client.get("/u").expect("an answer").status, 200);
    }
    put(folder.path(), &route_to(&origin, &fixed("new")));
    server.signal("HUP");
    eventually("a good file helps", || {
        client.get("/new").expect("an answer").status == 200
    });
    server.stop();
}

#[test]
fn what_waits_for_a_restart_is_told() {
    let (folder, origin) = (tempfile::tempdir().expect("a folder"), Origin::start(true));
    let server = serve(folder.path(), &route_to(&origin, ""), &[]);
    let file =
        "[services]\nauth = 'http://127.0.0.1:1'\n".to_owned() + &route_to(&origin, &fixed("new"));
    put(folder.path(), &file);
    server.signal("HUP");
    let mut client = Client::connect(&server);
    eventually("it is reloaded", || {
        client.get("/new").expect("an answer").status == 200
    });
    assert!(log(folder.path()).contains("wait for a restart"));
    server.stop();
}

#[test]
fn a_signal_at_once_after_the_start_does_not_end_the_process() {
    let (folder, origin) = (tempfile::tempdir().expect("a folder"), Origin::start(true));
    for _ in 0..5 {
        let server = serve(folder.path(), &route_to(&origin, ""), &[]);
        server.signal("HUP");
        assert_eq!(
            Client::connect(&server)
                .get("/u")
                .expect("an answer")
                .status,
            200
        );
        server.stop();
    }
}

#[test]
fn a_file_that_is_gone_or_empty_leaves_the_old_routes() {
    let (folder, origin) = (tempfile::tempdir().expect("a folder"), Origin::start(true));
    let server = serve(folder.path(), &route_to(&origin, &fixed("old")), &[]);
    let mut client = Client::connect(&server);
    let refusals = || log(folder.path()).matches("was not reloaded").count();
    let file = folder.path().join("bunbun.toml");
    for signalled in [true, false] {
        for content in [None, Some(""), Some(" \n")] {
            let before = refusals();
            match content {
                None => std::fs::remove_file(&file).expect("removed"),
                Some(text) => put(folder.path(), text),
            }
            if signalled {
                server.signal("HUP");
            }
            eventually("it is told", || refusals() > before);
            assert_eq!(client.get("/old").expect("an answer").body, "I am old");
        }
    }
    put(folder.path(), "# no routes\n");
    server.signal("HUP");
    eventually("a comment is content", || {
        client.get("/old").expect("an answer").status != 200
    });
    server.stop();
}
