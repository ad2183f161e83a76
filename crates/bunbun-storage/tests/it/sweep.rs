//! The sweeper: bytes without a row go, rows and their bytes stay.

use std::{fs, time::Duration};

use crate::support::Storage;

const DAY: i64 = 24 * 3600;

#[tokio::test]
async fn bytes_without_a_row_go_after_the_grace_and_all_else_stays() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    let long = "k".repeat(900);
    for name in ["x", "folder/deep/y", &long, "%C3%A4%20b"] {
        storage.put(&format!("b/{name}"), "kept").await;
    }
    let kept = storage.files();
    // What a crash leaves: content at its key, and a temporary file.
    let orphan = kept[0].with_file_name("0b8e7a5e-0000-4000-8000-000000000000");
    fs::write(&orphan, "lost").unwrap();
    let temporary = storage
        .directory
        .path()
        .join("storage/tmp/0b8e7a5e-0000-4000-8000-000000000001");
    fs::write(&temporary, "lost").unwrap();
    let foreign = storage
        .directory
        .path()
        .join("storage/data/default/NOT OURS");
    fs::write(&foreign, "?").unwrap();

    let report = storage.service.sweep(&storage.project).await.unwrap();
    assert_eq!(
        (report.removed, report.temporary),
        (0, 0),
        "within the grace nothing is touched"
    );
    storage.clock.advance(DAY + 60);
    let report = storage.service.sweep(&storage.project).await.unwrap();
    assert_eq!((report.seen, report.removed, report.temporary), (5, 1, 1));
    assert!(!orphan.exists() && !temporary.exists());
    assert!(foreign.exists(), "a file that is not ours stays");
    for file in &kept {
        assert!(file.exists());
    }
    assert_eq!(
        storage
            .get("/object/b/folder/deep/y")
            .service()
            .send()
            .await
            .ok()
            .text(),
        "kept"
    );
    let again = storage.service.sweep(&storage.project).await.unwrap();
    assert_eq!((again.removed, again.temporary), (0, 0));
}

#[tokio::test]
async fn nothing_is_removed_while_the_database_does_not_answer() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    storage.put("b/x", "kept").await;
    storage.clock.advance(DAY + 60);
    storage
        .sql("alter table storage.objects rename to elsewhere")
        .await;
    assert!(storage.service.sweep(&storage.project).await.is_err());
    assert_eq!(storage.files().len(), 1);
    storage
        .sql("alter table storage.elsewhere rename to objects")
        .await;
    assert_eq!(
        storage
            .service
            .sweep(&storage.project)
            .await
            .unwrap()
            .removed,
        0
    );
    assert_eq!(storage.files().len(), 1);
}

#[tokio::test]
async fn expired_uploads_go_with_their_parts() {
    let Some(storage) = Storage::start_with(|s| s.resumable_ttl = Duration::from_secs(60)).await
    else {
        return;
    };
    storage.bucket("b").await;
    let create = storage
        .post("/upload/resumable")
        .service()
        .header("tus-resumable", "1.0.0")
        .header("upload-length", "100")
        .header("upload-metadata", "bucketName Yg==,objectName eA==")
        .bytes("application/offset+octet-stream", "half");
    assert_eq!(create.send().await.status, 201);
    assert_eq!(storage.files().len(), 1);
    assert_eq!(
        storage
            .service
            .sweep(&storage.project)
            .await
            .unwrap()
            .expired_uploads,
        0
    );
    storage.clock.advance(61);
    assert_eq!(
        storage
            .service
            .sweep(&storage.project)
            .await
            .unwrap()
            .expired_uploads,
        1
    );
    assert!(storage.files().is_empty());
    assert_eq!(
        storage
            .count("select count(*) from storage.s3_multipart_uploads")
            .await,
        0
    );
}

#[tokio::test]
async fn a_new_name_of_old_content_is_not_old() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    storage.put("b/x", "kept").await;
    let kept = storage.files().pop().unwrap();
    let long_ago = std::time::SystemTime::now() - Duration::from_secs(10 * 24 * 3600);
    fs::File::options()
        .write(true)
        .open(&kept)
        .unwrap()
        .set_modified(long_ago)
        .unwrap();
    // A move that has linked the content and not yet committed its row.
    let linked = kept.with_file_name("0b8e7a5e-0000-4000-8000-000000000000");
    fs::hard_link(&kept, &linked).unwrap();
    let report = storage.service.sweep(&storage.project).await.unwrap();
    assert_eq!((report.removed, linked.exists()), (0, true));
}
