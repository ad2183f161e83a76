//! Servers that die, come back, stand still or are too busy.

use std::time::Duration;

use bunbun_core::Classify as _;
use bunbun_databases::{
    Database as _, Limits,
    mongodb::{Find, Namespace, Selection, ejson::Format},
};
use bunbun_test::{MongodbKind, MongodbServer};
use futures_util::future::join_all;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

use super::{Place, code, connect, document, limits};

fn quick() -> Limits {
    Limits {
        connect_timeout: Duration::from_secs(1),
        operation_timeout: Duration::from_secs(2),
        ..limits()
    }
}

/// Passes bytes on until it is told to stand still; connections stay open meanwhile.
async fn faucet(port: u16) -> (u16, watch::Sender<bool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (sender, receiver) = watch::channel(true);
    let _task = bunbun_core::task::spawn("faucet", async move {
        loop {
            let (mut client, _) = listener.accept().await.expect("a connection");
            let mut open = receiver.clone();
            let _task = bunbun_core::task::spawn("faucet connection", async move {
                let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await else {
                    return;
                };
                let mut closed = open.clone();
                loop {
                    if open.wait_for(|open| *open).await.is_err() {
                        return;
                    }
                    tokio::select! {
                        _ = copy_bidirectional(&mut client, &mut server) => return,
                        _ = closed.wait_for(|open| !open) => {}
                    }
                }
            });
        }
    });
    (address.port(), sender)
}

#[tokio::test]
async fn a_server_that_dies_and_comes_back_is_used_again() {
    let Some(mut server) = MongodbServer::start_own(MongodbKind::Ferretdb).await else {
        return;
    };
    let mongodb = connect(server.uri(), &quick()).await.expect("it runs");
    let namespace = Namespace::collection("app", "survivors", true).expect("a name");
    let documents = [document(r#"{"_id":1}"#)];
    mongodb
        .insert(&namespace, &documents, true, Format::Relaxed)
        .await
        .expect("inserted");
    server.kill();
    let find = Find {
        limit: 10,
        ..Find::default()
    };
    for _ in 0..3 {
        let error = mongodb
            .find(&namespace, &find, Format::Relaxed)
            .await
            .expect_err("it is dead");
        assert_eq!(error.code().as_str(), "CONNECTION_FAILED");
        let shown = error
            .public_message()
            .map(std::borrow::Cow::into_owned)
            .unwrap_or_default();
        assert!(!shown.contains("127.0.0.1"), "{shown}");
    }
    server.run().await;
    // It is looked for again, but not at every request.
    let mut found = mongodb.find(&namespace, &find, Format::Relaxed).await;
    for _ in 0..100 {
        if found.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        found = mongodb.find(&namespace, &find, Format::Relaxed).await;
    }
    assert_eq!(found.expect("it is back").count, 1);
    assert!(mongodb.status().in_use == 0);
}

#[tokio::test]
async fn a_restart_between_two_reads_goes_unnoticed() {
    let Some(mut server) = MongodbServer::start_own(MongodbKind::Ferretdb).await else {
        return;
    };
    let mongodb = connect(server.uri(), &quick()).await.expect("it runs");
    let namespace = Namespace::collection("app", "survivors", true).expect("a name");
    let documents = [document(r#"{"_id":1}"#)];
    mongodb
        .insert(&namespace, &documents, true, Format::Relaxed)
        .await
        .expect("inserted");
    server.kill();
    server.run().await;
    // The pooled connection is broken; reading tries once more.
    let count = mongodb.count(&namespace, &Selection::default()).await;
    assert_eq!(count.expect("read again"), 1);
}

#[tokio::test]
async fn a_server_that_stands_still_is_a_timeout_and_frees_its_place() {
    let Some(server) = MongodbServer::start_own(MongodbKind::Ferretdb).await else {
        return;
    };
    let (port, open) = faucet(server.port()).await;
    let limits = Limits {
        max_connections: 2,
        operation_timeout: Duration::from_millis(500),
        ..quick()
    };
    let mongodb = connect(&format!("mongodb://127.0.0.1:{port}/"), &limits)
        .await
        .expect("it runs");
    mongodb.ping().await.expect("it answers");
    open.send(false).expect("the faucet is there");
    let hung = join_all((0..2).map(|_| mongodb.ping())).await;
    for outcome in hung {
        let code = code(outcome);
        assert!(["TIMEOUT", "CONNECTION_FAILED"].contains(&code), "{code}");
    }
    assert_eq!(mongodb.status().in_use, 0);
    open.send(true).expect("the faucet is there");
    let mut answer = mongodb.ping().await;
    for _ in 0..100 {
        if answer.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        answer = mongodb.ping().await;
    }
    answer.expect("it answers again");
}

#[tokio::test]
async fn too_many_waiters_are_refused_and_the_pool_stays_small() {
    let Some(server) = MongodbServer::start_own(MongodbKind::Ferretdb).await else {
        return;
    };
    let (port, open) = faucet(server.port()).await;
    let limits = Limits {
        max_connections: 2,
        max_waiting: 3,
        connect_timeout: Duration::from_millis(800),
        operation_timeout: Duration::from_millis(400),
    };
    let mongodb = connect(&format!("mongodb://127.0.0.1:{port}/"), &limits)
        .await
        .expect("it runs");
    open.send(false).expect("the faucet is there");
    let outcomes = join_all((0..20).map(|_| mongodb.ping())).await;
    let refused = outcomes.into_iter().filter(|outcome| {
        outcome
            .as_ref()
            .is_err_and(|error| error.code().as_str() == "POOL_EXHAUSTED")
    });
    assert!(refused.count() >= 15);
    assert_eq!(mongodb.status().waiting, 0);
}

#[tokio::test]
async fn a_thousand_callers_share_ten_connections() {
    let Some(place) = Place::ferretdb().await else {
        return;
    };
    place.insert("crowd", &[r#"{"_id":1,"a":1}"#]).await;
    let namespace = place.collection("crowd");
    let callers = (0..1000).map(|_| {
        let (mongodb, place) = (&place.mongodb, &place);
        async move {
            let _ = place;
            mongodb.count(&namespace, &Selection::default()).await
        }
    });
    for outcome in join_all(callers).await {
        assert_eq!(outcome.expect("everyone is served"), 1);
    }
    let status = place.mongodb.status();
    assert!(status.idle <= 10, "{status:?}");
    assert_eq!((status.in_use, status.waiting), (0, 0), "{status:?}");
}

#[tokio::test]
async fn a_closed_pool_refuses() {
    let Some(place) = Place::ferretdb().await else {
        return;
    };
    place.mongodb.disconnect().await;
    assert_eq!(code(place.mongodb.ping().await), "CONNECTION_FAILED");
}

#[tokio::test]
async fn nobody_listening_is_a_failed_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    drop(listener);
    let refused = connect(&format!("mongodb://127.0.0.1:{port}/"), &quick()).await;
    assert_eq!(
        refused.map(|_| ()).map_err(|error| error.code().as_str()),
        Err("CONNECTION_FAILED")
    );
}
