//! One request, as a view of the bytes it arrived in.

/// One request: borrowed arguments, the first of which names the command.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    buf: &'a [u8],
    ranges: &'a [(u32, u32)],
    consumed: usize,
}

impl<'a> Request<'a> {
    /// Returns the request whose arguments lie at `ranges` of `buf`, for requests that no link sent.
    pub fn new(buf: &'a [u8], ranges: &'a [(u32, u32)]) -> Request<'a> {
        Request { buf, ranges, consumed: 0 }
    }

    /// Returns the request that took `consumed` bytes of a link's buffer.
    #[inline]
    pub(crate) fn consuming(consumed: usize, buf: &'a [u8], ranges: &'a [(u32, u32)]) -> Request<'a> {
        Request { buf, ranges, consumed }
    }

    /// Returns how many arguments there are, the command's name included; 0 for a blank line or an empty array.
    #[inline]
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Returns whether there is nothing to run.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Returns the argument at `index`, which must be below `len`.
    #[inline]
    pub fn arg(&self, index: usize) -> &'a [u8] {
        let (start, end) = self.ranges[index];
        &self.buf[start as usize..end as usize]
    }

    /// Returns the argument at `index` if there is one.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        let &(start, end) = self.ranges.get(index)?;
        Some(&self.buf[start as usize..end as usize])
    }

    /// Returns the request that the arguments from `first` on make.
    pub fn without(&self, first: usize) -> Request<'a> {
        Request { ranges: self.ranges.get(first..).unwrap_or_default(), ..*self }
    }

    /// Returns the arguments in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &'a [u8]> + ExactSizeIterator + Clone + use<'a> {
        let buf = self.buf;
        self.ranges.iter().map(move |&(start, end)| &buf[start as usize..end as usize])
    }

    /// Returns the bytes of the request as it was sent, if they are what an encoder would make of its arguments.
    ///
    /// Those of an inline command are not, nor those with leading zeros in a length.
    #[inline]
    pub fn encoded(&self) -> Option<&'a [u8]> {
        let (first, last) = (*self.ranges.first()?, *self.ranges.last()?);
        // Each argument needs at least its header and two line ends: where there is no more than that, nothing else is.
        let header = 3 + digits(self.ranges.len());
        let mut size = header;
        for &(start, end) in self.ranges {
            let length = (end - start) as usize;
            size += length + 5 + digits(length);
        }
        let begin = (first.0 as usize).checked_sub(header + 3 + digits((first.1 - first.0) as usize))?;
        let encoded = self.buf.get(begin..last.1 as usize + 2)?;
        (encoded.len() == size && encoded[0] == b'*' && encoded[header] == b'$').then_some(encoded)
    }

    /// Returns how many bytes of the link's buffer the request took.
    #[inline]
    pub fn consumed(&self) -> usize {
        self.consumed
    }
}

/// Returns how many digits a length has.
#[inline]
fn digits(number: usize) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_was_encoded_plainly_is_handed_on_as_it_is() {
        let sent = b"*1\r\n$4\r\nPING\r\n*3\r\n$3\r\nSET\r\n$10\r\n0123456789\r\n$0\r\n\r\n*1";
        let request = Request::new(sent, &[(22, 25), (32, 42), (48, 48)]);
        assert_eq!(request.iter().collect::<Vec<_>>(), [&b"SET"[..], b"0123456789", b""]);
        assert_eq!(request.encoded(), Some(&sent[14..50]));
        let zeros = b"*2\r\n$3\r\nGET\r\n$01\r\na\r\n";
        assert_eq!(Request::new(zeros, &[(8, 11), (18, 19)]).encoded(), None);
        let inline = b"GET a\r\n";
        assert_eq!(Request::new(inline, &[(0, 3), (4, 5)]).encoded(), None);
        assert_eq!(Request::new(b"................GETa..", &[(16, 19), (19, 20)]).encoded(), None);
        assert_eq!(Request::new(b"", &[]).encoded(), None);
    }

    #[test]
    fn arguments_are_views_of_the_buffer() {
        let request = Request::new(b"SETkeyvalue", &[(0, 3), (3, 6), (6, 11), (11, 11)]);
        assert_eq!((request.len(), request.is_empty(), request.consumed()), (4, false, 0));
        assert_eq!((request.arg(0), request.get(1), request.get(4)), (&b"SET"[..], Some(&b"key"[..]), None));
        assert_eq!(request.iter().collect::<Vec<_>>(), [&b"SET"[..], b"key", b"value", b""]);
    }
}
