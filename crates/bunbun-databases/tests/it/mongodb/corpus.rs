//! The MongoDB specification's BSON corpus (`corpus/*.json`; see its README for the origin).
//!
//! For every valid case, as its README asks of a driver with raw BSON: BSON becomes the canonical
//! and the relaxed text, and each text becomes the BSON again. For every faulty one: an error.

use std::{fs, path::Path};

use bunbun_core::secret::hex;
use bunbun_databases::mongodb::ejson::{Format, parse_document, write_document};
use serde_json::Value;

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal"))
        .collect()
}

fn written(bson: &[u8], format: Format) -> Result<Value, String> {
    let mut out = Vec::new();
    write_document(bson, format, &mut out).map_err(|error| error.to_string())?;
    serde_json::from_slice(&out).map_err(|error| error.to_string())
}

fn parsed(text: &str) -> String {
    match parse_document(text.as_bytes()) {
        Ok(document) => hex(document.as_bytes()),
        Err(error) => error.to_string(),
    }
}

fn value(text: &str) -> Value {
    serde_json::from_str(text).expect("the corpus has JSON")
}

/// The failures of one valid case.
fn check_valid(case: &Value) -> Vec<String> {
    let text = |key: &str| case[key].as_str();
    let canonical_bson = text("canonical_bson").expect("is always there");
    let canonical = text("canonical_extjson").expect("is always there");
    let is_lossy = case["lossy"].as_bool() == Some(true);
    let mut faults = Vec::new();
    let mut expect = |what: &str, got: String, wanted: String| {
        if got != wanted {
            faults.push(format!("{what}: {got} instead of {wanted}"));
        }
    };
    let bson = unhex(canonical_bson);
    let show = |result: Result<Value, String>| result.map_or_else(|e| e, |v| v.to_string());

    let got = show(written(&bson, Format::Canonical));
    expect("cB → cEJ", got, value(canonical).to_string());
    if let Some(relaxed) = text("relaxed_extjson") {
        let got = show(written(&bson, Format::Relaxed));
        expect("cB → rEJ", got, value(relaxed).to_string());
        let back =
            parse_document(relaxed.as_bytes()).map(|d| written(d.as_bytes(), Format::Relaxed));
        let got = back.map_or_else(|e| e.to_string(), show);
        expect("rEJ → rEJ", got, value(relaxed).to_string());
    }
    if !is_lossy {
        let lower = canonical_bson.to_ascii_lowercase();
        expect("cEJ → cB", parsed(canonical), lower.clone());
        if let Some(degenerate) = text("degenerate_extjson") {
            expect("dEJ → cB", parsed(degenerate), lower.clone());
        }
        if let Some(degenerate) = text("degenerate_bson") {
            let got = show(written(&unhex(degenerate), Format::Canonical));
            expect("dB → cB", parsed(&got), lower);
        }
    }
    faults
}

/// Whether our refusal of a faulty text is one of Decimal128 alone or of any type.
fn refuses(bson_type: &str, text: &str) -> bool {
    if bson_type == "0x13" {
        let document = serde_json::json!({ "d": { "$numberDecimal": text } });
        return parse_document(document.to_string().as_bytes()).is_err();
    }
    parse_document(text.as_bytes()).is_err()
}

#[test]
fn the_whole_corpus_passes() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/mongodb/corpus");
    let (mut files, mut cases, mut faults) = (0, 0, Vec::new());
    for entry in fs::read_dir(directory).expect("the corpus is there") {
        let path = entry.expect("readable").path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        files += 1;
        let file: Value =
            serde_json::from_slice(&fs::read(&path).expect("readable")).expect("JSON");
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let of = |key: &str| file[key].as_array().cloned().unwrap_or_default();
        for case in of("valid") {
            cases += 1;
            for fault in check_valid(&case) {
                faults.push(format!("{name}: {}: {fault}", case["description"]));
            }
        }
        for case in of("decodeErrors") {
            cases += 1;
            let bson = unhex(case["bson"].as_str().expect("text"));
            if let Ok(text) = written(&bson, Format::Canonical) {
                faults.push(format!(
                    "{name}: {}: decoded as {text}",
                    case["description"]
                ));
            }
        }
        for case in of("parseErrors") {
            cases += 1;
            let text = case["string"].as_str().expect("text");
            if !refuses(file["bson_type"].as_str().expect("text"), text) {
                faults.push(format!("{name}: {}: parsed", case["description"]));
            }
        }
    }
    assert_eq!(files, 31, "files of the corpus");
    assert!(cases > 700, "only {cases} cases");
    assert!(
        faults.is_empty(),
        "{} faults:\n{}",
        faults.len(),
        faults.join("\n")
    );
}
