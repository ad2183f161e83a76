//! Many at once.

use std::sync::Arc;

use bunbun_core::task;
use bunbun_postgres::tokio_postgres::Client;

use crate::support::Storage;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_hundred_parallel_uploads_to_one_name_one_is_visible_and_nothing_is_left_over() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    let storage = Arc::new(storage);
    for (upsert, expected) in [("false", 1), ("true", 200)] {
        let uploads: Vec<_> = (0..200)
            .map(|number| {
                let storage = Arc::clone(&storage);
                task::spawn("upload", async move {
                    let content = format!("{number}-").repeat(1000);
                    let call = storage
                        .post("/object/b/same")
                        .service()
                        .header("x-upsert", upsert);
                    let answer = call.bytes("a/b", content).send().await;
                    if answer.status != 200 {
                        answer.refused("409", "KeyAlreadyExists");
                    }
                    (number, answer.status == 200)
                })
            })
            .collect();
        let mut winners = Vec::new();
        for upload in uploads {
            let (number, won) = upload.await.unwrap();
            if won {
                winners.push(number);
            }
        }
        assert_eq!(winners.len(), expected, "with x-upsert: {upsert}");
        let content = storage
            .get("/object/b/same")
            .service()
            .send()
            .await
            .ok()
            .text();
        let number = content.split('-').next().unwrap();
        assert_eq!(
            content,
            format!("{number}-").repeat(1000),
            "one whole version"
        );
        assert!(winners.contains(&number.parse().unwrap()));
        assert_eq!(
            storage.count("select count(*) from storage.objects").await,
            1
        );
        assert_eq!(storage.files().len(), 1, "{:?}", storage.files());
        storage
            .call("DELETE", "/object/b/same")
            .service()
            .send()
            .await
            .ok();
        assert!(storage.files().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_see_one_whole_version_while_it_is_replaced_again_and_again() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    let storage = Arc::new(storage);
    let put = async |storage: &Storage, letter: char| {
        let content = letter.to_string().repeat(300_000);
        let call = storage.call("PUT", "/object/b/x").service();
        call.bytes("a/b", content).send().await.ok();
    };
    put(&storage, 'a').await;
    let writer = Arc::clone(&storage);
    let writing = task::spawn("writer", async move {
        for letter in ('a'..='z').cycle().take(60) {
            put(&writer, letter).await;
        }
    });
    let mut reads = 0;
    while !writing.is_finished() {
        let body = storage.get("/object/b/x").service().send().await.ok().body;
        assert_eq!(body.len(), 300_000);
        assert!(body.iter().all(|byte| *byte == body[0]), "no mixture");
        reads += 1;
    }
    writing.await.unwrap();
    assert!(reads > 0);
    assert_eq!(storage.files().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn moves_in_circles_lose_nothing() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    storage.put("b/0", "hello").await;
    let storage = Arc::new(storage);
    let moves: Vec<_> = (0..60)
        .map(|n| {
            let storage = Arc::clone(&storage);
            task::spawn("move", async move {
                let (from, to) = ((n % 3).to_string(), ((n + 1) % 3).to_string());
                let body =
                    serde_json::json!({ "bucketId": "b", "sourceKey": from, "destinationKey": to });
                storage
                    .post("/object/move")
                    .service()
                    .json(&body)
                    .send()
                    .await
                    .status
            })
        })
        .collect();
    for moving in moves {
        assert!([200, 400].contains(&moving.await.unwrap()));
    }
    assert_eq!(
        storage.count("select count(*) from storage.objects").await,
        1
    );
    assert_eq!(storage.files().len(), 1);
    let body = serde_json::json!({ "prefix": "" });
    let list = storage
        .post("/object/list/b")
        .service()
        .json(&body)
        .send()
        .await
        .ok()
        .json();
    let name = list[0]["name"].as_str().unwrap();
    assert_eq!(
        storage
            .get(&format!("/object/b/{name}"))
            .service()
            .send()
            .await
            .ok()
            .text(),
        "hello"
    );
}

/// Waits until somebody waits for an advisory lock.
async fn somebody_waits(client: &Client) {
    let sql = "select exists (select from pg_locks where locktype = 'advisory' and not granted
               and database = (select oid from pg_database where datname = current_database()))";
    let limit = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    while !client.query_one(sql, &[]).await.unwrap().get::<_, bool>(0) {
        assert!(tokio::time::Instant::now() < limit, "nobody waits");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_writes_a_name_takes_turns() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    let storage = Arc::new(storage);
    let client = storage.database.superuser().await;
    client
        .batch_execute("begin; select pg_advisory_xact_lock(hashtextextended('b/x', 7238))")
        .await
        .unwrap();
    let uploader = Arc::clone(&storage);
    let uploading = task::spawn("upload", async move { uploader.put("b/x", "x").await });
    somebody_waits(&client).await;
    assert!(!uploading.is_finished());
    client.batch_execute("commit").await.unwrap();
    uploading.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_that_is_replaced_between_its_row_and_its_bytes_is_read_anew() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    storage.put("b/x", "old").await;
    // The reader's statement has its snapshot and then waits.
    storage
        .sql(
            "create function public.wait_here() returns boolean language plpgsql volatile as $$
               begin perform pg_advisory_xact_lock_shared(4242); return true; end $$;
             create policy slow on storage.objects for select to authenticated using (public.wait_here())",
        )
        .await;
    let storage = Arc::new(storage);
    let client = storage.database.superuser().await;
    client
        .batch_execute("begin; select pg_advisory_xact_lock(4242)")
        .await
        .unwrap();
    let reader = Arc::clone(&storage);
    let reading = task::spawn("read", async move {
        let token = crate::support::user(crate::support::USER_A);
        reader.get("/object/b/x").token(&token).send().await
    });
    somebody_waits(&client).await;
    storage.put("b/x", "new").await;
    client.batch_execute("commit").await.unwrap();
    assert_eq!(reading.await.unwrap().ok().text(), "new");
}
