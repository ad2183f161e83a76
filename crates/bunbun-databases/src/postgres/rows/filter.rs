//! Conditions on rows, as JSON:
//!
//! ```json
//! [{"column": "age", "op": "gte", "value": 18},
//!  {"any": [{"column": "name", "op": "ilike", "value": "a%"}, {"not": {"column": "b", "op": "is_null"}}]}]
//! ```
//!
//! A list holds where all of it does.

use serde_json::{Map, Value};

use super::{
    super::error::Error,
    shape::Shape,
    statement::{Place, Statement, no_column, refused},
};

/// Most conditions of one filter.
const MOST_CONDITIONS: usize = 100;

/// Most `all`, `any` and `not` inside of each other.
const DEEPEST: usize = 8;

/// What rows are wanted.
#[derive(Debug, Clone, PartialEq)]
pub enum Filter {
    /// Those for which all hold.
    All(Vec<Self>),
    /// Those for which one holds.
    Any(Vec<Self>),
    /// Those for which it does not hold.
    Not(Box<Self>),
    /// Those with such a value.
    Is(Condition),
}

/// A condition on one column.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    column: String,
    operator: Operator,
    value: Value,
    /// Where in the request the condition stood.
    pointer: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    NotIn,
    Like,
    ILike,
    StartsWith,
    IsNull,
    Contains,
    ContainedBy,
    Overlaps,
}

impl Operator {
    const NAMES: &[(&str, Self)] = &[
        ("eq", Self::Equal),
        ("ne", Self::NotEqual),
        ("lt", Self::Less),
        ("lte", Self::LessOrEqual),
        ("gt", Self::Greater),
        ("gte", Self::GreaterOrEqual),
        ("in", Self::In),
        ("not_in", Self::NotIn),
        ("like", Self::Like),
        ("ilike", Self::ILike),
        ("starts_with", Self::StartsWith),
        ("is_null", Self::IsNull),
        ("contains", Self::Contains),
        ("contained_by", Self::ContainedBy),
        ("overlaps", Self::Overlaps),
    ];

    fn read(name: &str) -> Option<Self> {
        let mut names = Self::NAMES.iter();
        names.find(|(known, _)| *known == name).map(|(_, op)| *op)
    }

    const fn sql(self) -> &'static str {
        match self {
            Self::Equal => " = ",
            Self::NotEqual => " <> ",
            Self::Less => " < ",
            Self::LessOrEqual => " <= ",
            Self::Greater => " > ",
            Self::GreaterOrEqual => " >= ",
            Self::In => " = any(",
            Self::NotIn => " <> all(",
            Self::Like => " like ",
            Self::ILike => " ilike ",
            Self::StartsWith => " ^@ ",
            Self::IsNull => " is null",
            Self::Contains => " @> ",
            Self::ContainedBy => " <@ ",
            Self::Overlaps => " && ",
        }
    }

    const fn is_about_text(self) -> bool {
        matches!(self, Self::Like | Self::ILike | Self::StartsWith)
    }
}

impl Filter {
    /// Understands a filter.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the place of the fault below `pointer`.
    pub fn read(json: &str, pointer: &str) -> Result<Self, Error> {
        let place = Place::new(pointer, pointer.trim_start_matches('/'));
        let value: Value = serde_json::from_str(json)
            .map_err(|error| refused(&place, format!("not JSON: {error}")))?;
        let mut reader = Reader { conditions: 0 };
        reader.filter(value, pointer.to_owned(), 0)
    }

    pub(super) fn write(&self, shape: &Shape, out: &mut Statement) -> Result<(), Error> {
        match self {
            Self::All(parts) => joined(parts, " and ", "true", shape, out),
            Self::Any(parts) => joined(parts, " or ", "false", shape, out),
            Self::Not(part) => {
                // Not true, so that a comparison with null counts as not holding.
                out.push("(");
                part.write(shape, out)?;
                out.push(") is not true");
                Ok(())
            }
            Self::Is(condition) => condition.write(shape, out),
        }
    }
}

fn joined(
    parts: &[Filter],
    word: &str,
    of_none: &str,
    shape: &Shape,
    out: &mut Statement,
) -> Result<(), Error> {
    if parts.is_empty() {
        out.push(of_none);
        return Ok(());
    }
    out.push("(");
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            out.push(word);
        }
        part.write(shape, out)?;
    }
    out.push(")");
    Ok(())
}

struct Reader {
    conditions: usize,
}

impl Reader {
    fn filter(&mut self, value: Value, pointer: String, depth: usize) -> Result<Filter, Error> {
        let place = Place::new(pointer.clone(), pointer.trim_start_matches('/'));
        if depth > DEEPEST {
            let message = format!("more than {DEEPEST} filters inside of each other");
            return Err(refused(&place, message));
        }
        let mut members = match value {
            Value::Array(items) => return self.list(items, &pointer, depth).map(Filter::All),
            Value::Object(members) => members,
            _ => return Err(refused(&place, "expected a condition or a list of them")),
        };
        if members.len() == 1 {
            if let Some(all) = members.remove("all") {
                return self.nested(all, &pointer, "all", depth).map(Filter::All);
            }
            if let Some(any) = members.remove("any") {
                return self.nested(any, &pointer, "any", depth).map(Filter::Any);
            }
            if let Some(not) = members.remove("not") {
                let inner = self.filter(not, format!("{pointer}/not"), depth + 1)?;
                return Ok(Filter::Not(Box::new(inner)));
            }
        }
        self.conditions += 1;
        if self.conditions > MOST_CONDITIONS {
            let message = format!("more than {MOST_CONDITIONS} conditions");
            return Err(refused(&place, message));
        }
        condition(members, &place).map(Filter::Is)
    }

    fn nested(
        &mut self,
        value: Value,
        pointer: &str,
        name: &str,
        depth: usize,
    ) -> Result<Vec<Filter>, Error> {
        let pointer = format!("{pointer}/{name}");
        match value {
            Value::Array(items) => self.list(items, &pointer, depth),
            _ => {
                let place = Place::new(pointer.clone(), pointer.trim_start_matches('/'));
                Err(refused(&place, "expected a list of conditions"))
            }
        }
    }

    fn list(
        &mut self,
        items: Vec<Value>,
        pointer: &str,
        depth: usize,
    ) -> Result<Vec<Filter>, Error> {
        let items = items.into_iter().enumerate();
        items
            .map(|(index, item)| self.filter(item, format!("{pointer}/{index}"), depth + 1))
            .collect()
    }
}

fn condition(mut members: Map<String, Value>, place: &Place) -> Result<Condition, Error> {
    let names: Vec<&str> = Operator::NAMES.iter().map(|(name, _)| *name).collect();
    let (Some(Value::String(column)), Some(Value::String(operator))) =
        (members.remove("column"), members.remove("op"))
    else {
        let message =
            "expected {\"column\", \"op\", \"value\"}, or one of \"all\", \"any\", \"not\"";
        return Err(refused(place, message));
    };
    let operator = Operator::read(&operator).ok_or_else(|| {
        let message = format!("op is none of {}", names.join(", "));
        refused(place, message)
    })?;
    let value = members.remove("value");
    if let Some(unknown) = members.keys().next() {
        return Err(refused(place, format!("unknown member '{unknown}'")));
    }
    let value = match (operator, value) {
        (Operator::IsNull, None) => Value::Bool(true),
        (Operator::IsNull, Some(value)) if !value.is_boolean() => {
            return Err(refused(place, "is_null takes true or false"));
        }
        (Operator::In | Operator::NotIn, Some(Value::Array(items)))
            if items.iter().any(Value::is_null) =>
        {
            return Err(refused(place, "a list with null in it holds for no row"));
        }
        (Operator::In | Operator::NotIn, Some(value)) if !value.is_array() => {
            return Err(refused(place, "in and not_in take a list"));
        }
        (Operator::Equal | Operator::NotEqual, Some(value)) => value,
        (_, Some(Value::Null)) => {
            return Err(refused(
                place,
                "null is compared with eq, ne and is_null only",
            ));
        }
        (_, Some(value)) => value,
        (_, None) => return Err(refused(place, "expected a value")),
    };
    Ok(Condition {
        column,
        operator,
        value,
        pointer: place.pointer.clone(),
    })
}

impl Condition {
    fn write(&self, shape: &Shape, out: &mut Statement) -> Result<(), Error> {
        let column = shape
            .column(&self.column)
            .ok_or_else(|| no_column(&self.column, &format!("{}/column", self.pointer)))?;
        out.column(&self.column);
        if self.operator.is_about_text() && !column.is_text {
            out.push("::text");
        }
        match (self.operator, &self.value) {
            (Operator::IsNull, Value::Bool(false)) | (Operator::NotEqual, Value::Null) => {
                out.push(" is not null");
            }
            (Operator::IsNull, _) | (Operator::Equal, Value::Null) => out.push(" is null"),
            (operator, value) => {
                let pointer = format!("{}/value", self.pointer);
                out.push(operator.sql());
                out.bind(value.clone(), Place::new(pointer, self.column.as_str()));
                if matches!(operator, Operator::In | Operator::NotIn) {
                    out.push(")");
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::super::error::Error, Filter};

    fn read(value: &serde_json::Value) -> Result<Filter, Error> {
        Filter::read(&value.to_string(), "/filter")
    }

    #[test]
    fn a_fault_is_told_with_its_place() {
        let deep = (0..20).fold(
            json!({"column": "a", "op": "is_null"}),
            |inner, _| json!({ "not": inner }),
        );
        let many: Vec<_> = (0..101)
            .map(|_| json!({"column": "a", "op": "is_null"}))
            .collect();
        for (filter, pointer) in [
            (json!(1), "/filter"),
            (
                json!([{"column": "a", "op": "eq", "value": 1}, 5]),
                "/filter/1",
            ),
            (
                json!({"any": [{"column": "a", "op": "drop", "value": 1}]}),
                "/filter/any/0",
            ),
            (json!({"any": 1}), "/filter/any"),
            (json!({"column": "a", "op": "in", "value": 1}), "/filter"),
            (
                json!({"column": "a", "op": "in", "value": [null]}),
                "/filter",
            ),
            (json!({"column": "a", "op": "lt", "value": null}), "/filter"),
            (json!({"column": "a", "op": "lt"}), "/filter"),
            (
                json!({"column": "a", "op": "is_null", "value": 1}),
                "/filter",
            ),
            (
                json!({"column": "a", "op": "eq", "value": 1, "or": 1}),
                "/filter",
            ),
            (json!({"all": [], "any": []}), "/filter"),
            (json!(many), "/filter/100"),
            (deep, "/filter/not/not/not/not/not/not/not/not/not"),
        ] {
            match read(&filter) {
                Err(Error::Invalid { details, .. }) => {
                    assert_eq!(details["errors"][0]["pointer"], pointer, "{filter}");
                }
                other => panic!("{filter}: {other:?}"),
            }
        }
        assert!(Filter::read("[", "/filter").is_err());
    }
}
