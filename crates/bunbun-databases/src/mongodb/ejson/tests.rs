//! Round trips and refusals; the specification's own corpus is in `tests/it/mongodb/corpus.rs`.

use mongodb::bson::{Bson, Document, RawDocumentBuf, doc};
use proptest::prelude::*;

use super::{Format, parse_document, parse_value, write_document};

fn written(document: &RawDocumentBuf, format: Format) -> String {
    let mut out = Vec::new();
    write_document(document.as_bytes(), format, &mut out).expect("well-formed");
    String::from_utf8(out).expect("UTF-8")
}

fn refused(text: &str) -> (String, String) {
    let error = parse_document(text.as_bytes()).expect_err(text);
    (error.message, error.pointer)
}

#[test]
fn duplicate_keys_are_refused_however_they_are_written() {
    for text in [
        r#"{"a":1,"a":2}"#,
        r#"{"a":1,"\u0061":2}"#,
        r#"{"b":{"a":1,"b":0,"a":2}}"#,
        r#"{"$gt":1,"\u0024gt":2}"#,
    ] {
        let (message, pointer) = refused(text);
        assert_eq!(message, "a key that stands twice", "{text}");
        assert!(!pointer.is_empty(), "{text}");
    }
    let many: Vec<String> = (0..200).map(|n| format!(r#""k{n}":{n}"#)).collect();
    let distinct = format!("{{{}}}", many.join(","));
    parse_document(distinct.as_bytes()).expect("no key stands twice");
    let twice = format!(r#"{{{},"k150":0}}"#, many.join(","));
    assert_eq!(refused(&twice).1, "/k150");
    // The same key in another object is another key.
    parse_document(br#"{"a":{"a":[{"a":1},{"a":2}]}}"#).expect("no key stands twice");
}

#[test]
fn nesting_ends_at_a_hundred_levels() {
    let nested = |levels: usize| {
        format!("{}{}", r#"{"a":"#.repeat(levels - 1), "{}") + &"}".repeat(levels - 1)
    };
    parse_document(nested(100).as_bytes()).expect("a hundred levels");
    assert_eq!(refused(&nested(101)).0, "nested deeper than 100 levels");
    let arrays = format!(r#"{{"a":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(refused(&arrays).0, "nested deeper than 100 levels");
}

#[test]
fn a_fault_says_where_it_is() {
    assert_eq!(
        refused(r#"{"a/b":[1,{"~c":{"$oid":"x"}}]}"#),
        (
            "a value that $oid cannot have".to_owned(),
            "/a~1b/1/~0c".to_owned()
        ),
    );
    assert_eq!(refused(r#"{"a":[1,{"b" 1}]}"#).1, "/a/1/b");
}

#[test]
fn a_wrapper_is_its_type_or_a_fault() {
    for text in [
        r#"{"a":{"$oid":"5f5e1d0e8b0c4b3a9c1d2e3f","x":1}}"#,
        r#"{"a":{"x":1,"$numberInt":"1"}}"#,
        r#"{"a":{"$numberLong":"9223372036854775808"}}"#,
        r#"{"a":{"$numberInt":"+1"}}"#,
        r#"{"a":{"$numberDouble":"inf"}}"#,
        r#"{"a":{"$numberDouble":"nan"}}"#,
        r#"{"a":{"$binary":{"base64":"AA==","subType":"+1"}}}"#,
        r#"{"a":{"$binary":{"base64":"AA=","subType":"00"}}}"#,
        r#"{"a":{"$uuid":"73ffd26444b34c6990e8e7d1dfc035d4"}}"#,
        r#"{"a":{"$date":"yesterday"}}"#,
        r#"{"$oid":"5f5e1d0e8b0c4b3a9c1d2e3f"}"#,
    ] {
        refused(text);
    }
    // Operators pass.
    for text in [
        r#"{"a":{"$regex":"x","$options":"i"}}"#,
        r#"{"a":{"$type":"string"}}"#,
        r#"{"$anything":{"$at":["$all"]}}"#,
        r#"{"$ref":"c","$id":1}"#,
    ] {
        let document = parse_document(text.as_bytes()).expect(text);
        assert_eq!(written(&document, Format::Relaxed), text);
    }
}

#[test]
fn json_is_taken_strictly() {
    for text in [
        "",
        " ",
        "[]",
        "1",
        "{",
        "}",
        r#"{"a"}"#,
        r#"{"a":}"#,
        r#"{"a":1,}"#,
        r"{a:1}",
        r#"{'a':1}"#,
        r#"{"a":01}"#,
        r#"{"a":--1}"#,
        r#"{"a":+1}"#,
        r#"{"a":.5}"#,
        r#"{"a":1.}"#,
        r#"{"a":1e}"#,
        r#"{"a":1e999}"#,
        r#"{"a":NaN}"#,
        r#"{"a":tru}"#,
        r#"{"a":"\x"}"#,
        r#"{"a":"\ud800"}"#,
        r#"{"a":"\ud800\u0041"}"#,
        r#"{"a":"\udc00"}"#,
        r#"{"a":[1,]}"#,
        "{} {}",
        "{\"a\":\"\n\"}",
        r#"{"a":1}x"#,
        r#"{"a\u0000":1}"#,
    ] {
        refused(text);
    }
    assert!(parse_document(b"{\"a\":\"\xff\"}").is_err());
}

#[test]
fn numbers_get_the_smallest_integer_type_or_double() {
    let document = parse_document(
        br#"{"a":1,"b":-2147483649,"c":9223372036854775808,"d":1.0,"e":1e2,"f":-0.0,"g":-0}"#,
    )
    .expect("numbers");
    let document = Document::try_from(document).expect("a document");
    assert_eq!(
        document,
        doc! { "a": 1_i32, "b": -2_147_483_649_i64, "c": 9_223_372_036_854_775_808_f64, "d": 1.0,
        "e": 100.0, "f": -0.0, "g": 0_i32 }
    );
    assert!(document.get_f64("f").expect("a double").is_sign_negative());
}

#[test]
fn the_plain_form_has_bare_strings() {
    let document = parse_document(
        br#"{"_id":{"$oid":"5f5e1d0e8b0c4b3a9c1d2e3f"},"d":{"$date":"2026-11-25T01:02:03Z"},
            "n":{"$numberDecimal":"1.50"},"b":{"$binary":{"base64":"AQI=","subType":"00"}},
            "l":{"$numberLong":"5"},"x":{"$numberDouble":"2.0"}}"#,
    )
    .expect("types");
    assert_eq!(
        written(&document, Format::Plain),
        r#"{"_id":"5f5e1d0e8b0c4b3a9c1d2e3f","d":"2026-11-25T01:02:03Z","n":"1.50","b":"AQI=","l":5,"x":2.0}"#,
    );
}

#[test]
fn a_value_of_any_type_can_stand_alone() {
    for (text, value) in [
        ("1", Bson::Int32(1)),
        (r#""1""#, Bson::String("1".into())),
        ("true", Bson::Boolean(true)),
        (r#"{"$numberLong":"1"}"#, Bson::Int64(1)),
        (r#"{"a":[]}"#, Bson::Document(doc! { "a": [] })),
    ] {
        let document = parse_value(text.as_bytes()).expect(text);
        let document = Document::try_from(document).expect("a document");
        assert_eq!(document.get(""), Some(&value), "{text}");
    }
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![".{0,12}", "[\\x01-\\x1f\"\\\\/$]{0,6}", "[a-z]{1,6}"]
        .prop_map(|text| text.replace('\0', "0"))
}

fn any_key() -> impl Strategy<Value = String> {
    any_text().prop_map(|text| {
        if text.starts_with('$') {
            format!("k{text}")
        } else {
            text
        }
    })
}

fn any_bson() -> impl Strategy<Value = Bson> {
    use mongodb::bson::{
        Binary, DateTime, Decimal128, JavaScriptCodeWithScope, Regex, Timestamp, oid::ObjectId,
        raw::CString, spec::BinarySubtype,
    };
    let leaf = prop_oneof![
        any::<f64>()
            .prop_filter("NaN has payloads", |n| !n.is_nan())
            .prop_map(Bson::Double),
        any::<i32>().prop_map(Bson::Int32),
        any::<i64>().prop_map(Bson::Int64),
        (-9i64..9).prop_map(Bson::Int64),
        any::<bool>().prop_map(Bson::Boolean),
        Just(Bson::Null),
        Just(Bson::Undefined),
        Just(Bson::MinKey),
        Just(Bson::MaxKey),
        any_text().prop_map(Bson::String),
        any_text().prop_map(Bson::Symbol),
        any_text().prop_map(Bson::JavaScriptCode),
        any_text().prop_map(|code| {
            Bson::JavaScriptCodeWithScope(JavaScriptCodeWithScope {
                code,
                scope: doc! { "x": 1 },
            })
        }),
        any::<[u8; 12]>().prop_map(|bytes| Bson::ObjectId(ObjectId::from_bytes(bytes))),
        any::<i64>().prop_map(|ms| Bson::DateTime(DateTime::from_millis(ms))),
        (0i64..9_999_999_999_999).prop_map(|ms| Bson::DateTime(DateTime::from_millis(ms))),
        (any::<u32>(), any::<u32>())
            .prop_map(|(time, increment)| Bson::Timestamp(Timestamp { time, increment })),
        (any::<u8>(), proptest::collection::vec(any::<u8>(), 0..20)).prop_map(|(kind, bytes)| {
            Bson::Binary(Binary {
                subtype: BinarySubtype::from(kind),
                bytes,
            })
        }),
        (any::<i64>(), -300..300).prop_map(|(digits, exponent)| {
            let text = format!("{digits}E{exponent}");
            Bson::Decimal128(text.parse::<Decimal128>().expect("in range"))
        }),
        any_key().prop_map(|pattern| {
            let pattern = CString::try_from(pattern).expect("no NUL");
            let options = CString::try_from("im").expect("no NUL");
            Bson::RegularExpression(Regex { pattern, options })
        }),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Bson::Array),
            proptest::collection::vec((any_key(), inner), 0..6)
                .prop_map(|members| Bson::Document(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_canonically_reads_back_byte_for_byte(value in any_bson()) {
        let document = RawDocumentBuf::try_from(&doc! { "value": value }).expect("encodes");
        let text = written(&document, Format::Canonical);
        let back = parse_document(text.as_bytes()).map_err(|e| TestCaseError::fail(format!("{e}: {text}")))?;
        prop_assert_eq!(back.as_bytes(), document.as_bytes(), "{}", text);
        serde_json::from_str::<serde_json::Value>(&text).expect("JSON");
    }

    #[test]
    fn relaxed_text_is_json_and_means_the_same_numbers(value in any_bson()) {
        let document = RawDocumentBuf::try_from(&doc! { "value": value }).expect("encodes");
        let text = written(&document, Format::Relaxed);
        serde_json::from_str::<serde_json::Value>(&text).expect("JSON");
        let back = parse_document(text.as_bytes()).map_err(|e| TestCaseError::fail(format!("{e}: {text}")))?;
        prop_assert_eq!(written(&back, Format::Relaxed), text);
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in r#"[\{\}\[\]",:$a-c0-9eE.\\u+-]{0,60}"#) {
        if let Ok(document) = parse_document(text.as_bytes()) {
            // What it accepts is JSON and well-formed BSON.
            prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
            written(&document, Format::Canonical);
        }
    }

    #[test]
    fn no_bytes_make_the_writer_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let mut framed = bytes;
        let mut document = i32::try_from(framed.len() + 5).expect("short").to_le_bytes().to_vec();
        document.append(&mut framed);
        document.push(0);
        let _ = write_document(&document, Format::Relaxed, &mut Vec::new());
    }
}
