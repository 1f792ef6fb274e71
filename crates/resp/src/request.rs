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

    /// Returns how many bytes of the link's buffer the request took.
    #[inline]
    pub fn consumed(&self) -> usize {
        self.consumed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_views_of_the_buffer() {
        let request = Request::new(b"SETkeyvalue", &[(0, 3), (3, 6), (6, 11), (11, 11)]);
        assert_eq!((request.len(), request.is_empty(), request.consumed()), (4, false, 0));
        assert_eq!((request.arg(0), request.get(1), request.get(4)), (&b"SET"[..], Some(&b"key"[..]), None));
        assert_eq!(request.iter().collect::<Vec<_>>(), [&b"SET"[..], b"key", b"value", b""]);
    }
}
