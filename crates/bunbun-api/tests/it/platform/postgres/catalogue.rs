//! `GET …/{schemas,tables,columns,…}`; every answer is held against its description.

use serde_json::{Value, json};

use super::Stage;

const SCHEMA: &str = "
    create type mood as enum ('sad', 'ok'); create type pair as (a int, b text);
    create table authors (id bigint generated always as identity primary key, mood mood default 'ok');
    create index by_mood on authors (mood);
    alter table authors enable row level security;
    create policy mine on authors using (id > 0);
    create view titles as select id from authors;
    create function touch() returns trigger language plpgsql as 'begin return new; end';
    create trigger touched before insert on authors for each row execute function touch();
    create schema \"Odd \"\"one\"; create table \"Odd \"\"one\".\"T \"\"x\" (\"c \"\"y\" int);
";

const LISTS: &[(&str, &str)] = &[
    ("schemas", "public"),
    ("tables", "authors"),
    ("columns", "mood"),
    ("views", "titles"),
    ("functions", "touch"),
    ("indexes", "by_mood"),
    ("policies", "mine"),
    ("triggers", "touched"),
    ("types", "mood"),
];

fn names(body: &Value, noun: &str) -> Vec<String> {
    let items = body[noun].as_array().expect("a list");
    items
        .iter()
        .map(|item| item["name"].as_str().expect("a name").to_owned())
        .collect()
}

#[tokio::test]
async fn every_list_names_what_is_there_and_pages() {
    for stage in [
        Stage::new(SCHEMA).await,
        Stage::with_connection(SCHEMA).await,
    ] {
        let Some(stage) = stage else { return };
        for (noun, name) in LISTS {
            let all = stage
                .get(&format!("{noun}?definitions=true&limit=1000&schema=public"))
                .await;
            assert_eq!(all.status, 200, "{noun}: {}", all.text());
            let all = names(&all.json(), noun);
            assert!(all.iter().any(|found| found == name), "{noun}: {all:?}");
            let found = stage.get(&format!("{noun}?search={name}")).await.json();
            assert!(names(&found, noun).iter().all(|found| found.contains(name)));
            let (mut walked, mut cursor) = (Vec::new(), String::new());
            loop {
                let page = stage
                    .get(&format!("{noun}?schema=public&limit=1{cursor}"))
                    .await
                    .json();
                walked.extend(names(&page, noun));
                match page["next_cursor"].as_str() {
                    Some(next) => cursor = format!("&cursor={next}"),
                    None => break,
                }
            }
            assert_eq!(walked, all, "{noun}");
        }
        for noun in ["roles", "extensions"] {
            let all = stage.get(&format!("{noun}?system=true&limit=1000")).await;
            assert!(!names(&all.json(), noun).is_empty());
            assert!(!all.text().contains("SCRAM"));
        }
    }
}

#[tokio::test]
async fn names_with_quotes_are_names() {
    let Some(stage) = Stage::new(SCHEMA).await else {
        return;
    };
    let tables = stage.get("tables?schema=Odd%20%22one").await.json();
    assert_eq!(names(&tables, "tables"), ["T \"x"]);
    let columns = stage
        .get("columns?schema=Odd%20%22one&table=T%20%22x")
        .await
        .json();
    assert_eq!(names(&columns, "columns"), ["c \"y"]);
    for (path, status, code) in [
        (
            "tables?schema=%27%3B%20drop%20table%20authors%3B%20--",
            404,
            "SCHEMA_NOT_FOUND",
        ),
        ("tables?schema=a%00b", 404, "SCHEMA_NOT_FOUND"),
        ("tables?limit=0", 400, "VALIDATION_FAILED"),
        ("tables?limit=1001", 400, "VALIDATION_FAILED"),
        ("tables?cursor=nonsense", 400, "INVALID_REQUEST"),
        ("tables?nonsense=1", 400, "INVALID_REQUEST"),
        ("tables?connection=nope", 404, "CONNECTION_NOT_FOUND"),
    ] {
        let reply = stage.get(path).await;
        assert_eq!(reply.error(), (status, code.to_owned()), "{path}");
    }
}

#[tokio::test]
async fn our_own_changes_are_seen_at_once_and_others_on_demand() {
    let Some(stage) = Stage::with_connection("create table one ()").await else {
        return;
    };
    let tables = async |fresh: bool| {
        let call = stage.call(http::Method::GET, "tables?schema=public");
        let call = if fresh {
            call.header("cache-control", "no-cache")
        } else {
            call
        };
        names(&call.send().await.json(), "tables")
    };
    assert_eq!(tables(false).await, ["one"]);
    stage.ask("create table two ()").await;
    assert_eq!(tables(false).await, ["one", "two"]);
    let migration = json!({ "name": "three", "sql": "create table three ()" });
    assert_eq!(stage.post("migrate", &migration).await.status, 200);
    assert_eq!(tables(false).await, ["one", "three", "two"]);
    // Somebody else's, past us.
    let client = stage.other.superuser().await;
    client
        .batch_execute("create table four ()")
        .await
        .expect("made");
    assert_eq!(
        tables(false).await,
        ["one", "three", "two"],
        "from the cache"
    );
    assert_eq!(tables(true).await.len(), 4, "on demand");
}
