//! A look at requests that have arrived and are not decoded yet.

use crate::decode::short_length;

/// The words after the name of each whole, plainly written request, one a request: usually the key.
///
/// Ends at the first request that is incomplete, or written in another way than clients write; nothing is judged here.
#[derive(Clone, Debug)]
pub struct SecondWords<'a> {
    bytes: &'a [u8],
    pos: usize,
}

impl<'a> SecondWords<'a> {
    /// Returns the words in `bytes`, which begin with a request.
    pub fn of(bytes: &'a [u8]) -> SecondWords<'a> {
        SecondWords { bytes, pos: 0 }
    }

    /// Returns how many bytes the requests looked at so far take.
    pub fn passed(&self) -> usize {
        self.pos
    }
}

impl<'a> Iterator for SecondWords<'a> {
    /// None within: the request is one word.
    type Item = Option<&'a [u8]>;

    #[inline]
    fn next(&mut self) -> Option<Option<&'a [u8]>> {
        let (count, start) = short_length(b'*', self.bytes.get(self.pos..)?)?;
        let mut pos = self.pos + start;
        let mut word = None;
        for index in 0..count {
            let (len, start) = short_length(b'$', self.bytes.get(pos..)?)?;
            let start = pos + start;
            pos = start + len + 2;
            if index == 1 {
                word = self.bytes.get(start..start + len);
            }
        }
        if pos > self.bytes.len() {
            return None;
        }
        self.pos = pos;
        Some(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_passes_whole_requests_only() {
        let bytes =
            b"*1\r\n$4\r\nPING\r\n*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$1\r\nv\r\n*2\r\n$3\r\nGET\r\n$3\r\nke";
        let mut words = SecondWords::of(bytes);
        assert_eq!(words.next(), Some(None));
        assert_eq!(words.next(), Some(Some(&b"key"[..])));
        assert_eq!(words.next(), None);
        assert_eq!(words.passed(), 43);
        for other in [
            &b"PING\r\n"[..],
            b"",
            b"*",
            b"*2\r\n",
            b"*2\r\n$3\r\n",
            b"*-1\r\n",
            b"*1\r\n$-1\r\n",
            b"*01\r\n$1\r\na\r\n",
        ] {
            assert_eq!(SecondWords::of(other).next(), None, "{other:?}");
        }
    }
}
