//! Row-level security through `/api/storage`: who may do what, and what of others is not there.

use serde_json::json;

use crate::{
    api::{anon_key, service_key},
    services::{Stack, WAYS},
};

#[tokio::test]
async fn what_is_anothers_is_not_there() {
    for way in WAYS {
        let Some(stack) = Stack::start(way).await else {
            return;
        };
        stack.bucket("b").await;
        let (ada, bob) = (stack.user("ada").await, stack.user("bob").await);
        let path = format!("{}/diary", ada.id);
        let put = stack.put(&ada.token, "b", &path, b"dear diary").await;
        assert_eq!(put.status, 200, "{way:?}: {}", put.text());

        let (download, delete, sign) = (
            format!("/api/storage/download/b/{path}"),
            format!("/api/storage/delete/b/{path}"),
            format!("/api/storage/sign/b/{path}"),
        );
        for token in [&ada.token, &service_key()] {
            assert_eq!(stack.get(token, &download).await.text(), "dear diary");
        }
        let not_there = (404, "OBJECT_NOT_FOUND".to_owned());
        let theirs = stack.get(&bob.token, &download).await;
        assert_eq!(theirs.error(), not_there, "{way:?}: {}", theirs.text());
        let missing = stack
            .get(&bob.token, "/api/storage/download/b/missing")
            .await;
        assert_eq!(
            theirs.text(),
            missing.text(),
            "the same as what is not there"
        );
        let gone = stack.delete(&bob.token, &delete).await;
        assert_eq!(gone.error(), not_there, "{way:?}");
        let call = stack.api.post(&sign).bearer(&bob.token);
        let signed = call.json(&json!({ "expires_in": 60 })).send().await;
        assert_eq!(signed.error(), not_there, "{way:?}");
        let over = stack.put(&bob.token, "b", &path, b"x").await;
        assert_eq!(over.error(), (403, "FORBIDDEN".to_owned()), "{way:?}");
        let list = stack.get(&bob.token, "/api/storage/list/b").await;
        assert_eq!(list.json()["files"], json!([]), "{way:?}");
        let list = stack.get(&ada.token, "/api/storage/list/b").await;
        assert_eq!(list.json()["files"][0]["path"], path, "{way:?}");

        for path in [&download, "/api/storage/list/b"] {
            let reply = stack.get(&anon_key(), path).await;
            assert_eq!(reply.error(), (403, "FORBIDDEN".to_owned()), "{path}");
        }
        assert_eq!(stack.get(&ada.token, &download).await.text(), "dear diary");
        assert_eq!(stack.delete(&ada.token, &delete).await.status, 200);
    }
}

#[tokio::test]
async fn a_table_of_the_users_own_decides_and_is_under_security_itself() {
    for way in WAYS {
        let Some(stack) = Stack::start(way).await else {
            return;
        };
        stack.bucket("b").await;
        let (ada, bob) = (stack.user("ada").await, stack.user("bob").await);
        stack
            .sql("create table public.members (team text, user_id uuid default auth.uid())")
            .await;
        for sql in [
            "alter table public.members enable row level security",
            "grant select on public.members to authenticated",
            "create policy own on public.members for select to authenticated \
             using (user_id = auth.uid())",
            "create policy teams on storage.objects for all to authenticated using \
             (bucket_id = 'b' and exists (select from public.members m \
              where m.team = (storage.foldername(name))[1])) with check (bucket_id = 'b' and \
             exists (select from public.members m where m.team = (storage.foldername(name))[1]))",
        ] {
            stack.sql(sql).await;
        }
        let join = async |id: &str| {
            let sql = format!("insert into public.members values ('red', '{id}')");
            stack.sql(&sql).await
        };
        join(&ada.id).await;
        let put = stack.put(&ada.token, "b", "red/plan", b"plan").await;
        assert_eq!(put.status, 200, "{way:?}: {}", put.text());
        let path = "/api/storage/download/b/red/plan";
        assert_eq!(stack.get(&bob.token, path).await.status, 404, "{way:?}");
        join(&bob.id).await;
        assert_eq!(stack.get(&bob.token, path).await.text(), "plan", "{way:?}");
        stack.sql("delete from public.members").await;
        for token in [&ada.token, &bob.token] {
            assert_eq!(stack.get(token, path).await.status, 404, "{way:?}");
        }
        let owners = stack
            .sql("select count(*)::int as n from storage.objects where owner_id is not null")
            .await;
        assert_eq!(owners[0]["n"], 1, "{way:?}");
    }
}
