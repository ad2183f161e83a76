//! `GET /info`, `GET /slowlog`, `GET /clients`: what the servers tell about themselves.

use redis::{Cmd, Value};
use serde_json::{Map, Number, json};

use super::{
    Redis,
    error::unexpected,
    keys::position::{Position, name_of},
    reply,
};
use crate::Error;

/// Parsed `INFO` of one server.
#[derive(Debug, Clone)]
pub struct NodeInfo {
    /// `host:port`.
    pub node: String,
    /// Section → name → value; numbers are numbers, `a=1,b=2` is an object.
    pub sections: Map<String, serde_json::Value>,
}

/// A command that took long.
#[derive(Debug, Clone)]
pub struct SlowCommand {
    /// The server that was slow.
    pub node: String,
    /// Counts up from the server's start.
    pub id: i64,
    /// Seconds since the epoch.
    pub started_at: i64,
    /// How long it took, in microseconds.
    pub duration_us: i64,
    /// The command and its arguments; Redis shortens long ones.
    pub command: Vec<Vec<u8>>,
    /// Who sent it.
    pub client_address: Option<String>,
    /// What the client calls itself.
    pub client_name: Option<String>,
}

/// A page of connected clients.
#[derive(Debug, Clone)]
pub struct ClientPage {
    /// Fields of `CLIENT LIST`, and `node`.
    pub clients: Vec<Map<String, serde_json::Value>>,
    /// Continues; `None` at the end.
    pub next_cursor: Option<String>,
}

impl Redis {
    /// Every server's `INFO`; `section` as Redis knows it, without one everything.
    ///
    /// # Errors
    /// No server.
    pub async fn node_infos(&self, section: Option<&str>) -> Result<Vec<NodeInfo>, Error> {
        let mut command = redis::cmd("INFO");
        command.arg(section.unwrap_or("everything"));
        let answers = self.everywhere(&command).await?;
        Ok(answers
            .into_iter()
            .map(|(node, answer)| NodeInfo {
                node,
                sections: parse(&reply::text(&answer).unwrap_or_default()),
            })
            .collect())
    }

    /// The newest entries of every server's slow log.
    ///
    /// # Errors
    /// No server.
    pub async fn list_slow_commands(&self, limit: usize) -> Result<Vec<SlowCommand>, Error> {
        let mut command = redis::cmd("SLOWLOG");
        command.arg("GET").arg(limit);
        let mut all: Vec<_> = self
            .everywhere(&command)
            .await?
            .into_iter()
            .flat_map(|(node, answer)| {
                reply::list(answer)
                    .into_iter()
                    .filter_map(move |entry| slow_command(&node, entry))
            })
            .collect();
        all.sort_by_key(|entry| std::cmp::Reverse((entry.started_at, entry.id)));
        all.truncate(limit);
        Ok(all)
    }

    /// Connected clients, by server and id.
    ///
    /// # Errors
    /// An unknown cursor, or no server.
    pub async fn list_clients(
        &self,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<ClientPage, Error> {
        let listing = name_of(&[b"clients"]);
        let from = match cursor {
            Some(cursor) => Position::read(cursor, listing)?,
            None => Position::default(),
        };
        let mut command = redis::cmd("CLIENT");
        command.arg("LIST");
        let mut all = Vec::new();
        for (index, (node, answer)) in self.everywhere(&command).await?.into_iter().enumerate() {
            for line in reply::text(&answer).unwrap_or_default().lines() {
                let client = client(&node, line);
                let id = client.get("id").and_then(serde_json::Value::as_u64);
                let at = (index as u64, id.unwrap_or(0));
                if at > (from.node, from.cursor) {
                    all.push((at, client));
                }
            }
        }
        all.sort_by_key(|(at, _)| *at);
        let more = all.len() > limit;
        all.truncate(limit);
        let next_cursor = all.last().filter(|_| more).map(|((node, id), _)| {
            Position {
                listing,
                node: *node,
                cursor: *id,
                ..Position::default()
            }
            .write()
        });
        Ok(ClientPage {
            clients: all.into_iter().map(|(_, client)| client).collect(),
            next_cursor,
        })
    }

    /// Sends a command to every server.
    pub(super) async fn everywhere(&self, command: &Cmd) -> Result<Vec<(String, Value)>, Error> {
        let mut answers = Vec::new();
        for node in self.router.nodes() {
            let mut own = node.own().await?;
            answers.push((node.address.to_string(), own.send(command).await?));
        }
        if answers.is_empty() {
            return Err(unexpected("CLUSTER SLOTS"));
        }
        Ok(answers)
    }
}

fn slow_command(node: &str, entry: Value) -> Option<SlowCommand> {
    let mut parts = reply::list(entry).into_iter();
    let mut number = || parts.next().as_ref().and_then(reply::integer);
    let (id, started_at, duration_us) = (number()?, number()?, number()?);
    let command = reply::list(parts.next()?);
    let mut text = || {
        parts
            .next()
            .as_ref()
            .and_then(reply::text)
            .filter(|text| !text.is_empty())
    };
    Some(SlowCommand {
        node: node.to_owned(),
        id,
        started_at,
        duration_us,
        command: command.into_iter().filter_map(reply::bytes).collect(),
        client_address: text(),
        client_name: text(),
    })
}

/// `id=3 addr=… name= age=0 …`
fn client(node: &str, line: &str) -> Map<String, serde_json::Value> {
    let mut client = Map::new();
    client.insert("node".to_owned(), json!(node));
    for field in line.split(' ') {
        if let Some((name, value)) = field.split_once('=') {
            client.insert(name.replace('-', "_"), scalar(value));
        }
    }
    client
}

/// Parses the text of `INFO`.
pub(super) fn parse(text: &str) -> Map<String, serde_json::Value> {
    let mut sections = Map::new();
    let mut section = String::from("server");
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("# ") {
            section = name.trim().to_lowercase();
            sections.entry(section.clone()).or_insert_with(|| json!({}));
            continue;
        }
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        if let Some(serde_json::Value::Object(members)) = sections.get_mut(&section) {
            members.insert(name.to_owned(), compound(value));
        }
    }
    sections
}

/// `keys=1,expires=0` is an object, everything else a scalar.
fn compound(value: &str) -> serde_json::Value {
    let pairs: Option<Vec<_>> = value.split(',').map(|part| part.split_once('=')).collect();
    match pairs {
        Some(pairs) => pairs
            .into_iter()
            .map(|(name, value)| (name.to_owned(), scalar(value)))
            .collect::<Map<_, _>>()
            .into(),
        None => scalar(value),
    }
}

fn scalar(text: &str) -> serde_json::Value {
    // Versions and hashes may look like numbers but for a letter or a second dot.
    if let Ok(number) = text.parse::<i64>()
        && number.to_string() == text
    {
        return number.into();
    }
    let decimal = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.' || byte == b'-');
    match text.parse::<f64>().ok().and_then(Number::from_f64) {
        Some(number) if decimal && text.contains('.') => number.into(),
        _ => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::parse;

    #[test]
    fn info_becomes_sections_with_numbers() {
        let info = parse(
            "# Server\r\nredis_version:7.0.15\r\nrun_id:0123\r\n\r\n# Memory\r\nused_memory:1024\r\n\
             mem_fragmentation_ratio:1.50\r\n# Keyspace\r\ndb0:keys=2,expires=1,avg_ttl=0\r\n",
        );
        assert_eq!(
            serde_json::Value::Object(info),
            json!({
                "server": {"redis_version": "7.0.15", "run_id": "0123"},
                "memory": {"used_memory": 1024, "mem_fragmentation_ratio": 1.5},
                "keyspace": {"db0": {"keys": 2, "expires": 1, "avg_ttl": 0}},
            })
        );
    }
}
