//! Where a page of rows ended: the values of its last row in the columns of the order, or, where
//! rows cannot be told apart (views), how many came before.
//!
//! A cursor is no secret and needs no protection: what it holds is bound like any other value.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::{
    super::{error::Error, query::Parameter},
    order::Sort,
    shape::TableName,
    statement::{Place, refused},
};

/// Most rows that are skipped where rows cannot be told apart.
const FARTHEST: u64 = 100_000;

/// Where a page ended.
#[derive(Debug)]
pub(super) enum Position {
    /// At a row with these values.
    After(Vec<Parameter>),
    /// Behind so many rows.
    Skip(u64),
}

#[derive(Serialize)]
struct Written<'a> {
    /// Of which table and order.
    of: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<Vec<&'a RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    skip: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Read {
    of: String,
    after: Option<Vec<Parameter>>,
    skip: Option<u64>,
}

/// Tells the cursors of one order from those of another.
fn digest(table: &TableName, sort: &Sort) -> String {
    let mut hash = Sha256::new();
    let mut order = super::statement::Statement::default();
    sort.write(&mut order);
    for part in [&table.schema, &table.name, &order.sql] {
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
    URL_SAFE_NO_PAD.encode(&hash.finalize()[..6])
}

pub(super) fn after(
    table: &TableName,
    sort: &Sort,
    values: Vec<&RawValue>,
) -> Result<String, Error> {
    write(table, sort, Some(values), None)
}

pub(super) fn skip(table: &TableName, sort: &Sort, rows: u64) -> Result<Option<String>, Error> {
    if rows > FARTHEST {
        return Ok(None);
    }
    write(table, sort, None, Some(rows)).map(Some)
}

fn write(
    table: &TableName,
    sort: &Sort,
    after: Option<Vec<&RawValue>>,
    skip: Option<u64>,
) -> Result<String, Error> {
    let of = digest(table, sort);
    let json = serde_json::to_vec(&Written {
        of: &of,
        after,
        skip,
    })
    .map_err(Error::internal)?;
    Ok(URL_SAFE_NO_PAD.encode(json))
}

pub(super) fn read(cursor: &str, table: &TableName, sort: &Sort) -> Result<Position, Error> {
    let refusal = || {
        let message = "not one of this table and order; leave it out to begin anew";
        refused(&Place::new("/cursor", "cursor"), message)
    };
    let json = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| refusal())?;
    let read: Read = serde_json::from_slice(&json).map_err(|_| refusal())?;
    if read.of != digest(table, sort) {
        return Err(refusal());
    }
    match (read.after, read.skip) {
        (Some(values), None) if sort.is_total && values.len() == sort.terms.len() => {
            Ok(Position::After(values))
        }
        (None, Some(rows)) if !sort.is_total && rows <= FARTHEST => Ok(Position::Skip(rows)),
        _ => Err(refusal()),
    }
}
