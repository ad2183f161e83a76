//! In which order rows are wanted, and the conditions under which a row comes after another.

use serde_json::Value;

use super::{
    super::{error::Error, query::Parameter},
    shape::{Column, Kind, Shape},
    statement::{Place, ROW, Statement, no_column, refused},
};

/// Most columns of an order.
const MOST_TERMS: usize = 16;

/// Where nulls stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nulls {
    /// Before all values.
    First,
    /// After all values.
    Last,
}

/// One column of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The column.
    pub column: String,
    /// From the greatest to the least.
    pub descending: bool,
    /// Where nulls stand; by default as in PostgreSQL: they are greater than all values.
    pub nulls: Option<Nulls>,
}

impl Order {
    /// Understands `name,-created_at`, or JSON where names have commas or begin with `-` or `[`:
    /// `[{"column": "a,b", "descending": true, "nulls": "last"}]`.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the place of the fault below `pointer`.
    pub fn read(text: &str, pointer: &str) -> Result<Vec<Self>, Error> {
        let place = Place::new(pointer, pointer.trim_start_matches('/'));
        let terms = if text.starts_with('[') {
            let items: Vec<Value> = serde_json::from_str(text)
                .map_err(|error| refused(&place, format!("not a list in JSON: {error}")))?;
            let items = items.iter().enumerate();
            items
                .map(|(index, item)| term(item, &format!("{pointer}/{index}")))
                .collect::<Result<Vec<_>, _>>()?
        } else {
            let names = text.split(',').filter(|name| !name.is_empty());
            names
                .map(|name| Self {
                    column: name.strip_prefix('-').unwrap_or(name).to_owned(),
                    descending: name.starts_with('-'),
                    nulls: None,
                })
                .collect()
        };
        if terms.len() > MOST_TERMS {
            return Err(refused(&place, format!("more than {MOST_TERMS} columns")));
        }
        Ok(terms)
    }
}

fn term(item: &Value, pointer: &str) -> Result<Order, Error> {
    let place = Place::new(pointer, pointer.trim_start_matches('/'));
    let expected = || {
        let message = "expected {\"column\", \"descending\"?, \"nulls\"?: \"first\" or \"last\"}";
        refused(&place, message)
    };
    let members = item.as_object().ok_or_else(expected)?;
    let known = ["column", "descending", "nulls"];
    if members.keys().any(|name| !known.contains(&name.as_str())) {
        return Err(expected());
    }
    let column = members.get("column").and_then(Value::as_str);
    let descending = match members.get("descending") {
        None => false,
        Some(value) => value.as_bool().ok_or_else(expected)?,
    };
    let nulls = match members.get("nulls").map(Value::as_str) {
        None => None,
        Some(Some("first")) => Some(Nulls::First),
        Some(Some("last")) => Some(Nulls::Last),
        Some(_) => return Err(expected()),
    };
    Ok(Order {
        column: column.ok_or_else(expected)?.to_owned(),
        descending,
        nulls,
    })
}

/// A total order of a table's rows: what the caller wants, and then what makes each row unique.
#[derive(Debug)]
pub(super) struct Sort {
    pub(super) terms: Vec<Term>,
    /// Whether no two rows are equal in it, so that a page can begin where another ended.
    pub(super) is_total: bool,
}

#[derive(Debug)]
pub(super) struct Term {
    /// The quoted expression.
    pub(super) sql: String,
    /// What its value in a cursor is read from.
    pub(super) read: String,
    descending: bool,
    nulls_first: bool,
    is_nullable: bool,
    /// Converts its value in a cursor, where PostgreSQL does not see the type.
    cast: String,
}

impl Sort {
    pub(super) fn new(shape: &Shape, wanted: &[Order]) -> Result<Self, Error> {
        let mut terms = Vec::with_capacity(wanted.len() + shape.key.len());
        let mut seen: Vec<&str> = Vec::new();
        for (index, order) in wanted.iter().enumerate() {
            let column = shape
                .column(&order.column)
                .ok_or_else(|| no_column(&order.column, &format!("/order/{index}")))?;
            if seen.contains(&column.name.as_str()) {
                continue;
            }
            seen.push(&column.name);
            let nulls_first = match order.nulls {
                Some(nulls) => nulls == Nulls::First,
                None => order.descending,
            };
            terms.push(Term {
                descending: order.descending,
                nulls_first,
                is_nullable: !column.not_null,
                ..Term::of(column)
            });
        }
        let rest = shape
            .key
            .iter()
            .filter(|name| !seen.contains(&name.as_str()));
        let columns = rest.filter_map(|name| shape.column(name));
        terms.extend(columns.map(Term::of));
        let mut is_total = !shape.key.is_empty();
        // Where a row lies is unique, though it moves when it is written.
        if !is_total && shape.has_versions() {
            if shape.kind == Kind::Partitioned {
                terms.push(Term::new(format!("{ROW}.tableoid"), "::oid".to_owned()));
            }
            terms.push(Term::new(format!("{ROW}.ctid"), "::tid".to_owned()));
            is_total = true;
        }
        Ok(Self { terms, is_total })
    }

    pub(super) fn write(&self, out: &mut Statement) {
        for (index, term) in self.terms.iter().enumerate() {
            out.push(if index > 0 { ", " } else { " order by " });
            out.push(&term.sql);
            if term.descending {
                out.push(" desc");
            }
            if term.is_nullable && term.nulls_first != term.descending {
                out.push(if term.nulls_first {
                    " nulls first"
                } else {
                    " nulls last"
                });
            }
        }
    }

    /// Writes the condition that a row comes after the one with these values.
    pub(super) fn write_after(&self, values: &[Parameter], out: &mut Statement) {
        let is_plain = self.terms.iter().all(|term| !term.is_nullable);
        let first = self.terms.first().is_some_and(|term| term.descending);
        if is_plain && self.terms.iter().all(|term| term.descending == first) {
            // One comparison of rows, for which an index can be used as a whole.
            out.push("(");
            self.list(out, |term, _, out| out.push(&term.sql));
            out.push(if first { ") < (" } else { ") > (" });
            self.list(out, |term, index, out| term.bind(&values[index], out));
            out.push(")");
            return;
        }
        // (a after x) or a is x and ((b after y) or b is y and (…))
        for (index, (term, value)) in self.terms.iter().zip(values).enumerate() {
            if index > 0 {
                out.push(" or ");
                self.terms[index - 1].write_equal(&values[index - 1], out);
                out.push(" and (");
            }
            term.write_after(value, out);
        }
        out.push(&")".repeat(self.terms.len().saturating_sub(1)));
    }

    fn list(&self, out: &mut Statement, write: impl Fn(&Term, usize, &mut Statement)) {
        for (index, term) in self.terms.iter().enumerate() {
            if index > 0 {
                out.push(", ");
            }
            write(term, index, out);
        }
    }
}

impl Term {
    fn new(sql: String, cast: String) -> Self {
        Self {
            read: sql.clone(),
            sql,
            descending: false,
            nulls_first: false,
            is_nullable: false,
            cast,
        }
    }

    /// A column that is never null, from the least to the greatest.
    fn of(column: &Column) -> Self {
        let plain = Self::new(quoted(&column.name), String::new());
        match &column.text_type {
            None => plain,
            Some(text_type) => Self {
                read: format!("{}::text", plain.sql),
                cast: format!("::text::{text_type}"),
                ..plain
            },
        }
    }

    fn bind(&self, value: &Parameter, out: &mut Statement) {
        out.bind(value.clone(), Place::new("/cursor", "cursor"));
        out.push(&self.cast);
    }

    fn write_equal(&self, value: &Parameter, out: &mut Statement) {
        out.push(&self.sql);
        if is_null(value) {
            out.push(" is null");
        } else {
            out.push(" = ");
            self.bind(value, out);
        }
    }

    fn write_after(&self, value: &Parameter, out: &mut Statement) {
        if is_null(value) {
            if self.nulls_first {
                out.push(&self.sql);
                out.push(" is not null");
            } else {
                out.push("false");
            }
            return;
        }
        let nulls_follow = self.is_nullable && !self.nulls_first;
        out.push(if nulls_follow { "(" } else { "" });
        out.push(&self.sql);
        out.push(if self.descending { " < " } else { " > " });
        self.bind(value, out);
        if nulls_follow {
            out.push(" or ");
            out.push(&self.sql);
            out.push(" is null)");
        }
    }
}

fn is_null(value: &Parameter) -> bool {
    value.json().get() == "null"
}

fn quoted(name: &str) -> String {
    let mut out = Statement::default();
    out.column(name);
    out.sql
}

#[cfg(test)]
mod tests {
    use super::{Nulls, Order};

    #[test]
    fn both_forms_of_an_order_are_read() {
        let order = |column: &str, descending, nulls| Order {
            column: column.to_owned(),
            descending,
            nulls,
        };
        assert_eq!(
            Order::read("a,-b", "/order").ok(),
            Some(vec![order("a", false, None), order("b", true, None)])
        );
        let json = r#"[{"column":"-a,b","descending":true,"nulls":"last"}]"#;
        assert_eq!(
            Order::read(json, "/order").ok(),
            Some(vec![order("-a,b", true, Some(Nulls::Last))])
        );
        for bad in [
            "[",
            "[1]",
            r#"[{"column":1}]"#,
            r#"[{"column":"a","nulls":"x"}]"#,
            r#"[{"column":"a","x":1}]"#,
        ] {
            assert!(Order::read(bad, "/order").is_err(), "{bad}");
        }
        assert!(Order::read(&"a,".repeat(40), "/order").is_err());
    }
}
