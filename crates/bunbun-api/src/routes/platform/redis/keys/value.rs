//! Values as JSON: what is sent to be written, and what is read.

use bunbun_core::Code;
use bunbun_databases::{
    Error,
    redis::{Change, Changed, Content, End, StreamEntry, TextEncoding, score},
};
use bunbun_http::ApiError;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::{Value, json};
use utoipa::ToSchema;

/// Elements of one request.
const MAX_ELEMENTS: usize = 10_000;

/// A field of a hash or of a stream's entry.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RedisField {
    /// Its name.
    field: String,
    /// Its value.
    value: String,
}

/// A member of a sorted set.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RedisMember {
    /// The member.
    member: String,
    /// Its score.
    #[schema(value_type = RedisScore)]
    #[serde(deserialize_with = "read_score")]
    score: f64,
}

/// A score: a number, or a text where JSON has no number for it.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum RedisScore {
    /// A number.
    Number(f64),
    /// `inf` or `-inf`.
    Text(String),
}

fn read_score<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    match RedisScore::deserialize(deserializer)? {
        RedisScore::Number(number) => Ok(number),
        RedisScore::Text(text) => match text.as_str() {
            "inf" | "+inf" => Ok(f64::INFINITY),
            "-inf" => Ok(f64::NEG_INFINITY),
            _ => Err(D::Error::custom("a score is a number, \"inf\" or \"-inf\"")),
        },
    }
}

/// An entry of a stream.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RedisEntry {
    /// Its id; Redis chooses one when absent.
    #[serde(default)]
    id: Option<String>,
    /// Its fields, in order.
    fields: Vec<RedisField>,
}

/// An end of a list.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RedisEnd {
    /// The head.
    Left,
    /// The tail.
    Right,
}

/// What a value is.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RedisType {
    /// A text, or bytes.
    String,
    /// Elements in order.
    List,
    /// Members in no order.
    Set,
    /// Fields with values.
    Hash,
    /// Members with scores.
    Zset,
    /// Entries by id.
    Stream,
    /// JSON, where the server has the module.
    Json,
}

impl RedisType {
    /// The value of this type that a JSON value stands for.
    pub(super) fn with(self, value: Value) -> Result<RedisValue, Error> {
        serde_json::from_value(json!({ "type": self, "value": value }))
            .map_err(|_| Error::invalid("The value does not have the form of its type.", "/value"))
    }
}

/// A value, whole.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", content = "value", rename_all = "lowercase")]
pub(super) enum RedisValue {
    /// A text, or bytes as base64.
    String(String),
    /// Elements in order.
    List(Vec<String>),
    /// Members in no order.
    Set(Vec<String>),
    /// Fields.
    Hash(Vec<RedisField>),
    /// Members with scores.
    Zset(Vec<RedisMember>),
    /// Entries by id.
    Stream(Vec<RedisEntry>),
    /// Any JSON.
    Json(Value),
}

/// A change of a part of a value.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum RedisChange {
    /// Text behind a string's end.
    Append {
        /// The text.
        value: String,
    },
    /// Fields of a hash, new or with other values.
    HashSet {
        /// The fields.
        fields: Vec<RedisField>,
    },
    /// Fields that go.
    HashDelete {
        /// Their names.
        fields: Vec<String>,
    },
    /// Elements at an end of a list, one after the other.
    ListPush {
        /// The end.
        end: RedisEnd,
        /// The elements.
        values: Vec<String>,
    },
    /// Elements taken from an end of a list.
    ListPop {
        /// The end.
        end: RedisEnd,
        /// How many; at most 1000.
        #[serde(default = "one")]
        count: u64,
    },
    /// Another element in a list.
    ListSet {
        /// Where; negative numbers count from the tail.
        index: i64,
        /// The element.
        value: String,
    },
    /// Members that come into a set.
    SetAdd {
        /// The members.
        members: Vec<String>,
    },
    /// Members that go out of a set.
    SetRemove {
        /// The members.
        members: Vec<String>,
    },
    /// Members of a sorted set, new or with other scores.
    ZsetAdd {
        /// The members.
        members: Vec<RedisMember>,
    },
    /// Members that go out of a sorted set.
    ZsetRemove {
        /// The members.
        members: Vec<String>,
    },
    /// An entry at a stream's end.
    StreamAdd(RedisEntry),
    /// Only the newest entries of a stream stay.
    StreamTrim {
        /// How many.
        max_length: u64,
    },
    /// Entries that go out of a stream.
    StreamDelete {
        /// Their ids.
        ids: Vec<String>,
    },
    /// A part of a JSON value.
    JsonSet {
        /// A path into it: `$.name`.
        path: String,
        /// Any JSON.
        #[schema(value_type = Object)]
        value: Value,
    },
}

const fn one() -> u64 {
    1
}

fn texts(all: Vec<String>, encoding: TextEncoding) -> Result<Vec<Vec<u8>>, Error> {
    all.iter().map(|text| encoding.read(text)).collect()
}

/// Names and values.
type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

fn fields(all: &[RedisField], encoding: TextEncoding) -> Result<Pairs, Error> {
    all.iter()
        .map(|field| Ok((encoding.read(&field.field)?, encoding.read(&field.value)?)))
        .collect()
}

fn members(all: &[RedisMember], encoding: TextEncoding) -> Result<Vec<(Vec<u8>, f64)>, Error> {
    all.iter()
        .map(|member| Ok((encoding.read(&member.member)?, member.score)))
        .collect()
}

impl RedisEntry {
    fn read(self, encoding: TextEncoding) -> Result<StreamEntry, Error> {
        Ok(StreamEntry {
            fields: fields(&self.fields, encoding)?,
            id: self.id.unwrap_or_else(|| "*".to_owned()),
        })
    }
}

impl RedisValue {
    pub(super) fn read(self, encoding: TextEncoding) -> Result<Content, ApiError> {
        let content = match self {
            Self::String(text) => Content::String(encoding.read(&text)?),
            Self::List(all) => Content::List(texts(all, encoding)?),
            Self::Set(all) => Content::Set(texts(all, encoding)?),
            Self::Hash(all) => Content::Hash(fields(&all, encoding)?),
            Self::Zset(all) => Content::Zset(members(&all, encoding)?),
            Self::Stream(all) => Content::Stream(
                all.into_iter()
                    .map(|entry| entry.read(encoding))
                    .collect::<Result<_, _>>()?,
            ),
            Self::Json(value) => Content::Json(value.to_string()),
        };
        let counted = !matches!(content, Content::String(_) | Content::Json(_));
        if counted && content.len() > MAX_ELEMENTS {
            return Err(too_many());
        }
        Ok(content)
    }
}

fn too_many() -> ApiError {
    let message =
        format!("A request has at most {MAX_ELEMENTS} elements; send the rest in others.");
    ApiError::new(Code::TooLarge, message)
}

impl RedisChange {
    pub(super) fn read(self, encoding: TextEncoding) -> Result<Change, ApiError> {
        let end = |end: RedisEnd| match end {
            RedisEnd::Left => End::Left,
            RedisEnd::Right => End::Right,
        };
        let change = match self {
            Self::Append { value } => Change::Append(encoding.read(&value)?),
            Self::HashSet { fields: all } => Change::HashSet(fields(&all, encoding)?),
            Self::HashDelete { fields } => Change::HashDelete(texts(fields, encoding)?),
            Self::ListPush { end: at, values } => {
                Change::ListPush(end(at), texts(values, encoding)?)
            }
            Self::ListPop { end: at, count } => Change::ListPop(end(at), count.min(1000)),
            Self::ListSet { index, value } => Change::ListSet(index, encoding.read(&value)?),
            Self::SetAdd { members } => Change::SetAdd(texts(members, encoding)?),
            Self::SetRemove { members } => Change::SetRemove(texts(members, encoding)?),
            Self::ZsetAdd { members: all } => Change::ZsetAdd(members(&all, encoding)?),
            Self::ZsetRemove { members } => Change::ZsetRemove(texts(members, encoding)?),
            Self::StreamAdd(entry) => Change::StreamAdd(entry.read(encoding)?),
            Self::StreamTrim { max_length } => Change::StreamTrim(max_length),
            Self::StreamDelete { ids } => Change::StreamDelete(ids),
            Self::JsonSet { path, value } => Change::JsonSet(path, value.to_string()),
        };
        Ok(change)
    }
}

/// What a change did: one of these.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct RedisChanged {
    /// How many elements came or went, or how many there are: as Redis counts it.
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<i64>,
    /// The elements that were taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    values: Option<Vec<String>>,
    /// How `values` are written.
    #[serde(skip_serializing_if = "Option::is_none")]
    value_encoding: Option<super::super::RedisEncoding>,
    /// The id of the new entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
}

impl From<Changed> for RedisChanged {
    fn from(changed: Changed) -> Self {
        let mut shown = Self::default();
        match changed {
            Changed::Count(count) => shown.count = Some(count),
            Changed::Id(id) => shown.id = Some(id),
            Changed::Done => {}
            Changed::Taken(values) => {
                let encoding = TextEncoding::of(values.iter().map(Vec::as_slice));
                shown.values = Some(values.iter().map(|value| encoding.write(value)).collect());
                shown.value_encoding = Some(encoding.into());
            }
        }
        shown
    }
}

/// A value as JSON, in the forms in which it is written.
pub(super) fn show(content: Content, encoding: TextEncoding) -> Value {
    let text = |bytes: &[u8]| Value::String(encoding.write(bytes));
    let fields = |all: &[(Vec<u8>, Vec<u8>)]| -> Value {
        all.iter()
            .map(|(field, value)| json!({ "field": text(field), "value": text(value) }))
            .collect()
    };
    match content {
        Content::String(bytes) => match (encoding, String::from_utf8(bytes)) {
            (TextEncoding::Utf8, Ok(text)) => Value::String(text),
            (_, Ok(other)) => text(other.as_bytes()),
            (_, Err(error)) => text(error.as_bytes()),
        },
        Content::List(all) | Content::Set(all) => all.iter().map(|item| text(item)).collect(),
        Content::Hash(all) => fields(&all),
        Content::Zset(all) => all
            .iter()
            .map(|(member, number)| json!({ "member": text(member), "score": score(*number) }))
            .collect(),
        Content::Stream(all) => all
            .iter()
            .map(|entry| json!({ "id": entry.id, "fields": fields(&entry.fields) }))
            .collect(),
        Content::Json(text) => serde_json::from_str(&text).unwrap_or(Value::String(text)),
        Content::Opaque => Value::Null,
    }
}
