//! Every spelling and range that must not get out, and those that must.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{Egress, EgressError, EgressRule, Resolve, Resolved};
use crate::{Classify as _, Code};

fn rules(text: &str) -> Vec<EgressRule> {
    text.split(',')
        .map(|rule| rule.parse().unwrap_or_else(|_| panic!("{rule}")))
        .collect()
}

/// Answers with one list after the other, the last one for ever.
struct Scripted(Vec<Vec<SocketAddr>>, AtomicUsize);

impl Resolve for Scripted {
    fn resolve(&self, _: &str, port: u16) -> Resolved {
        let turn = self.1.fetch_add(1, Ordering::SeqCst);
        let mut answer = self.0[turn.min(self.0.len() - 1)].clone();
        for address in &mut answer {
            address.set_port(port);
        }
        Box::pin(async move { Ok(answer) })
    }
}

fn scripted(allow: &[EgressRule], answers: &[&[&str]]) -> Egress {
    let answers = answers
        .iter()
        .map(|answer| {
            answer
                .iter()
                .map(|ip| SocketAddr::new(ip.parse().expect("an address"), 0))
                .collect()
        })
        .collect();
    Egress::with_resolver(allow, Arc::new(Scripted(answers, AtomicUsize::new(0))))
}

async fn refused(egress: &Egress, host: &str) -> bool {
    match egress.resolve(host, 5432).await {
        Err(error @ EgressError::NotAllowed { .. }) => {
            assert_eq!(error.code(), Code::HostNotAllowed);
            let told = error.public_message().expect("a message");
            assert!(
                host.len() < 3 || !told.contains(host),
                "{told} tells {host}"
            );
            true
        }
        Err(EgressError::Unresolved { .. } | EgressError::Unreachable { .. }) => {
            panic!("{host} went to the resolver")
        }
        Ok(_) => false,
    }
}

/// Spellings of addresses that are not public, and texts that are no hosts.
const SPECIAL: &[&str] = &[
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.100.100.200",
    "169.254.169.254",
    "169.254.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.0.1",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "168.63.129.16",
    // Spellings of 127.0.0.1 and 169.254.169.254 that getaddrinfo or a browser takes.
    "2130706433",
    "017700000001",
    "0x7f000001",
    "0x7F.0.0.1",
    "0177.0.0.1",
    "127.1",
    "127.0.1",
    "127.0.0.01",
    "127.0.0.1.",
    "0x7f.1",
    "2852039166",
    "0xa9fea9fe",
    "0251.0376.0251.0376",
    "1",
    "0",
    "0x",
    "0x.",
    "127.0.0.0x1",
    "00000000177.0.0.1",
    // Other clothes.
    "①②⑦.0.0.1",
    "127。0。0。1",
    "１２７.0.0.1",
    "127.0.0.1%00",
    "127.0.0.1\0.example.com",
    " 127.0.0.1",
    "127.0.0.1 ",
    "127.0.0.1/",
    "127.0.0.1:80",
    "user@127.0.0.1",
    "",
    ".",
    "..",
    "a..b",
    "-_-..",
    "exa mple.com",
    "example.com\r\n",
    "/var/run/postgresql",
    // IPv6.
    "::1",
    "[::1]",
    "::",
    "[::]",
    "::ffff:127.0.0.1",
    "[::ffff:127.0.0.1]",
    "::ffff:7f00:1",
    "::ffff:169.254.169.254",
    "::127.0.0.1",
    "::ffff:0:127.0.0.1",
    "64:ff9b::127.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "2002:7f00:1::1",
    "2002:a00:1::",
    "2001::1",
    "2001:0:7f00:1::",
    "2001:db8::1",
    "3fff::1",
    "3fff:fff::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "[fe80::1%25eth0]",
    "fec0::1",
    "ff02::1",
    "100::1",
    "5f00::1",
    "4000::1",
    "2a00:1450::200:5efe:7f00:1",
    "2a00:1450::5efe:10.0.0.1",
    "[127.0.0.1]",
    "[::1",
    "::1]",
];

#[tokio::test]
async fn no_spelling_of_a_special_address_passes() {
    // Whatever reaches the resolver is answered with a public address: it must not get there.
    let egress = scripted(&[], &[&["93.184.215.14"]]);
    for host in SPECIAL {
        assert!(refused(&egress, host).await, "{host:?} passed");
    }
}

#[tokio::test]
async fn public_addresses_pass_in_every_honest_spelling() {
    let egress = scripted(&[], &[&["93.184.215.14", "2606:2800:21f:cb07::1"]]);
    for host in [
        "8.8.8.8",
        "172.15.255.255",
        "172.32.0.1",
        "100.63.255.255",
        "100.128.0.1",
        "11.0.0.1",
        "192.0.1.1",
        "198.20.0.1",
        "223.255.255.255",
        "2606:4700::1",
        "[2606:4700::1]",
        "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8",
        "2002:808:808::1",
        "2001:200::1",
        "3ffe::1",
        "2a00:1450::200:5efe:808:808",
        "db.example.com",
        "DB.Example.COM.",
        "xn--bcher-kva.example",
        "my_db.internal",
        "0x7f.example",
        "127.0.0.1.nip.io",
        "1e100.net",
        "localhost",
    ] {
        assert!(!refused(&egress, host).await, "{host:?} was refused");
    }
    assert!(egress.resolve("8.8.8.8", 0).await.is_err(), "port 0");
}

#[tokio::test]
async fn every_address_of_a_name_has_to_pass() {
    let egress = scripted(&[], &[&["93.184.215.14", "10.0.0.7"]]);
    assert!(refused(&egress, "two-faced.example").await);
    let egress = scripted(&[], &[&["::ffff:10.0.0.7"]]);
    assert!(refused(&egress, "mapped.example").await);
    let egress = scripted(&[], &[&[]]);
    let error = egress.resolve("nothing.example", 1).await.unwrap_err();
    assert!(matches!(error, EgressError::Unresolved { .. }));
}

#[tokio::test]
async fn a_name_that_changes_its_mind_is_refused_at_the_next_connection() {
    let egress = scripted(&[], &[&["93.184.215.14"], &["127.0.0.1"]]);
    let first = egress.resolve("rebind.example", 6379).await.unwrap();
    // What the caller connects to is what was checked, not the name.
    assert_eq!(first, ["93.184.215.14:6379".parse().unwrap()]);
    assert!(refused(&egress, "rebind.example").await);
    assert!(refused(&egress, "rebind.example").await);
}

#[tokio::test]
async fn the_operator_allows_networks_hosts_and_ports() {
    let allow =
        rules("10.1.0.0/16,192.168.7.7:5432,[fd00::/8]:6379,::1,db.internal:5432,cache.internal");
    let resolves_to = |ip: &'static str| scripted(&allow, &[&[ip]]);
    let ok = async |egress: &Egress, host: &str, port| egress.resolve(host, port).await.is_ok();
    let any = resolves_to("10.9.9.9");
    assert!(ok(&any, "10.1.2.3", 1).await && !ok(&any, "10.2.0.1", 1).await);
    assert!(ok(&any, "::ffff:10.1.2.3", 1).await, "the same address");
    assert!(ok(&any, "192.168.7.7", 5432).await && !ok(&any, "192.168.7.7", 22).await);
    assert!(ok(&any, "fd12::1", 6379).await && !ok(&any, "fd12::1", 22).await);
    assert!(ok(&any, "[::1]", 9).await && !ok(&any, "127.0.0.1", 9).await);
    assert!(ok(&any, "DB.internal.", 5432).await && !ok(&any, "db.internal", 5433).await);
    assert!(ok(&any, "cache.internal", 6379).await && !ok(&any, "x.cache.internal", 6379).await);
    // A trusted name is no way to the metadata service, whoever answers for it.
    for never in [
        "169.254.169.254",
        "fe80::1",
        "0.0.0.0",
        "224.0.0.1",
        "fd00:ec2::254",
        "::ffff:169.254.169.254",
    ] {
        assert!(
            !ok(&resolves_to(never), "cache.internal", 80).await,
            "{never}"
        );
    }
    let metadata = Egress::new(&rules("169.254.169.254"));
    assert!(
        ok(&metadata, "169.254.169.254", 80).await,
        "said openly it is allowed"
    );
}

#[test]
fn what_is_no_rule_is_refused() {
    for bad in [
        "",
        "10.0.0.0/33",
        "host:0",
        "host:70000",
        "host:",
        "ho st",
        "[::1",
        "[::1]5",
        "*",
        "127.1",
        "a:b:c",
    ] {
        assert!(bad.parse::<EgressRule>().is_err(), "{bad:?}");
    }
    for good in ["10.0.0.0/8", "[fd00::/8]:6379", "db.internal:5432"] {
        let rule: EgressRule = good.parse().expect(good);
        assert_eq!(rule.to_string().parse::<EgressRule>(), Ok(rule));
    }
    assert_eq!(
        "10.1.2.3/8".parse::<EgressRule>().unwrap().to_string(),
        "10.0.0.0/8"
    );
}

#[tokio::test]
async fn connecting_goes_to_the_address_that_was_checked() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let limit = std::time::Duration::from_secs(5);
    let open = scripted(&EgressRule::loopback(), &[&["127.0.0.1"], &["127.0.0.2"]]);
    let stream = open.connect("db.example", port, limit).await.unwrap();
    assert_eq!(
        stream.peer_addr().unwrap().to_string(),
        format!("127.0.0.1:{port}")
    );
    let closed = scripted(&[], &[&["127.0.0.1"]]);
    assert!(matches!(
        closed.connect("db.example", port, limit).await,
        Err(EgressError::NotAllowed { .. })
    ));
}
