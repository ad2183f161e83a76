//! How PostgreSQL would run a statement, or did: `POST …/explain`.

use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    error::Error,
    pool::Pool,
    query::{self, Parameter, Request},
};

/// A statement to be explained.
#[derive(Debug, Clone)]
pub struct Explain {
    /// One statement that PostgreSQL plans.
    pub sql: String,
    /// The values of `$1`, `$2`, ….
    pub params: Vec<Parameter>,
    /// Run it, measure, and roll back what it did. What no transaction undoes stays done:
    /// sequences go on, other servers keep what they were told.
    pub analyze: bool,
    /// With the columns of each step.
    pub verbose: bool,
    /// With the settings that differ from the defaults.
    pub settings: bool,
    /// Longest run.
    pub timeout: Duration,
}

/// The plan.
#[derive(Debug)]
pub struct Plan {
    /// As PostgreSQL writes it: a list of one object with `Plan` and times.
    pub plan: Box<RawValue>,
    /// From the statement's start to its end.
    pub duration: Duration,
}

/// Explains a statement. Without `analyze` it is only planned, in a read-only transaction.
///
/// # Errors
/// As [`query::run`]; [`Error::Invalid`] for several statements at once.
pub async fn explain(pool: &Pool, request: &Explain) -> Result<Plan, Error> {
    if pool.texts().of(&request.sql).statements != 1 {
        return Err(Error::invalid("Expected one statement to explain."));
    }
    let mut options = String::from("explain (format json");
    for (name, is_on) in [
        ("analyze", request.analyze),
        ("buffers", request.analyze),
        ("verbose", request.verbose),
        ("settings", request.settings),
    ] {
        if is_on {
            options.push_str(", ");
            options.push_str(name);
        }
    }
    // Behind a line of its own, so that a comment cannot swallow anything.
    options.push_str(")\n");
    let mut query = Request::new(format!("{options}{}", request.sql));
    query.params.clone_from(&request.params);
    query.timeout = request.timeout;
    query.read_only = !request.analyze;
    query.roll_back = request.analyze;
    let answer = query::run(pool, &query)
        .await
        .map_err(|error| in_terms_of(error, options.len()))?;
    let body: Body<'_> = serde_json::from_slice(&answer.body).map_err(Error::internal)?;
    let [row] = body.rows.as_slice() else {
        return Err(Error::internal("a plan without its row"));
    };
    Ok(Plan {
        plan: row.plan.to_owned(),
        duration: answer.duration,
    })
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    rows: Vec<Row<'a>>,
}

#[derive(Deserialize)]
struct Row<'a> {
    #[serde(borrow, rename = "QUERY PLAN")]
    plan: &'a RawValue,
}

/// Positions count from the caller's own first character.
fn in_terms_of(error: Error, before: usize) -> Error {
    match error {
        Error::Sql(mut error) => {
            let before = u32::try_from(before).unwrap_or(u32::MAX);
            error.position = error.position.and_then(|at| at.checked_sub(before));
            Error::Sql(error)
        }
        error => error,
    }
}
