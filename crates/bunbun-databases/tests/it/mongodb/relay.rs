//! Where connections may lead: the guard of hosts, names that change their address, members that
//! servers announce, and the way to a server with TLS.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bunbun_core::{
    Classify as _,
    egress::{Egress, Resolve, Resolved},
};
use bunbun_databases::{
    Database as _, DatabaseType, Error, Host, Limits, Options, Settings, TlsMode,
    connection::options::MongodbOptions,
    mongodb::{
        Mongodb, Namespace,
        bson::{Document, RawDocumentBuf, doc},
        ejson::Format,
    },
};
use bunbun_test::{MongodbKind, MongodbServer};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::aws_lc_rs, pki_types::PrivatePkcs8KeyDer},
};

use super::{limits, loopback};

fn quick() -> Limits {
    Limits {
        connect_timeout: Duration::from_secs(2),
        operation_timeout: Duration::from_secs(2),
        ..limits()
    }
}

fn code(result: Result<Mongodb, Error>) -> &'static str {
    result.map(|_| ()).expect_err("refused").code().as_str()
}

/// Answers every name with the addresses that are set at the time.
#[derive(Clone, Default)]
struct Names(Arc<Mutex<Vec<SocketAddr>>>);

impl Names {
    fn set(&self, addresses: &[&str]) {
        let addresses = addresses
            .iter()
            .map(|address| address.parse().expect("an address"))
            .collect();
        *self.0.lock().expect("nobody panics in here") = addresses;
    }
}

impl Resolve for Names {
    fn resolve(&self, _name: &str, _port: u16) -> Resolved {
        let addresses = self.0.lock().expect("nobody panics in here").clone();
        Box::pin(async move { Ok(addresses) })
    }
}

/// Loopback is allowed for this name only.
fn guard(names: &Names) -> Egress {
    Egress::with_resolver(
        &["db.test".parse().expect("a rule")],
        Arc::new(names.clone()),
    )
}

/// A server that knows one answer to everything, and counts who comes.
struct Fake {
    port: u16,
    visitors: Arc<AtomicUsize>,
}

impl Fake {
    async fn start(answer: impl Fn(u16) -> Document + Send + Sync + 'static) -> Self {
        Self::start_raw(move |port| bytes(&answer(port))).await
    }

    /// The same with an answer that is BSON already.
    async fn start_raw(answer: impl Fn(u16) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let visitors = Arc::new(AtomicUsize::new(0));
        let (counter, answer) = (Arc::clone(&visitors), Arc::new(answer));
        let _task = bunbun_core::task::spawn("fake server", async move {
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                counter.fetch_add(1, Ordering::SeqCst);
                let answer = Arc::clone(&answer);
                let _task = bunbun_core::task::spawn("fake connection", async move {
                    let _ = talk(stream, &|| answer(port)).await;
                });
            }
        });
        Self { port, visitors }
    }

    fn visitors(&self) -> usize {
        self.visitors.load(Ordering::SeqCst)
    }
}

/// An answer, with what a driver wants to find in a handshake's.
fn bytes(answer: &Document) -> Vec<u8> {
    let mut answer = answer.clone();
    answer.extend(doc! { "ok": 1, "minWireVersion": 0, "maxWireVersion": 21,
        "maxBsonObjectSize": 16_777_216, "maxMessageSizeBytes": 48_000_000, "maxWriteBatchSize": 100_000 });
    RawDocumentBuf::try_from(&answer)
        .expect("encodes")
        .into_bytes()
}

/// The same with documents in each other in its end, written without recursion.
fn nested(answer: &Document, levels: usize) -> Vec<u8> {
    let length = |bytes: usize| i32::try_from(bytes).expect("short").to_le_bytes();
    let mut out = bytes(answer);
    let _zero = out.pop();
    for level in 0..levels {
        out.extend(b"\x03a\0");
        out.extend(length(5 + 8 * (levels - 1 - level)));
    }
    out.extend(vec![0; levels + 1]);
    let all = length(out.len());
    out[..4].copy_from_slice(&all);
    out
}

/// The wire protocol as far as a handshake goes: `OP_QUERY` and `OP_MSG`.
async fn talk(
    mut stream: TcpStream,
    answer: &(dyn Fn() -> Vec<u8> + Send + Sync),
) -> io::Result<()> {
    loop {
        let mut head = [0; 16];
        stream.read_exact(&mut head).await?;
        let number =
            |at: usize| i32::from_le_bytes(head[at..at + 4].try_into().expect("four bytes"));
        let mut body = vec![0; usize::try_from(number(0)).expect("positive") - 16];
        stream.read_exact(&mut body).await?;
        let document = answer();
        let (opcode, mut reply) = if number(12) == 2004 {
            let mut reply = vec![0; 16];
            reply.extend(1_i32.to_le_bytes());
            reply.extend([0; 4].iter().take(0));
            (1_i32, reply)
        } else {
            (2013_i32, vec![0; 5])
        };
        if opcode == 1 {
            // Flags, cursor (8 bytes), start, count.
            reply = [
                0_i32.to_le_bytes().to_vec(),
                vec![0; 8],
                vec![0; 4],
                1_i32.to_le_bytes().to_vec(),
            ]
            .concat();
        }
        reply.extend(document);
        let mut message = Vec::new();
        message.extend(
            i32::try_from(reply.len() + 16)
                .expect("short")
                .to_le_bytes(),
        );
        message.extend(1_i32.to_le_bytes());
        message.extend(&head[4..8]);
        message.extend(opcode.to_le_bytes());
        message.extend(reply);
        stream.write_all(&message).await?;
    }
}

fn settings(hosts: &[(&str, u16)], options: MongodbOptions) -> Settings {
    let hosts = hosts
        .iter()
        .map(|(name, port)| Host {
            name: (*name).to_owned(),
            port: *port,
        })
        .collect();
    Settings {
        hosts,
        options: Options::Mongodb(options),
        ..Settings::new(DatabaseType::Mongodb, "db.test", 27017)
    }
}

#[tokio::test]
async fn hosts_that_the_operator_does_not_allow_are_never_visited() {
    let fake = Fake::start(|_| doc! { "ismaster": true }).await;
    let strict = Egress::new(&[]);
    for name in [
        "127.0.0.1",
        "localhost",
        "::1",
        "0.0.0.0",
        "169.254.169.254",
        "10.0.0.1",
        "2130706433",
        "0x7f.1",
        "::ffff:127.0.0.1",
    ] {
        let settings = settings(&[(name, fake.port)], MongodbOptions::default());
        assert_eq!(
            code(Mongodb::connect(&settings, &strict, &quick()).await),
            "HOST_NOT_ALLOWED",
            "{name}"
        );
    }
    assert_eq!(fake.visitors(), 0);
}

#[tokio::test]
async fn one_forbidden_address_of_a_name_is_enough() {
    let fake = Fake::start(|_| doc! { "ismaster": true }).await;
    let names = Names::default();
    let here = format!("127.0.0.1:{}", fake.port);
    names.set(&[&here, "10.0.0.1:27017"]);
    // Only loopback is allowed, whatever the name.
    let egress = Egress::with_resolver(
        &["127.0.0.0/8".parse().expect("a rule")],
        Arc::new(names.clone()),
    );
    let settings = settings(&[("db.test", fake.port)], MongodbOptions::default());
    assert_eq!(
        code(Mongodb::connect(&settings, &egress, &quick()).await),
        "HOST_NOT_ALLOWED"
    );
    assert_eq!(fake.visitors(), 0);
    names.set(&[&here]);
    Mongodb::connect(&settings, &egress, &quick())
        .await
        .expect("allowed now");
}

#[tokio::test]
async fn a_name_that_moves_to_a_forbidden_address_is_not_followed() {
    let Some(mut server) = MongodbServer::start_own(MongodbKind::Ferretdb).await else {
        return;
    };
    let other = Fake::start(|_| doc! { "ismaster": true }).await;
    let names = Names::default();
    let egress = Egress::with_resolver(
        &[format!("127.0.0.1:{}", server.port())
            .parse()
            .expect("a rule")],
        Arc::new(names.clone()),
    );
    names.set(&[&format!("127.0.0.1:{}", server.port())]);
    let settings = settings(&[("db.test", server.port())], MongodbOptions::default());
    let mongodb = Mongodb::connect(&settings, &egress, &quick())
        .await
        .expect("allowed");
    // While the connection lives, the name is not asked again.
    names.set(&[&format!("127.0.0.1:{}", other.port)]);
    mongodb.ping().await.expect("still the checked address");
    server.kill();
    let mut last = String::new();
    for _ in 0..100 {
        last = mongodb
            .ping()
            .await
            .expect_err("gone or forbidden")
            .code()
            .as_str()
            .to_owned();
        if last == "HOST_NOT_ALLOWED" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!((last.as_str(), other.visitors()), ("HOST_NOT_ALLOWED", 0));
}

#[tokio::test]
async fn the_primary_is_found_through_a_member() {
    let Some(server) = MongodbServer::start_own(MongodbKind::Ferretdb).await else {
        return;
    };
    let primary = format!("127.0.0.1:{}", server.port());
    let secondary = Fake::start(move |_| {
        doc! { "setName": "rs0", "secondary": true, "isWritablePrimary": false, "hosts": [&primary], "primary": &primary }
    })
    .await;
    let options = MongodbOptions {
        direct_connection: Some(false),
        ..MongodbOptions::default()
    };
    // Two hosts make a set of it; the second one is never reached.
    let settings = settings(&[("127.0.0.1", secondary.port), ("127.0.0.1", 1)], options);
    let mongodb = Mongodb::connect(&settings, &loopback(), &quick())
        .await
        .expect("found");
    mongodb.ping().await.expect("it answers");
    let info = mongodb.info().await.expect("it tells");
    assert_eq!((info.role.as_str(), info.tls), ("standalone", false));
    assert!(
        !mongodb
            .databases()
            .await
            .expect("FerretDB knows this")
            .iter()
            .any(|database| database.name.is_empty())
    );
}

#[tokio::test]
async fn members_that_a_server_announces_pass_the_same_guard() {
    let victim = Fake::start(|_| doc! { "ismaster": true, "setName": "rs0" }).await;
    let (victim_port, sock) = (victim.port, "/var/run/docker.sock");
    let names = Names::default();
    let liar = Fake::start(move |_| {
        let inside = format!("127.0.0.1:{victim_port}");
        doc! { "setName": "rs0", "secondary": true, "isWritablePrimary": false,
        "hosts": [&inside, "10.0.0.1:27017", sock, "localhost:27017"], "primary": &inside }
    })
    .await;
    names.set(&[&format!("127.0.0.1:{}", liar.port)]);
    let options = MongodbOptions {
        replica_set: Some("rs0".to_owned()),
        ..MongodbOptions::default()
    };
    let settings = settings(&[("db.test", liar.port)], options);
    assert_eq!(
        code(Mongodb::connect(&settings, &guard(&names), &quick()).await),
        "HOST_NOT_ALLOWED"
    );
    assert!(liar.visitors() > 0);
    assert_eq!(victim.visitors(), 0);
}

#[tokio::test]
async fn a_single_host_is_taken_as_it_is() {
    let elsewhere = Fake::start(|_| doc! { "ismaster": true, "setName": "rs0" }).await;
    let port = elsewhere.port;
    let secondary = Fake::start(move |_| {
        let inside = format!("127.0.0.1:{port}");
        doc! { "setName": "rs0", "secondary": true, "isWritablePrimary": false, "hosts": [&inside], "primary": &inside }
    })
    .await;
    let settings = settings(&[("127.0.0.1", secondary.port)], MongodbOptions::default());
    Mongodb::connect(&settings, &loopback(), &quick())
        .await
        .expect("directly");
    assert_eq!(elsewhere.visitors(), 0);
}

#[tokio::test]
async fn an_answer_that_is_nested_too_deeply_ends_its_connection_and_nothing_else() {
    let levels = Arc::new(AtomicUsize::new(0));
    let answered = Arc::clone(&levels);
    let hello = doc! { "ismaster": true, "isWritablePrimary": true, "n": 1 };
    let liar = Fake::start_raw(move |_| nested(&hello, answered.load(Ordering::SeqCst))).await;
    let settings = settings(&[("127.0.0.1", liar.port)], MongodbOptions::default());
    let mongodb = Mongodb::connect(&settings, &loopback(), &quick())
        .await
        .expect("a decent server");
    let namespace = Namespace::collection("d", "c", true).expect("a name");
    for depth in [200, 1_000, 3_000_000] {
        levels.store(depth, Ordering::SeqCst);
        let pinged = mongodb.ping().await.map(drop);
        let document = RawDocumentBuf::try_from(&doc! { "_id": 1 }).expect("encodes");
        let inserted = mongodb
            .insert(&namespace, &[document], true, Format::Relaxed)
            .await
            .map(drop);
        for outcome in [pinged, inserted] {
            let code = outcome.map_err(|error| error.code().as_str());
            let expected = if depth > 250 {
                Err("CONNECTION_FAILED")
            } else {
                Ok(())
            };
            assert_eq!(code, expected, "{depth}");
        }
    }
    levels.store(0, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(600)).await;
    mongodb.ping().await.expect("decent again");
}

#[tokio::test]
async fn another_set_than_the_one_named_is_refused() {
    let fake =
        Fake::start(|_| doc! { "ismaster": true, "isWritablePrimary": true, "setName": "other" })
            .await;
    let options = MongodbOptions {
        replica_set: Some("rs0".to_owned()),
        ..MongodbOptions::default()
    };
    let settings = settings(&[("127.0.0.1", fake.port)], options);
    assert_eq!(
        code(Mongodb::connect(&settings, &loopback(), &quick()).await),
        "CONNECTION_FAILED"
    );
}

/// A TLS front of a server, with a certificate for `db.test`; its port and the authority as PEM.
async fn with_tls(server: u16) -> (u16, String) {
    let certified =
        rcgen::generate_simple_self_signed(["db.test".to_owned()]).expect("a certificate");
    let key = PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
    let config = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key.into())
        .expect("a certificate");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let _task = bunbun_core::task::spawn("tls front", async move {
        loop {
            let (client, _) = listener.accept().await.expect("a connection");
            let acceptor = acceptor.clone();
            let _task = bunbun_core::task::spawn("tls connection", async move {
                let Ok(mut client) = acceptor.accept(client).await else {
                    return;
                };
                let Ok(mut server) = TcpStream::connect(("127.0.0.1", server)).await else {
                    return;
                };
                let _ = copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    (port, certified.cert.pem())
}

#[tokio::test]
async fn with_tls_the_name_is_checked_and_the_address_is_the_guards() {
    let Some(server) = MongodbServer::start_own(MongodbKind::Ferretdb).await else {
        return;
    };
    let (port, certificate) = with_tls(server.port()).await;
    let names = Names::default();
    names.set(&[&format!("127.0.0.1:{port}")]);
    let trusting = MongodbOptions {
        ca_certificate: Some(certificate),
        ..MongodbOptions::default()
    };
    let with = |name: &str, options: &MongodbOptions, tls| Settings {
        tls,
        ..settings(&[(name, port)], options.clone())
    };
    let right = with("db.test", &trusting, TlsMode::VerifyFull);
    let mongodb = Mongodb::connect(&right, &guard(&names), &quick())
        .await
        .expect("verified");
    assert!(mongodb.info().await.expect("it tells").tls);
    // The authority is none of the public ones; the name is another one; both are not asked for.
    let unknown = with("db.test", &MongodbOptions::default(), TlsMode::VerifyFull);
    assert_eq!(
        code(Mongodb::connect(&unknown, &guard(&names), &quick()).await),
        "CONNECTION_FAILED"
    );
    let egress = Egress::with_resolver(
        &["127.0.0.0/8".parse().expect("a rule")],
        Arc::new(names.clone()),
    );
    let wrong = with("other.test", &trusting, TlsMode::VerifyFull);
    assert_eq!(
        code(Mongodb::connect(&wrong, &egress, &quick()).await),
        "CONNECTION_FAILED"
    );
    let unchecked = with("other.test", &MongodbOptions::default(), TlsMode::Require);
    Mongodb::connect(&unchecked, &egress, &quick())
        .await
        .expect("unchecked");
    // New connections of the same pool are checked anew.
    names.set(&["10.0.0.1:27017"]);
    let crowd = futures_util::future::join_all((0..8).map(|_| mongodb.ping())).await;
    assert!(
        crowd.iter().any(Result::is_err),
        "more connections than were open were needed"
    );
}
