//! Limits on what clients may make the server hold: output buffers by class of client, and their memory altogether.

use crate::memory::{format_memory, parse_memory};

/// How much may wait to be sent to one client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputLimit {
    /// Bytes at which the client is closed at once; 0 means never.
    pub hard_bytes: u64,
    /// Bytes which, held for `soft_secs` without a break, close the client; 0 means never.
    pub soft_bytes: u64,
    /// Seconds for which `soft_bytes` may be exceeded.
    pub soft_secs: u64,
}

/// client-output-buffer-limit: one limit for each class of client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputLimits {
    /// Clients that are neither replicas nor subscribed.
    pub normal: OutputLimit,
    /// Replicas.
    pub replica: OutputLimit,
    /// Clients subscribed to at least one channel or pattern.
    pub pubsub: OutputLimit,
}

impl OutputLimits {
    /// Applies `class hard soft seconds` groups over the present limits; classes not named keep theirs.
    pub(crate) fn with_words(mut self, words: &[&[u8]]) -> Result<Self, &'static str> {
        if !words.len().is_multiple_of(4) {
            return Err("Wrong number of arguments in buffer limit configuration.");
        }
        for group in words.chunks_exact(4) {
            let class = match group[0].to_ascii_lowercase().as_slice() {
                b"normal" => &mut self.normal,
                b"replica" | b"slave" => &mut self.replica,
                b"pubsub" => &mut self.pubsub,
                _ => return Err("Invalid client class specified in buffer limit configuration."),
            };
            *class = limit(group)
                .ok_or("Error in hard, soft or soft_seconds setting in buffer limit configuration.")?;
        }
        Ok(self)
    }

    /// Returns the limits on one line, as CONFIG GET prints them.
    pub(crate) fn text(&self) -> String {
        let of = |class: &str, limit: &OutputLimit| {
            format!("{class} {} {} {}", limit.hard_bytes, limit.soft_bytes, limit.soft_secs)
        };
        [of("normal", &self.normal), of("slave", &self.replica), of("pubsub", &self.pubsub)].join(" ")
    }

    /// Returns the classes by the names under which CONFIG REWRITE writes them.
    pub(crate) fn classes(&self) -> [(&'static str, OutputLimit); 3] {
        [("normal", self.normal), ("replica", self.replica), ("pubsub", self.pubsub)]
    }
}

impl OutputLimit {
    /// Returns the limit as CONFIG REWRITE writes it after the name of the class.
    pub(crate) fn rewritten(&self) -> String {
        format!("{} {} {}", format_memory(self.hard_bytes), format_memory(self.soft_bytes), self.soft_secs)
    }
}

fn limit(group: &[&[u8]]) -> Option<OutputLimit> {
    let seconds = crate::value::parse_c_integer(group[3], 10)?;
    Some(OutputLimit {
        hard_bytes: parse_memory(group[1])?,
        soft_bytes: parse_memory(group[2])?,
        soft_secs: u64::try_from(seconds).ok()?,
    })
}

/// maxmemory-clients: how much all clients together may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientMemory {
    /// A number of bytes; 0 means no limit.
    Bytes(u64),
    /// A share of maxmemory, in percent.
    Percent(u8),
}

impl Default for ClientMemory {
    fn default() -> Self {
        Self::Bytes(0)
    }
}

impl ClientMemory {
    /// A smaller limit would leave no room to talk to the server and raise it again.
    const LEAST: u64 = 128 * 1024;

    /// Returns the limit in bytes under this `maxmemory`, or None when there is none.
    pub fn limit(self, maxmemory: u64) -> Option<u64> {
        let bytes = match self {
            Self::Bytes(0) => return None,
            Self::Percent(_) if maxmemory == 0 => return None,
            Self::Bytes(bytes) => bytes,
            Self::Percent(percent) => (u128::from(maxmemory) * u128::from(percent) / 100) as u64,
        };
        Some(bytes.max(Self::LEAST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_memory_is_a_share_of_maxmemory_or_a_number_but_never_tiny() {
        assert_eq!(ClientMemory::Bytes(0).limit(1 << 30), None);
        assert_eq!(ClientMemory::Percent(5).limit(0), None);
        assert_eq!(ClientMemory::Percent(5).limit(100 << 20), Some(5 << 20));
        assert_eq!(ClientMemory::Percent(50).limit(u64::MAX), Some(u64::MAX / 2));
        assert_eq!(ClientMemory::Bytes(1).limit(0), Some(128 * 1024));
    }
}
