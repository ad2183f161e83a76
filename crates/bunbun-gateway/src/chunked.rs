//! The chunked coding of HTTP/1 bodies (RFC 9112 §7.1), followed byte by byte: by the head check,
//! which only counts, and by whoever reads an upstream's answer.

use crate::accept::head::HeadFault;

/// Where in a chunked body a reader is (RFC 9112 §7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Chunk {
    Size { value: u64, digits: u8 },
    Extension { cr: bool, value: u64, length: u16 },
    Data(u64),
    DataEnd { cr: bool },
    Trailer { line: u16, cr: bool, total: u16 },
}

impl Chunk {
    /// Before the first chunk.
    pub(crate) const START: Self = Self::Size {
        value: 0,
        digits: 0,
    };

    /// How many of the bytes, of which there is one at least, were used, and the state after them;
    /// `None` after the body's end. As strict as hyper or stricter, so that both always agree on
    /// the end.
    ///
    /// # Errors
    /// Bytes that are not of this coding.
    pub(crate) fn step(self, bytes: &[u8]) -> Result<(usize, Option<Self>), HeadFault> {
        let byte = bytes[0];
        let next = match self {
            Self::Size { value, digits } => match (byte, (byte as char).to_digit(16)) {
                (_, Some(digit)) if digits < 15 => Self::Size {
                    value: value << 4 | u64::from(digit),
                    digits: digits + 1,
                },
                (b'\r', _) if digits > 0 => Self::Extension {
                    cr: true,
                    value,
                    length: 0,
                },
                (b';', _) if digits > 0 => Self::Extension {
                    cr: false,
                    value,
                    length: 0,
                },
                _ => return Err(HeadFault::Malformed),
            },
            Self::Extension {
                cr: true, value, ..
            } => match (byte, value) {
                (b'\n', 0) => Self::Trailer {
                    line: 0,
                    cr: false,
                    total: 0,
                },
                (b'\n', _) => Self::Data(value),
                _ => return Err(HeadFault::Malformed),
            },
            Self::Extension {
                cr: false,
                value,
                length,
            } => match byte {
                b'\r' => Self::Extension {
                    cr: true,
                    value,
                    length,
                },
                b'\n' | 0 => return Err(HeadFault::Malformed),
                _ if length >= 4096 => return Err(HeadFault::HeadTooLarge),
                _ => Self::Extension {
                    cr: false,
                    value,
                    length: length + 1,
                },
            },
            Self::Data(left) => {
                let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                let left = left - here as u64;
                let next = if left == 0 {
                    Self::DataEnd { cr: false }
                } else {
                    Self::Data(left)
                };
                return Ok((here, Some(next)));
            }
            Self::DataEnd { cr } => match (cr, byte) {
                (false, b'\r') => Self::DataEnd { cr: true },
                (true, b'\n') => Self::Size {
                    value: 0,
                    digits: 0,
                },
                _ => return Err(HeadFault::Malformed),
            },
            Self::Trailer { line, cr, total } => match (cr, byte) {
                (_, _) if total >= 8192 => return Err(HeadFault::HeadTooLarge),
                (true, b'\n') if line == 0 => return Ok((1, None)),
                (true, b'\n') => Self::Trailer {
                    line: 0,
                    cr: false,
                    total: total + 1,
                },
                (true, _) | (false, b'\n' | 0) => return Err(HeadFault::Malformed),
                (false, b'\r') => Self::Trailer {
                    line,
                    cr: true,
                    total: total + 1,
                },
                (false, _) => Self::Trailer {
                    line: line + 1,
                    cr: false,
                    total: total + 1,
                },
            },
        };
        Ok((1, Some(next)))
    }
}
