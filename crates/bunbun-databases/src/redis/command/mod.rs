//! `POST /command`: one command of the caller's, if its role allows it.

mod table;

use redis::Pipeline;
use serde::Deserialize;

use self::table::{Class, MAX_ELEMENTS, Size, class_of, first_key, named, sizes};
use super::{
    Redis,
    error::{checked, invalid},
    json, reply,
    text::TextEncoding,
};
use crate::Error;

/// Arguments of one command.
const MAX_ARGUMENTS: usize = 10_000;

/// What a caller may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub enum Role {
    /// Commands that change nothing.
    Reader,
    /// Commands that change data.
    Writer,
    /// Every command that makes sense here, when it is confirmed.
    Administrator,
}

impl Redis {
    /// Runs a command and returns its answer and how its strings are written.
    ///
    /// # Errors
    /// `QueryNotAllowed` and `ConfirmationRequired` by the rules of `command/table.rs`.
    pub async fn run_command(
        &self,
        arguments: &[Vec<u8>],
        role: Role,
        confirm: Option<&str>,
        encoding: Option<TextEncoding>,
    ) -> Result<(serde_json::Value, TextEncoding), Error> {
        let Some(name) = arguments.first() else {
            return Err(invalid("The command is empty."));
        };
        if arguments.len() > MAX_ARGUMENTS {
            return Err(invalid(format!(
                "A command has at most {MAX_ARGUMENTS} arguments."
            )));
        }
        let name = String::from_utf8_lossy(name).to_ascii_uppercase();
        let class = class_of(&name, &arguments[1..]);
        let confirmed = admit(&name, class, role, confirm)?;
        let key = first_key(&name, &arguments[1..])
            .unwrap_or_default()
            .to_vec();
        if !confirmed {
            self.check_size(&name, &arguments[1..]).await?;
        }
        let mut command = redis::Cmd::with_capacity(arguments.len(), 0);
        // The same effect, but memory is freed in a thread of its own.
        let sent = if name == "DEL" { "UNLINK" } else { &name };
        command.arg(sent);
        for argument in &arguments[1..] {
            command.arg(argument.as_slice());
        }
        if matches!(name.as_str(), "FLUSHALL" | "FLUSHDB") && arguments.len() == 1 {
            command.arg("ASYNC");
        }
        let mut attempts = self.router.attempts(&key);
        loop {
            let mut own = attempts.own().await?;
            let result = own.send(&command).await;
            if class == Class::Administration {
                // It may have changed the connection itself.
                own.spoil();
            }
            if let Some(answer) = attempts.settle(own, result).await? {
                let encoding = encoding.unwrap_or_else(|| json::encoding_of(&answer));
                return Ok((json::write(answer, encoding), encoding));
            }
        }
    }

    /// Refuses commands that would go through very many elements at once.
    async fn check_size(&self, name: &str, arguments: &[Vec<u8>]) -> Result<(), Error> {
        if let Some(count) = named(name, arguments) {
            return check_count(name, count, MAX_ELEMENTS);
        }
        let Some(Size { length, keys, most }) = sizes(name, arguments) else {
            return Ok(());
        };
        let mut sum = 0;
        for key in keys {
            let mut ask = Pipeline::with_capacity(1);
            ask.cmd(length).arg(key.as_slice());
            let answers = self
                .router
                .pipeline(key, &ask, super::router::Repeat::Safe)
                .await?;
            for answer in answers {
                // Another type: the command itself says so better.
                sum += checked(answer).map_or(0, |answer| reply::count(&answer));
            }
        }
        check_count(name, sum, most)
    }
}

fn check_count(name: &str, count: u64, most: u64) -> Result<(), Error> {
    if count <= most {
        return Ok(());
    }
    Err(Error::query_not_allowed(
        format!(
            "{name} would go through {count} elements or bytes at once while the server does nothing \
             else; at most {most}. Read the key page by page."
        ),
        "/command/0",
    ))
}

/// Whether a command changes nothing, so that readers may send it.
#[must_use]
pub fn is_read_only(arguments: &[Vec<u8>]) -> bool {
    arguments.split_first().is_some_and(|(name, arguments)| {
        let name = String::from_utf8_lossy(name).to_ascii_uppercase();
        class_of(&name, arguments) == Class::Read
    })
}

/// Whether the role may do it; true when an administrator confirmed it.
fn admit(name: &str, class: Class, role: Role, confirm: Option<&str>) -> Result<bool, Error> {
    let refuse = |message: String| Err(Error::query_not_allowed(message, "/command/0"));
    let needed = match class {
        Class::Never(why) => return refuse(format!("{name} is not possible here: {why}.")),
        Class::Read => Role::Reader,
        Class::Write => Role::Writer,
        Class::Administration => Role::Administrator,
    };
    if role < needed {
        return refuse(match needed {
            Role::Administrator => format!("{name} is for administrators only."),
            _ => format!("{name} changes data, which this caller may not."),
        });
    }
    let confirmed = confirm.is_some_and(|confirm| confirm.eq_ignore_ascii_case(name));
    if class == Class::Administration && !confirmed {
        return Err(Error::confirmation_required(name));
    }
    Ok(confirmed && role == Role::Administrator)
}

#[cfg(test)]
mod tests {
    use bunbun_core::{Classify as _, Code};

    use super::{Role, admit, table::class_of};
    use crate::Error;

    fn may(command: &str, role: Role, confirm: Option<&str>) -> Result<bool, Error> {
        let mut parts = command.split(' ').map(|part| part.as_bytes().to_vec());
        let name = String::from_utf8(parts.next().unwrap()).unwrap();
        let arguments: Vec<_> = parts.collect();
        admit(&name, class_of(&name, &arguments), role, confirm)
    }

    #[test]
    fn roles_confirmations_and_impossible_commands() {
        assert!(may("GET a", Role::Reader, None).is_ok());
        for command in ["SET a b", "DEL a", "XADD s * a b", "EXPIRE a 1"] {
            let refused = may(command, Role::Reader, None);
            assert!(
                refused.is_err_and(|error| error.code() == Code::QueryNotAllowed),
                "{command}"
            );
            assert!(may(command, Role::Writer, None).is_ok(), "{command}");
        }
        for command in [
            "FLUSHALL",
            "CONFIG GET *",
            "SHUTDOWN",
            "DEBUG SLEEP 1",
            "EVAL x 0",
            "KEYS *",
            "FUNCTION FLUSH",
            "SCRIPT KILL",
            "NEW.COMMAND",
            "SORT a",
            "CLIENT KILL 1",
        ] {
            let name = command.split(' ').next();
            let refused = may(command, Role::Writer, name);
            assert!(
                refused.is_err_and(|error| error.code() == Code::QueryNotAllowed),
                "{command}"
            );
            let refused = may(command, Role::Administrator, None);
            assert!(
                refused.is_err_and(|error| error.code() == Code::ConfirmationRequired),
                "{command}"
            );
            let refused = may(command, Role::Administrator, Some("yes"));
            assert!(
                refused.is_err_and(|error| error.code() == Code::ConfirmationRequired),
                "{command}"
            );
            assert!(
                may(command, Role::Administrator, name).unwrap(),
                "{command}"
            );
        }
        for command in [
            "BLPOP a 0",
            "SUBSCRIBE a",
            "MONITOR",
            "MULTI",
            "SELECT 1",
            "AUTH a",
            "HELLO 2",
            "XREAD BLOCK 0 STREAMS a $",
            "CLIENT REPLY OFF",
            "CLIENT PAUSE 1000",
            "WAIT 1 0",
        ] {
            let name = command.split(' ').next();
            let refused = may(command, Role::Administrator, name);
            assert!(
                refused.is_err_and(|error| error.code() == Code::QueryNotAllowed),
                "{command}"
            );
        }
    }
}
