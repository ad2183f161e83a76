use proptest::prelude::*;
use serde_json::Value;
use tokio_postgres::types::Type;

use super::{super::data_type::DataType, write_csv, write_json};

fn json(value: &str, data_type: &Type) -> String {
    let mut out = Vec::new();
    write_json(Some(value.as_bytes()), &DataType::of(data_type), &mut out);
    String::from_utf8(out).expect("JSON is UTF-8")
}

fn csv(value: &str, data_type: &Type) -> String {
    let mut out = Vec::new();
    write_csv(Some(value.as_bytes()), &DataType::of(data_type), &mut out);
    String::from_utf8(out).expect("it was UTF-8")
}

#[test]
fn integers_are_numbers_up_to_what_javascript_holds() {
    assert_eq!(json("9007199254740991", &Type::INT8), "9007199254740991");
    assert_eq!(json("-9007199254740991", &Type::INT8), "-9007199254740991");
    assert_eq!(
        json("9007199254740992", &Type::INT8),
        "\"9007199254740992\""
    );
    assert_eq!(
        json("-9223372036854775808", &Type::INT8),
        "\"-9223372036854775808\""
    );
    assert_eq!(json("1.50", &Type::NUMERIC), "\"1.50\"");
}

#[test]
fn floats_are_numbers_unless_json_has_none_for_them() {
    assert_eq!(json("1e-05", &Type::FLOAT8), "1e-05");
    assert_eq!(json("-0", &Type::FLOAT8), "-0");
    assert_eq!(json("NaN", &Type::FLOAT8), "\"NaN\"");
    assert_eq!(json("-Infinity", &Type::FLOAT4), "\"-Infinity\"");
}

#[test]
fn instants_are_iso_8601() {
    for (text, iso) in [
        ("2024-01-02 03:04:05.678+00", "2024-01-02T03:04:05.678Z"),
        ("2024-01-02 03:04:05", "2024-01-02T03:04:05"),
        ("2024-01-02 03:04:05+05:30", "2024-01-02T03:04:05+05:30"),
        ("2024-01-02 03:04:05-08", "2024-01-02T03:04:05-08:00"),
        ("0044-03-15 12:00:00+00 BC", "-000043-03-15T12:00:00Z"),
        ("0001-01-01 BC", "0000-01-01"),
        ("12345-01-02", "+012345-01-02"),
        ("infinity", "infinity"),
        ("-infinity", "-infinity"),
        ("", ""),
    ] {
        assert_eq!(
            json(text, &Type::TIMESTAMPTZ),
            format!("\"{iso}\""),
            "{text}"
        );
    }
}

#[test]
fn arrays_are_arrays() {
    assert_eq!(json("{1,NULL,3}", &Type::INT4_ARRAY), "[1,null,3]");
    assert_eq!(json("{{1,2},{3,4}}", &Type::INT4_ARRAY), "[[1,2],[3,4]]");
    assert_eq!(json("[0:1]={7,8}", &Type::INT4_ARRAY), "[7,8]");
    assert_eq!(json("{}", &Type::TEXT_ARRAY), "[]");
    assert_eq!(
        json(r#"{"a,b","NULL",NULL,"q\"\\",x}"#, &Type::TEXT_ARRAY),
        r#"["a,b","NULL",null,"q\"\\","x"]"#
    );
    assert_eq!(
        json("{(1,2),(0,0);(3,4),(2,2)}", &Type::BOX_ARRAY),
        r#"["(1,2),(0,0)","(3,4),(2,2)"]"#
    );
    for odd in [
        "",
        "{",
        "{1",
        "1,2",
        "}",
        "{1}}",
        "{\"",
        "[0:1",
        "{{{{{{{1}}}}}}}",
    ] {
        let out = json(odd, &Type::INT4_ARRAY);
        assert!(
            matches!(serde_json::from_str(&out), Ok(Value::String(_))),
            "{odd} → {out}"
        );
    }
}

#[test]
fn bytes_are_base64_whatever_the_session_writes() {
    assert_eq!(json("\\xfbff00", &Type::BYTEA), "\"+/8A\"");
    assert_eq!(json("a\\\\b\\000", &Type::BYTEA), "\"YVxiAA==\"");
    assert_eq!(json("\\x", &Type::BYTEA), "\"\"");
}

#[test]
fn json_stays_on_one_line_and_keeps_its_text() {
    assert_eq!(
        json("{\"a\":\n 1.0,\r\n\"b\":\"\\n\"}", &Type::JSON),
        "{\"a\":  1.0,  \"b\":\"\\n\"}"
    );
}

#[test]
fn csv_quotes_what_needs_it() {
    assert_eq!(csv("plain", &Type::TEXT), "plain");
    assert_eq!(csv("", &Type::TEXT), "\"\"");
    assert_eq!(csv("a,\"b\"\n", &Type::TEXT), "\"a,\"\"b\"\"\n\"");
    assert_eq!(csv("{1,2}", &Type::INT4_ARRAY), "\"[1,2]\"");
    assert_eq!(csv("t", &Type::BOOL), "true");
    let mut out = Vec::new();
    write_csv(None, &DataType::of(&Type::TEXT), &mut out);
    assert!(out.is_empty());
}

#[test]
fn bytes_that_are_no_utf_8_still_make_valid_json() {
    let mut out = Vec::new();
    write_json(Some(b"a\xff\x01\"b"), &DataType::of(&Type::TEXT), &mut out);
    let back: String = serde_json::from_slice(&out).expect("valid JSON");
    assert_eq!(back, "a\u{fffd}\u{1}\"b");
}

proptest! {
    #[test]
    fn any_text_of_any_type_but_json_makes_valid_json(text in ".*", oid in 0_u32..6_200) {
        let Some(data_type) = Type::from_oid(oid) else { return Ok(()) };
        if data_type.name().contains("json") { return Ok(()) }
        let out = json(&text, &data_type);
        // Numbers of floats are taken as they are; the server writes no malformed ones.
        let is_float = data_type.name().contains("float");
        prop_assert!(is_float || serde_json::from_str::<Value>(&out).is_ok(), "{out}");
    }
}
