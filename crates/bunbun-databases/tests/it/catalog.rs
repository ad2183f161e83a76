//! Tests of `postgres::catalog` on a real PostgreSQL.

use bunbun_core::{Classify, Code};
use bunbun_databases::postgres::{
    Error,
    catalog::{
        COLUMNS, EXTENSIONS, FUNCTIONS, INDEXES, List, POLICIES, Page, ROLES, SCHEMAS, TABLES,
        TRIGGERS, TYPES, VIEWS, list,
    },
    pool::Pool,
};
use bunbun_test::TestDb;
use serde_json::{Value, json};

const SCHEMA: &str = r#"
    create type mood as enum ('sad', 'ok');
    create domain small as int check (value < 10);
    create type pair as (a int, b text);
    create type span as range (subtype = int);
    create table authors (
        id bigint generated always as identity primary key,
        name varchar(40) not null default 'it''s', mood mood, small small,
        shout text generated always as (name || '!') stored
    );
    comment on table authors is 'who writes';
    comment on column authors.mood is 'today';
    alter table authors enable row level security;
    create policy mine on authors for update to anon, authenticated
        using (name = current_user) with check (id > 0);
    create index "odd "" index" on authors (lower(name), id) where id > 5;
    create view titles as select id, name from authors;
    create materialized view cached as select name from authors;
    create function twice(n int, by int default 2) returns int language sql immutable
        security definer as 'select n * by';
    create function twice(n text) returns text language sql as 'select n || n';
    create procedure nothing() language sql as 'select 1';
    create function touch() returns trigger language plpgsql as 'begin return new; end';
    create trigger touched before insert or update on authors for each row execute function touch();
    create schema "Odd ""schema""";
    create table "Odd ""schema"""."Odd ""table""" ("a ""b""" int, "select" int);
    create table parts (id int primary key) partition by range (id);
    create table parts_1 partition of parts for values from (0) to (9);
"#;

async fn filled() -> Option<(TestDb, Pool)> {
    let database = TestDb::create().await?;
    let pool = database.pool();
    let client = pool.get().await.expect("a connection");
    client.batch_execute(SCHEMA).await.expect("it is good");
    drop(client);
    Some((database, pool))
}

fn page() -> Page {
    Page {
        limit: 1_000,
        ..Page::default()
    }
}

fn in_schema(name: &str) -> Page {
    Page {
        schema: Some(name.to_owned()),
        ..page()
    }
}

async fn items(pool: &Pool, of: &List, page: &Page) -> Vec<Value> {
    let items = match list(pool, of, page).await {
        Ok(items) => items.items,
        Err(error) => panic!("{of:?}: {error:?}"),
    };
    items
        .iter()
        .map(|item| serde_json::from_str(item.get()).expect("JSON"))
        .collect()
}

async fn item(pool: &Pool, of: &List, name: &str) -> Value {
    let items = items(pool, of, &in_schema("public")).await;
    let found = items.iter().find(|item| item["name"] == name);
    found
        .unwrap_or_else(|| panic!("no {name} in {items:?}"))
        .clone()
}

#[tokio::test]
async fn tables_views_and_columns_are_listed_as_they_were_made() {
    let Some((_database, pool)) = filled().await else {
        return;
    };
    let schemas = items(&pool, &SCHEMAS, &page()).await;
    let names: Vec<_> = schemas.iter().map(|schema| &schema["name"]).collect();
    assert_eq!(names, ["Odd \"schema\"", "public"]);
    assert_eq!(schemas[0]["tables"], 1);

    let authors = item(&pool, &TABLES, "authors").await;
    assert_eq!(authors["kind"], "table");
    assert_eq!(authors["primary_key"], json!(["id"]));
    assert_eq!(
        (&authors["rls_enabled"], &authors["columns"]),
        (&json!(true), &json!(5))
    );
    assert_eq!(authors["comment"], "who writes");
    assert!(authors["bytes"].as_i64() > Some(0));
    assert_eq!(
        item(&pool, &TABLES, "parts").await["kind"],
        "partitioned_table"
    );
    assert_eq!(item(&pool, &TABLES, "parts_1").await["is_partition"], true);

    let columns = items(
        &pool,
        &COLUMNS,
        &Page {
            table: Some("authors".into()),
            ..page()
        },
    )
    .await;
    let names: Vec<_> = columns.iter().map(|column| &column["name"]).collect();
    assert_eq!(
        names,
        ["id", "name", "mood", "small", "shout"],
        "in their order"
    );
    assert_eq!(columns[0]["identity"], "always");
    assert_eq!(columns[0]["primary_key"], true);
    assert_eq!(columns[1]["type"], "character varying(40)");
    assert_eq!(columns[1]["default"], "'it''s'::character varying");
    assert_eq!(columns[2]["type"], "public.mood");
    assert_eq!(columns[2]["enum_values"], json!(["sad", "ok"]));
    assert_eq!(columns[2]["comment"], "today");
    assert_eq!(
        (&columns[4]["default"], columns[4]["generated"].is_string()),
        (&json!(null), true)
    );

    assert_eq!(item(&pool, &VIEWS, "titles").await["updatable"], true);
    assert_eq!(
        item(&pool, &VIEWS, "titles").await["definition"],
        json!(null),
        "not asked for"
    );
    assert_eq!(
        item(&pool, &VIEWS, "cached").await["kind"],
        "materialized_view"
    );
    let with = Page {
        definitions: true,
        ..in_schema("public")
    };
    let views = items(&pool, &VIEWS, &with).await;
    assert!(
        views.iter().all(|view| view["definition"]
            .as_str()
            .is_some_and(|text| text.contains("SELECT"))),
        "{views:?}"
    );
}

#[tokio::test]
async fn functions_indexes_policies_and_triggers_are_listed_as_they_were_made() {
    let Some((_database, pool)) = filled().await else {
        return;
    };
    let with = Page {
        definitions: true,
        ..in_schema("public")
    };
    let functions = items(&pool, &FUNCTIONS, &with).await;
    let twice: Vec<_> = functions
        .iter()
        .filter(|function| function["name"] == "twice")
        .collect();
    assert_eq!(twice.len(), 2, "one for each signature");
    assert_eq!(twice[0]["arguments"], "n integer, by integer DEFAULT 2");
    assert_eq!(
        (&twice[0]["security_definer"], &twice[0]["volatility"]),
        (&json!(true), &json!("immutable"))
    );
    assert!(
        twice[0]["definition"]
            .as_str()
            .expect("one")
            .contains("select n * by")
    );
    assert_eq!(
        item(&pool, &FUNCTIONS, "nothing").await["kind"],
        "procedure"
    );

    let index = item(&pool, &INDEXES, "odd \" index").await;
    assert_eq!(index["key"], json!(["lower(name::text)", "id"]));
    assert_eq!(
        (&index["partial"], &index["unique"]),
        (&json!(true), &json!(false))
    );

    let policy = item(&pool, &POLICIES, "mine").await;
    assert_eq!(policy["roles"], json!(["anon", "authenticated"]));
    assert_eq!(
        (&policy["command"], &policy["check"]),
        (&json!("UPDATE"), &json!("(id > 0)"))
    );

    let trigger = item(&pool, &TRIGGERS, "touched").await;
    assert_eq!(
        (&trigger["timing"], &trigger["level"]),
        (&json!("BEFORE"), &json!("ROW"))
    );
    assert_eq!(trigger["events"], json!(["INSERT", "UPDATE"]));
}

#[tokio::test]
async fn types_roles_and_extensions_are_listed_as_they_were_made() {
    let Some((_database, pool)) = filled().await else {
        return;
    };
    let types = items(&pool, &TYPES, &in_schema("public")).await;
    let names: Vec<_> = types
        .iter()
        .map(|item| format!("{} {}", item["name"], item["kind"]))
        .collect();
    for expected in [
        "\"mood\" \"enum\"",
        "\"pair\" \"composite\"",
        "\"small\" \"domain\"",
        "\"span\" \"range\"",
    ] {
        assert!(
            names.iter().any(|name| name == expected),
            "{expected} in {names:?}"
        );
    }
    assert!(
        !names.iter().any(|name| name.contains("authors")),
        "no row types: {names:?}"
    );

    let roles = items(&pool, &ROLES, &page()).await;
    let role = roles
        .iter()
        .find(|role| role["current"] == true)
        .expect("ours");
    assert_eq!(
        (&role["superuser"], &role["login"]),
        (&json!(false), &json!(true))
    );
    assert!(!format!("{roles:?}").to_lowercase().contains("password"));

    let extensions = items(&pool, &EXTENSIONS, &page()).await;
    let plpgsql = extensions
        .iter()
        .find(|one| one["name"] == "plpgsql")
        .expect("always there");
    assert_eq!(
        (&plpgsql["installed"], &plpgsql["schema"]),
        (&json!(true), &json!("pg_catalog"))
    );
}

#[tokio::test]
async fn hostile_names_are_only_names() {
    let Some((_database, pool)) = filled().await else {
        return;
    };
    let odd = "Odd \"schema\"";
    let tables = items(&pool, &TABLES, &in_schema(odd)).await;
    assert_eq!(tables[0]["name"], "Odd \"table\"");
    let columns = items(&pool, &COLUMNS, &in_schema(odd)).await;
    assert_eq!(columns[0]["name"], "a \"b\"");
    for search in ["'; drop table authors; --", "%", "\\", "\0", "\u{202e}"] {
        let page = Page {
            search: Some(search.into()),
            ..page()
        };
        assert!(items(&pool, &TABLES, &page).await.is_empty(), "{search:?}");
    }
    for schema in ["'; drop schema public; --", "\0", "", "PUBLIC"] {
        let error = list(&pool, &TABLES, &in_schema(schema))
            .await
            .expect_err(schema);
        assert_eq!(error.code(), Code::SchemaNotFound, "{schema:?}");
    }
    let page = Page {
        search: Some("AUTH".into()),
        ..page()
    };
    assert_eq!(items(&pool, &TABLES, &page).await.len(), 1);
}

#[tokio::test]
async fn pages_follow_one_another_without_gap_or_repetition() {
    let Some((_database, pool)) = filled().await else {
        return;
    };
    for of in [&FUNCTIONS, &COLUMNS, &TYPES, &EXTENSIONS, &ROLES] {
        let mut page = Page {
            system: true,
            ..page()
        };
        let first = list(&pool, of, &page).await.expect("a list");
        let all: Vec<String> = first
            .items
            .iter()
            .take(60)
            .map(|item| item.get().to_owned())
            .collect();
        page.limit = 7;
        let mut walked = Vec::new();
        loop {
            let next = list(&pool, of, &page).await.expect("a page");
            assert!(next.items.len() <= 7);
            walked.extend(next.items.iter().map(|item| item.get().to_owned()));
            page.cursor = next.next_cursor;
            if page.cursor.is_none() || walked.len() >= all.len() {
                break;
            }
        }
        walked.truncate(all.len());
        assert_eq!(walked, all);
    }
}

#[tokio::test]
async fn a_cursor_of_another_list_is_refused() {
    let Some((_database, pool)) = filled().await else {
        return;
    };
    let mut page = Page {
        limit: 1,
        ..Page::default()
    };
    page.cursor = list(&pool, &TABLES, &page)
        .await
        .expect("a page")
        .next_cursor;
    let error = list(&pool, &COLUMNS, &page)
        .await
        .expect_err("another list");
    assert!(matches!(error, Error::Invalid { .. }));
}

#[tokio::test]
async fn what_is_locked_is_listed_without_waiting() {
    let Some((database, pool)) = filled().await else {
        return;
    };
    let other = database.superuser().await;
    other
        .batch_execute("begin; lock table authors, titles in access exclusive mode")
        .await
        .expect("locked");
    let authors = item(&pool, &TABLES, "authors").await;
    assert_eq!(
        (&authors["locked"], &authors["bytes"]),
        (&json!(true), &json!(null))
    );
    let with = Page {
        definitions: true,
        ..in_schema("public")
    };
    for of in [
        &COLUMNS, &VIEWS, &INDEXES, &POLICIES, &TRIGGERS, &FUNCTIONS, &TYPES, &SCHEMAS,
    ] {
        assert!(!items(&pool, of, &with).await.is_empty());
    }
}
