//! An upload whose right was proven before its body came, and what others did meanwhile.

use bunbun_http::{Body, BoxError};
use bytes::Bytes;
use futures_util::stream;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use tokio::sync::oneshot;

use crate::support::{Storage, USER_A, USER_B, user};

/// A body that says when it is asked for, and comes when it is let.
fn held(content: &'static str) -> (Body, oneshot::Receiver<()>, oneshot::Sender<()>) {
    let (asked, is_asked) = oneshot::channel();
    let (release, is_released) = oneshot::channel::<()>();
    let frame = async move {
        asked.send(()).unwrap();
        is_released.await.unwrap();
        Ok::<_, BoxError>(Frame::data(Bytes::from_static(content.as_bytes())))
    };
    let body = StreamBody::new(stream::once(Box::pin(frame))).boxed_unsync();
    (body, is_asked, release)
}

async fn with_policies(update: &str) -> Option<Storage> {
    let storage = Storage::start().await?;
    storage.bucket("b").await;
    storage
        .sql(&format!(
            "create policy see on storage.objects for select to authenticated using (true);
             create policy put on storage.objects for insert to authenticated with check (true);
             {update}"
        ))
        .await;
    Some(storage)
}

const OWN: &str = "create policy change on storage.objects for update to authenticated
                   using (owner_id = auth.uid()::text) with check (true);";

#[tokio::test]
async fn an_upsert_does_not_replace_what_came_while_its_body_was_on_its_way() {
    for update in ["", OWN] {
        let Some(storage) = with_policies(update).await else {
            return;
        };
        let theirs = user(USER_A);
        let put = |who: &str| {
            let call = storage.post("/object/b/k").token(who);
            call.header("x-upsert", "true")
        };
        let (body, asked, release) = held("content of B");
        let attack = put(&user(USER_B)).stream("text/plain", body).send();
        let victim = async {
            asked.await.unwrap();
            put(&theirs).bytes("text/plain", "of A").send().await.ok();
            release.send(()).unwrap();
        };
        let (attacked, ()) = tokio::join!(attack, victim);
        attacked.refused("403", "AccessDenied");
        let kept = storage.get("/object/b/k").token(&theirs).send().await.ok();
        assert_eq!(kept.text(), "of A");
        assert_eq!(storage.files().len(), 1);
    }
}

#[tokio::test]
async fn a_piece_that_ends_an_upload_does_not_replace_what_came_meanwhile() {
    let Some(storage) = with_policies(OWN).await else {
        return;
    };
    let (theirs, own) = (user(USER_A), user(USER_B));
    let resumable = storage
        .post("/upload/resumable")
        .token(&own)
        .header("tus-resumable", "1.0.0")
        .header("x-upsert", "true")
        .header("upload-length", "12")
        .header("upload-metadata", "bucketName Yg==,objectName aw==")
        .send()
        .await;
    assert_eq!(resumable.status, 201, "{}", resumable.text());
    let url = resumable.header("location").to_owned();
    let (body, asked, release) = held("content of B");
    let attack = storage
        .call("PATCH", &url)
        .token(&own)
        .header("tus-resumable", "1.0.0")
        .header("upload-offset", "0")
        .stream("application/offset+octet-stream", body)
        .send();
    let victim = async {
        asked.await.unwrap();
        let put = storage.post("/object/b/k").token(&theirs);
        put.bytes("text/plain", "of A").send().await.ok();
        release.send(()).unwrap();
    };
    let (attacked, ()) = tokio::join!(attack, victim);
    assert_eq!(attacked.status, 403, "{}", attacked.text());
    let kept = storage.get("/object/b/k").token(&theirs).send().await.ok();
    assert_eq!(kept.text(), "of A");
}

#[tokio::test]
async fn one_may_still_replace_ones_own() {
    let Some(storage) = with_policies(OWN).await else {
        return;
    };
    let own = user(USER_A);
    for content in ["one", "two", "three"] {
        let put = storage.call("PUT", "/object/b/k").token(&own);
        put.bytes("text/plain", content).send().await.ok();
        let got = storage.get("/object/b/k").token(&own).send().await.ok();
        assert_eq!(got.text(), content);
    }
    let owner = format!("select count(*) from storage.objects where owner_id = '{USER_A}'");
    assert_eq!(storage.count(&owner).await, 1);
    assert_eq!(storage.files().len(), 1);
}
