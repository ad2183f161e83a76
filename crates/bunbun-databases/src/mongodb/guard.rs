//! What callers' filters, pipelines, updates and options may not contain.
//!
//! The check walks the decoded document, every level of it, arrays too: it does not matter whether
//! an operator stands in a filter, in `$lookup.pipeline`, in a view or in a validator, nor how its
//! name was spelled in the request's text.
//!
//! - Code is never run: `$where`, `$function`, `$accumulator`, values of the JavaScript types, and
//!   the operators that MongoDB makes of them for itself (`$_internal…`).
//! - `$out` and `$merge` need the permission to write, stand in no other stage, and write to this
//!   database only.
//! - No stage reads another database, or the server's own collections.
//! - Change streams, which never end, are not queries.

use crate::mongodb::raw::{self, Element, kind};

/// Operators that run code.
const CODE: [&str; 3] = ["$where", "$function", "$accumulator"];

/// Where a request may reach.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// The database that the request names.
    pub database: &'a str,
    /// Whether the caller may write.
    pub may_write: bool,
}

/// What was found, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({pointer})")]
pub struct Refusal {
    /// What is not allowed, and what to do instead.
    pub message: String,
    /// JSON pointer in the request.
    pub pointer: String,
}

/// Checks a document or array of the caller; `pointer` is where it stands in the request.
///
/// # Errors
/// The first thing that is not allowed.
pub fn check(bytes: &[u8], scope: Scope<'_>, pointer: &str) -> Result<(), Refusal> {
    Walk {
        scope,
        base: pointer,
        path: Vec::new(),
    }
    .nested(bytes, true)
}

struct Walk<'a> {
    scope: Scope<'a>,
    base: &'a str,
    path: Vec<&'a str>,
}

impl<'a> Walk<'a> {
    fn refuse(&self, message: impl Into<String>) -> Refusal {
        let mut pointer = self.base.to_owned();
        for step in &self.path {
            pointer.push('/');
            pointer.push_str(&step.replace('~', "~0").replace('/', "~1"));
        }
        Refusal {
            message: message.into(),
            pointer,
        }
    }

    fn nested(&mut self, bytes: &'a [u8], has_keys: bool) -> Result<(), Refusal> {
        if self.path.len() > super::ejson::parse::MAX_DEPTH {
            return Err(self.refuse("The document is nested too deeply."));
        }
        let malformed = |walk: &Self| walk.refuse("The document is malformed.");
        for element in raw::elements(bytes).map_err(|_| malformed(self))? {
            let element = element.map_err(|_| malformed(self))?;
            self.path.push(element.key);
            self.element(element, has_keys)?;
            self.path.pop();
        }
        Ok(())
    }

    fn element(&mut self, element: Element<'a>, has_keys: bool) -> Result<(), Refusal> {
        if matches!(element.kind, kind::CODE | kind::CODE_WITH_SCOPE) {
            return Err(
                self.refuse("JavaScript is not allowed; use query and aggregation operators.")
            );
        }
        if has_keys && element.key.starts_with('$') {
            self.operator(element)?;
        }
        match element.kind {
            kind::DOCUMENT => self.nested(element.value, true),
            kind::ARRAY => self.nested(element.value, false),
            _ => Ok(()),
        }
    }

    fn operator(&mut self, element: Element<'a>) -> Result<(), Refusal> {
        let key = element.key;
        if CODE.contains(&key) {
            return Err(self.refuse(format!(
                "{key} runs JavaScript and is not allowed; use query and aggregation operators."
            )));
        }
        if key.starts_with("$_") {
            return Err(self.refuse(format!("{key} is the server's own and is not allowed.")));
        }
        let is_inside = self
            .path
            .iter()
            .rev()
            .skip(1)
            .any(|step| step.starts_with('$'));
        match key {
            "$changeStream" => Err(self.refuse("$changeStream never ends and is not a query.")),
            "$out" | "$merge" if !self.scope.may_write => {
                Err(self.refuse(format!("{key} writes, and this credential may only read.")))
            }
            "$out" | "$merge" if is_inside => Err(self.refuse(format!(
                "{key} may be the last stage of a pipeline, and stands in no other stage."
            ))),
            "$out" => self.target(element, &["db", "coll", "timeseries"]),
            "$merge" => match self.member(element, "into") {
                Some(into) => self.within("into", |walk| walk.target(into, &["db", "coll"])),
                None => self.users_own(element),
            },
            "$lookup" | "$graphLookup" => match self.member(element, "from") {
                Some(from) => self.within("from", |walk| walk.source(from)),
                None => Ok(()),
            },
            "$unionWith" => self.source(element),
            _ => Ok(()),
        }
    }

    #[expect(clippy::unused_self, reason = "reads like its siblings")]
    fn member(&self, element: Element<'a>, key: &str) -> Option<Element<'a>> {
        (element.kind == kind::DOCUMENT)
            .then(|| raw::get(element.value, key))
            .flatten()
    }

    fn within(
        &mut self,
        key: &'a str,
        check: impl FnOnce(&mut Self) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        self.path.push(key);
        check(self)?;
        self.path.pop();
        Ok(())
    }

    /// Where a stage writes to: a collection of this database that is not the server's own.
    fn target(&mut self, target: Element<'a>, known: &[&str]) -> Result<(), Refusal> {
        self.users_own(target)?;
        if target.kind != kind::DOCUMENT {
            return Ok(());
        }
        let elements = raw::elements(target.value).into_iter().flatten().flatten();
        for element in elements {
            if !known.contains(&element.key) {
                return self.within(element.key, |walk| {
                    Err(walk.refuse("Writing anywhere but into this database is not allowed."))
                });
            }
        }
        if let Some(collection) = raw::get(target.value, "coll") {
            self.within("coll", |walk| walk.target(collection, &[]))?;
        }
        self.same_database(target)
    }

    /// Where a stage reads from.
    fn source(&mut self, source: Element<'a>) -> Result<(), Refusal> {
        self.users_own(source)?;
        self.same_database(source)?;
        match self.member(source, "coll") {
            Some(collection) => self.within("coll", |walk| walk.source(collection)),
            None => Ok(()),
        }
    }

    /// A collection's name is not one of the server's own.
    fn users_own(&self, collection: Element<'a>) -> Result<(), Refusal> {
        let name = collection.as_str().unwrap_or_default();
        if name.starts_with("system.") {
            return Err(self.refuse("Collections named system.* are the server's own."));
        }
        Ok(())
    }

    /// A namespace that is a text, or a document without another database's name.
    fn same_database(&mut self, namespace: Element<'a>) -> Result<(), Refusal> {
        let Some(database) = self.member(namespace, "db") else {
            return Ok(());
        };
        if database.as_str() == Some(self.scope.database) {
            return Ok(());
        }
        self.within("db", |walk| {
            Err(walk.refuse("A stage cannot reach another database."))
        })
    }
}

#[cfg(test)]
mod tests;
