//! A database that the original has migrated: used as it is.

use crate::support::Storage;

/// The tables as the original's last migrations leave them, in our words, owned by another role.
const ORIGINAL: &str = "
create schema if not exists storage;
create table storage.migrations (id integer primary key, name varchar(100) unique not null, hash varchar(40) not null, executed_at timestamp default current_timestamp);
insert into storage.migrations values (0, 'create-migrations-table', 'x');
create type storage.buckettype as enum ('STANDARD', 'ANALYTICS');
create table storage.buckets (
  id text primary key, name text not null unique, owner uuid, created_at timestamptz default now(),
  updated_at timestamptz default now(), public boolean default false, avif_autodetection boolean default false,
  file_size_limit bigint, allowed_mime_types text[], owner_id text,
  type storage.buckettype not null default 'STANDARD');
create table storage.objects (
  id uuid primary key default gen_random_uuid(), bucket_id text references storage.buckets (id), name text,
  owner uuid, created_at timestamptz default now(), updated_at timestamptz default now(),
  last_accessed_at timestamptz default now(), metadata jsonb,
  path_tokens text[] generated always as (string_to_array(name, '/')) stored, version text, owner_id text,
  user_metadata jsonb);
create unique index bucketid_objname on storage.objects (bucket_id, name);
create table storage.s3_multipart_uploads (
  id text primary key, in_progress_size bigint not null default 0, upload_signature text not null,
  bucket_id text not null references storage.buckets (id), key text collate \"C\" not null, version text not null,
  owner_id text, created_at timestamptz not null default now(), user_metadata jsonb);
create table storage.s3_multipart_uploads_parts (
  id uuid primary key default gen_random_uuid(), upload_id text not null references storage.s3_multipart_uploads (id) on delete cascade,
  size bigint not null default 0, part_number integer not null, bucket_id text not null, key text collate \"C\" not null,
  etag text not null, owner_id text, version text not null, created_at timestamptz not null default now());
create function storage.protect_delete() returns trigger language plpgsql as $$ begin
  if coalesce(current_setting('storage.allow_delete_query', true), 'false') <> 'true' then
    raise exception 'of the original' using errcode = '42501'; end if; return null; end $$;
create trigger protect_objects_delete before delete on storage.objects for each statement execute function storage.protect_delete();
alter table storage.buckets enable row level security;
alter table storage.objects enable row level security;
alter table storage.s3_multipart_uploads enable row level security;
alter table storage.s3_multipart_uploads_parts enable row level security;
grant usage on schema storage to anon, authenticated, service_role;
grant all on all tables in schema storage to anon, authenticated, service_role;
insert into storage.buckets (id, name) values ('old', 'old');
";

#[tokio::test]
async fn a_database_of_the_original_is_used_and_not_changed() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    let superuser = storage.database.superuser().await;
    superuser.batch_execute(ORIGINAL).await.unwrap();
    storage.put("old/x.txt", "hello").await;
    assert_eq!(
        storage
            .get("/object/old/x.txt")
            .service()
            .send()
            .await
            .ok()
            .text(),
        "hello"
    );
    storage.bucket("new").await;
    let body = serde_json::json!({ "prefix": "" });
    storage
        .post("/object/list/old")
        .service()
        .json(&body)
        .send()
        .await
        .ok();
    let refused = superuser
        .batch_execute("delete from storage.objects")
        .await
        .unwrap_err();
    assert_eq!(
        refused.as_db_error().unwrap().message(),
        "of the original",
        "its functions are its own"
    );
    let owner = "select count(*) from pg_class c join pg_roles r on r.oid = c.relowner
                 where c.relnamespace = 'storage'::regnamespace and c.relkind = 'r' and not r.rolsuper";
    assert_eq!(
        storage.count(owner).await,
        0,
        "nothing of ours, nothing given away"
    );
    storage
        .call("DELETE", "/object/old/x.txt")
        .service()
        .send()
        .await
        .ok();
    assert!(storage.files().is_empty());
}

#[tokio::test]
async fn migrations_may_run_again_and_at_once() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    let pool = crate::support::pool(&storage.database);
    let (first, second) = tokio::join!(
        bunbun_storage::migrate(&pool),
        bunbun_storage::migrate(&pool)
    );
    let applied = first.unwrap().applied.len() + second.unwrap().applied.len();
    assert_eq!(applied, 2);
    assert!(
        bunbun_storage::migrate(&pool)
            .await
            .unwrap()
            .applied
            .is_empty()
    );
}

#[tokio::test]
async fn users_queries_find_the_originals_functions() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    for name in ["a/b/c.tar.gz", "a/x.txt", "top.txt"] {
        storage.put(&format!("b/{name}"), name).await;
    }
    let superuser = storage.database.superuser().await;
    let row = superuser
        .query_one(
            "select storage.foldername('a/b/c.tar.gz'), storage.filename('a/b/c.tar.gz'), storage.extension('a/b/c.tar.gz'),
                    storage.foldername('top.txt')",
            &[],
        )
        .await
        .unwrap();
    assert_eq!(row.get::<_, Vec<String>>(0), ["a", "b"]);
    assert_eq!(
        (row.get::<_, String>(1), row.get::<_, String>(2)),
        ("c.tar.gz".to_owned(), "gz".to_owned())
    );
    assert!(row.get::<_, Vec<String>>(3).is_empty());
    let names = async |sql: &str| {
        let rows = superuser.query(sql, &[]).await.unwrap();
        rows.iter()
            .map(|row| row.get::<_, String>(0))
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(
        names("select name from storage.search('', 'b')").await,
        "a top.txt"
    );
    assert_eq!(
        names("select name from storage.search('a/', 'b', 10, 2)").await,
        "b x.txt"
    );
    assert_eq!(
        names("select name from storage.search('A/', 'b', 10, 2, 0, 'x', 'created_at', 'desc')")
            .await,
        "x.txt"
    );
    assert_eq!(
        names("select name from storage.list_objects_with_delimiter('b', '', '/')").await,
        "a/ top.txt"
    );
    assert_eq!(
        storage
            .count("select size from storage.get_size_by_bucket()")
            .await,
        12 + 7 + 7
    );
}
