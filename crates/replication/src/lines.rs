//! Lines from a peer, however they arrive; never longer than a line may be.

/// Collects one line at a time.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    kept: Vec<u8>,
}

/// A peer sends a longer line than any that there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

const LINE_MAX: usize = 8 << 10;

impl Lines {
    /// Takes bytes up to the end of a line, which is returned without it if it was among them; says how many were taken.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<(usize, Option<Vec<u8>>), TooLong> {
        let end = memchr::memchr(b'\n', bytes);
        let taken = end.map_or(bytes.len(), |end| end + 1);
        if self.kept.len() + taken > LINE_MAX {
            return Err(TooLong);
        }
        self.kept.extend_from_slice(&bytes[..taken]);
        if end.is_none() {
            return Ok((taken, None));
        }
        let mut line = std::mem::take(&mut self.kept);
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Ok((taken, Some(line)))
    }

    /// Forgets what has arrived of a line.
    pub(crate) fn clear(&mut self) {
        self.kept = Vec::new();
    }
}
