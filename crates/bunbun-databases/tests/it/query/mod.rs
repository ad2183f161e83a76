//! Tests of `postgres::query`.

mod answers;
mod errors;
mod hygiene;
mod limits;
mod outages;
mod streaming;
mod types;

use bunbun_databases::postgres::{
    Error,
    pool::Pool,
    query::{Request, run},
};
use serde_json::Value;

/// The answer to a request as JSON.
pub(crate) async fn answer(pool: &Pool, request: &Request) -> Result<Value, Error> {
    let answer = run(pool, request).await?;
    Ok(serde_json::from_slice(&answer.body).expect("the answer is JSON"))
}

/// The answer to a text without parameters.
pub(crate) async fn ask(pool: &Pool, sql: &str) -> Value {
    match answer(pool, &Request::new(sql)).await {
        Ok(value) => value,
        Err(error) => panic!("{sql}: {error:?}"),
    }
}

/// The one value of the one row.
pub(crate) async fn value(pool: &Pool, sql: &str) -> Value {
    let answer = ask(pool, sql).await;
    let row = answer["rows"][0].as_object().expect("a row");
    row.values().next().expect("a value").clone()
}

/// The error of a text without parameters.
pub(crate) async fn refusal(pool: &Pool, sql: &str) -> Error {
    match run(pool, &Request::new(sql)).await {
        Ok(answer) => panic!(
            "{sql} was answered: {}",
            String::from_utf8_lossy(&answer.body)
        ),
        Err(error) => error,
    }
}
