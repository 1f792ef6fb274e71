//! The patterns of KEYS, SCAN, PSUBSCRIBE and access rules.
//!
//! ```text
//! *        any bytes              [abc]    one of these      \x    x itself
//! ?        any one byte           [^a-c]   none of these
//! ```
//!
//! Redis's readings of odd patterns are kept: a class without its `]` ends with the pattern, a range takes whatever
//! byte follows its `-`, bytes compare as signed in ranges, and stars alone do not match the empty text.

/// Returns whether all of `text` matches `pattern`; `ignore_case` makes ASCII letters equal their other case.
///
/// Takes no memory, and time proportional to the text for each byte between two stars, at worst.
pub fn glob_match(pattern: &[u8], text: &[u8], ignore_case: bool) -> bool {
    if text.is_empty() {
        return pattern.is_empty();
    }
    let (mut pattern_at, mut text_at) = (0, 0);
    // Where matching resumes when it fails: what follows the last star, and where it was last tried. Earlier stars
    // need no second chance, as whatever they could give away the last one may take itself.
    let mut resume = None;
    while text_at < text.len() {
        if pattern.get(pattern_at) == Some(&b'*') {
            pattern_at = skip_stars(pattern, pattern_at);
            if pattern_at == pattern.len() {
                return true;
            }
            resume = Some((pattern_at, text_at));
        } else if let Some(next) = match_one(pattern, pattern_at, text[text_at], ignore_case) {
            pattern_at = next;
            text_at += 1;
        } else if let Some((after_star, tried_at)) = resume {
            pattern_at = after_star;
            text_at = tried_at + 1;
            resume = Some((after_star, text_at));
        } else {
            return false;
        }
    }
    skip_stars(pattern, pattern_at) == pattern.len()
}

fn skip_stars(pattern: &[u8], at: usize) -> usize {
    at + pattern[at..].iter().take_while(|byte| **byte == b'*').count()
}

/// Matches `byte` against the element of `pattern` at `at`, and returns where the next element starts.
#[inline]
fn match_one(pattern: &[u8], at: usize, byte: u8, ignore_case: bool) -> Option<usize> {
    let equal = |a: u8, b: u8| a == b || (ignore_case && a.eq_ignore_ascii_case(&b));
    match pattern[at..] {
        [] => None,
        [b'?', ..] => Some(at + 1),
        [b'[', ..] => match_class(pattern, at + 1, byte, ignore_case),
        [b'\\', escaped, ..] => equal(escaped, byte).then_some(at + 2),
        [literal, ..] => equal(literal, byte).then_some(at + 1),
    }
}

/// Matches `byte` against the class whose `[` stands before `at`, and returns where the next element starts.
fn match_class(pattern: &[u8], mut at: usize, byte: u8, ignore_case: bool) -> Option<usize> {
    let fold = |byte: u8| if ignore_case { byte.to_ascii_lowercase() } else { byte };
    let negated = pattern.get(at) == Some(&b'^');
    at += usize::from(negated);
    let mut found = false;
    loop {
        let element_len = match pattern[at..] {
            [] => break,
            // An escaped byte has no case, and starts no range.
            [b'\\', escaped, ..] => {
                found |= escaped == byte;
                2
            }
            [b']', ..] => {
                at += 1;
                break;
            }
            [first, b'-', last, ..] => {
                // The ends are put in order before their case is folded.
                let (low, high) = if first as i8 > last as i8 { (last, first) } else { (first, last) };
                found |= (fold(low) as i8..=fold(high) as i8).contains(&(fold(byte) as i8));
                3
            }
            [single, ..] => {
                found |= fold(single) == fold(byte);
                1
            }
        };
        at += element_len;
    }
    (found != negated).then_some(at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Every row was answered so by Redis's KEYS.
    #[test]
    fn patterns_match_what_keys_finds() {
        let table = [
            ("", "abc", false),
            ("*", "abc", true),
            ("a?c", "abc", true),
            ("[abc]bc", "abc", true),
            ("[^a]bc", "abc", false),
            ("h*llo", "heeeello", true),
            ("h*llo", "hell", false),
            ("h[^e]llo", "hallo", true),
            ("h[a-b]llo", "hbllo", true),
            ("h[a-b]llo", "hcllo", false),
            ("*a*b*", "xaxbx", true),
            ("**a**", "bab", true),
            ("*?", "a", true),
            ("?*", "a", true),
            ("??*", "a", false),
            ("a**", "a", true),
            ("*a", "ab", false),
            ("[", "[", false),
            ("[", "a", false),
            ("[^", "a", true),
            ("[a", "a", true),
            ("[a-", "a", true),
            ("[a-", "-", true),
            ("[a-]", "b", false),
            ("[a-]", "^", true),
            ("[a-]x", "ax", false),
            ("[z-a]", "m", true),
            ("[]", "a", false),
            ("[]a]", "a", false),
            ("[^]", "a", true),
            ("[^]a]", "ba]", true),
            ("[*]", "*", true),
            ("[*]", "a", false),
            ("[?]", "a", false),
            ("[a-c-e]", "-", true),
            ("[a-c-e]", "d", false),
            (r"[\]]", "]", true),
            (r"[\a-c]", "b", false),
            (r"[\a-c]", "-", true),
            (r"\*", "*", true),
            (r"\*", "a", false),
            (r"\", r"\", true),
            (r"a\", r"a\", true),
            (r"\a", "a", true),
            (r"a\*b", "a*b", true),
            (r"a*\", r"abc\", true),
        ];
        for (pattern, text, expected) in table {
            assert_eq!(glob_match(pattern.as_bytes(), text.as_bytes(), false), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn the_empty_text_matches_the_empty_pattern_only() {
        assert!(glob_match(b"", b"", false));
        for pattern in ["*", "**", "?", "[^a]", "a"] {
            assert!(!glob_match(pattern.as_bytes(), b"", false), "{pattern}");
        }
    }

    #[test]
    fn case_is_ignored_on_request_except_when_escaped_in_a_class() {
        let table =
            [("aBc", "AbC"), (r"\aB", "Ab"), ("[a-c]", "B"), ("[A-C]", "b"), ("[^x]", "a"), ("[xyz]", "Y")];
        for (pattern, text) in table {
            assert!(glob_match(pattern.as_bytes(), text.as_bytes(), true), "{pattern} {text}");
        }
        assert!(!glob_match(br"[\a]", b"A", true));
        assert!(!glob_match(b"[^x]", b"X", true));
        assert!(!glob_match(b"abc", b"ABC", false));
    }

    #[test]
    fn bytes_above_ascii_are_negative_in_ranges() {
        assert!(glob_match(b"[\xff-a]", b"\x10", false));
        assert!(glob_match(b"[a-\xff]", b"\x10", false));
        assert!(!glob_match(b"[a-\xff]", b"\x80", false));
        assert!(glob_match(b"[\x80-\x90]", b"\x85", false));
    }

    #[test]
    fn patterns_with_many_stars_come_to_an_end() {
        // Tried by the definition, these would outlast us all; the longest text takes milliseconds.
        let pattern = [b"a*".repeat(5000), b"b".to_vec()].concat();
        let text = b"a".repeat(100_000);
        assert!(!glob_match(&pattern, &text, false));
        assert!(glob_match(&pattern[..pattern.len() - 1], &text, true));
    }

    /// The definition, without a thought for time: a star is followed by every possible rest.
    fn by_definition(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern, text) {
            (_, []) => pattern.iter().all(|byte| *byte == b'*'),
            ([], _) => false,
            ([b'*', rest @ ..], _) => (0..=text.len()).any(|at| by_definition(rest, &text[at..])),
            (_, [byte, after @ ..]) => {
                match_one(pattern, 0, *byte, false).is_some_and(|next| by_definition(&pattern[next..], after))
            }
        }
    }

    proptest! {
        #[test]
        fn forgetting_earlier_stars_loses_no_match(
            pattern in prop::collection::vec(prop::sample::select(b"aab**?[]^-\\".to_vec()), 0..12),
            text in prop::collection::vec(prop::sample::select(b"aab]".to_vec()), 1..12),
        ) {
            prop_assert_eq!(glob_match(&pattern, &text, false), by_definition(&pattern, &text));
        }

        #[test]
        fn any_bytes_are_a_pattern(pattern: Vec<u8>, text: Vec<u8>, ignore_case: bool) {
            glob_match(&pattern, &text, ignore_case);
        }
    }
}
