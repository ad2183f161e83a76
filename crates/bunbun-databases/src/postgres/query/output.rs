//! The forms of an answer: one JSON document, NDJSON, CSV.

use std::time::Duration;

use super::{super::wire::Reader, statements::Column, values};

/// Appends a row as a JSON object.
pub(crate) fn write_object(row: &[u8], columns: &[Column], out: &mut Vec<u8>) {
    let mut reader = Reader(row);
    reader.u16();
    out.push(b'{');
    for (index, column) in columns.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(&column.key);
        values::write_json(reader.value().flatten(), &column.data_type, out);
    }
    out.push(b'}');
}

/// Appends a row as a line of CSV.
pub(crate) fn write_csv_row(row: &[u8], columns: &[Column], out: &mut Vec<u8>) {
    let mut reader = Reader(row);
    reader.u16();
    for (index, column) in columns.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        values::write_csv(reader.value().flatten(), &column.data_type, out);
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends CSV's header line.
pub(crate) fn write_csv_header(columns: &[Column], out: &mut Vec<u8>) {
    for (index, column) in columns.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        values::write_csv_text(column.name.as_bytes(), out);
    }
    out.extend_from_slice(b"\r\n");
}

/// The rows of a buffered answer: `{"rows":[…` and so on.
pub(crate) struct Document {
    bytes: Vec<u8>,
    rows: u64,
}

/// The columns as an answer describes them: the content of its `fields`.
pub(crate) fn fields(columns: &[Column]) -> Vec<u8> {
    let mut out = Vec::new();
    for (index, column) in columns.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"name\":");
        values::write_string(column.name.as_bytes(), &mut out);
        out.extend_from_slice(b",\"type\":");
        values::write_string(column.data_type.name.as_bytes(), &mut out);
        out.push(b'}');
    }
    out
}

/// Appends milliseconds with three decimals.
fn write_millis(duration: Duration, out: &mut Vec<u8>) {
    let micros = (duration.as_nanos() + 500) / 1_000;
    out.extend_from_slice(itoa::Buffer::new().format(micros / 1_000).as_bytes());
    // The leading digit keeps the zeros, and becomes the point.
    let start = out.len();
    out.extend_from_slice(
        itoa::Buffer::new()
            .format(1_000 + micros % 1_000)
            .as_bytes(),
    );
    out[start] = b'.';
}

/// What stands behind the rows.
pub(crate) struct Summary<'a> {
    pub(crate) row_count: u64,
    /// What [`fields`] writes.
    pub(crate) fields: &'a [u8],
    pub(crate) command: &'a str,
    pub(crate) duration: Duration,
    pub(crate) is_truncated: bool,
}

impl Document {
    const START: &[u8] = b"{\"rows\":[";

    /// Room for an answer of one small row.
    const USUAL_BYTES: usize = 512;

    pub(crate) fn new() -> Self {
        let mut bytes = Vec::with_capacity(Self::USUAL_BYTES);
        bytes.extend_from_slice(Self::START);
        Self { bytes, rows: 0 }
    }

    /// Begins anew, for the next result of several.
    pub(crate) fn clear(&mut self) {
        self.bytes.truncate(Self::START.len());
        self.rows = 0;
    }

    pub(crate) fn push(&mut self, row: &[u8], columns: &[Column]) {
        if self.rows > 0 {
            self.bytes.push(b',');
        }
        write_object(row, columns, &mut self.bytes);
        self.rows += 1;
    }

    pub(crate) const fn rows(&self) -> u64 {
        self.rows
    }

    pub(crate) const fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn finish(self, summary: &Summary<'_>) -> Vec<u8> {
        let mut out = self.bytes;
        out.extend_from_slice(b"],\"rowCount\":");
        out.extend_from_slice(itoa::Buffer::new().format(summary.row_count).as_bytes());
        out.extend_from_slice(b",\"fields\":[");
        out.extend_from_slice(summary.fields);
        out.extend_from_slice(b"],\"command\":");
        values::write_string(summary.command.as_bytes(), &mut out);
        out.extend_from_slice(b",\"durationMs\":");
        write_millis(summary.duration, &mut out);
        if summary.is_truncated {
            out.extend_from_slice(b",\"truncated\":true");
        }
        out.push(b'}');
        out
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::write_millis;

    #[test]
    fn milliseconds_have_three_decimals() {
        let written = |nanos| {
            let mut out = Vec::new();
            write_millis(Duration::from_nanos(nanos), &mut out);
            String::from_utf8(out).expect("digits")
        };
        for (nanos, expected) in [
            (0, "0.000"),
            (499, "0.000"),
            (500, "0.001"),
            (412_000, "0.412"),
            (1_005_000, "1.005"),
            (999_999_999, "1000.000"),
            (61_020_030_000, "61020.030"),
        ] {
            assert_eq!(written(nanos), expected);
        }
    }
}
