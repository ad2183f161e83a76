//! `GET /keys`: one page of keys with what there is to know about each.

use std::{
    borrow::Cow,
    time::{Duration, Instant},
};

use redis::{Pipeline, Value};

use super::scan::{Filter, MAX_COUNT, Scanner, total};
use crate::{
    Error,
    redis::{Redis, reply, text::literal},
};

/// What one request may take of the servers' time, about. Then the page ends, full or not.
const TIME: Duration = Duration::from_millis(250);

/// Which keys, and how much about them.
#[derive(Debug, Clone, Default)]
pub struct ListKeys {
    /// A pattern of Redis (`*`, `?`, `[…]`, `\`); without one, every key.
    pub pattern: Option<Vec<u8>>,
    /// `string`, `list`, `set`, `zset`, `hash`, `stream`, or a module's type.
    pub value_type: Option<String>,
    /// At most so many rows.
    pub limit: usize,
    /// Where the page before ended.
    pub cursor: Option<String>,
    /// Whether rows have type, TTL and encoding.
    pub details: bool,
    /// Whether rows have their size, too; Redis has to measure it.
    pub size: bool,
}

/// A page.
#[derive(Debug, Clone, Default)]
pub struct KeyPage {
    /// The keys, in no order.
    pub keys: Vec<KeyRow>,
    /// Continues; `None` when every key has been seen.
    pub next_cursor: Option<String>,
    /// Keys that were looked at for this page, about.
    pub scanned: u64,
    /// Keys that there are altogether.
    pub total: u64,
}

/// A key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRow {
    /// Its bytes.
    pub key: Vec<u8>,
    /// If asked for.
    pub details: Option<KeyDetails>,
}

/// What there is to know without reading the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyDetails {
    /// `string`, `list`, …
    pub value_type: Cow<'static, str>,
    /// Milliseconds until it expires; `None`: it does not.
    pub ttl_ms: Option<u64>,
    /// How Redis stores it: `listpack`, `embstr`, …
    pub encoding: Option<Cow<'static, str>>,
    /// What it takes of the server's memory, if asked for.
    pub size_bytes: Option<u64>,
}

impl Redis {
    /// One page of keys.
    ///
    /// # Errors
    /// An unknown cursor, or no server.
    pub async fn list_keys(&self, request: &ListKeys) -> Result<KeyPage, Error> {
        let total = total(&self.router).await?;
        if let Some(key) = request.pattern.as_deref().and_then(literal) {
            return self.one_key(key, request, total).await;
        }
        let filter = Filter::new(request.pattern.clone(), request.value_type.clone());
        let open = filter.is_open();
        let mut scanner = Scanner::new(&self.router, "keys", filter, request.cursor.as_deref())?;
        let mut page = KeyPage {
            total,
            ..KeyPage::default()
        };
        let started = Instant::now();
        // The share of examined keys that match, for a good guess of what the next call brings.
        let mut yielded = 1.0_f64;
        while !scanner.is_finished() {
            let first = page.keys.len();
            loop {
                let room = request.limit - page.keys.len();
                let batch = scanner.batch(next_count(room, yielded)).await?;
                page.scanned += batch.examined;
                if !open && batch.examined > 0 {
                    yielded = batch.keys.len() as f64 / batch.examined as f64;
                }
                let taken = batch.keys.len().min(room);
                if taken < batch.keys.len() {
                    let last = taken.checked_sub(1).map(|last| batch.keys[last].as_slice());
                    scanner.keep_only(taken, last);
                }
                page.keys.extend(
                    batch
                        .keys
                        .into_iter()
                        .take(taken)
                        .map(|key| KeyRow { key, details: None }),
                );
                if scanner.server_done() || is_full(&page, request) || started.elapsed() > TIME {
                    break;
                }
            }
            if request.details {
                let rows = page.keys.split_off(first);
                page.keys
                    .extend(detailed(&mut scanner, rows, request.size).await?);
            }
            if scanner.server_done() {
                scanner.next_server();
            }
            if is_full(&page, request) || started.elapsed() > TIME {
                break;
            }
        }
        page.next_cursor = scanner.cursor();
        page.scanned = page.scanned.min(total);
        Ok(page)
    }

    /// A pattern that can match one key only needs no search.
    async fn one_key(
        &self,
        key: Vec<u8>,
        request: &ListKeys,
        total: u64,
    ) -> Result<KeyPage, Error> {
        let mut commands = Pipeline::with_capacity(4);
        ask(&mut commands, &key, request.size);
        let answers = self
            .router
            .pipeline(&key, &commands, crate::redis::router::Repeat::Safe)
            .await?;
        let details = understood(&mut answers.into_iter(), request.size);
        let wanted = |details: &KeyDetails| {
            request
                .value_type
                .as_ref()
                .is_none_or(|wanted| *wanted == details.value_type)
        };
        let keys = details
            .filter(wanted)
            .map(|details| KeyRow {
                key,
                details: request.details.then_some(details),
            })
            .into_iter()
            .collect();
        Ok(KeyPage {
            keys,
            next_cursor: None,
            scanned: 1,
            total,
        })
    }
}

/// A page that is nearly full is full: one call more would hardly fit and had to be repeated.
fn is_full(page: &KeyPage, request: &ListKeys) -> bool {
    page.keys.len() >= request.limit - request.limit / 16
}

/// A `COUNT` that probably brings what still fits, and a little less.
fn next_count(room: usize, yielded: f64) -> u16 {
    let wanted = (room - room / 16) as f64 / yielded.max(0.001);
    if wanted >= f64::from(MAX_COUNT) {
        return MAX_COUNT;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and MAX_COUNT"
    )]
    let count = wanted as u16;
    count.max(1)
}

/// Asks for everything about all of them at once. Keys that went meanwhile are left out.
async fn detailed(
    scanner: &mut Scanner,
    rows: Vec<KeyRow>,
    size: bool,
) -> Result<Vec<KeyRow>, Error> {
    if rows.is_empty() {
        return Ok(rows);
    }
    let mut commands = Pipeline::with_capacity(4 * rows.len());
    for row in &rows {
        ask(&mut commands, &row.key, size);
    }
    let answers = scanner.own().await?.send_all(&commands).await?;
    let mut answers = answers.into_iter();
    Ok(rows
        .into_iter()
        .filter_map(|row| {
            let details = understood(&mut answers, size)?;
            Some(KeyRow {
                details: Some(details),
                ..row
            })
        })
        .collect())
}

fn ask(commands: &mut Pipeline, key: &[u8], size: bool) {
    commands.cmd("TYPE").arg(key);
    commands.cmd("PTTL").arg(key);
    commands.cmd("OBJECT").arg("ENCODING").arg(key);
    if size {
        commands.cmd("MEMORY").arg("USAGE").arg(key);
    }
}

/// The answers to [`ask`]; `None` when there is no such key.
fn understood(answers: &mut impl Iterator<Item = Value>, size: bool) -> Option<KeyDetails> {
    let value_type = answers.next()?;
    let ttl = answers.next()?;
    let encoding = answers.next()?;
    let size = if size { Some(answers.next()?) } else { None };
    let value_type = type_name(value_type)?;
    Some(KeyDetails {
        value_type,
        ttl_ms: reply::integer(&ttl).and_then(|ttl| u64::try_from(ttl).ok()),
        encoding: encoding_name(encoding),
        size_bytes: size
            .as_ref()
            .and_then(reply::integer)
            .and_then(|size| u64::try_from(size).ok()),
    })
}

/// Redis has a handful of names for these; they need no memory of their own.
fn known(value: Value, names: &[&'static str]) -> Option<Cow<'static, str>> {
    let text = match value {
        Value::SimpleString(text) => text,
        Value::BulkString(bytes) => String::from_utf8(bytes).ok()?,
        _ => return None,
    };
    let name = names.iter().find(|name| **name == text);
    Some(name.map_or(Cow::Owned(text), |name| Cow::Borrowed(*name)))
}

/// The answer to TYPE; `None` when there is no such key.
pub(in crate::redis) fn type_name(value: Value) -> Option<Cow<'static, str>> {
    known(value, &["string", "list", "set", "zset", "hash", "stream"]).filter(|name| name != "none")
}

/// The answer to OBJECT ENCODING.
pub(in crate::redis) fn encoding_name(value: Value) -> Option<Cow<'static, str>> {
    known(
        value,
        &[
            "embstr",
            "int",
            "raw",
            "listpack",
            "quicklist",
            "hashtable",
            "intset",
            "skiplist",
            "stream",
            "ziplist",
        ],
    )
}
