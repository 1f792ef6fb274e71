//! The mark: where in a history of replication a log stands, so that who restarts from it need not take all data again.
//!
//! ```text
//! #RP:<offset>:<database>[:<id>]\r\n
//!      │        │           └ of the history, 40 characters; missing where the file has named it before
//!      │        └ in which the stream of replication works behind the offset
//!      └ bytes of the stream that the log has been given, with those that only concern replicas
//! ```
//!
//! redis-server takes the line for an annotation and skips it. A mark speaks of everything before it: what is executed
//! behind the last one makes it void.

use base::number::parse_u64;

/// A place in a history of replication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    pub offset: u64,
    /// The database in which the stream works there.
    pub database: usize,
    /// The history's name.
    pub id: HistoryName,
}

/// The name of a history: forty hexadecimal digits.
pub type HistoryName = [u8; 40];

/// How the annotation begins.
pub(crate) const POSITION: &[u8; 4] = b"#RP:";

/// Offsets of a stream are counted by others in signed numbers.
const OFFSET_MAX: u64 = i64::MAX as u64;

impl Mark {
    /// Returns the line of a mark, which names the history where the file did not name it before.
    pub fn line(&self, named: Option<&HistoryName>) -> Vec<u8> {
        let mut line = format!("#RP:{}:{}", self.offset, self.database).into_bytes();
        if named != Some(&self.id) {
            line.push(b':');
            line.extend_from_slice(&self.id);
        }
        line.extend_from_slice(b"\r\n");
        line
    }

    /// Returns what a line without its end says, in a file that has named a history before or not.
    pub(crate) fn parse(line: &[u8], named: Option<HistoryName>) -> Option<Mark> {
        let mut parts = line.strip_prefix(POSITION)?.splitn(3, |byte| *byte == b':');
        let offset = parts.next().and_then(parse_u64).filter(|offset| *offset <= OFFSET_MAX)?;
        let database = parts.next().and_then(parse_u64).and_then(|number| u32::try_from(number).ok())?;
        let id = match parts.next() {
            Some(id) => {
                Some(id.try_into().ok().filter(|id: &HistoryName| id.iter().all(u8::is_ascii_hexdigit))?)
            }
            None => named,
        };
        Some(Mark { offset, database: database as usize, id: id? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_says_what_it_was_told() {
        let mark = Mark { offset: 1234, database: 7, id: [b'a'; 40] };
        let (long, short) = (mark.line(None), mark.line(Some(&mark.id)));
        assert_eq!(long, [&b"#RP:1234:7:"[..], &[b'a'; 40], b"\r\n"].concat());
        assert_eq!(short, b"#RP:1234:7\r\n");
        assert_eq!(mark.line(Some(&[b'b'; 40])), long);
        assert_eq!(Mark::parse(&long[..long.len() - 2], None), Some(mark));
        assert_eq!(Mark::parse(&long[..long.len() - 2], Some([b'b'; 40])), Some(mark));
        assert_eq!(Mark::parse(&short[..short.len() - 2], Some(mark.id)), Some(mark));
        assert_eq!(Mark::parse(&short[..short.len() - 2], None), None);
        assert!(Mark { offset: OFFSET_MAX, database: u32::MAX as usize, ..mark }.line(None).len() < 100);
    }

    #[test]
    fn what_says_something_else_is_no_mark() {
        for text in [
            "#RP:",
            "#RP:1",
            "#RP:1:",
            "#RP:-1:0",
            "#RP:1:x",
            "#RP:9223372036854775808:0",
            "#RP:1:0:abc",
            "#TS:1:0",
        ] {
            assert_eq!(Mark::parse(text.as_bytes(), Some([b'a'; 40])), None, "{text}");
        }
        let odd = [&b"#RP:1:0:"[..], &[b'x'; 40]].concat();
        assert_eq!(Mark::parse(&odd, None), None);
    }
}
