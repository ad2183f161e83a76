//! The types of parameters and columns, as far as conversion between JSON and PostgreSQL's text
//! form cares.

use std::sync::Arc;

use tokio_postgres::types::{Kind, Type};

/// A PostgreSQL type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataType {
    /// As PostgreSQL names it, arrays as `int4[]`.
    pub name: String,
    /// How its values are converted.
    pub conversion: Conversion,
}

/// How values of a type are converted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Conversion {
    /// `bool`: JSON's booleans.
    Bool,
    /// Integers within these bounds; beyond 2^53−1 they leave as strings.
    Integer {
        /// The least value.
        least: i64,
        /// The greatest value.
        greatest: i64,
    },
    /// `float4`, `float8`: numbers; `NaN` and infinities as strings.
    Float,
    /// `numeric`: strings, exactly.
    Numeric,
    /// Everything whose value is a text.
    Text,
    /// `json`, `jsonb`: any JSON.
    Json,
    /// `bytea`: base64.
    Bytes,
    /// `uuid`: its text.
    Uuid,
    /// `date`, `timestamp`, `timestamptz`: ISO 8601.
    Instant,
    /// An array: JSON's arrays, nested for several dimensions.
    Array {
        /// The elements' type.
        element: Arc<DataType>,
        /// What stands between elements in the text form.
        delimiter: u8,
    },
    /// Every other type: its text form, in and out.
    Other,
}

impl DataType {
    /// A type that is built into PostgreSQL.
    #[must_use]
    pub fn built_in(oid: u32) -> Option<Arc<Self>> {
        Type::from_oid(oid).map(|known| Arc::new(Self::of(&known)))
    }

    /// A type as `tokio-postgres` describes it.
    #[must_use]
    pub fn of(known: &Type) -> Self {
        match known.kind() {
            // Vectors are stored as arrays but written without braces.
            Kind::Array(_) if matches!(*known, Type::INT2_VECTOR | Type::OID_VECTOR) => {
                Self::new(known.name(), Conversion::Other)
            }
            Kind::Array(element) => Self::array_of(Arc::new(Self::of(element)), b','),
            Kind::Domain(base) => Self::of(base),
            Kind::Enum(_) => Self::new(known.name(), Conversion::Text),
            _ => Self::new(known.name(), simple(known)),
        }
    }

    /// The array type over an element type.
    #[must_use]
    pub fn array_of(element: Arc<Self>, delimiter: u8) -> Self {
        let delimiter = if element.name == "box" {
            b';'
        } else {
            delimiter
        };
        Self {
            name: format!("{}[]", element.name),
            conversion: Conversion::Array { element, delimiter },
        }
    }

    pub(super) fn new(name: &str, conversion: Conversion) -> Self {
        Self {
            name: name.to_owned(),
            conversion,
        }
    }
}

fn simple(known: &Type) -> Conversion {
    let integer = |least: i64, greatest: i64| Conversion::Integer { least, greatest };
    match *known {
        Type::BOOL => Conversion::Bool,
        Type::INT2 => integer(i16::MIN.into(), i16::MAX.into()),
        Type::INT4 => integer(i32::MIN.into(), i32::MAX.into()),
        Type::INT8 => integer(i64::MIN, i64::MAX),
        Type::OID => integer(0, u32::MAX.into()),
        Type::FLOAT4 | Type::FLOAT8 => Conversion::Float,
        Type::NUMERIC => Conversion::Numeric,
        Type::JSON | Type::JSONB => Conversion::Json,
        Type::BYTEA => Conversion::Bytes,
        Type::UUID => Conversion::Uuid,
        Type::DATE | Type::TIMESTAMP | Type::TIMESTAMPTZ => Conversion::Instant,
        Type::TEXT
        | Type::VARCHAR
        | Type::BPCHAR
        | Type::NAME
        | Type::CHAR
        | Type::XML
        | Type::UNKNOWN => Conversion::Text,
        _ => Conversion::Other,
    }
}
