//! Which of a cluster's 16384 slots a key belongs to:
//! <https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/>.

/// The number of slots.
pub(super) const SLOTS: usize = 16384;

/// The key's slot. Only what stands in its first `{…}` counts, if that is not empty.
pub(super) fn of(key: &[u8]) -> usize {
    usize::from(crc16(tag(key))) % SLOTS
}

fn tag(key: &[u8]) -> &[u8] {
    let Some(open) = key.iter().position(|byte| *byte == b'{') else {
        return key;
    };
    match key[open + 1..].iter().position(|byte| *byte == b'}') {
        None | Some(0) => key,
        Some(length) => &key[open + 1..open + 1 + length],
    }
}

/// CRC-16/XMODEM: polynomial 0x1021, nothing reflected, starts at 0.
fn crc16(bytes: &[u8]) -> u16 {
    let mut crc = 0_u16;
    for byte in bytes {
        crc ^= u16::from(*byte) << 8;
        for _ in 0..8 {
            crc = if crc & 0x8000 == 0 {
                crc << 1
            } else {
                (crc << 1) ^ 0x1021
            };
        }
    }
    crc
}

#[cfg(test)]
mod tests {
    use super::{crc16, of};

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(of(b"foo"), 12182);
        assert_eq!(of(b"{user1000}.following"), of(b"user1000"));
        assert_eq!(of(b"foo{{bar}}zap"), of(b"{bar"));
        assert_ne!(of(b"foo{}{bar}"), of(b"bar"));
    }
}
