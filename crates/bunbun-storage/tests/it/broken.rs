//! Uploads that break off at every stage, a disk that is full, a database that is gone.

use std::{path::Path, process::Command, time::Duration};

use bunbun_http::{Body, BoxError};
use bytes::Bytes;
use futures_util::stream;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{Storage, token};

/// So many pieces, then a broken connection.
fn cut_after(pieces: usize, size: usize) -> Body {
    let data = (0..pieces).map(move |_| Ok(Frame::data(Bytes::from(vec![7; size]))));
    let cut: Result<Frame<Bytes>, BoxError> = Err("the connection broke".into());
    StreamBody::new(stream::iter(data.chain([cut]))).boxed_unsync()
}

#[tokio::test]
async fn an_upload_that_breaks_off_leaves_nothing() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    storage.put("b/there.txt", "as it was").await;
    for (pieces, size) in [(0, 0), (1, 1), (1, 600_000), (3, 600_000), (40, 100_000)] {
        for path in ["/object/b/new.txt", "/object/b/there.txt"] {
            let put = storage
                .call("PUT", path)
                .service()
                .stream("text/plain", cut_after(pieces, size));
            put.send().await.refused("400", "InvalidRequest");
        }
    }
    storage
        .get("/object/b/new.txt")
        .service()
        .send()
        .await
        .refused("404", "NoSuchKey");
    assert_eq!(
        storage
            .get("/object/b/there.txt")
            .service()
            .send()
            .await
            .ok()
            .text(),
        "as it was"
    );
    assert_eq!(storage.files().len(), 1, "{:?}", storage.files());
}

#[tokio::test]
async fn an_upload_whose_client_vanishes_leaves_nothing() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    let address = storage.listen().await;
    let key = token("service_role", None);
    for sent in [0, 1, 100_000, 2_000_000] {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let head = format!(
            "POST /object/b/new.txt HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-type: a/b\r\ncontent-length: 10000000\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&vec![1; sent]).await.unwrap();
        drop(stream);
    }
    // One that is complete, so that the others have had their time.
    storage.put("b/last.txt", "x").await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while storage.files().len() != 1 && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(storage.files().len(), 1, "{:?}", storage.files());
    assert_eq!(
        storage.count("select count(*) from storage.objects").await,
        1
    );
}

#[tokio::test]
async fn what_is_read_while_it_is_replaced_comes_to_its_end() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    let old = vec![b'o'; 8 * 1024 * 1024];
    storage
        .post("/object/b/x")
        .service()
        .bytes("a/b", old.clone())
        .send()
        .await
        .ok();
    let address = storage.listen().await;
    let key = token("service_role", None);
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let head = format!(
        "GET /object/b/x HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut begun = vec![0; 100_000];
    stream.read_exact(&mut begun).await.unwrap();
    storage.put("b/x", "new").await;
    storage
        .call("DELETE", "/object/b/x")
        .service()
        .send()
        .await
        .ok();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    let whole = [begun, rest].concat();
    let body = whole.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
    assert!(
        whole[body..] == old,
        "all of the old content and nothing else"
    );
    assert!(storage.files().is_empty());
}

struct Mounted(TempDir);

impl Mounted {
    /// A file system of one megabyte; `None`, said aloud, where we may not mount one.
    fn small() -> Option<Self> {
        let directory = TempDir::new().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
            .arg(directory.path())
            .status();
        if !mounted.is_ok_and(|status| status.success()) {
            // A container may run CI without the right to mount: said, and not a failure there.
            #[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
            {
                eprintln!("SKIPPED: no right to mount a small file system");
            }
            return None;
        }
        Some(Self(directory))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.path()).status();
    }
}

#[tokio::test]
async fn a_full_disk_refuses_and_keeps_what_is_there() {
    let Some(mounted) = Mounted::small() else {
        return;
    };
    let place = mounted.path().join("storage");
    let Some(storage) = Storage::start_at(TempDir::new().unwrap(), &place, |_| {}).await else {
        return;
    };
    storage.bucket("b").await;
    storage.put("b/x", "as it was").await;
    for path in ["/object/b/x", "/object/b/new"] {
        let put = storage
            .call("PUT", path)
            .service()
            .bytes("a/b", vec![1; 3 * 1024 * 1024])
            .send()
            .await;
        assert_eq!(put.status, 507, "{}", put.text());
        assert_eq!(put.json()["statusCode"], "507");
        assert!(
            !put.text().contains(place.to_str().unwrap()),
            "{}",
            put.text()
        );
    }
    assert_eq!(
        storage
            .get("/object/b/x")
            .service()
            .send()
            .await
            .ok()
            .text(),
        "as it was"
    );
    storage
        .get("/object/b/new")
        .service()
        .send()
        .await
        .refused("404", "NoSuchKey");
    // The space that the broken uploads took is free again.
    storage
        .call("PUT", "/object/b/y")
        .service()
        .bytes("a/b", vec![1; 700 * 1024])
        .send()
        .await
        .ok();
}

#[tokio::test]
async fn a_row_that_cannot_be_committed_leaves_no_bytes() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    // The proof as the caller passes; the real row, which has a size, is refused.
    storage
        .sql("create function public.no() returns trigger language plpgsql as $$ begin
                if new.metadata ? 'eTag' then raise exception 'no'; end if; return new; end $$;
              create trigger no before insert or update on storage.objects for each row execute function public.no()")
        .await;
    let put = storage
        .post("/object/b/x")
        .service()
        .bytes("a/b", "x")
        .send()
        .await;
    assert_eq!(put.status, 500, "{}", put.text());
    assert!(storage.files().is_empty());
    assert_eq!(
        storage.count("select count(*) from storage.objects").await,
        0
    );
}

#[tokio::test]
async fn an_object_without_bytes_is_not_there() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    storage.put("b/x", "x").await;
    for file in storage.files() {
        std::fs::remove_file(file).unwrap();
    }
    storage
        .get("/object/b/x")
        .service()
        .send()
        .await
        .refused("404", "NoSuchKey");
    storage.put("b/x", "again").await;
    assert_eq!(
        storage
            .get("/object/b/x")
            .service()
            .send()
            .await
            .ok()
            .text(),
        "again"
    );
}
