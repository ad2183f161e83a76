//! Reading, writing and changing values.

use std::collections::BTreeSet;

use bunbun_core::{Classify, Code};
use bunbun_databases::redis::{
    Change, Changed, Content, End, Expiry, NewValue, ReadValue, Redis, StreamEntry, Ttl, ValuePage,
    WriteMode,
};
use bunbun_test::TestRedis;

use super::connect;

const WHOLE: ReadValue = ReadValue {
    limit: 1000,
    bytes: 1 << 20,
    cursor: None,
    size: false,
};

fn bytes(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

fn new(content: Content, mode: WriteMode) -> NewValue {
    NewValue {
        content,
        ttl: Ttl::Keep,
        mode,
    }
}

async fn read(redis: &Redis, key: &str) -> ValuePage {
    redis
        .read_value(key.as_bytes(), &WHOLE)
        .await
        .expect("a value")
}

fn every_type() -> Vec<Content> {
    let binary = vec![0xff, 0, b'\r', b'\n'];
    vec![
        Content::String(binary.clone()),
        Content::String(Vec::new()),
        Content::List(vec![bytes("b"), bytes("a"), bytes("b"), binary.clone()]),
        Content::Set(vec![bytes("a"), bytes("b"), binary.clone()]),
        Content::Hash(vec![
            (bytes("f"), bytes("v")),
            (binary.clone(), binary.clone()),
        ]),
        Content::Zset(vec![
            (bytes("low"), -1.5),
            (bytes("high"), 1e300),
            (binary, f64::INFINITY),
        ]),
        Content::Stream(vec![StreamEntry {
            id: "1-1".to_owned(),
            fields: vec![(bytes("f"), bytes("1")), (bytes("f"), bytes("2"))],
        }]),
    ]
}

#[tokio::test]
async fn what_is_written_is_read_back_in_every_type() {
    let Some(server) = TestRedis::start() else {
        return;
    };
    let redis = connect(&server).await;
    for content in every_type() {
        let key = b"key";
        redis
            .write_value(key, &new(content.clone(), WriteMode::Create))
            .await
            .unwrap();
        let page = redis.read_value(key, &WHOLE).await.unwrap();
        assert_eq!(page.content, content);
        assert_eq!(page.value_type, content.value_type());
        assert_eq!(page.length, content.len() as u64);
        assert!(page.digest.is_some() && page.next_cursor.is_none());
        let again = redis
            .write_value(key, &new(content, WriteMode::Create))
            .await;
        assert_eq!(again.unwrap_err().code(), Code::KeyExists);
        redis.delete_key(key).await.unwrap();
    }
    let missing = redis.read_value(b"key", &WHOLE).await.unwrap_err();
    assert_eq!(missing.code(), Code::KeyNotFound);
}

#[tokio::test]
async fn a_stream_that_redis_would_refuse_replaces_nothing() {
    let Some(server) = TestRedis::start() else {
        return;
    };
    let redis = connect(&server).await;
    let stream = |ids: &[&str]| {
        let entry = |id: &&str| StreamEntry {
            id: (*id).to_owned(),
            fields: vec![(bytes("f"), bytes("v"))],
        };
        Content::Stream(ids.iter().map(entry).collect())
    };
    assert_eq!(server.command(&["SET", "key", "precious"]), "+OK");
    let last = format!("{0}-{0}", u64::MAX);
    for ids in [
        &["0-0"][..],
        &["0"],
        &["5-1", "4-1"],
        &["5-1", "5-1"],
        &["*", "5-1"],
        &["5-*"],
        &["-5"],
        &["5-"],
        &["+5-1"],
        &["5-1-1"],
        &["x"],
        &[""],
        &["18446744073709551616-0"],
        &[&last, "*"],
    ] {
        let value = new(stream(ids), WriteMode::Replace);
        let error = redis.write_value(b"key", &value).await.unwrap_err();
        assert_eq!(error.code(), Code::QueryInvalid, "{ids:?}");
        assert_eq!(server.command(&["GET", "key"]), "precious", "{ids:?}");
    }
    for ids in [&["0-1", "5", "5-1", "*", "*"][..], &["*"], &[&last]] {
        let value = new(stream(ids), WriteMode::Replace);
        redis.write_value(b"key", &value).await.expect("taken");
        assert_eq!(read(&redis, "key").await.length, ids.len() as u64);
    }
}

#[tokio::test]
async fn a_digest_guards_against_lost_updates_in_every_type() {
    let Some(server) = TestRedis::start() else {
        return;
    };
    let redis = connect(&server).await;
    let replacement = new(Content::String(bytes("new")), WriteMode::Replace);
    for content in every_type() {
        let key = b"key";
        redis
            .write_value(key, &new(content, WriteMode::Replace))
            .await
            .unwrap();
        let digest = redis.read_value(key, &WHOLE).await.unwrap().digest.unwrap();
        let matching = NewValue {
            mode: WriteMode::IfMatch(digest.clone()),
            ..replacement.clone()
        };
        redis.write_value(key, &matching).await.unwrap();
        let late = redis.write_value(key, &matching).await.unwrap_err();
        assert_eq!(late.code(), Code::PreconditionFailed);
        assert_eq!(server.command(&["GET", "key"]), "new");
    }
    redis.delete_key(b"key").await.unwrap();
    let gone = NewValue {
        mode: WriteMode::IfMatch(String::new()),
        ..replacement
    };
    let error = redis.write_value(b"key", &gone).await.unwrap_err();
    assert_eq!(error.code(), Code::PreconditionFailed);
}

#[tokio::test]
async fn of_many_writers_with_one_digest_one_wins() {
    let Some(server) = TestRedis::start() else {
        return;
    };
    let redis = connect(&server).await;
    for round in 0..10 {
        let start = Content::List(vec![bytes(&round.to_string())]);
        redis
            .write_value(b"key", &new(start, WriteMode::Replace))
            .await
            .unwrap();
        let digest = read(&redis, "key").await.digest.unwrap();
        let writers = (0..8).map(|writer| {
            let redis = std::sync::Arc::clone(&redis);
            let content = Content::List(vec![bytes(&format!("{round} {writer}"))]);
            let value = new(content, WriteMode::IfMatch(digest.clone()));
            async move { redis.write_value(b"key", &value).await }
        });
        let results = futures_util::future::join_all(writers).await;
        let won = results.iter().filter(|result| result.is_ok()).count();
        assert_eq!(won, 1, "{results:?}");
        for error in results.into_iter().filter_map(Result::err) {
            assert_eq!(error.code(), Code::PreconditionFailed);
        }
    }
}

#[tokio::test]
async fn an_expiry_stays_unless_something_else_is_said() {
    let Some(server) = TestRedis::start() else {
        return;
    };
    let redis = connect(&server).await;
    for content in [Content::String(bytes("a")), Content::Set(vec![bytes("a")])] {
        let mut value = new(content, WriteMode::Replace);
        value.ttl = Ttl::Set(Expiry::After(60_000));
        redis.write_value(b"k", &value).await.unwrap();
        value.ttl = Ttl::Keep;
        redis.write_value(b"k", &value).await.unwrap();
        assert!(read(&redis, "k").await.ttl_ms.unwrap() > 50_000);
        value.ttl = Ttl::Set(Expiry::Never);
        redis.write_value(b"k", &value).await.unwrap();
        assert_eq!(read(&redis, "k").await.ttl_ms, None);
    }
}

#[tokio::test]
async fn large_values_come_in_pages_that_together_are_the_value() {
    let Some(server) = TestRedis::start() else {
        return;
    };
    let redis = connect(&server).await;
    let number = |n: usize| bytes(&format!("element {n}"));
    let big = [
        Content::List((0..2500).map(number).collect()),
        Content::Set((0..2500).map(number).collect()),
        Content::Hash((0..2500).map(|n| (number(n), number(n + 1))).collect()),
        Content::Zset((0..2500).map(|n| (number(n), n as f64)).collect()),
        Content::Stream(
            (1..1500)
                .map(|n| StreamEntry {
                    id: format!("{n}-0"),
                    fields: vec![(number(n), number(n))],
                })
                .collect(),
        ),
        // Small enough for Redis to answer them whole, whatever is asked for.
        Content::Set((0..100).map(|n| bytes(&n.to_string())).collect()),
        Content::Hash((0..100).map(|n| (number(n), number(n))).collect()),
    ];
    for content in big {
        redis
            .write_value(b"k", &new(content.clone(), WriteMode::Replace))
            .await
            .unwrap();
        for limit in [1000, 30] {
            let mut request = ReadValue { limit, ..WHOLE };
            let mut seen = BTreeSet::new();
            loop {
                let page = redis.read_value(b"k", &request).await.unwrap();
                assert_eq!(page.length, content.len() as u64);
                assert!(page.content.len() <= limit);
                assert!(page.digest.is_none() || limit > content.len());
                match &page.content {
                    Content::Stream(all) => seen.extend(all.iter().map(|entry| bytes(&entry.id))),
                    Content::Hash(all) => seen.extend(all.iter().map(|(field, _)| field.clone())),
                    other => seen.extend(other.texts().map(<[u8]>::to_vec)),
                }
                request.cursor = page.next_cursor;
                if request.cursor.is_none() {
                    break;
                }
            }
            assert_eq!(
                seen.len(),
                content.len(),
                "{} by {limit}",
                content.value_type()
            );
        }
    }
}

#[tokio::test]
async fn a_long_text_is_never_cut_inside_a_character() {
    let Some(server) = TestRedis::start() else {
        return;
    };
    let redis = connect(&server).await;
    let text = "a\u{20ac}\u{1f430}".repeat(500);
    redis
        .write_value(
            b"k",
            &new(Content::String(bytes(&text)), WriteMode::Replace),
        )
        .await
        .unwrap();
    let mut request = ReadValue {
        bytes: 101,
        ..WHOLE
    };
    let mut whole = String::new();
    loop {
        let page = redis.read_value(b"k", &request).await.unwrap();
        let Content::String(part) = page.content else {
            panic!("a string")
        };
        whole.push_str(&String::from_utf8(part).unwrap());
        request.cursor = page.next_cursor;
        if request.cursor.is_none() {
            break;
        }
    }
    assert_eq!(whole, text);
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_refused_and_nothing_else_suffers() {
    let Some(server) = TestRedis::start() else {
        return;
    };
    let redis = connect(&server).await;
    let element = vec![b'x'; 30 << 20];
    for _ in 0..3 {
        let change = Change::ListPush(End::Right, vec![element.clone()]);
        redis
            .change_value(b"k", &[change], Ttl::Keep, None)
            .await
            .unwrap();
    }
    let error = redis.read_value(b"k", &WHOLE).await.unwrap_err();
    assert_eq!(error.code(), Code::TooLarge, "{error:?}");
    let one = ReadValue { limit: 1, ..WHOLE };
    assert_eq!(redis.read_value(b"k", &one).await.unwrap().content.len(), 1);
}

#[tokio::test]
async fn parts_are_changed_all_or_none() {
    let Some(server) = TestRedis::start() else {
        return;
    };
    let redis = connect(&server).await;
    let change = async |key: &str, changes: &[Change]| {
        redis
            .change_value(key.as_bytes(), changes, Ttl::Keep, None)
            .await
    };
    let changes = [
        Change::HashSet(vec![(bytes("a"), bytes("1")), (bytes("b"), bytes("2"))]),
        Change::HashDelete(vec![bytes("a"), bytes("none")]),
    ];
    let done = change("hash", &changes);
    assert_eq!(done.await.unwrap(), [Changed::Count(2), Changed::Count(1)]);
    let changes = [
        Change::ListPush(End::Right, vec![bytes("b"), bytes("c")]),
        Change::ListPush(End::Left, vec![bytes("a")]),
        Change::ListPop(End::Right, 1),
    ];
    let done = change("list", &changes);
    let taken = Changed::Taken(vec![bytes("c")]);
    assert_eq!(
        done.await.unwrap(),
        [Changed::Count(2), Changed::Count(3), taken]
    );
    change("list", &[Change::ListSet(-1, bytes("B"))])
        .await
        .unwrap();
    assert_eq!(
        read(&redis, "list").await.content,
        Content::List(vec![bytes("a"), bytes("B")])
    );
    let done = change("zset", &[Change::ZsetAdd(vec![(bytes("m"), 1.5)])])
        .await
        .unwrap();
    assert_eq!(done, [Changed::Count(1)]);
    let entry = StreamEntry {
        id: "*".to_owned(),
        fields: vec![(bytes("f"), bytes("v"))],
    };
    let done = change("stream", &[Change::StreamAdd(entry), Change::StreamTrim(0)])
        .await
        .unwrap();
    assert!(
        matches!(&done[0], Changed::Id(id) if id.contains('-')),
        "{done:?}"
    );

    // An id is no way to other options of the command.
    for id in ["MAXLEN", "NOMKSTREAM", "", "-", "5-x"] {
        let entry = StreamEntry {
            id: id.to_owned(),
            fields: vec![(bytes("0"), bytes("*")), (bytes("f"), bytes("v"))],
        };
        let error = change("stream", &[Change::StreamAdd(entry)])
            .await
            .unwrap_err();
        assert_eq!(error.code(), Code::QueryInvalid, "{id}");
        assert!(
            !error.to_string().contains("Redis refused"),
            "{id}: {error}"
        );
    }
    let wrong = change("list", &[Change::SetAdd(vec![bytes("x")])])
        .await
        .unwrap_err();
    assert_eq!(wrong.code(), Code::WrongType);
    let mixed = [
        Change::SetAdd(vec![bytes("x")]),
        Change::HashDelete(vec![bytes("x")]),
    ];
    assert_eq!(
        change("new", &mixed).await.unwrap_err().code(),
        Code::QueryInvalid
    );
    let risky = [
        Change::ListPop(End::Left, 1),
        Change::ListSet(99, bytes("x")),
    ];
    assert_eq!(
        change("list", &risky).await.unwrap_err().code(),
        Code::QueryInvalid
    );
    let outside = change("list", &[Change::ListSet(99, bytes("x"))])
        .await
        .unwrap_err();
    assert_eq!(outside.code(), Code::QueryInvalid);
    assert_eq!(read(&redis, "list").await.length, 2);
    let digest = read(&redis, "list").await.digest.unwrap();
    let push = [Change::ListPush(End::Left, vec![bytes("x")])];
    let done = redis
        .change_value(b"list", &push, Ttl::Keep, Some(&digest))
        .await;
    done.unwrap();
    let late = redis
        .change_value(b"list", &push, Ttl::Keep, Some(&digest))
        .await;
    assert_eq!(late.unwrap_err().code(), Code::PreconditionFailed);
}

#[tokio::test]
async fn changes_without_a_condition_do_not_stand_in_each_others_way() {
    let Some(server) = TestRedis::start() else {
        return;
    };
    let redis = connect(&server).await;
    let push = [Change::ListPush(End::Right, vec![bytes("x")])];
    let pushes = (0..300).map(|_| redis.change_value(b"list", &push, Ttl::Keep, None));
    for pushed in futures_util::future::join_all(pushes).await {
        pushed.expect("nobody is in the way");
    }
    assert_eq!(server.command(&["LLEN", "list"]), ":300");
    let missing = [Change::ListSet(0, bytes("x"))];
    let error = redis.change_value(b"none", &missing, Ttl::Keep, None).await;
    assert_eq!(error.unwrap_err().code(), Code::KeyNotFound);
}
