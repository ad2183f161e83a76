//! JSON to PostgreSQL's text form and back: never a panic, never invalid JSON, and what went in
//! as text, JSON or a list of texts comes out as it was.

#![no_main]

use bunbun_databases::postgres::query::{Conversion, DataType, Parameter, parameters::encode, values};
use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tokio_postgres::types::{IsNull, Type};

const TYPES: [Type; 24] = [
    Type::BOOL,
    Type::INT2,
    Type::INT4,
    Type::INT8,
    Type::OID,
    Type::FLOAT4,
    Type::FLOAT8,
    Type::NUMERIC,
    Type::TEXT,
    Type::VARCHAR,
    Type::JSON,
    Type::JSONB,
    Type::BYTEA,
    Type::UUID,
    Type::DATE,
    Type::TIMESTAMP,
    Type::TIMESTAMPTZ,
    Type::INTERVAL,
    Type::INET,
    Type::TEXT_ARRAY,
    Type::INT4_ARRAY,
    Type::BOX_ARRAY,
    Type::BYTEA_ARRAY,
    Type::JSONB_ARRAY,
];

fuzz_target!(|input: (u8, &[u8])| {
    let (at, bytes) = input;
    let data_type = &TYPES[usize::from(at) % TYPES.len()];
    let known = DataType::of(data_type);
    // Whatever a server sends is written as JSON; its JSON, numbers and
    // arrays are believed.
    if !is_believed(&known.conversion) {
        back(bytes, &known);
    }
    let Ok(value) = serde_json::from_slice::<Value>(bytes) else {
        return;
    };
    // What is too deep for a `Value` is refused as a `Parameter`, and the other way round.
    let parameter: Parameter = serde_json::from_slice(bytes).expect("it is JSON");
    let mut out = BytesMut::new();
    let Ok(is_null) = encode(parameter.json(), data_type, &mut out) else {
        return;
    };
    assert_eq!(matches!(is_null, IsNull::Yes), value.is_null());
    if value.is_null() {
        return;
    }
    assert!(!out.contains(&0), "PostgreSQL's texts end at a NUL");
    assert!(std::str::from_utf8(&out).is_ok());
    // Of these the server keeps the very text.
    let is_kept = match *data_type {
        Type::TEXT | Type::VARCHAR => value.is_string(),
        Type::JSON | Type::JSONB => !has_float(&value),
        Type::TEXT_ARRAY => value.is_array() && only_texts(&value),
        _ => false,
    };
    if is_kept {
        assert_eq!(back(&out, &known), value, "{data_type}");
    }
});

fn back(bytes: &[u8], data_type: &DataType) -> Value {
    let mut json = Vec::new();
    values::write_json(Some(bytes), data_type, &mut json);
    let mut csv = Vec::new();
    values::write_csv(Some(bytes), data_type, &mut csv);
    serde_json::from_slice(&json).unwrap_or_else(|error| {
        panic!(
            "{error}: {} for {}",
            String::from_utf8_lossy(&json),
            data_type.name
        )
    })
}

fn is_believed(conversion: &Conversion) -> bool {
    matches!(
        conversion,
        Conversion::Json
            | Conversion::Float
            | Conversion::Integer { .. }
            | Conversion::Array { .. }
    )
}

fn has_float(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.is_f64(),
        Value::Array(items) => items.iter().any(has_float),
        Value::Object(fields) => fields.values().any(has_float),
        _ => false,
    }
}

fn only_texts(value: &Value) -> bool {
    match value {
        Value::Array(items) => !items.is_empty() && items.iter().all(only_texts),
        value => value.is_string(),
    }
}
