use bytes::BytesMut;
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio_postgres::types::{IsNull, Type};

use super::{Parameter, encode};

fn text(value: &Value, data_type: &Type) -> Option<String> {
    encoded(&Parameter::from(value.clone()), data_type)
}

/// As [`text`], of JSON as a caller writes it.
fn written(json: &str, data_type: &Type) -> Option<String> {
    encoded(&serde_json::from_str(json).expect("JSON"), data_type)
}

fn encoded(value: &Parameter, data_type: &Type) -> Option<String> {
    let mut out = BytesMut::new();
    match encode(value.json(), data_type, &mut out) {
        Ok(IsNull::No) => Some(String::from_utf8(out.to_vec()).expect("text is UTF-8")),
        Ok(IsNull::Yes) => Some("∅".to_owned()),
        Err(_) => None,
    }
}

#[test]
fn integers_are_read_from_numbers_and_strings_within_their_range() {
    assert_eq!(text(&json!(32767), &Type::INT2).as_deref(), Some("32767"));
    assert_eq!(text(&json!(32768), &Type::INT2), None);
    assert_eq!(
        text(&json!("-2147483648"), &Type::INT4).as_deref(),
        Some("-2147483648")
    );
    assert_eq!(
        text(&json!("9223372036854775807"), &Type::INT8).as_deref(),
        Some("9223372036854775807")
    );
    assert_eq!(text(&json!("9223372036854775808"), &Type::INT8), None);
    assert_eq!(text(&json!(3.0), &Type::INT4).as_deref(), Some("3"));
    assert_eq!(text(&json!(3.5), &Type::INT4), None);
    assert_eq!(text(&json!(true), &Type::INT4), None);
    assert_eq!(text(&json!(-1), &Type::OID), None);
}

#[test]
fn numerics_keep_every_digit() {
    let long = "123456789012345678901234567890.000000000000000000001";
    assert_eq!(text(&json!(long), &Type::NUMERIC).as_deref(), Some(long));
    assert_eq!(text(&json!(0.1), &Type::NUMERIC).as_deref(), Some("0.1"));
    for good in ["1", "-.5", "5.", "1e-7", "+1E+7", "NaN", "-Infinity"] {
        assert!(text(&json!(good), &Type::NUMERIC).is_some(), "{good}");
    }
    for bad in ["", ".", "1e", "0x10", "1;drop", "1 2", "--1", "e5"] {
        assert!(text(&json!(bad), &Type::NUMERIC).is_none(), "{bad}");
    }
}

#[test]
fn numbers_keep_the_digits_that_the_caller_wrote() {
    let long = "123456789012345678901234567890.12345";
    assert_eq!(written(long, &Type::NUMERIC).as_deref(), Some(long));
    assert_eq!(written("1e400", &Type::NUMERIC).as_deref(), Some("1e400"));
    assert_eq!(
        written(&format!("[[{long}], [1.10]]"), &Type::NUMERIC_ARRAY),
        Some(format!(r#"{{{{"{long}"}},{{"1.10"}}}}"#))
    );
    let document = r#"{"price":12345678901234567890.10, "x" : [1.10]}"#;
    for data_type in [Type::JSON, Type::JSONB, Type::TEXT] {
        assert_eq!(written(document, &data_type).as_deref(), Some(document));
    }
}

#[test]
fn integers_may_be_written_with_point_and_exponent_but_lose_nothing() {
    for (json, integer) in [
        ("3.00", Some("3")),
        ("12e1", Some("120")),
        ("-1200e-2", Some("-12")),
        ("0.0e99", Some("0")),
        ("-0", Some("0")),
        ("9223372036854775807.0", Some("9223372036854775807")),
        ("3.00000000000000000001", None),
        ("1e400", None),
        ("1e99999999999999999999", None),
        ("1e-9223372036854775808", None),
        ("9223372036854775808", None),
    ] {
        assert_eq!(written(json, &Type::INT8).as_deref(), integer, "{json}");
    }
}

#[test]
fn escapes_are_read_and_those_of_no_character_refused() {
    let escaped = r#""a\"\u00e9\n""#;
    assert_eq!(written(escaped, &Type::TEXT).as_deref(), Some("a\"é\n"));
    assert_eq!(written(r#""\ud800""#, &Type::TEXT), None);
    assert_eq!(written(r#""\u0000""#, &Type::TEXT), None);
}

#[test]
fn depth_is_limited_outside_of_strings() {
    let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(serde_json::from_str::<Parameter>(&nested(127)).is_ok());
    assert!(serde_json::from_str::<Parameter>(&nested(128)).is_err());
    let quoted = format!(r#""\"{}""#, "[".repeat(500));
    assert!(serde_json::from_str::<Parameter>(&quoted).is_ok());
}

#[test]
fn arrays_quote_their_elements() {
    assert_eq!(
        text(
            &json!(["a\"b", "c\\d", null, "NULL", "{}"]),
            &Type::TEXT_ARRAY
        )
        .as_deref(),
        Some(r#"{"a\"b","c\\d",NULL,"NULL","{}"}"#)
    );
    assert_eq!(
        text(&json!([[1, 2], [3, null]]), &Type::INT4_ARRAY).as_deref(),
        Some(r#"{{"1","2"},{"3",NULL}}"#)
    );
    assert_eq!(text(&json!([]), &Type::INT4_ARRAY).as_deref(), Some("{}"));
    assert_eq!(
        text(&json!([[1], {"a": "b"}]), &Type::JSONB_ARRAY).as_deref(),
        Some(r#"{"[1]","{\"a\":\"b\"}"}"#)
    );
    assert_eq!(text(&json!([[[[[[[1]]]]]]]), &Type::INT4_ARRAY), None);
}

#[test]
fn bytes_come_as_base64_of_either_alphabet() {
    assert_eq!(
        text(&json!("+/8="), &Type::BYTEA).as_deref(),
        Some("\\xfbff")
    );
    assert_eq!(
        text(&json!("-_8"), &Type::BYTEA).as_deref(),
        Some("\\xfbff")
    );
    assert_eq!(
        text(&json!("\\xDEad"), &Type::BYTEA).as_deref(),
        Some("\\xDEad")
    );
    assert_eq!(text(&json!("%%"), &Type::BYTEA), None);
}

#[test]
fn expanded_years_become_those_of_postgresql() {
    assert_eq!(
        text(&json!("-000043-03-15"), &Type::DATE).as_deref(),
        Some("0044-03-15 BC")
    );
    assert_eq!(
        text(&json!("+012345-01-02T03:04:05Z"), &Type::TIMESTAMPTZ).as_deref(),
        Some("12345-01-02T03:04:05Z")
    );
    assert_eq!(
        text(&json!("2024-02-29"), &Type::DATE).as_deref(),
        Some("2024-02-29")
    );
    assert_eq!(
        text(&json!("0000-01-01"), &Type::DATE).as_deref(),
        Some("0001-01-01 BC")
    );
    assert_eq!(text(&json!("+é"), &Type::DATE).as_deref(), Some("+é"));
    assert_eq!(text(&json!(5), &Type::DATE), None);
}

#[test]
fn a_text_with_nul_is_refused_and_null_is_null() {
    assert_eq!(text(&json!("a\0b"), &Type::TEXT), None);
    assert_eq!(text(&Value::Null, &Type::JSONB).as_deref(), Some("∅"));
    assert_eq!(text(&json!("x"), &Type::JSONB).as_deref(), Some("\"x\""));
    assert_eq!(
        text(&json!({"a": 1}), &Type::TEXT).as_deref(),
        Some("{\"a\":1}")
    );
    assert_eq!(text(&json!([1]), &Type::INET), None);
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".*".prop_map(Value::from),
        "[-+]?[0-9]{0,9}[.eE:T-]?[0-9]{0,9}( BC|Z)?".prop_map(Value::from),
    ];
    leaf.prop_recursive(9, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(".*", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_json_for_any_built_in_type_never_panics(value in any_json(), oid in 0_u32..6_200) {
        if let Some(data_type) = Type::from_oid(oid) {
            let mut out = BytesMut::new();
            let _ = encode(Parameter::from(value).json(), &data_type, &mut out);
        }
    }
}
