//! `GET /keys/{key}`: a page of a value.

use std::{
    borrow::Cow,
    time::{Duration, Instant},
};

use redis::{Pipeline, Value};

use super::content::Content;
use crate::{
    Error,
    redis::{
        Redis,
        error::{Fault, checked, unexpected},
        keys::{
            encoding_name,
            position::{Position, name_of},
            type_name,
        },
        node::Own,
        reply,
        router::Repeat,
    },
};

/// What one request may take of the server's time, about.
const TIME: Duration = Duration::from_millis(250);

/// Which part of a value.
#[derive(Debug, Clone, Default)]
pub struct ReadValue {
    /// At most so many elements (about: Redis answers small values whole).
    pub limit: usize,
    /// At most so many bytes of a string.
    pub bytes: usize,
    /// Where the page before ended.
    pub cursor: Option<String>,
    /// Whether to measure what the key takes of the server's memory.
    pub size: bool,
}

/// A page of a value.
#[derive(Debug, Clone)]
pub struct ValuePage {
    /// `string`, `list`, …
    pub value_type: Cow<'static, str>,
    /// Milliseconds until the key expires; `None`: it does not.
    pub ttl_ms: Option<u64>,
    /// How Redis stores it.
    pub encoding: Option<Cow<'static, str>>,
    /// What it takes of the server's memory, if asked for.
    pub size_bytes: Option<u64>,
    /// Elements of the whole value; bytes of a string.
    pub length: u64,
    /// The elements of this page.
    pub content: Content,
    /// Continues; `None` at the end.
    pub next_cursor: Option<String>,
    /// Names this state of the value, for `if_match`; only where the page is the whole value.
    pub digest: Option<String>,
}

impl Redis {
    /// A page of a value.
    ///
    /// # Errors
    /// `KeyNotFound`; a cursor of another value.
    pub async fn read_value(&self, key: &[u8], request: &ReadValue) -> Result<ValuePage, Error> {
        let listing = name_of(&[b"value", key]);
        let position = match &request.cursor {
            Some(cursor) => Position::read(cursor, listing)?,
            None => Position {
                listing,
                ..Position::default()
            },
        };
        let mut page = self.head(key, request, &position).await?;
        if page.value_type != "string" {
            let mut attempts = self.router.attempts(key);
            loop {
                let mut own = attempts.own().await?;
                let result = elements(&mut own, key, request, position, &mut page).await;
                if attempts.settle(own, result).await?.is_some() {
                    break;
                }
            }
        }
        if request.cursor.is_none() && page.next_cursor.is_none() && page.content != Content::Opaque
        {
            page.digest = Some(page.content.digest());
        }
        Ok(page)
    }

    /// Everything about the key and, if it is a string, its bytes: in one go.
    async fn head(
        &self,
        key: &[u8],
        request: &ReadValue,
        position: &Position,
    ) -> Result<ValuePage, Error> {
        let start = position.cursor;
        let end = start.saturating_add(request.bytes as u64).saturating_sub(1);
        let mut commands = Pipeline::with_capacity(6);
        commands.cmd("TYPE").arg(key);
        commands.cmd("PTTL").arg(key);
        commands.cmd("OBJECT").arg("ENCODING").arg(key);
        commands.cmd("STRLEN").arg(key);
        // Redis' offsets are signed. An offset that large is behind the end anyway.
        let signed = |at: u64| i64::try_from(at).unwrap_or(i64::MAX);
        commands
            .cmd("GETRANGE")
            .arg(key)
            .arg(signed(start))
            .arg(signed(end));
        if request.size {
            commands.cmd("MEMORY").arg("USAGE").arg(key);
        }
        let answers = self.router.pipeline(key, &commands, Repeat::Safe).await?;
        let mut answers = answers.into_iter();
        let mut next = || answers.next().ok_or_else(|| unexpected("a pipeline"));
        let value_type = type_name(checked(next()?)?).ok_or_else(Error::key_not_found)?;
        let ttl = reply::integer(&next()?);
        let encoding = encoding_name(next()?);
        let length = next()?;
        let bytes = next()?;
        let size = if request.size { Some(next()?) } else { None };
        let mut page = ValuePage {
            ttl_ms: ttl.and_then(|ttl| u64::try_from(ttl).ok()),
            encoding,
            size_bytes: size
                .as_ref()
                .and_then(reply::integer)
                .and_then(|size| u64::try_from(size).ok()),
            length: 0,
            content: Content::Opaque,
            next_cursor: None,
            digest: None,
            value_type,
        };
        if page.value_type == "string" {
            page.length = reply::count(&length);
            let mut bytes = reply::bytes(checked(bytes)?).unwrap_or_default();
            let seen = start.saturating_add(bytes.len() as u64);
            if seen < page.length && !bytes.is_empty() {
                let whole = whole_characters(&bytes);
                bytes.truncate(whole);
                page.next_cursor = Some(
                    Position {
                        cursor: start + whole as u64,
                        ..*position
                    }
                    .write(),
                );
            }
            page.content = Content::String(bytes);
        }
        Ok(page)
    }
}

/// The length without a character that is cut in two at the end, if the rest is text.
fn whole_characters(bytes: &[u8]) -> usize {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() && error.valid_up_to() > 0 => error.valid_up_to(),
        _ => bytes.len(),
    }
}

/// Reads elements into the page.
async fn elements(
    own: &mut Own,
    key: &[u8],
    request: &ReadValue,
    position: Position,
    page: &mut ValuePage,
) -> Result<(), Fault> {
    let value_type = page.value_type.clone();
    match &*value_type {
        "list" => list(own, key, request, position, page).await,
        "stream" => stream(own, key, request, position, page).await,
        "hash" => scan(own, key, ("HLEN", "HSCAN"), request, position, page).await,
        "set" => scan(own, key, ("SCARD", "SSCAN"), request, position, page).await,
        "zset" => scan(own, key, ("ZCARD", "ZSCAN"), request, position, page).await,
        "ReJSON-RL" => {
            let text = own.send(redis::cmd("JSON.GET").arg(key)).await?;
            page.content = Content::from_answer(&value_type, text);
            page.length = page.content.len() as u64;
            Ok(())
        }
        _ => Ok(()),
    }
}

async fn list(
    own: &mut Own,
    key: &[u8],
    request: &ReadValue,
    position: Position,
    page: &mut ValuePage,
) -> Result<(), Fault> {
    let start = position.cursor.min(i64::MAX as u64 / 2);
    let end = start + request.limit as u64;
    let mut commands = Pipeline::with_capacity(2);
    commands.cmd("LLEN").arg(key);
    commands.cmd("LRANGE").arg(key).arg(start).arg(end - 1);
    let [length, values] = two(own.send_all(&commands).await?)?;
    page.length = reply::count(&length);
    page.content = Content::from_answer("list", values);
    page.next_cursor = (end < page.length).then(|| {
        Position {
            cursor: end,
            ..position
        }
        .write()
    });
    Ok(())
}

async fn stream(
    own: &mut Own,
    key: &[u8],
    request: &ReadValue,
    position: Position,
    page: &mut ValuePage,
) -> Result<(), Fault> {
    let start = if position
        == (Position {
            listing: position.listing,
            ..Position::default()
        }) {
        "-".to_owned()
    } else {
        format!("({}-{}", position.cursor, position.last)
    };
    let mut commands = Pipeline::with_capacity(2);
    commands.cmd("XLEN").arg(key);
    let range = commands.cmd("XRANGE").arg(key).arg(start).arg("+");
    // One more tells whether there is more.
    range.arg("COUNT").arg(request.limit + 1);
    let [length, values] = two(own.send_all(&commands).await?)?;
    page.length = reply::count(&length);
    let Content::Stream(mut entries) = Content::from_answer("stream", values) else {
        return Ok(());
    };
    if entries.len() > request.limit {
        entries.truncate(request.limit);
        let last = entries.last().and_then(|entry| entry.id.split_once('-'));
        page.next_cursor = last.and_then(|(time, number)| {
            let next = Position {
                cursor: time.parse().ok()?,
                last: number.parse().ok()?,
                ..position
            };
            Some(next.write())
        });
    }
    page.content = Content::Stream(entries);
    Ok(())
}

/// HSCAN, SSCAN, ZSCAN. Redis answers small values whole, whatever the `COUNT`: what is too much
/// is left out, and the next page asks the same again and goes on behind it.
async fn scan(
    own: &mut Own,
    key: &[u8],
    (length, scan): (&str, &str),
    request: &ReadValue,
    mut position: Position,
    page: &mut ValuePage,
) -> Result<(), Fault> {
    let count = own.send(redis::cmd(length).arg(key)).await?;
    page.length = reply::count(&count);
    let mut all = Content::from_answer(&page.value_type, Value::Array(Vec::new()));
    let started = Instant::now();
    loop {
        let room = request.limit - all.len();
        let wanted = u16::try_from(room).unwrap_or(1000).clamp(1, 1000);
        let count = if position.skip > 0 {
            position.count
        } else {
            wanted
        };
        let mut command = redis::cmd(scan);
        command
            .arg(key)
            .arg(position.cursor)
            .arg("COUNT")
            .arg(count);
        let answer = reply::list(own.send(&command).await?);
        let [cursor, values] = <[Value; 2]>::try_from(answer).map_err(|_| unexpected("a scan"))?;
        let cursor = reply::text(&cursor)
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| unexpected("a scan"))?;
        let mut batch = Content::from_answer(&page.value_type, values);
        let listed = position.listed(names(&batch));
        let left = batch.len() - listed;
        let taken = left.min(room);
        let last = (listed + taken)
            .checked_sub(1)
            .and_then(|last| names(&batch).nth(last))
            .map_or(0, |name| name_of(&[name]));
        append(&mut all, &mut batch, listed, taken);
        position = if taken < left {
            Position {
                count,
                skip: u32::try_from(listed + taken).unwrap_or(u32::MAX),
                last,
                ..position
            }
        } else {
            Position {
                cursor,
                count: 0,
                skip: 0,
                last: 0,
                ..position
            }
        };
        if position.cursor == 0 && position.skip == 0 {
            break;
        }
        if all.len() >= request.limit || started.elapsed() > TIME {
            page.next_cursor = Some(position.write());
            break;
        }
    }
    all.sort();
    page.content = all;
    Ok(())
}

/// What tells elements apart: fields, members.
fn names(content: &Content) -> Box<dyn Iterator<Item = &[u8]> + '_> {
    match content {
        Content::Hash(all) => Box::new(all.iter().map(|(field, _)| field.as_slice())),
        other => other.texts(),
    }
}

fn append(all: &mut Content, batch: &mut Content, from: usize, count: usize) {
    match (all, batch) {
        (Content::Set(all), Content::Set(more)) => all.extend(more.drain(from..from + count)),
        (Content::Hash(all), Content::Hash(more)) => all.extend(more.drain(from..from + count)),
        (Content::Zset(all), Content::Zset(more)) => all.extend(more.drain(from..from + count)),
        _ => {}
    }
}

fn two(answers: Vec<Value>) -> Result<[Value; 2], Fault> {
    let [first, second] = <[Value; 2]>::try_from(answers).map_err(|_| unexpected("a pipeline"))?;
    Ok([checked(first)?, checked(second)?])
}
