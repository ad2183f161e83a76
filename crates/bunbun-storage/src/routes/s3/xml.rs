//! XML of the S3 protocol: written by hand, read by serde.

use serde::{Deserialize, de::DeserializeOwned};

use super::malformed_xml;
use crate::error::Result;

/// The namespace of answers.
pub(super) const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

/// Writes a document.
pub(super) struct Writer {
    out: String,
    open: Vec<&'static str>,
}

impl Writer {
    pub(super) fn document(root: &'static str, namespace: Option<&str>) -> Self {
        let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>");
        match namespace {
            Some(namespace) => out.push_str(&format!("<{root} xmlns=\"{namespace}\">")),
            None => out.push_str(&format!("<{root}>")),
        }
        Self {
            out,
            open: vec![root],
        }
    }

    pub(super) fn open(&mut self, name: &'static str) {
        self.out.push_str(&format!("<{name}>"));
        self.open.push(name);
    }

    pub(super) fn close(&mut self) {
        if let Some(name) = self.open.pop() {
            self.out.push_str(&format!("</{name}>"));
        }
    }

    pub(super) fn text(&mut self, name: &str, text: &str) {
        self.out.push_str(&format!("<{name}>"));
        for c in text.chars() {
            match c {
                '&' => self.out.push_str("&amp;"),
                '<' => self.out.push_str("&lt;"),
                '>' => self.out.push_str("&gt;"),
                '"' => self.out.push_str("&quot;"),
                '\t' | '\n' | '\r' => self.out.push_str(&format!("&#{};", u32::from(c))),
                // What XML cannot carry.
                '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => self.out.push('\u{fffd}'),
                c => self.out.push(c),
            }
        }
        self.out.push_str(&format!("</{name}>"));
    }

    pub(super) fn optional(&mut self, name: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(name, text);
        }
    }

    pub(super) fn finish(mut self) -> String {
        while !self.open.is_empty() {
            self.close();
        }
        self.out
    }
}

/// `DeleteObjects`.
#[derive(Debug, Deserialize)]
pub(super) struct Delete {
    #[serde(rename = "Object", default)]
    pub(super) objects: Vec<DeleteObject>,
    #[serde(rename = "Quiet", default)]
    pub(super) quiet: bool,
}

/// One object of `DeleteObjects`.
#[derive(Debug, Deserialize)]
pub(super) struct DeleteObject {
    #[serde(rename = "Key")]
    pub(super) key: String,
}

/// `CompleteMultipartUpload`.
#[derive(Debug, Deserialize)]
pub(super) struct CompleteMultipartUpload {
    #[serde(rename = "Part", default)]
    pub(super) parts: Vec<CompletedPart>,
}

/// One part of `CompleteMultipartUpload`.
#[derive(Debug, Deserialize)]
pub(super) struct CompletedPart {
    #[serde(rename = "PartNumber")]
    pub(super) number: i32,
    #[serde(rename = "ETag")]
    pub(super) etag: String,
}

/// Reads a document.
pub(super) fn read<T: DeserializeOwned>(text: &str) -> Result<T> {
    quick_xml::de::from_str(text).map_err(|error| malformed_xml().because(error))
}

#[cfg(test)]
mod tests {
    use super::{CompleteMultipartUpload, Delete, Writer, read};

    #[test]
    fn documents_are_read_with_entities_and_namespaces() {
        let delete: Delete = read("<Delete xmlns=\"x\"><Object><Key>a &amp; b</Key></Object><Object><Key> c</Key><VersionId>v</VersionId></Object><Quiet>true</Quiet></Delete>").unwrap();
        let keys: Vec<_> = delete.objects.iter().map(|o| o.key.as_str()).collect();
        assert_eq!(keys[0], "a & b");
        assert!(delete.quiet);
        let complete: CompleteMultipartUpload = read("<?xml version=\"1.0\"?><CompleteMultipartUpload><Part><ChecksumCRC32>x</ChecksumCRC32><ETag>&quot;e&quot;</ETag><PartNumber>1</PartNumber></Part></CompleteMultipartUpload>").unwrap();
        assert_eq!(
            (complete.parts[0].number, complete.parts[0].etag.as_str()),
            (1, "\"e\"")
        );
        assert!(read::<Delete>("<Delete><Object>").is_err());
    }

    #[test]
    fn what_is_written_is_escaped() {
        let mut writer = Writer::document("A", None);
        writer.text("B", "<&>\"\u{1}\n");
        assert!(
            writer
                .finish()
                .ends_with("<A><B>&lt;&amp;&gt;&quot;\u{fffd}&#10;</B></A>")
        );
    }
}
