//! A storm of passwords: whoever has a session is not in its way.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::app::{App, PASSWORD, PATIENCE, address};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refreshes_are_answered_while_the_hashing_queue_is_full() {
    let Some(app) = App::start(&[("AUTH_HASH_WORKERS", "1")]).await else {
        return;
    };
    let mut session = app.sign_up(&address()).await;
    let storm = futures_util::future::join_all((0..80).map(|n| async move { n }).map(|n| {
        let app = &app;
        async move {
            let n = n.await;
            app.sign_in(&format!("nobody{n}@example.com"), PASSWORD)
                .await
        }
    }));
    let mut slowest = Duration::ZERO;
    let refreshes = async {
        // The storm comes first.
        tokio::time::sleep(Duration::from_millis(50)).await;
        for _ in 0..20 {
            let started = Instant::now();
            session = app.refresh(&session["refresh_token"]).await.ok();
            slowest = slowest.max(started.elapsed());
        }
    };
    let (answers, ()) = tokio::time::timeout(PATIENCE, async { tokio::join!(storm, refreshes) })
        .await
        .unwrap();
    let refused = answers.iter().filter(|answer| answer.status == 429).count();
    let denied = answers.iter().filter(|answer| answer.status == 400).count();
    assert_eq!(refused + denied, 80);
    assert!(refused > 0, "the queue is bounded");
    assert!(denied >= 32, "what was accepted is answered: {denied}");
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    let turned_away = answers
        .into_iter()
        .find(|answer| answer.status == 429)
        .unwrap();
    assert!(turned_away.header("retry-after").parse::<u64>().unwrap() >= 1);
    turned_away.refused(429, "over_request_rate_limit");
    // And it is over when it is over.
    let body = json!({ "email": session["user"]["email"], "password": PASSWORD });
    app.post("/token?grant_type=password", &body)
        .send()
        .await
        .ok();
}
