//! Hash slots: which of the cluster's 16,384 parts a key belongs to.

/// How many slots a cluster is divided into.
pub const SLOTS: u16 = 16384;

/// Returns the slot of `key`, in `0..SLOTS`.
pub fn key_slot(key: &[u8]) -> u16 {
    crc16(hash_tag(key)) % SLOTS
}

/// Returns the part of `key` that decides its slot.
///
/// It is what stands between the first `{` and the next `}`, so that related keys can share a slot; without such a
/// pair, or with nothing between them, it is the whole key.
pub fn hash_tag(key: &[u8]) -> &[u8] {
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let inner = &key[open + 1..];
        let close = inner.iter().position(|byte| *byte == b'}')?;
        Some(&inner[..close])
    });
    tag.filter(|tag| !tag.is_empty()).unwrap_or(key)
}

/// Returns the CRC-16 of `bytes`: XMODEM's, polynomial 0x1021, from 0.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| (crc << 8) ^ TABLE[usize::from((crc >> 8) as u8 ^ byte)])
}

static TABLE: [u16; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 != 0 { (crc << 1) ^ 0x1021 } else { crc << 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_xmodems() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
    }

    #[test]
    fn a_tag_decides_for_the_key() {
        let table = [
            ("key", "key"),
            ("{user1000}.following", "user1000"),
            ("foo{}{bar}", "foo{}{bar}"),
            ("foo{{bar}}zap", "{bar"),
            ("foo{bar}{zap}", "bar"),
            ("foo{bar", "foo{bar"),
            ("foo}bar{", "foo}bar{"),
            ("", ""),
        ];
        for (key, tag) in table {
            assert_eq!(hash_tag(key.as_bytes()), tag.as_bytes(), "{key}");
            assert_eq!(key_slot(key.as_bytes()), key_slot(tag.as_bytes()), "{key}");
        }
    }

    #[test]
    fn slots_are_those_redis_gives() {
        let table = [
            ("", 0),
            ("foo", 12182),
            ("bar", 5061),
            ("hello", 866),
            ("123456789", 12739),
            ("{user1000}.x", 3443),
        ];
        for (key, slot) in table {
            assert_eq!(key_slot(key.as_bytes()), slot, "{key}");
        }
    }
}
