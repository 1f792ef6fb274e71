//! Everything a node said, in one number: two runs of one seed must agree in it.

/// A running FNV-1a digest over links and the bytes sent on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transcript {
    digest: u64,
    bytes: u64,
}

impl Default for Transcript {
    fn default() -> Transcript {
        Transcript { digest: 0xcbf2_9ce4_8422_2325, bytes: 0 }
    }
}

impl Transcript {
    /// Adds bytes that were sent on a link at a moment.
    pub fn add(&mut self, micros: u64, link: u32, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        for byte in micros.to_le_bytes().iter().chain(&link.to_le_bytes()).chain(bytes) {
            self.digest = (self.digest ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    /// Returns the digest so far.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// Returns how many bytes were sent.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}
