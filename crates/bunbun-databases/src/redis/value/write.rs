//! `POST` and `PUT /keys/{key}`: a value is created or replaced as a whole.
//!
//! A condition holds until the write: the key is watched (WATCH) before it is looked at, and the
//! write is a transaction (MULTI … EXEC) on the same connection, which Redis drops if the key
//! changed in between.

use redis::{Pipeline, Value};

use super::content::Content;
use crate::{
    Error,
    redis::{
        Redis,
        error::{Fault, checked, unexpected},
        keys::{Expiry, type_name},
        node::Own,
        reply,
        router::Repeat,
    },
};

/// Elements of a value that is compared with a digest.
const COMPARED: u64 = 1000;
/// Bytes of a string that is compared with a digest.
const COMPARED_BYTES: u64 = 1 << 20;

/// A value to be written.
#[derive(Debug, Clone)]
pub struct NewValue {
    /// All of it.
    pub content: Content,
    /// When it expires.
    pub ttl: Ttl,
    /// What is there already.
    pub mode: WriteMode,
}

/// What becomes of a key's expiry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ttl {
    /// As it was; a new key has none.
    #[default]
    Keep,
    /// Set.
    Set(Expiry),
}

/// What a write expects to find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteMode {
    /// Nothing.
    Create,
    /// Anything or nothing.
    Replace,
    /// The value of this digest.
    IfMatch(String),
}

impl Redis {
    /// Writes a value.
    ///
    /// # Errors
    /// `KeyExists` when creating, `PreconditionFailed` when the digest is another.
    pub async fn write_value(&self, key: &[u8], value: &NewValue) -> Result<(), Error> {
        if let (Content::String(bytes), WriteMode::Create | WriteMode::Replace) =
            (&value.content, &value.mode)
        {
            return self.write_string(key, bytes, value).await;
        }
        let mut attempts = self.router.attempts(key);
        loop {
            let mut own = attempts.own().await?;
            let result = try_write(&mut own, key, value).await;
            if attempts.settle(own, result).await? == Some(true) {
                return Ok(());
            }
        }
    }

    /// Strings have a command that does all at once.
    async fn write_string(&self, key: &[u8], bytes: &[u8], value: &NewValue) -> Result<(), Error> {
        let mut command = redis::cmd("SET");
        command.arg(key).arg(bytes);
        match value.ttl {
            Ttl::Keep if value.mode == WriteMode::Replace => {
                command.arg("KEEPTTL");
            }
            Ttl::Keep | Ttl::Set(Expiry::Never) => {}
            Ttl::Set(Expiry::After(ms)) => {
                command.arg("PX").arg(ms);
            }
            Ttl::Set(Expiry::At(ms)) => {
                command.arg("PXAT").arg(ms);
            }
        }
        if value.mode == WriteMode::Create {
            command.arg("NX");
        }
        match self.router.command(key, command, Repeat::Never).await? {
            Value::Nil => Err(Error::key_exists()),
            _ => Ok(()),
        }
    }
}

/// False when the key changed meanwhile and nothing was written.
async fn try_write(own: &mut Own, key: &[u8], value: &NewValue) -> Result<bool, Fault> {
    own.watch(key).await?;
    let mut ask = Pipeline::with_capacity(2);
    ask.cmd("EXISTS").arg(key);
    ask.cmd("PTTL").arg(key);
    let [exists, ttl] =
        <[Value; 2]>::try_from(own.send_all(&ask).await?).map_err(|_| unexpected("a pipeline"))?;
    let exists = reply::count(&checked(exists)?) > 0;
    match &value.mode {
        WriteMode::Create if exists => return Err(Error::key_exists().into()),
        WriteMode::IfMatch(digest) => compare(own, key, digest).await?,
        WriteMode::Create | WriteMode::Replace => {}
    }
    let mut transaction = Pipeline::new();
    transaction.atomic();
    if exists {
        transaction.cmd("UNLINK").arg(key);
    }
    value.content.write(&mut transaction, key)?;
    match value.ttl {
        Ttl::Keep => {
            if let Some(left) = reply::integer(&ttl).and_then(|ms| u64::try_from(ms).ok()) {
                Expiry::After(left).add_to(&mut transaction, key);
            }
        }
        Ttl::Set(Expiry::Never) => {}
        Ttl::Set(expiry) => expiry.add_to(&mut transaction, key),
    }
    let Some(answers) = own.commit(&transaction).await? else {
        return match value.mode {
            WriteMode::IfMatch(_) => Err(changed().into()),
            _ => Ok(false),
        };
    };
    for answer in answers {
        checked(answer)?;
    }
    Ok(true)
}

/// Compares what is there with a digest; the key has to be watched.
pub(super) async fn compare(own: &mut Own, key: &[u8], digest: &str) -> Result<(), Fault> {
    let value_type = own.send(redis::cmd("TYPE").arg(key)).await?;
    let Some(value_type) = type_name(value_type) else {
        return Err(changed().into());
    };
    let (length, limit) = match &*value_type {
        "string" => ("STRLEN", COMPARED_BYTES),
        "list" => ("LLEN", COMPARED),
        "set" => ("SCARD", COMPARED),
        "hash" => ("HLEN", COMPARED),
        "zset" => ("ZCARD", COMPARED),
        "stream" => ("XLEN", COMPARED),
        _ => ("EXISTS", COMPARED),
    };
    let length = own.send(redis::cmd(length).arg(key)).await?;
    if reply::count(&length) > limit {
        return Err(Fault::Final(Error::precondition_failed().details(serde_json::json!({ "reason": "The value has become too large to be compared with a digest." }))));
    }
    let mut command;
    match &*value_type {
        "string" => command = redis::cmd("GET"),
        "list" => command = redis::cmd("LRANGE"),
        "set" => command = redis::cmd("SMEMBERS"),
        "hash" => command = redis::cmd("HGETALL"),
        "zset" => command = redis::cmd("ZRANGE"),
        "stream" => command = redis::cmd("XRANGE"),
        _ => command = redis::cmd("JSON.GET"),
    }
    command.arg(key);
    match &*value_type {
        "list" => {
            command.arg(0).arg(-1);
        }
        "zset" => {
            command.arg(0).arg(-1).arg("WITHSCORES");
        }
        "stream" => {
            command.arg("-").arg("+");
        }
        _ => {}
    }
    let there = Content::from_answer(&value_type, own.send(&command).await?);
    if there.digest() == digest {
        Ok(())
    } else {
        Err(changed().into())
    }
}

/// Somebody else was faster.
pub(super) fn changed() -> Error {
    Error::precondition_failed().details(serde_json::json!({ "reason": "The value is not the one that `if_match` names. Read it again." }))
}
