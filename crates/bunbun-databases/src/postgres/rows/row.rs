//! A row of an answer: key, version and values.
//!
//! Every statement about rows selects the version first, then what orders or identifies the row,
//! then the values; here they are taken apart again, as the JSON that the query engine wrote.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{
    super::error::Error,
    key,
    shape::{Kind, Shape},
    statement::{ROW, Statement},
};

/// A row.
#[derive(Debug, Serialize)]
pub struct Row {
    /// What stands for it in a URL; `None` where the table has no key.
    pub key: Option<String>,
    /// Its version, quoted as in `If-Match`; `None` where rows have none, and where a row was just
    /// inserted into a partitioned table.
    pub etag: Option<String>,
    /// Its values, by column.
    pub values: Box<RawValue>,
}

/// What is selected of a row.
#[derive(Debug)]
pub(super) struct Selection<'a> {
    pub(super) shape: &'a Shape,
    /// The values, in order.
    pub(super) columns: Vec<&'a str>,
    /// Expressions that go before them.
    pub(super) leading: Vec<String>,
    /// It stands behind `returning` of a partitioned table, where PostgreSQL has no version at hand.
    is_of_change: bool,
}

impl<'a> Selection<'a> {
    /// The named columns, or all of them; and before them what tells the row from others.
    pub(super) fn new(
        shape: &'a Shape,
        columns: Option<&'a [String]>,
        leading: &[String],
    ) -> Result<Self, Error> {
        let names = match columns {
            None => shape
                .columns
                .iter()
                .map(|column| column.name.as_str())
                .collect(),
            Some(names) => {
                for (index, name) in names.iter().enumerate() {
                    if shape.column(name).is_none() {
                        return Err(super::statement::no_column(
                            name,
                            &format!("/columns/{index}"),
                        ));
                    }
                }
                let mut unique: Vec<&str> = Vec::with_capacity(names.len());
                for name in names {
                    if !unique.contains(&name.as_str()) {
                        unique.push(name);
                    }
                }
                unique
            }
        };
        Ok(Self {
            shape,
            columns: names,
            leading: leading.to_vec(),
            is_of_change: false,
        })
    }

    /// All that is told of a row after a change.
    pub(super) fn of_change(shape: &'a Shape) -> Result<Self, Error> {
        Ok(Self {
            is_of_change: shape.kind == Kind::Partitioned,
            ..Self::new(shape, None, &[])?
        })
    }

    /// Writes the list of a `select` or `returning`.
    pub(super) fn write(&self, out: &mut Statement) {
        if self.shape.has_versions() && !self.is_of_change {
            out.push(ROW);
            out.push(".xmin::text");
        } else {
            out.push("null::text");
        }
        out.push(" as ");
        out.name(&self.alias(0));
        let keys = self.shape.key.iter().map(|name| {
            let mut column = Statement::default();
            column.column(name);
            if self.shape.text_type(name).is_some() {
                column.push("::text");
            }
            column.sql
        });
        for (index, expression) in keys.chain(self.leading.iter().cloned()).enumerate() {
            out.push(", ");
            out.push(&expression);
            out.push(" as ");
            out.name(&self.alias(index + 1));
        }
        for name in &self.columns {
            out.push(", ");
            out.column(name);
        }
    }

    /// A name that no column has: two of one name would be told apart by renaming the second.
    fn alias(&self, index: usize) -> String {
        let mut name = format!("#{index}");
        while self.shape.column(&name).is_some() {
            name.push('#');
        }
        name
    }

    /// Takes the rows of an answer apart.
    pub(super) fn read<'b>(&self, body: &'b [u8]) -> Result<Vec<Parts<'b>>, Error> {
        let body: Body<'b> = serde_json::from_slice(body).map_err(Error::internal)?;
        let expected = 1 + self.shape.key.len() + self.leading.len() + self.columns.len();
        if body.rows.iter().any(|row| row.0.len() != expected) {
            return Err(Error::internal(
                "a row has another number of columns than its statement",
            ));
        }
        Ok(body.rows)
    }

    /// A row as it is answered.
    pub(super) fn row(&self, parts: &Parts<'_>) -> Result<Row, Error> {
        let (keys, _, values) = self.split(parts);
        let mut json = String::from("{");
        for (index, (name, value)) in self.columns.iter().zip(values).enumerate() {
            if index > 0 {
                json.push(',');
            }
            json.push_str(&serde_json::to_string(name).map_err(Error::internal)?);
            json.push(':');
            json.push_str(value.get());
        }
        json.push('}');
        Ok(Row {
            key: (!keys.is_empty()).then(|| key::write(keys)),
            etag: self.version(parts).map(|version| format!("\"{version}\"")),
            values: RawValue::from_string(json).map_err(Error::internal)?,
        })
    }

    /// The values of the leading expressions.
    pub(super) fn leading<'b, 'p>(&self, parts: &'p Parts<'b>) -> &'p [&'b RawValue] {
        self.split(parts).1
    }

    fn split<'b, 'p>(
        &self,
        parts: &'p Parts<'b>,
    ) -> (&'p [&'b RawValue], &'p [&'b RawValue], &'p [&'b RawValue]) {
        let (keys, rest) = parts.0[1..].split_at(self.shape.key.len());
        let (leading, values) = rest.split_at(self.leading.len());
        (keys, leading, values)
    }

    fn version(&self, parts: &Parts<'_>) -> Option<String> {
        serde_json::from_str(parts.0[0].get()).ok()
    }
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    rows: Vec<Parts<'a>>,
}

/// The values of a row, in the order of the statement.
pub(super) struct Parts<'a>(Vec<&'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Parts<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Vec<&'de RawValue>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a row")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut values = Vec::new();
                while map.next_key::<IgnoredAny>()?.is_some() {
                    values.push(map.next_value()?);
                }
                Ok(values)
            }
        }
        deserializer.deserialize_map(InOrder).map(Self)
    }
}
