//! Reading the content of the server's messages. A malformed one never panics: it yields what
//! could be read.

use std::borrow::Cow;

use super::super::error::{Error, SqlError};

/// A column as `RowDescription` tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) type_oid: u32,
}

/// What a prepared statement takes and gives.
#[derive(Debug, Default)]
pub(crate) struct Described {
    pub(crate) parameters: Vec<u32>,
    pub(crate) fields: Vec<Field>,
}

/// Reads from the front of a message.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let end = memchr::memchr(0, self.0)?;
        let text = &self.0[..end];
        self.0 = &self.0[end + 1..];
        Some(text)
    }

    /// A value of a row: its length, −1 for null, and its bytes.
    pub(crate) fn value(&mut self) -> Option<Option<&'a [u8]>> {
        let length = i32::from_be_bytes(self.take()?);
        let Ok(length) = usize::try_from(length) else {
            return Some(None);
        };
        let (value, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(Some(value))
    }
}

/// The fields of an `ErrorResponse`.
pub(super) fn error(body: &[u8]) -> SqlError {
    let mut error = SqlError::default();
    let mut reader = Reader(body);
    while let Some([kind]) = reader.take::<1>() {
        if kind == 0 {
            break;
        }
        let Some(value) = reader.text() else { break };
        let value = String::from_utf8_lossy(value).into_owned();
        match kind {
            b'C' => error.sqlstate = value,
            b'M' => error.message = value,
            b'D' => error.detail = Some(value),
            b'H' => error.hint = Some(value),
            b'P' => error.position = value.parse().ok(),
            b'W' => error.context = Some(value),
            b's' => error.schema = Some(value),
            b't' => error.table = Some(value),
            b'c' => error.column = Some(value),
            b'd' => error.data_type = Some(value),
            b'n' => error.constraint = Some(value),
            _ => {}
        }
    }
    error
}

/// The columns of a `RowDescription`.
pub(crate) fn fields(body: &[u8]) -> Result<Vec<Field>, Error> {
    let mut reader = Reader(body);
    let count = reader.u16().ok_or_else(malformed)?;
    let mut fields = Vec::with_capacity(count.into());
    for _ in 0..count {
        let name = reader.text().ok_or_else(malformed)?;
        // Table's object id, column number; then, after the type, its size, modifier and format.
        reader.take::<6>().ok_or_else(malformed)?;
        let type_oid = reader.u32().ok_or_else(malformed)?;
        reader.take::<8>().ok_or_else(malformed)?;
        fields.push(Field {
            name: String::from_utf8_lossy(name).into_owned(),
            type_oid,
        });
    }
    Ok(fields)
}

/// The types of a `ParameterDescription`.
pub(crate) fn parameters(body: &[u8]) -> Result<Vec<u32>, Error> {
    let mut reader = Reader(body);
    let count = reader.u16().ok_or_else(malformed)?;
    (0..count)
        .map(|_| reader.u32().ok_or_else(malformed))
        .collect()
}

/// A `CommandComplete`: the command's name and, where it has one, its number of rows.
pub(crate) fn command(body: &[u8]) -> (Cow<'static, str>, Option<u64>) {
    let text = body.strip_suffix(b"\0").unwrap_or(body);
    let digit = text.iter().position(u8::is_ascii_digit);
    let name = text[..digit.unwrap_or(text.len())].trim_ascii_end();
    // `INSERT 0 5` has an object id before the number.
    let rows = text
        .rsplit(|byte| *byte == b' ')
        .next()
        .and_then(|number| std::str::from_utf8(number).ok()?.parse().ok());
    let name = match name {
        b"SELECT" => Cow::Borrowed("SELECT"),
        b"INSERT" => Cow::Borrowed("INSERT"),
        b"UPDATE" => Cow::Borrowed("UPDATE"),
        b"DELETE" => Cow::Borrowed("DELETE"),
        other => Cow::Owned(String::from_utf8_lossy(other).into_owned()),
    };
    (name, rows)
}

fn malformed() -> Error {
    Error::internal("a message of PostgreSQL is malformed")
}

#[cfg(test)]
mod tests {
    use super::{command, error, fields};

    #[test]
    fn command_tags_are_taken_apart() {
        assert_eq!(command(b"SELECT 5\0"), ("SELECT".into(), Some(5)));
        assert_eq!(command(b"INSERT 0 12\0"), ("INSERT".into(), Some(12)));
        assert_eq!(command(b"CREATE TABLE\0"), ("CREATE TABLE".into(), None));
        assert_eq!(command(b""), ("".into(), None));
    }

    #[test]
    fn truncated_messages_do_not_panic() {
        let whole = b"SERROR\0C42601\0Mbad\0P8\0\0";
        for end in 0..whole.len() {
            let _ = error(&whole[..end]);
            let _ = fields(&whole[..end]);
        }
        assert_eq!(error(whole).position, Some(8));
    }
}
