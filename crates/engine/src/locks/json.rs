//! Whether a text is JSON, as RFC 8259 has it. Builds nothing of it.

/// Lists and objects within each other.
const DEPTH_MAX: usize = 64;

/// Returns whether a text is one JSON value.
pub fn is_json(text: &[u8]) -> bool {
    if std::str::from_utf8(text).is_err() {
        return false;
    }
    let mut left = Left(text);
    left.value(0).is_some() && {
        left.space();
        left.0.is_empty()
    }
}

/// What is left to be read; each step gives nothing where the text is none of ours.
struct Left<'a>(&'a [u8]);

impl Left<'_> {
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn accept(&mut self, byte: u8) -> bool {
        let is = self.0.first() == Some(&byte);
        self.0 = &self.0[usize::from(is)..];
        is
    }

    fn space(&mut self) {
        let end = self.0.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
        self.0 = &self.0[end.unwrap_or(self.0.len())..];
    }

    fn value(&mut self, depth: usize) -> Option<()> {
        if depth > DEPTH_MAX {
            return None;
        }
        self.space();
        match *self.0.first()? {
            b'{' => self.members(b'}', depth, |this| {
                this.space();
                this.string()?;
                this.space();
                this.accept(b':').then_some(())
            }),
            b'[' => self.members(b']', depth, |_| Some(())),
            b'"' => self.string(),
            b't' => self.word(b"true"),
            b'f' => self.word(b"false"),
            b'n' => self.word(b"null"),
            _ => self.number(),
        }
    }

    /// Reads a list or an object; `before` reads what stands before each value.
    fn members(&mut self, end: u8, depth: usize, before: impl Fn(&mut Self) -> Option<()>) -> Option<()> {
        self.next()?;
        self.space();
        if self.accept(end) {
            return Some(());
        }
        loop {
            before(self)?;
            self.value(depth + 1)?;
            self.space();
            match self.next()? {
                b',' => {}
                byte => return (byte == end).then_some(()),
            }
        }
    }

    fn string(&mut self) -> Option<()> {
        if !self.accept(b'"') {
            return None;
        }
        loop {
            match self.next()? {
                b'"' => return Some(()),
                b'\\' => match self.next()? {
                    b'u' => {
                        for _ in 0..4 {
                            self.next().filter(u8::is_ascii_hexdigit)?;
                        }
                    }
                    byte => {
                        br#""\/bfnrt"#.contains(&byte).then_some(())?;
                    }
                },
                0..0x20 => return None,
                _ => {}
            }
        }
    }

    fn number(&mut self) -> Option<()> {
        self.accept(b'-');
        if !self.accept(b'0') {
            self.digits()?;
        }
        if self.accept(b'.') {
            self.digits()?;
        }
        if self.accept(b'e') || self.accept(b'E') {
            let _ = self.accept(b'+') || self.accept(b'-');
            self.digits()?;
        }
        Some(())
    }

    /// Reads one digit or more.
    fn digits(&mut self) -> Option<()> {
        let end = self.0.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(self.0.len());
        self.0 = &self.0[end..];
        (end > 0).then_some(())
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        self.0 = self.0.strip_prefix(word)?;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_told_from_what_is_not() {
        for text in [
            "{}",
            "[]",
            "0",
            "-0.5e+10",
            "\"\"",
            "true",
            " null ",
            "[1, [2, {\"a\": \"\\u00e9\\n\"}], false]",
            "{\"task\":\"nightly\",\"host\":\"b\u{fc}ro\"}",
            "[\"\\\"\"]",
        ] {
            assert!(is_json(text.as_bytes()), "{text}");
        }
        for text in [
            "",
            " ",
            "{",
            "}",
            "[1,]",
            "{\"a\"}",
            "{a:1}",
            "01",
            "1.",
            ".5",
            "+1",
            "-",
            "1e",
            "tru",
            "nul",
            "\"",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"\n\"",
            "[1] 2",
            "{\"a\":1,}",
            "'a'",
        ] {
            assert!(!is_json(text.as_bytes()), "{text}");
        }
        assert!(!is_json(b"\"\xff\""));
        assert!(is_json("[".repeat(50).as_bytes()) == is_json(b"["));
        let nested = |depth: usize| ["[".repeat(depth), "]".repeat(depth)].concat();
        assert!(is_json(nested(60).as_bytes()));
        assert!(!is_json(nested(100_000).as_bytes()));
    }
}
