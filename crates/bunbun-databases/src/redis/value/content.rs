//! What a key holds, or a part of it, and the digest by which two states are told apart.

use bunbun_core::secret::hex;
use redis::{Pipeline, Value};
use sha2::{Digest, Sha256};

use crate::{
    Error,
    redis::{error::invalid, reply},
};

/// Elements per command when a value is written, so that each command is short.
const AT_ONCE: usize = 500;

/// Elements of a value.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// Bytes.
    String(Vec<u8>),
    /// In order.
    List(Vec<Vec<u8>>),
    /// In no order.
    Set(Vec<Vec<u8>>),
    /// Fields and values.
    Hash(Vec<(Vec<u8>, Vec<u8>)>),
    /// Members and scores, by score where all are here.
    Zset(Vec<(Vec<u8>, f64)>),
    /// By id.
    Stream(Vec<StreamEntry>),
    /// A JSON text, where the server has the module.
    Json(String),
    /// A module's value that only the module understands.
    Opaque,
}

/// An entry of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamEntry {
    /// `<milliseconds>-<number>`; when written, `*` lets Redis choose.
    pub id: String,
    /// In order; a name may stand twice.
    pub fields: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Content {
    /// Redis' name of the type.
    #[must_use]
    pub const fn value_type(&self) -> &'static str {
        match self {
            Self::String(_) => "string",
            Self::List(_) => "list",
            Self::Set(_) => "set",
            Self::Hash(_) => "hash",
            Self::Zset(_) => "zset",
            Self::Stream(_) => "stream",
            Self::Json(_) => "ReJSON-RL",
            Self::Opaque => "opaque",
        }
    }

    /// How many elements are here; bytes of a string.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::String(bytes) => bytes.len(),
            Self::List(all) | Self::Set(all) => all.len(),
            Self::Hash(all) => all.len(),
            Self::Zset(all) => all.len(),
            Self::Stream(all) => all.len(),
            Self::Json(text) => text.len(),
            Self::Opaque => 0,
        }
    }

    /// Whether nothing is here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every text in it, to find out how it can travel.
    pub fn texts(&self) -> Box<dyn Iterator<Item = &[u8]> + '_> {
        match self {
            Self::String(bytes) => Box::new(std::iter::once(bytes.as_slice())),
            Self::List(all) | Self::Set(all) => Box::new(all.iter().map(Vec::as_slice)),
            Self::Hash(all) => Box::new(all.iter().flat_map(|(f, v)| [f.as_slice(), v])),
            Self::Zset(all) => Box::new(all.iter().map(|(member, _)| member.as_slice())),
            Self::Stream(all) => Box::new(
                all.iter()
                    .flat_map(|entry| &entry.fields)
                    .flat_map(|(f, v)| [f.as_slice(), v]),
            ),
            Self::Json(_) | Self::Opaque => Box::new(std::iter::empty()),
        }
    }

    /// Puts elements of no order into one, so that a value always looks the same.
    pub(super) fn sort(&mut self) {
        match self {
            Self::Set(all) => {
                all.sort();
                all.dedup();
            }
            Self::Hash(all) => {
                all.sort();
                all.dedup_by(|a, b| a.0 == b.0);
            }
            Self::Zset(all) => {
                all.sort_by(|a, b| a.1.total_cmp(&b.1).then_with(|| a.0.cmp(&b.0)));
                all.dedup_by(|a, b| a.0 == b.0);
            }
            _ => {}
        }
    }

    /// A name of this whole value; the same for the same value, whatever its encoding.
    pub(super) fn digest(&self) -> String {
        let mut sorted = self.clone();
        sorted.sort();
        let mut hash = Sha256::new();
        let mut part = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        part(sorted.value_type().as_bytes());
        match &sorted {
            Self::Zset(all) => {
                for (member, score) in all {
                    part(member);
                    part(&score.to_bits().to_be_bytes());
                }
            }
            Self::Stream(all) => {
                for entry in all {
                    part(entry.id.as_bytes());
                    part(&(entry.fields.len() as u64).to_be_bytes());
                    for (field, value) in &entry.fields {
                        part(field);
                        part(value);
                    }
                }
            }
            Self::Json(text) => part(text.as_bytes()),
            other => other.texts().for_each(&mut part),
        }
        hex(&hash.finalize())
    }

    /// Adds the commands that write it where nothing is.
    pub(super) fn write(&self, commands: &mut Pipeline, key: &[u8]) -> Result<(), Error> {
        if self.is_empty() && !matches!(self, Self::String(_)) {
            return Err(invalid(
                "Redis knows no empty lists, sets, hashes or streams. Delete the key instead.",
            ));
        }
        match self {
            Self::String(bytes) => {
                commands.cmd("SET").arg(key).arg(bytes.as_slice());
            }
            Self::List(all) => {
                for some in all.chunks(AT_ONCE) {
                    commands.cmd("RPUSH").arg(key).arg(some);
                }
            }
            Self::Set(all) => {
                for some in all.chunks(AT_ONCE) {
                    commands.cmd("SADD").arg(key).arg(some);
                }
            }
            Self::Hash(all) => {
                for some in all.chunks(AT_ONCE) {
                    let command = commands.cmd("HSET").arg(key);
                    for (field, value) in some {
                        command.arg(field.as_slice()).arg(value.as_slice());
                    }
                }
            }
            Self::Zset(all) => {
                for some in all.chunks(AT_ONCE) {
                    let command = commands.cmd("ZADD").arg(key);
                    for (member, score) in some {
                        command.arg(score.to_string()).arg(member.as_slice());
                    }
                }
            }
            Self::Stream(all) => {
                check_order(all)?;
                for entry in all {
                    entry.add_to(commands, key)?;
                }
            }
            Self::Json(text) => {
                commands.cmd("JSON.SET").arg(key).arg("$").arg(text);
            }
            Self::Opaque => return Err(invalid("A value of this type cannot be written.")),
        }
        Ok(())
    }

    /// Elements as the reading commands answer them.
    pub(super) fn from_answer(value_type: &str, answer: Value) -> Self {
        match value_type {
            "string" => Self::String(reply::bytes(answer).unwrap_or_default()),
            "list" => Self::List(texts(answer)),
            "set" => Self::Set(texts(answer)),
            "hash" => Self::Hash(fields(answer)),
            "zset" => Self::Zset(scores(answer)),
            "stream" => Self::Stream(entries(answer)),
            "ReJSON-RL" => Self::Json(reply::text(&answer).unwrap_or_default()),
            _ => Self::Opaque,
        }
    }
}

impl StreamEntry {
    pub(super) fn add_to(&self, commands: &mut Pipeline, key: &[u8]) -> Result<(), Error> {
        if self.fields.is_empty() {
            return Err(invalid("An entry of a stream has at least one field."));
        }
        // Anything else might be an option of the command.
        let is_id = |id: &str| id == "*" || numbers(id).is_some();
        if !is_id(&self.id) && !self.id.strip_suffix("-*").is_some_and(is_id) {
            return Err(invalid("An id of an entry is two numbers, or `*`."));
        }
        let command = commands.cmd("XADD").arg(key).arg(&self.id);
        for (field, value) in &self.fields {
            command.arg(field.as_slice()).arg(value.as_slice());
        }
        Ok(())
    }
}

/// The two numbers of an id; the second may be left out.
fn numbers(id: &str) -> Option<(u64, u64)> {
    let number = |text: &str| {
        let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        is_plain.then(|| text.parse().ok()).flatten()
    };
    let (milliseconds, sequence) = id.split_once('-').unwrap_or((id, "0"));
    number(milliseconds).zip(number(sequence))
}

/// Whether Redis takes entries with these ids one after the other. It would keep those before one
/// that it refuses, in place of what was there.
fn check_order(entries: &[StreamEntry]) -> Result<(), Error> {
    let mut last = (0, 0);
    let mut is_chosen = false;
    for entry in entries {
        if entry.id == "*" {
            if last == (u64::MAX, u64::MAX) {
                return Err(invalid("There are no ids after the last one."));
            }
            is_chosen = true;
            continue;
        }
        if is_chosen {
            return Err(invalid(
                "Entries without an id have to stand after those with one: Redis takes the time.",
            ));
        }
        let id = numbers(&entry.id).ok_or_else(|| {
            invalid("An id of an entry is two numbers: <milliseconds>-<sequence>.")
        })?;
        if id <= last {
            return Err(invalid(
                "The ids of a stream's entries begin after 0-0, and each is greater than the one \
                 before it.",
            ));
        }
        last = id;
    }
    Ok(())
}

pub(super) fn texts(answer: Value) -> Vec<Vec<u8>> {
    reply::list(answer)
        .into_iter()
        .filter_map(reply::bytes)
        .collect()
}

fn fields(answer: Value) -> Vec<(Vec<u8>, Vec<u8>)> {
    reply::pairs(answer)
        .into_iter()
        .filter_map(|(field, value)| Some((reply::bytes(field)?, reply::bytes(value)?)))
        .collect()
}

/// ZRANGE … WITHSCORES answers pairs in RESP3, ZSCAN alternates.
fn scores(answer: Value) -> Vec<(Vec<u8>, f64)> {
    let values = reply::list(answer);
    let pairs: Vec<_> = if values.iter().all(|value| matches!(value, Value::Array(_))) {
        values
            .into_iter()
            .filter_map(|pair| <[Value; 2]>::try_from(reply::list(pair)).ok())
            .map(|[member, score]| (member, score))
            .collect()
    } else {
        reply::pairs(Value::Array(values))
    };
    pairs
        .into_iter()
        .filter_map(|(member, score)| Some((reply::bytes(member)?, reply::double(&score)?)))
        .collect()
}

fn entries(answer: Value) -> Vec<StreamEntry> {
    reply::list(answer)
        .into_iter()
        .filter_map(|entry| {
            let [id, values] = <[Value; 2]>::try_from(reply::list(entry)).ok()?;
            Some(StreamEntry {
                id: reply::text(&id)?,
                fields: fields(values),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::Content;

    fn bytes(text: &str) -> Vec<u8> {
        text.as_bytes().to_vec()
    }

    #[test]
    fn the_digest_knows_values_but_not_the_order_of_what_has_none() {
        let ab = Content::Set(vec![bytes("a"), bytes("b")]);
        let ba = Content::Set(vec![bytes("b"), bytes("a")]);
        assert_eq!(ab.digest(), ba.digest());
        let list = Content::List(vec![bytes("a"), bytes("b")]);
        assert_ne!(list.digest(), ab.digest());
        assert_ne!(
            list.digest(),
            Content::List(vec![bytes("b"), bytes("a")]).digest()
        );
        assert_ne!(
            Content::List(vec![bytes("ab"), bytes("")]).digest(),
            Content::List(vec![bytes("a"), bytes("b")]).digest()
        );
        let one = Content::Zset(vec![(bytes("a"), 1.0)]);
        let two = Content::Zset(vec![(bytes("a"), 2.0)]);
        assert_ne!(one.digest(), two.digest());
    }
}
