//! A statement in the making: text, bound values, and where in the request each value stood.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    super::{
        error::Error,
        query::{Parameter, Request},
    },
    shape::TableName,
};

/// The table's name in every statement.
pub(super) const ROW: &str = "r";

/// A statement in the making.
#[derive(Default)]
pub(super) struct Statement {
    pub(super) sql: String,
    params: Vec<Parameter>,
    places: Vec<Place>,
}

/// Where in the request a value stood.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) pointer: String,
    /// What it is called in a message.
    pub(super) name: String,
}

impl Place {
    pub(super) fn new(pointer: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            pointer: pointer.into(),
            name: name.into(),
        }
    }
}

impl Statement {
    pub(super) fn new(sql: impl Into<String>) -> Self {
        Self {
            sql: sql.into(),
            ..Self::default()
        }
    }

    pub(super) fn push(&mut self, sql: &str) {
        self.sql.push_str(sql);
    }

    /// Appends the sign that stands for a value.
    pub(super) fn bind(&mut self, value: impl Into<Parameter>, place: Place) {
        self.params.push(value.into());
        self.places.push(place);
        self.sql.push('$');
        self.sql
            .push_str(itoa::Buffer::new().format(self.params.len()));
    }

    /// Appends a column of the row.
    pub(super) fn column(&mut self, name: &str) {
        self.sql.push_str(ROW);
        self.sql.push('.');
        self.name(name);
    }

    /// Appends a quoted name.
    pub(super) fn name(&mut self, name: &str) {
        self.sql.push('"');
        for (at, part) in name.split('"').enumerate() {
            if at > 0 {
                self.sql.push_str("\"\"");
            }
            self.sql.push_str(part);
        }
        self.sql.push('"');
    }

    /// Appends a table's name.
    pub(super) fn table(&mut self, table: &TableName) {
        self.name(&table.schema);
        self.sql.push('.');
        self.name(&table.name);
    }

    /// The statement, and where its values stood.
    pub(super) fn into_request(self, timeout: Duration, read_only: bool) -> (Request, Vec<Place>) {
        let mut request = Request::new(self.sql);
        request.params = self.params;
        request.timeout = timeout;
        request.read_only = read_only;
        (request, self.places)
    }
}

/// An error that speaks of a parameter's number speaks of its place in the request instead; the
/// text of the statement is ours, so its positions tell the caller nothing.
pub(super) fn in_terms_of_request(error: Error, places: &[Place]) -> Error {
    match error {
        Error::Invalid { message, details } => {
            let Some(place) = place_of(&details, places) else {
                return Error::Invalid { message, details };
            };
            let fault = details["errors"][0]["message"].as_str().unwrap_or_default();
            Error::Invalid {
                message: format!("{}: {fault}.", place.name),
                details: json!({"errors": [{"pointer": place.pointer, "message": fault}]}),
            }
        }
        Error::Sql(mut error) => {
            error.position = None;
            if error.sqlstate == "23505" {
                return Error::RowExists(error);
            }
            Error::Sql(error)
        }
        error => error,
    }
}

fn place_of<'a>(details: &Value, places: &'a [Place]) -> Option<&'a Place> {
    let pointer = details["errors"][0]["pointer"].as_str()?;
    let number: usize = pointer.strip_prefix("/params/")?.parse().ok()?;
    places.get(number)
}

/// A refusal of a part of the request.
pub(super) fn refused(place: &Place, message: impl Into<String>) -> Error {
    let message = message.into();
    Error::Invalid {
        message: format!("{}: {message}.", place.name),
        details: json!({"errors": [{"pointer": place.pointer, "message": message}]}),
    }
}

/// As [`refused`], of a column that the table does not have.
pub(super) fn no_column(name: &str, pointer: &str) -> Error {
    refused(
        &Place::new(pointer, pointer.trim_start_matches('/')),
        format!("the table has no column '{name}'"),
    )
}

#[cfg(test)]
mod tests {
    use super::Statement;

    #[test]
    fn names_are_quoted_whatever_they_are() {
        let quoted = |name: &str| {
            let mut statement = Statement::default();
            statement.name(name);
            statement.sql
        };
        assert_eq!(quoted("a"), "\"a\"");
        assert_eq!(
            quoted("a\"; drop table b; --"),
            "\"a\"\"; drop table b; --\""
        );
        assert_eq!(quoted("\""), "\"\"\"\"");
        assert_eq!(quoted(""), "\"\"");
    }
}
