//! A reply as it came over the wire, and its written form in scenario files.

use crate::words;

/// How deep replies may nest; deeper input is refused rather than trusted.
const DEPTH_MAX: usize = 128;

/// One value received from a server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// A value in one piece: its type and its bytes (for nulls, empty).
    Leaf(Leaf, Vec<u8>),
    /// An aggregate and its elements; a map's keys and values alternate.
    Branch(Branch, Vec<Reply>),
}

/// The types of reply that have no elements.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Leaf {
    Simple,
    Error,
    Int,
    Bulk,
    NullBulk,
    NullArray,
    Null,
    Double,
    Bool,
    Verbatim,
    BigNumber,
}

/// The types of reply that have elements.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Branch {
    Array,
    Map,
    Set,
    Push,
    /// RESP3 attributes: a value of its own that precedes the reply it describes.
    Attribute,
}

impl Branch {
    /// Returns the character that introduces the aggregate, on the wire as in writing.
    pub fn sigil(self) -> char {
        match self {
            Branch::Array => '*',
            Branch::Map => '%',
            Branch::Set => '~',
            Branch::Push => '>',
            Branch::Attribute => '|',
        }
    }

    /// Returns the aggregate that `sigil` introduces.
    pub fn of(sigil: u8) -> Option<Self> {
        Some(match sigil {
            b'*' => Branch::Array,
            b'%' => Branch::Map,
            b'~' => Branch::Set,
            b'>' => Branch::Push,
            b'|' => Branch::Attribute,
            _ => return None,
        })
    }

    /// Returns how many values make up one element: two in a map, else one.
    pub fn arity(self) -> usize {
        match self {
            Branch::Map | Branch::Attribute => 2,
            _ => 1,
        }
    }
}

impl Reply {
    /// Reads one reply from the front of `bytes`: the reply and its length, `None` while it is incomplete.
    pub fn parse(bytes: &[u8]) -> Result<Option<(Reply, usize)>, String> {
        let mut at = 0;
        Ok(parse_at(bytes, &mut at, 0)?.map(|reply| (reply, at)))
    }

    /// Returns the bytes of a simple, bulk, integer or double reply.
    pub fn text(&self) -> Option<&[u8]> {
        match self {
            Reply::Leaf(Leaf::Simple | Leaf::Bulk | Leaf::Int | Leaf::Double | Leaf::BigNumber, bytes) => {
                Some(bytes)
            }
            _ => None,
        }
    }

    /// Returns the number that a leaf's text is.
    pub fn number(&self) -> Option<u64> {
        std::str::from_utf8(self.text()?).ok()?.parse().ok()
    }

    /// Returns the value of a name in a map, or in a list of names and values.
    pub fn field(&self, name: &str) -> Option<&Reply> {
        self.elements().chunks(2).find_map(|pair| match pair {
            [key, value] if key.text() == Some(name.as_bytes()) => Some(value),
            _ => None,
        })
    }

    /// Returns the elements of an aggregate, and none for anything else.
    pub fn elements(&self) -> &[Reply] {
        match self {
            Reply::Branch(_, elements) => elements,
            Reply::Leaf(..) => &[],
        }
    }

    /// Returns whether this is an error reply.
    pub fn is_error(&self) -> bool {
        matches!(self, Reply::Leaf(Leaf::Error, _))
    }

    /// Returns the first line of the written form.
    pub fn head(&self) -> String {
        match self {
            Reply::Leaf(leaf, bytes) => leaf_line(*leaf, bytes),
            Reply::Branch(branch, elements) => {
                format!("{}{}", branch.sigil(), elements.len() / branch.arity())
            }
        }
    }

    /// Returns the written form, line by line; elements are indented by two spaces a level.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        self.write(0, &mut lines);
        lines
    }

    fn write(&self, depth: usize, lines: &mut Vec<String>) {
        lines.push(format!("{}{}", "  ".repeat(depth), self.head()));
        for element in self.elements() {
            element.write(depth + 1, lines);
        }
    }
}

fn leaf_line(leaf: Leaf, bytes: &[u8]) -> String {
    match leaf {
        Leaf::Simple => format!("+{}", plain(bytes)),
        Leaf::Error => format!("-{}", plain(bytes)),
        Leaf::Int => format!(":{}", plain(bytes)),
        Leaf::Bulk => words::quote(bytes),
        Leaf::NullBulk => "$-1".into(),
        Leaf::NullArray => "*-1".into(),
        Leaf::Null => "_".into(),
        Leaf::Double => format!(",{}", plain(bytes)),
        Leaf::Bool => format!("#{}", plain(bytes)),
        Leaf::Verbatim => format!("={}", words::quote(bytes)),
        Leaf::BigNumber => format!("({}", plain(bytes)),
    }
}

/// Returns a line's text; only what would be invisible or lost in a text file is escaped.
fn plain(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (i, &byte) in bytes.iter().enumerate() {
        let visible = matches!(byte, b'!'..=b'~') || (byte == b' ' && i + 1 < bytes.len());
        if visible { text.push(byte as char) } else { text.push_str(&format!("\\x{byte:02x}")) }
    }
    text
}

fn parse_at(bytes: &[u8], at: &mut usize, depth: usize) -> Result<Option<Reply>, String> {
    if depth > DEPTH_MAX {
        return Err("reply nests too deeply".into());
    }
    let Some(line) = take_line(bytes, at) else { return Ok(None) };
    let Some((&sigil, rest)) = line.split_first() else { return Err("empty reply line".into()) };
    let leaf = |leaf| Ok(Some(Reply::Leaf(leaf, rest.to_vec())));
    match sigil {
        b'+' => leaf(Leaf::Simple),
        b'-' => leaf(Leaf::Error),
        b':' => leaf(Leaf::Int),
        b',' => leaf(Leaf::Double),
        b'#' => leaf(Leaf::Bool),
        b'(' => leaf(Leaf::BigNumber),
        b'_' => Ok(Some(Reply::Leaf(Leaf::Null, Vec::new()))),
        b'$' if rest == b"-1" => Ok(Some(Reply::Leaf(Leaf::NullBulk, Vec::new()))),
        b'*' if rest == b"-1" => Ok(Some(Reply::Leaf(Leaf::NullArray, Vec::new()))),
        b'$' => Ok(take_bulk(bytes, at, length(rest)?)?.map(|b| Reply::Leaf(Leaf::Bulk, b))),
        b'=' => Ok(take_bulk(bytes, at, length(rest)?)?.map(|b| Reply::Leaf(Leaf::Verbatim, b))),
        b'!' => Ok(take_bulk(bytes, at, length(rest)?)?.map(|b| Reply::Leaf(Leaf::Error, b))),
        _ => {
            let branch =
                Branch::of(sigil).ok_or_else(|| format!("unknown reply type {:?}", sigil as char))?;
            let count = length(rest)? * branch.arity();
            let mut elements = Vec::new();
            for _ in 0..count {
                match parse_at(bytes, at, depth + 1)? {
                    Some(element) => elements.push(element),
                    None => return Ok(None),
                }
            }
            Ok(Some(Reply::Branch(branch, elements)))
        }
    }
}

fn take_line<'a>(bytes: &'a [u8], at: &mut usize) -> Option<&'a [u8]> {
    let rest = &bytes[*at..];
    let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
    *at += end + 2;
    Some(&rest[..end])
}

fn take_bulk(bytes: &[u8], at: &mut usize, length: usize) -> Result<Option<Vec<u8>>, String> {
    let Some(end) = at.checked_add(length).filter(|end| end + 2 <= bytes.len()) else { return Ok(None) };
    if &bytes[end..end + 2] != b"\r\n" {
        return Err("bulk string does not end where its length says".into());
    }
    let bulk = bytes[*at..end].to_vec();
    *at = end + 2;
    Ok(Some(bulk))
}

fn length(text: &[u8]) -> Result<usize, String> {
    let text = String::from_utf8_lossy(text);
    text.parse::<u32>().map(|n| n as usize).map_err(|_| format!("bad length {text:?} in a reply"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_in_a_list_of_pairs() {
        let bytes = b"*4\r\n$6\r\nstatus\r\n$7\r\ngranted\r\n$5\r\ntoken\r\n:7\r\n";
        let (reply, _) = Reply::parse(bytes).unwrap().unwrap();
        assert_eq!(reply.field("token").and_then(Reply::number), Some(7));
        assert_eq!(reply.field("status").and_then(Reply::number), None);
        assert_eq!(reply.field("lease"), None);
    }

    #[test]
    fn reads_and_writes_every_type() {
        let wire = b"*12\r\n+OK\r\n-ERR no \r\n:-5\r\n$3\r\na\x00\"\r\n$-1\r\n*-1\r\n_\r\n,1.5\r\n#t\r\n\
            =5\r\ntxt:x\r\n(12\r\n%1\r\n$1\r\nk\r\n~1\r\n:1\r\nrest";
        let (reply, length) = Reply::parse(wire).unwrap().unwrap();
        assert_eq!(length, wire.len() - 4);
        let expected = [
            "*12",
            "  +OK",
            "  -ERR no\\x20",
            "  :-5",
            "  \"a\\x00\\\"\"",
            "  $-1",
            "  *-1",
            "  _",
            "  ,1.5",
            "  #t",
            "  =\"txt:x\"",
            "  (12",
            "  %1",
            "    \"k\"",
            "    ~1",
            "      :1",
        ];
        assert_eq!(reply.lines(), expected);
    }

    #[test]
    fn a_cut_reply_is_incomplete_and_never_wrong() {
        let wire = b"*2\r\n$3\r\nabc\r\n%1\r\n:1\r\n:2\r\n";
        for cut in 0..wire.len() {
            assert_eq!(Reply::parse(&wire[..cut]), Ok(None));
        }
    }
}
