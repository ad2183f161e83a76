//! Commands to the server, as raw BSON.

use mongodb::bson::{
    RawBsonRef, RawDocument, RawDocumentBuf,
    raw::{BindRawBsonRef, CStr, CString},
};

/// A command under construction. Its first member names it, as the server demands.
#[derive(Debug, Clone)]
pub(super) struct Command(RawDocumentBuf);

impl Command {
    /// `{name: target}`.
    pub(super) fn new(name: &CStr, target: impl BindRawBsonRef) -> Self {
        let mut document = RawDocumentBuf::new();
        document.append(name, target);
        Self(document)
    }

    /// Adds a member.
    pub(super) fn set(mut self, key: &CStr, value: impl BindRawBsonRef) -> Self {
        self.0.append(key, value);
        self
    }

    /// Adds a member where there is a value.
    pub(super) fn set_if(self, key: &CStr, value: Option<impl BindRawBsonRef>) -> Self {
        match value {
            Some(value) => self.set(key, value),
            None => self,
        }
    }

    /// Adds all members of another document.
    pub(super) fn extend(mut self, members: &RawDocument) -> Self {
        extend(&mut self.0, members);
        self
    }

    pub(super) fn into_document(self) -> RawDocumentBuf {
        self.0
    }
}

/// Appends all members of another document; what is malformed ends it.
pub(super) fn extend(document: &mut RawDocumentBuf, members: &RawDocument) {
    for (key, value) in members.iter().map_while(Result::ok) {
        document.append(key, value);
    }
}

/// `{key: value}`; a key with a NUL character, which no document has, finds nothing.
pub(super) fn single(key: &str, value: impl BindRawBsonRef) -> RawDocumentBuf {
    let mut document = RawDocumentBuf::new();
    if let Ok(key) = CString::try_from(key) {
        document.append(key, value);
    }
    document
}

/// The value of a document that has one under the empty key, as [`super::ejson::parse_value`] makes.
pub(super) fn lone(document: &RawDocument) -> RawBsonRef<'_> {
    document.get("").ok().flatten().unwrap_or(RawBsonRef::Null)
}
