//! Where a listing stands: what an opaque cursor contains.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bunbun_core::secret::digest;

use crate::{error::Error, redis::error::bad_cursor};

const VERSION: u8 = 1;
const LENGTH: usize = 1 + 8 + 8 + 8 + 2 + 4 + 8;

/// Between two calls of SCAN, or in the middle of what one answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::redis) struct Position {
    /// Which listing: a cursor is of no use for another pattern.
    pub(in crate::redis) listing: u64,
    /// The server, by its name.
    pub(in crate::redis) node: u64,
    /// Redis' own cursor, before the call.
    pub(in crate::redis) cursor: u64,
    /// The `COUNT` of the call that has to be repeated because its answer was too long.
    pub(in crate::redis) count: u16,
    /// How many of that answer have been listed.
    pub(in crate::redis) skip: u32,
    /// The name of the last one of those, in case others have gone meanwhile.
    pub(in crate::redis) last: u64,
}

/// A short name of bytes.
pub(in crate::redis) fn name_of(parts: &[&[u8]]) -> u64 {
    let mut all = Vec::new();
    for part in parts {
        all.extend_from_slice(&part.len().to_be_bytes());
        all.extend_from_slice(part);
    }
    let [a, b, c, d, e, f, g, h, ..] = digest(&all);
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

impl Position {
    /// As callers see it.
    pub(in crate::redis) fn write(&self) -> String {
        let mut bytes = Vec::with_capacity(LENGTH);
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.listing.to_be_bytes());
        bytes.extend_from_slice(&self.node.to_be_bytes());
        bytes.extend_from_slice(&self.cursor.to_be_bytes());
        bytes.extend_from_slice(&self.count.to_be_bytes());
        bytes.extend_from_slice(&self.skip.to_be_bytes());
        bytes.extend_from_slice(&self.last.to_be_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The opposite of [`Self::write`], for the listing of this name.
    pub(in crate::redis) fn read(text: &str, listing: u64) -> Result<Self, Error> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| bad_cursor())?;
        let bytes: [u8; LENGTH] = bytes.try_into().map_err(|_| bad_cursor())?;
        let long = |at: usize| {
            let mut part = [0; 8];
            part.copy_from_slice(&bytes[at..at + 8]);
            u64::from_be_bytes(part)
        };
        let position = Self {
            listing: long(1),
            node: long(9),
            cursor: long(17),
            count: u16::from_be_bytes([bytes[25], bytes[26]]),
            skip: u32::from_be_bytes([bytes[27], bytes[28], bytes[29], bytes[30]]),
            last: long(31),
        };
        if bytes[0] != VERSION || position.listing != listing || position.count > 1000 {
            return Err(bad_cursor());
        }
        Ok(position)
    }

    /// How many of a repeated answer were listed already.
    pub(in crate::redis) fn listed<'a>(&self, answer: impl Iterator<Item = &'a [u8]>) -> usize {
        if self.skip == 0 {
            return 0;
        }
        let skip = usize::try_from(self.skip).unwrap_or(usize::MAX);
        let mut count = 0;
        for (index, name) in answer.enumerate() {
            count = index + 1;
            if name_of(&[name]) == self.last {
                return index + 1;
            }
        }
        skip.min(count)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Position, name_of};

    proptest! {
        #[test]
        fn a_cursor_is_read_as_it_was_written(
            listing: u64, node: u64, cursor: u64, count in 0_u16..=1000, skip: u32, last: u64
        ) {
            let position = Position { listing, node, cursor, count, skip, last };
            prop_assert_eq!(Position::read(&position.write(), listing).unwrap(), position);
            prop_assert!(Position::read(&position.write(), listing ^ 1).is_err());
        }

        #[test]
        fn any_text_is_a_cursor_or_an_error(text: String) {
            let _ = Position::read(&text, 0);
        }
    }

    #[test]
    fn a_repeated_answer_continues_behind_the_last_one_even_if_others_went() {
        let names: [&[u8]; 4] = [b"a", b"b", b"c", b"d"];
        let mut position = Position {
            skip: 2,
            last: name_of(&[b"b"]),
            ..Position::default()
        };
        assert_eq!(position.listed(names.into_iter()), 2);
        assert_eq!(position.listed(names.into_iter().skip(1)), 1);
        position.last = name_of(&[b"gone"]);
        assert_eq!(position.listed(names.into_iter()), 2);
    }
}
