//! `POST /keys/{key}/expire` and `POST /keys/{key}/rename`.

use redis::Pipeline;

use crate::{
    Error,
    redis::{
        Redis,
        error::{Fault, checked, invalid},
        node::Own,
        reply,
        router::Repeat,
        slot,
    },
};

/// When a key is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// After so many milliseconds.
    After(u64),
    /// At a moment, in milliseconds since the epoch.
    At(u64),
    /// Never.
    Never,
}

impl Expiry {
    /// Adds the command that sets it.
    pub(in crate::redis) fn add_to(self, commands: &mut Pipeline, key: &[u8]) {
        match self {
            Self::After(ms) => commands.cmd("PEXPIRE").arg(key).arg(ms),
            Self::At(ms) => commands.cmd("PEXPIREAT").arg(key).arg(ms),
            Self::Never => commands.cmd("PERSIST").arg(key),
        };
    }
}

impl Redis {
    /// Sets a key's expiry and returns the milliseconds that are left, `None` for ever;
    /// a moment that has passed deletes the key.
    ///
    /// # Errors
    /// `KeyNotFound`.
    pub async fn expire_key(&self, key: &[u8], expiry: Expiry) -> Result<Option<u64>, Error> {
        let mut commands = Pipeline::with_capacity(3);
        commands.atomic();
        commands.cmd("EXISTS").arg(key);
        expiry.add_to(&mut commands, key);
        commands.cmd("PTTL").arg(key);
        let answers = self.router.pipeline(key, &commands, Repeat::Never).await?;
        let answers = answers
            .into_iter()
            .next()
            .map(reply::list)
            .unwrap_or_default();
        let mut answers = answers.into_iter().map(checked);
        let mut next = || answers.next().unwrap_or(Ok(redis::Value::Nil));
        if reply::count(&next()?) == 0 {
            return Err(Error::key_not_found());
        }
        next()?;
        Ok(match reply::integer(&next()?) {
            // A moment that has passed: the key has gone already.
            Some(-2) => Some(0),
            left => left.and_then(|left| u64::try_from(left).ok()),
        })
    }

    /// Gives a key another name.
    ///
    /// # Errors
    /// `KeyNotFound`; `KeyExists` unless `overwrite`; in a cluster also when the two names are
    /// not on the same server.
    pub async fn rename_key(&self, key: &[u8], to: &[u8], overwrite: bool) -> Result<(), Error> {
        if self.is_cluster() && slot::of(key) != slot::of(to) {
            return Err(invalid(
                "The two names are on different servers of the cluster. Give them a common {tag}.",
            ));
        }
        let mut attempts = self.router.attempts(key);
        loop {
            let mut own = attempts.own().await?;
            let result = try_rename(&mut own, key, to, overwrite).await;
            if attempts.settle(own, result).await? == Some(true) {
                return Ok(());
            }
        }
    }
}

/// False when one of the keys changed meanwhile.
async fn try_rename(own: &mut Own, key: &[u8], to: &[u8], overwrite: bool) -> Result<bool, Fault> {
    own.watch(key).await?;
    own.watch(to).await?;
    let mut ask = Pipeline::with_capacity(2);
    ask.cmd("EXISTS").arg(key);
    ask.cmd("EXISTS").arg(to);
    let mut found = Vec::with_capacity(2);
    for answer in own.send_all(&ask).await? {
        found.push(reply::count(&checked(answer)?) > 0);
    }
    if !found.first().copied().unwrap_or(false) {
        return Err(Fault::Final(Error::key_not_found()));
    }
    let taken = found.get(1).copied().unwrap_or(false) && key != to;
    if taken && !overwrite {
        return Err(Fault::Final(Error::key_exists()));
    }
    let mut transaction = Pipeline::with_capacity(2);
    transaction.atomic();
    if taken {
        // RENAME would free what it replaces while everyone waits.
        transaction.cmd("UNLINK").arg(to);
    }
    transaction.cmd("RENAME").arg(key).arg(to);
    let Some(answers) = own.commit(&transaction).await? else {
        return Ok(false);
    };
    for answer in answers {
        checked(answer)?;
    }
    Ok(true)
}
