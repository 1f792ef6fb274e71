//! Requests decoded several at a time, to look at before they are executed.

use crate::decode::short_length;
use crate::request::Request;

/// Whole requests, all written plainly: an array of a few arguments, each shorter than a thousand bytes.
///
/// That is nearly everything that clients send. What is written otherwise, or has not arrived whole, is left to the
/// [`Decoder`](crate::Decoder); these requests it would decode alike. Offsets count from the start of the scanned bytes,
/// which the caller hands in again.
#[derive(Debug, Default)]
pub struct Batch {
    /// The arguments of all requests.
    ranges: Vec<(u32, u32)>,
    requests: Vec<Bounds>,
}

/// Where the arguments of a request lie in `ranges`, and where its bytes end.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    first: u32,
    last: u32,
    end: u32,
}

/// Batches are for what has just arrived, not for what has piled up.
const BYTES_MAX: usize = 1 << 30;

impl Batch {
    /// Returns how many requests there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// Returns whether there are no requests.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Forgets all requests.
    #[inline]
    pub fn clear(&mut self) {
        self.ranges.clear();
        self.requests.clear();
    }

    /// Adds up to `max` requests that begin at `from`, as many as are whole and plain.
    #[inline]
    pub fn scan(&mut self, bytes: &[u8], from: usize, max: usize) {
        let mut pos = from;
        for _ in 0..max {
            let first = self.ranges.len();
            let Some(end) = self.scan_one(bytes, pos) else {
                self.ranges.truncate(first);
                return;
            };
            let bounds = Bounds { first: first as u32, last: self.ranges.len() as u32, end: end as u32 };
            self.requests.push(bounds);
            pos = end;
        }
    }

    /// Returns the request at `index`, and where its bytes end.
    #[inline]
    pub fn request<'a>(&'a self, index: usize, bytes: &'a [u8]) -> (Request<'a>, usize) {
        let Bounds { first, last, end } = self.requests[index];
        (Request::new(bytes, &self.ranges[first as usize..last as usize]), end as usize)
    }

    #[inline(always)]
    fn scan_one(&mut self, bytes: &[u8], from: usize) -> Option<usize> {
        if bytes.len() > BYTES_MAX {
            return None;
        }
        let (count, start) = short_length(b'*', bytes.get(from..)?)?;
        let mut pos = from + start;
        for _ in 0..count {
            let (len, start) = short_length(b'$', bytes.get(pos..)?)?;
            let (start, end) = (pos + start, pos + start + len);
            self.ranges.push((start as u32, end as u32));
            pos = end + 2;
        }
        (pos <= bytes.len()).then_some(pos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Decoder, Limits};

    #[test]
    fn it_decodes_as_the_decoder_does_and_stops_where_it_cannot() {
        let plain = b"*1\r\n$4\r\nPING\r\n*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$0\r\n\r\n*0\r\n";
        for rest in [
            &b""[..],
            b"*2\r\n$3\r\nGET\r\n$3\r\nke",
            b"PING\r\n",
            b"*",
            b"*2\r\n$3\r\n",
            b"*-1\r\n",
            b"*1\r\n$-1\r\n",
        ] {
            let bytes = [plain, rest].concat();
            let mut batch = Batch::default();
            batch.scan(&bytes, 0, 100);
            assert_eq!(batch.len(), 3, "{rest:?}");
            let (mut decoder, mut from) = (Decoder::new(), 0);
            for index in 0..batch.len() {
                let (request, end) = batch.request(index, &bytes);
                let decoded = decoder.decode(&bytes[from..], &Limits::default()).unwrap().unwrap();
                assert!(request.iter().eq(decoded.iter()));
                from += decoded.consumed();
                assert_eq!(end, from);
            }
            assert_eq!(from, plain.len());
        }
    }

    #[test]
    fn it_takes_no_more_than_asked_for() {
        let bytes = b"*1\r\n$1\r\na\r\n*1\r\n$1\r\nb\r\n*1\r\n$1\r\nc\r\n";
        let mut batch = Batch::default();
        batch.scan(bytes, 11, 1);
        assert_eq!(
            (batch.len(), batch.request(0, bytes).0.arg(0), batch.request(0, bytes).1),
            (1, &b"b"[..], 22)
        );
    }
}
