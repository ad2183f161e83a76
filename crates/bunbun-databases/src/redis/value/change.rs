//! `PUT /keys/{key}` with `changes`: parts of a value, all in one transaction.

use redis::{Pipeline, Value};

use super::{
    content::{StreamEntry, texts},
    write::{Ttl, changed, compare},
};
use crate::{
    Error,
    redis::{
        Redis,
        error::{Fault, checked, invalid, wrong_type},
        keys::{Expiry, type_name},
        node::Own,
        reply,
    },
};

/// An end of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The head.
    Left,
    /// The tail.
    Right,
}

/// One change of a part.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Bytes behind a string's end.
    Append(Vec<u8>),
    /// Fields of a hash, new or other ones.
    HashSet(Vec<(Vec<u8>, Vec<u8>)>),
    /// Fields that go.
    HashDelete(Vec<Vec<u8>>),
    /// Elements at an end of a list.
    ListPush(End, Vec<Vec<u8>>),
    /// Elements that are taken from an end.
    ListPop(End, u64),
    /// Another element at an index; negative ones count from the tail.
    ListSet(i64, Vec<u8>),
    /// Members that come.
    SetAdd(Vec<Vec<u8>>),
    /// Members that go.
    SetRemove(Vec<Vec<u8>>),
    /// Members with scores, new or other ones.
    ZsetAdd(Vec<(Vec<u8>, f64)>),
    /// Members that go.
    ZsetRemove(Vec<Vec<u8>>),
    /// An entry at the end.
    StreamAdd(StreamEntry),
    /// Only the newest entries stay.
    StreamTrim(u64),
    /// Entries that go.
    StreamDelete(Vec<String>),
    /// A part of a JSON value: path and JSON text.
    JsonSet(String, String),
}

/// What a change did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changed {
    /// How many elements came or went, or how many there are: as Redis counts it.
    Count(i64),
    /// The elements that were taken.
    Taken(Vec<Vec<u8>>),
    /// The id of the new entry.
    Id(String),
    /// Nothing to tell.
    Done,
}

impl Change {
    const fn value_type(&self) -> &'static str {
        match self {
            Self::Append(_) => "string",
            Self::HashSet(_) | Self::HashDelete(_) => "hash",
            Self::ListPush(..) | Self::ListPop(..) | Self::ListSet(..) => "list",
            Self::SetAdd(_) | Self::SetRemove(_) => "set",
            Self::ZsetAdd(_) | Self::ZsetRemove(_) => "zset",
            Self::StreamAdd(_) | Self::StreamTrim(_) | Self::StreamDelete(_) => "stream",
            Self::JsonSet(..) => "ReJSON-RL",
        }
    }

    /// Whether Redis may refuse it although the type is right. A transaction of Redis does not
    /// take back what its other commands did, so such a change stands alone.
    fn may_fail(&self) -> bool {
        match self {
            Self::ListSet(..) | Self::JsonSet(..) | Self::Append(_) => true,
            Self::StreamAdd(entry) => entry.id != "*",
            Self::StreamDelete(_) => true,
            _ => false,
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::HashSet(all) => all.is_empty(),
            Self::ListPush(_, all)
            | Self::HashDelete(all)
            | Self::SetAdd(all)
            | Self::SetRemove(all)
            | Self::ZsetRemove(all) => all.is_empty(),
            Self::ZsetAdd(all) => all.is_empty(),
            Self::StreamDelete(all) => all.is_empty(),
            _ => false,
        }
    }

    fn add_to(&self, commands: &mut Pipeline, key: &[u8]) -> Result<(), Error> {
        match self {
            Self::Append(bytes) => commands.cmd("APPEND").arg(key).arg(bytes.as_slice()),
            Self::HashSet(all) => {
                let command = commands.cmd("HSET").arg(key);
                for (field, value) in all {
                    command.arg(field.as_slice()).arg(value.as_slice());
                }
                command
            }
            Self::HashDelete(all) => commands.cmd("HDEL").arg(key).arg(all.as_slice()),
            Self::ListPush(End::Left, all) => commands.cmd("LPUSH").arg(key).arg(all.as_slice()),
            Self::ListPush(End::Right, all) => commands.cmd("RPUSH").arg(key).arg(all.as_slice()),
            Self::ListPop(End::Left, count) => commands.cmd("LPOP").arg(key).arg(*count),
            Self::ListPop(End::Right, count) => commands.cmd("RPOP").arg(key).arg(*count),
            Self::ListSet(index, value) => commands
                .cmd("LSET")
                .arg(key)
                .arg(*index)
                .arg(value.as_slice()),
            Self::SetAdd(all) => commands.cmd("SADD").arg(key).arg(all.as_slice()),
            Self::SetRemove(all) => commands.cmd("SREM").arg(key).arg(all.as_slice()),
            Self::ZsetAdd(all) => {
                let command = commands.cmd("ZADD").arg(key);
                for (member, score) in all {
                    command.arg(score.to_string()).arg(member.as_slice());
                }
                command
            }
            Self::ZsetRemove(all) => commands.cmd("ZREM").arg(key).arg(all.as_slice()),
            Self::StreamAdd(entry) => {
                entry.add_to(commands, key)?;
                commands
            }
            Self::StreamTrim(length) => commands
                .cmd("XTRIM")
                .arg(key)
                .arg("MAXLEN")
                .arg("=")
                .arg(*length),
            Self::StreamDelete(all) => commands.cmd("XDEL").arg(key).arg(all.as_slice()),
            Self::JsonSet(path, text) => commands.cmd("JSON.SET").arg(key).arg(path).arg(text),
        };
        Ok(())
    }

    fn outcome(&self, answer: Value) -> Changed {
        match (self, answer) {
            (Self::ListPop(..), Value::Nil) => Changed::Taken(Vec::new()),
            (Self::ListPop(..), answer) => Changed::Taken(texts(answer)),
            (Self::StreamAdd(_), answer) => reply::text(&answer).map_or(Changed::Done, Changed::Id),
            (_, answer) => reply::integer(&answer).map_or(Changed::Done, Changed::Count),
        }
    }
}

impl Redis {
    /// Makes all changes or, when a condition does not hold, none.
    ///
    /// # Errors
    /// `WrongType`, `PreconditionFailed`, or what Redis has against a change.
    pub async fn change_value(
        &self,
        key: &[u8],
        changes: &[Change],
        ttl: Ttl,
        if_match: Option<&str>,
    ) -> Result<Vec<Changed>, Error> {
        check(changes)?;
        let mut attempts = self.router.attempts(key);
        loop {
            let mut own = attempts.own().await?;
            let result = try_change(&mut own, key, changes, ttl, if_match).await;
            if let Some(Some(outcomes)) = attempts.settle(own, result).await? {
                return Ok(outcomes);
            }
        }
    }
}

fn check(changes: &[Change]) -> Result<(), Error> {
    let Some(first) = changes.first() else {
        return Err(invalid("There are no changes."));
    };
    if changes.iter().any(Change::is_empty) {
        return Err(invalid("A change names no elements."));
    }
    if changes
        .iter()
        .any(|change| change.value_type() != first.value_type())
    {
        return Err(invalid("The changes are for different types of values."));
    }
    if changes.len() > 1 && changes.iter().any(Change::may_fail) {
        return Err(invalid(
            "Changes that Redis may refuse (list_set, append, json_set, stream_delete, stream_add \
             with an id) have to stand alone: Redis would not take the others back.",
        ));
    }
    Ok(())
}

/// `None` when the key changed meanwhile and nothing was done.
async fn try_change(
    own: &mut Own,
    key: &[u8],
    changes: &[Change],
    ttl: Ttl,
    if_match: Option<&str>,
) -> Result<Option<Vec<Changed>>, Fault> {
    // Without a condition and an expiry nothing can come between that matters: all changes are for
    // one type, so that either all of them fit what is there or none.
    if if_match.is_some() || ttl != Ttl::Keep {
        own.watch(key).await?;
    }
    let wanted = changes[0].value_type();
    let there = type_name(own.send(redis::cmd("TYPE").arg(key)).await?);
    if let Some(there) = there.filter(|there| there != wanted) {
        return Err(wrong_type(format!("The key holds a {there}, not a {wanted}.")).into());
    }
    if let Some(digest) = if_match {
        compare(own, key, digest).await?;
    }
    let mut transaction = Pipeline::new();
    transaction.atomic();
    for change in changes {
        change.add_to(&mut transaction, key)?;
    }
    if let Ttl::Set(expiry) = ttl {
        Expiry::add_to(expiry, &mut transaction, key);
    }
    let Some(answers) = own.commit(&transaction).await? else {
        return match if_match {
            Some(_) => Err(changed().into()),
            None => Ok(None),
        };
    };
    let mut outcomes = Vec::with_capacity(changes.len());
    for (change, answer) in changes.iter().zip(answers) {
        outcomes.push(change.outcome(checked(answer)?));
    }
    Ok(Some(outcomes))
}
