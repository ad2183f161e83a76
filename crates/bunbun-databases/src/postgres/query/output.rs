//! The forms of an answer: one JSON document, NDJSON, CSV.

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

/// What stands behind the rows.
pub(crate) struct Summary<'a> {
    pub(crate) row_count: u64,
    pub(crate) columns: &'a [Column],
    pub(crate) command: &'a str,
    pub(crate) duration: std::time::Duration,
    pub(crate) is_truncated: bool,
}

impl Document {
    const START: &[u8] = b"{\"rows\":[";

    pub(crate) fn new() -> Self {
        Self {
            bytes: Self::START.to_vec(),
            rows: 0,
        }
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
        for (index, column) in summary.columns.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.extend_from_slice(b"{\"name\":");
            values::write_string(column.name.as_bytes(), &mut out);
            out.extend_from_slice(b",\"type\":");
            values::write_string(column.data_type.name.as_bytes(), &mut out);
            out.push(b'}');
        }
        out.extend_from_slice(b"],\"command\":");
        values::write_string(summary.command.as_bytes(), &mut out);
        let millis = summary.duration.as_secs_f64() * 1_000.0;
        out.extend_from_slice(format!(",\"durationMs\":{millis:.3}").as_bytes());
        if summary.is_truncated {
            out.extend_from_slice(b",\"truncated\":true");
        }
        out.push(b'}');
        out
    }
}
