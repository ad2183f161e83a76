//! Who may do what: anonymous, user A, user B and the owner, on objects of user A.

use serde_json::json;

use crate::support::{Storage, USER_A, USER_B, token, user};

#[tokio::test]
async fn everybody_gets_what_the_policies_give() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    storage.own_folder_policies().await;
    let own = format!("b/{USER_A}/x.txt");
    let name = format!("{USER_A}/x.txt");
    let callers = [
        ("anon", token("anon", None), false),
        ("B", user(USER_B), false),
        ("A", user(USER_A), true),
        ("service", token("service_role", None), true),
    ];
    for (who, token, allowed) in &callers {
        // Each begins with an object of A's.
        let put = storage
            .call("PUT", &format!("/object/{own}"))
            .token(&user(USER_A));
        put.bytes("text/plain", "of A").send().await.ok();
        let json_body = |body: String| (Some(body), "application/json");
        let moved = json!({ "bucketId": "b", "sourceKey": name, "destinationKey": format!("{USER_A}/moved-{who}.txt") });
        let copied = json!({ "bucketId": "b", "sourceKey": name, "destinationKey": format!("{USER_A}/copied-{who}.txt") });
        let calls = [
            ("GET", format!("/object/{own}"), (None, "")),
            ("HEAD", format!("/object/{own}"), (None, "")),
            ("GET", format!("/object/authenticated/{own}"), (None, "")),
            ("GET", format!("/object/info/{own}"), (None, "")),
            (
                "POST",
                format!("/object/sign/{own}"),
                json_body(json!({ "expiresIn": 60 }).to_string()),
            ),
            (
                "POST",
                format!("/object/upload/sign/b/{USER_A}/signed-{who}.txt"),
                (None, ""),
            ),
            (
                "POST",
                format!("/object/b/{USER_A}/new-{who}.txt"),
                (Some("new".to_owned()), "text/plain"),
            ),
            (
                "PUT",
                format!("/object/{own}"),
                (Some("changed".to_owned()), "text/plain"),
            ),
            (
                "POST",
                "/object/copy".to_owned(),
                json_body(copied.to_string()),
            ),
            (
                "POST",
                "/object/move".to_owned(),
                json_body(moved.to_string()),
            ),
            (
                "PUT",
                format!("/object/{own}"),
                (Some("again".to_owned()), "text/plain"),
            ),
            ("DELETE", format!("/object/{own}"), (None, "")),
        ];
        for (method, path, (body, mime)) in calls {
            let mut call = storage.call(method, &path).token(token);
            if let Some(body) = body {
                call = call.bytes(mime, body);
            }
            let answer = call.send().await;
            assert_eq!(
                answer.status == 200,
                *allowed,
                "{who} {method} {path}: {} {}",
                answer.status,
                answer.text()
            );
        }
        if !allowed {
            let still = storage
                .get(&format!("/object/{own}"))
                .token(&user(USER_A))
                .send()
                .await
                .ok();
            assert_eq!(still.text(), "of A", "{who} changed nothing");
        }
    }
}

#[tokio::test]
async fn a_users_own_tables_decide_through_policies() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("team").await;
    storage
        .sql("create table public.members (team text, user_id uuid);
              grant select on public.members to authenticated;
              alter table public.members enable row level security;
              create policy own on public.members for select to authenticated using (user_id = auth.uid());
              create policy team on storage.objects for all to authenticated
                using (exists (select from public.members m where m.team = (storage.foldername(objects.name))[1]))
                with check (exists (select from public.members m where m.team = (storage.foldername(objects.name))[1]))")
        .await;
    storage
        .sql(&format!(
            "insert into public.members values ('red', '{USER_A}'), ('blue', '{USER_B}')"
        ))
        .await;
    let put = |team: &str, who: &str| {
        storage
            .post(&format!("/object/team/{team}/x"))
            .token(&user(who))
            .bytes("a/b", "x")
    };
    put("red", USER_A).send().await.ok();
    put("blue", USER_A)
        .send()
        .await
        .refused("403", "AccessDenied");
    put("blue", USER_B).send().await.ok();
    storage
        .get("/object/team/red/x")
        .token(&user(USER_A))
        .send()
        .await
        .ok();
    storage
        .get("/object/team/red/x")
        .token(&user(USER_B))
        .send()
        .await
        .refused("404", "NoSuchKey");
}

#[tokio::test]
async fn a_token_of_another_role_gets_nothing() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    storage.put("b/x", "x").await;
    for role in [
        "postgres",
        "supabase_storage_admin",
        "none",
        "bunbun_test_owner",
        "\"; drop table x; --",
    ] {
        let answer = storage
            .get("/object/authenticated/b/x")
            .token(&token(role, Some(USER_A)))
            .send()
            .await;
        answer.refused("403", "AccessDenied");
    }
    storage.clock.advance(4_000_000_000);
    storage
        .get("/object/authenticated/b/x")
        .service()
        .send()
        .await
        .refused("403", "AccessDenied");
}

#[tokio::test]
async fn a_policy_for_insert_alone_allows_uploads_of_every_kind() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("drop").await;
    storage.bucket("b").await;
    storage.put("b/source", "content").await;
    storage
        .sql(
            "create policy put on storage.objects for insert to authenticated with check (bucket_id = 'drop');
             create policy see on storage.objects for select to authenticated using (bucket_id = 'b')",
        )
        .await;
    let own = user(USER_A);
    let put = |name: &str| {
        let call = storage.post(&format!("/object/drop/{name}")).token(&own);
        call.bytes("text/plain", "x")
    };
    put("raw").send().await.ok();
    put("raw").send().await.refused("409", "KeyAlreadyExists");
    // To replace, or to risk it, more is needed.
    let upsert = put("new").header("x-upsert", "true");
    upsert.send().await.refused("403", "AccessDenied");
    let copied = json!({ "bucketId": "b", "sourceKey": "source", "destinationBucket": "drop", "destinationKey": "copy" });
    let copy = storage.post("/object/copy").token(&own).json(&copied);
    copy.send().await.ok();
    let signed = storage.post("/object/upload/sign/drop/signed").token(&own);
    let url = signed.send().await.ok().json()["url"].clone();
    let by_url = storage.call("PUT", url.as_str().unwrap());
    by_url.bytes("text/plain", "x").send().await.ok();
    let resumable = storage
        .post("/upload/resumable")
        .token(&own)
        .header("tus-resumable", "1.0.0")
        .header("upload-length", "1")
        .header(
            "upload-metadata",
            "bucketName ZHJvcA==,objectName cmVzdW1hYmxl",
        )
        .bytes("application/offset+octet-stream", "x");
    assert_eq!(resumable.send().await.status, 201);
    let seen = storage.get("/object/drop/raw").token(&own).send().await;
    seen.refused("404", "NoSuchKey");
    let stored = "select count(*) from storage.objects where bucket_id = 'drop'";
    assert_eq!(storage.count(stored).await, 4);
}
