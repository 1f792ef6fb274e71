//! Reading a command's arguments from left to right.

use base::number::{parse_f64, parse_i64};
use resp::decode::Request;

use crate::{Error, Result};

/// The arguments of one request, with the place of the next one to read.
#[derive(Clone, Copy, Debug)]
pub struct Args<'a> {
    request: Request<'a>,
    at: usize,
}

impl<'a> Args<'a> {
    /// Returns the arguments after the command's name (and its subcommand's, when `skip` is 2).
    #[inline]
    pub fn new(request: Request<'a>, skip: usize) -> Args<'a> {
        Args { request, at: skip }
    }

    /// Returns the whole request, name included.
    pub fn request(&self) -> Request<'a> {
        self.request
    }

    /// Returns how many arguments are left.
    #[inline]
    pub fn left(&self) -> usize {
        self.request.len() - self.at
    }

    /// Returns whether all arguments were read.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.left() == 0
    }

    /// Returns the next argument, or a syntax error where there is none.
    #[inline]
    #[allow(
        clippy::should_implement_trait,
        reason = "what is missing is an error, which an iterator cannot say"
    )]
    pub fn next(&mut self) -> Result<&'a [u8]> {
        if self.is_empty() {
            return Err(Error::Syntax);
        }
        self.at += 1;
        Ok(self.request.arg(self.at - 1))
    }

    /// Returns the next argument as a key; a word for readers.
    #[inline]
    pub fn key(&mut self) -> Result<&'a [u8]> {
        self.next()
    }

    /// Returns the next argument without reading past it.
    pub fn peek(&self) -> Option<&'a [u8]> {
        (!self.is_empty()).then(|| self.request.arg(self.at))
    }

    /// Returns the argument `n` places ahead without reading past it.
    pub fn peek_at(&self, n: usize) -> Option<&'a [u8]> {
        (self.left() > n).then(|| self.request.arg(self.at + n))
    }

    /// Reads past the next argument if it is `word`, in any case.
    pub fn accept(&mut self, word: &str) -> bool {
        let is = self.peek().is_some_and(|arg| arg.eq_ignore_ascii_case(word.as_bytes()));
        self.at += usize::from(is);
        is
    }

    /// Returns the next argument as an integer.
    #[inline]
    pub fn int(&mut self) -> Result<i64> {
        parse_i64(self.next()?).ok_or(Error::NotInteger)
    }

    /// Returns the next argument as an integer in `range`, or `error`.
    pub fn int_in(&mut self, range: std::ops::RangeInclusive<i64>, error: Error) -> Result<i64> {
        match parse_i64(self.next()?) {
            Some(n) if range.contains(&n) => Ok(n),
            _ => Err(error),
        }
    }

    /// Returns the next argument as an integer whose sign says a direction: its magnitude fits one, too.
    pub fn signed_count(&mut self) -> Result<i64> {
        match self.int()? {
            i64::MIN => Err(Error::text(
                "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
            )),
            count => Ok(count),
        }
    }

    /// Returns the next argument as a double.
    pub fn float(&mut self) -> Result<f64> {
        parse_f64(self.next()?).ok_or(Error::NotFloat)
    }

    /// Returns the arguments left, reading past none.
    pub fn rest(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + Clone + use<'a> {
        let request = self.request;
        (self.at..request.len()).map(move |i| request.arg(i))
    }

    /// Returns a syntax error if arguments are left.
    #[inline]
    pub fn end(&self) -> Result<()> {
        if self.is_empty() { Ok(()) } else { Err(Error::Syntax) }
    }
}
