//! Channels, publishing, subscriptions.

use std::sync::Arc;

use bunbun_core::{Classify, Code};
use bunbun_databases::redis::{Event, Message, Redis, Subscription};
use bunbun_test::TestRedis;

use super::{PATIENCE, connect, eventually};

async fn next(subscription: &Subscription) -> Event {
    tokio::time::timeout(PATIENCE, subscription.next())
        .await
        .expect("something comes")
}

async fn next_message(subscription: &Subscription) -> Arc<Message> {
    match next(subscription).await {
        Event::Message(message) => message,
        other => panic!("{other:?}"),
    }
}

async fn subscribed(redis: &Redis, channel: &str) -> Subscription {
    let subscription = redis.subscribe().unwrap();
    subscription
        .add(vec![channel.as_bytes().to_vec()], false)
        .await
        .unwrap();
    subscription
}

#[tokio::test]
async fn messages_come_to_whoever_subscribed_and_to_nobody_else() {
    let Some(server) = TestRedis::start() else {
        return;
    };
    let redis = connect(&server).await;
    let news = subscribed(&redis, "news").await;
    let pattern = redis.subscribe().unwrap();
    pattern.add(vec![b"n*".to_vec()], true).await.unwrap();
    let other = subscribed(&redis, "other").await;
    let data = b"a\r\nb\xff".to_vec();
    assert_eq!(redis.publish(b"news", &data).await.unwrap(), 2);
    redis.publish(b"other", b"last").await.unwrap();
    let message = next_message(&news).await;
    assert_eq!(
        (&message.channel[..], &message.pattern, &message.data),
        (&b"news"[..], &None, &data)
    );
    assert!(message.timestamp_ms > 1_600_000_000_000);
    let message = next_message(&pattern).await;
    assert_eq!(message.pattern.as_deref(), Some(&b"n*"[..]));
    assert_eq!(next_message(&other).await.data, b"last");
}

#[tokio::test]
async fn many_subscribers_share_one_connection_that_ends_with_them() {
    let Some(server) = TestRedis::start() else {
        return;
    };
    let redis = connect(&server).await;
    let mut all = Vec::new();
    for _ in 0..300 {
        all.push(subscribed(&redis, "room").await);
    }
    assert_eq!(redis.publish(b"room", b"hello").await.unwrap(), 1);
    for subscription in &all {
        assert_eq!(next_message(subscription).await.data, b"hello");
    }
    let (channels, more) = redis.list_channels(None, None, 10).await.unwrap();
    assert_eq!(
        (channels.len(), channels[0].subscribers, more),
        (1, 1, false)
    );
    drop(all);
    eventually(async || {
        let (channels, _) = redis.list_channels(None, None, 10).await.unwrap();
        channels.is_empty().then_some(())
    })
    .await;
    let again = subscribed(&redis, "room").await;
    redis.publish(b"room", b"again").await.unwrap();
    assert_eq!(next_message(&again).await.data, b"again");
}

#[tokio::test]
async fn channels_can_be_left_and_are_listed_in_pages() {
    let Some(server) = TestRedis::start() else {
        return;
    };
    let redis = connect(&server).await;
    let subscription = redis.subscribe().unwrap();
    let names: Vec<_> = (0..5).map(|n| format!("c{n}").into_bytes()).collect();
    subscription.add(names.clone(), false).await.unwrap();
    let (first, more) = redis.list_channels(Some(b"c*"), None, 3).await.unwrap();
    assert!(more);
    let (rest, more) = redis
        .list_channels(Some(b"c*"), Some(&first[2].name), 3)
        .await
        .unwrap();
    assert!(!more);
    let listed: Vec<_> = first
        .into_iter()
        .chain(rest)
        .map(|channel| channel.name)
        .collect();
    assert_eq!(listed, names);
    subscription.remove(names[..4].to_vec(), false);
    eventually(async || {
        let (channels, _) = redis.list_channels(None, None, 10).await.unwrap();
        (channels.len() == 1).then_some(())
    })
    .await;
    redis.publish(b"c0", b"unheard").await.unwrap();
    redis.publish(b"c4", b"heard").await.unwrap();
    assert_eq!(next_message(&subscription).await.data, b"heard");
    let many = (0..200).map(|n| format!("m{n}").into_bytes()).collect();
    let refused = subscription.add(many, false).await.unwrap_err();
    assert_eq!(refused.code(), Code::QueryInvalid);
}

#[tokio::test]
async fn who_reads_slowly_is_told_how_much_was_lost() {
    let Some(server) = TestRedis::start() else {
        return;
    };
    let redis = connect(&server).await;
    let slow = subscribed(&redis, "fast").await;
    let quick = subscribed(&redis, "fast").await;
    for n in 0..3000 {
        redis
            .publish(b"fast", n.to_string().as_bytes())
            .await
            .unwrap();
        assert_eq!(next_message(&quick).await.data, n.to_string().as_bytes());
    }
    assert_eq!(next(&slow).await, Event::Lost(3000 - 1024));
    assert_eq!(
        next_message(&slow).await.data,
        (3000 - 1024).to_string().as_bytes()
    );
}

#[tokio::test]
async fn a_subscription_outlives_the_servers_restart() {
    let Some(mut server) = TestRedis::start() else {
        return;
    };
    let redis = connect(&server).await;
    let subscription = subscribed(&redis, "c").await;
    server.kill();
    assert_eq!(next(&subscription).await, Event::Interrupted);
    server.restart();
    assert_eq!(next(&subscription).await, Event::Resumed);
    eventually(async || {
        let sent = redis.publish(b"c", b"back").await.ok()?;
        (sent == 1).then_some(())
    })
    .await;
    assert_eq!(next_message(&subscription).await.data, b"back");
}

#[tokio::test]
async fn a_channel_that_the_user_may_not_read_is_refused() {
    let Some(server) = TestRedis::start() else {
        return;
    };
    let answer = server.command(&[
        "ACL",
        "SETUSER",
        "reader",
        "on",
        ">pass",
        "+@all",
        "~*",
        "resetchannels",
        "&open",
    ]);
    assert_eq!(answer, "+OK");
    let url = format!("redis://reader:pass@127.0.0.1:{}", server.port());
    let redis = super::try_connect(&url, super::limits()).await.unwrap();
    let subscription = subscribed(&redis, "open").await;
    let refused = subscription
        .add(vec![b"closed".to_vec()], false)
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::QueryNotAllowed);
    redis.publish(b"open", b"still").await.unwrap();
    assert_eq!(next_message(&subscription).await.data, b"still");
}
