//! Tests of `postgres::rows`.

mod hostile;
mod read;
mod write;

use std::time::Duration;

use bunbun_databases::postgres::{
    Error,
    pool::Pool,
    rows::{Count, Filter, Insert, ListRows, OnConflict, Order, Row, Rows, TableName, Values},
};
use bunbun_test::TestDb;
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(20);

/// One database and what is known of its tables.
struct Tables {
    database: TestDb,
    pool: Pool,
}

impl Tables {
    async fn with(schema: &str) -> Option<Self> {
        let database = TestDb::create().await?;
        let pool = database.pool();
        let client = pool.get().await.expect("a connection");
        client.batch_execute(schema).await.expect("it is good");
        drop(client);
        Some(Self { database, pool })
    }

    async fn list(&self, request: &ListRows) -> Result<Rows, Error> {
        bunbun_databases::postgres::rows::list(&self.pool, request).await
    }

    async fn get(&self, table: &str, key: &str) -> Result<Row, Error> {
        let table = public(table);
        bunbun_databases::postgres::rows::get(&self.pool, &table, key, LIMIT).await
    }

    async fn insert(
        &self,
        table: &str,
        rows: Value,
        on_conflict: OnConflict,
    ) -> Result<Vec<Row>, Error> {
        let request = Insert {
            table: public(table),
            rows: serde_json::from_value::<Vec<Value>>(rows)
                .expect("a list")
                .into_iter()
                .map(values)
                .collect(),
            on_conflict,
            timeout: LIMIT,
        };
        bunbun_databases::postgres::rows::insert(&self.pool, &request).await
    }

    async fn update(
        &self,
        table: &str,
        key: &str,
        new: Value,
        etag: Option<&str>,
    ) -> Result<Row, Error> {
        let versions = etag.map(|etag| vec![etag.trim_matches('"').to_owned()]);
        let table = public(table);
        bunbun_databases::postgres::rows::update(
            &self.pool,
            &table,
            key,
            &values(new),
            versions.as_deref(),
            LIMIT,
        )
        .await
    }

    async fn delete(&self, table: &str, key: &str, etag: Option<&str>) -> Result<Row, Error> {
        let versions = etag.map(|etag| vec![etag.trim_matches('"').to_owned()]);
        let table = public(table);
        bunbun_databases::postgres::rows::delete(
            &self.pool,
            &table,
            key,
            versions.as_deref(),
            LIMIT,
        )
        .await
    }
}

fn public(name: &str) -> TableName {
    TableName {
        schema: "public".to_owned(),
        name: name.to_owned(),
    }
}

fn values(object: Value) -> Values {
    let Value::Object(members) = object else {
        panic!("no object")
    };
    members
        .into_iter()
        .map(|(name, value)| (name, value.into()))
        .collect()
}

/// All rows of a table, 1000 at most.
fn all(table: &str) -> ListRows {
    ListRows {
        table: public(table),
        columns: None,
        filter: None,
        order: Vec::new(),
        limit: 1_000,
        cursor: None,
        count: Count::None,
        timeout: LIMIT,
    }
}

fn filtered(table: &str, filter: &Value) -> ListRows {
    let filter = Filter::read(&filter.to_string(), "/filter").expect("a good filter");
    ListRows {
        filter: Some(filter),
        ..all(table)
    }
}

fn ordered(table: &str, order: &str) -> ListRows {
    ListRows {
        order: Order::read(order, "/order").expect("a good order"),
        ..all(table)
    }
}

fn json(row: &Row) -> Value {
    serde_json::from_str(row.values.get()).expect("JSON")
}

/// One column of all rows.
fn column(rows: &Rows, name: &str) -> Vec<Value> {
    rows.rows
        .iter()
        .map(|row| json(row)[name].clone())
        .collect()
}
