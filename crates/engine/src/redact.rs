//! Which words of a request must not show up where others read them: the slow log and MONITOR.

use resp::decode::Request;

use crate::table::Row;

/// Stands in for a word that is not shown.
pub(crate) const REDACTED: &[u8] = b"(redacted)";

/// Returns the request's words, secrets replaced.
pub(crate) fn shown<'a>(row: &Row, request: Request<'a>) -> Vec<&'a [u8]> {
    let mut words: Vec<&[u8]> = request.iter().collect();
    if row.is_any(&["AUTH"]) && words.len() <= 3 {
        words.iter_mut().skip(1).for_each(hide);
    } else if row.is_any(&["HELLO"]) {
        let mut at = 2;
        while at + 2 < words.len() {
            if words[at].eq_ignore_ascii_case(b"AUTH") {
                hide(&mut words[at + 1]);
                hide(&mut words[at + 2]);
                at += 1;
            }
            // Any option has a value.
            at += 2;
        }
    } else if row.name == "config|set" {
        for at in (2..words.len().saturating_sub(1)).step_by(2) {
            if config::find(words[at]).is_some_and(|param| param.sensitive) {
                hide(&mut words[at + 1]);
            }
        }
    }
    words
}

fn hide(word: &mut &[u8]) {
    *word = REDACTED;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::OwnedRequest;
    use crate::table::Table;

    fn shown_words(name: &str, words: &str) -> String {
        let request = OwnedRequest::from_words(words.split(' ').map(str::as_bytes));
        let row = Table::standard().find_full(name.as_bytes()).unwrap();
        let words: Vec<_> = shown(row, request.request())
            .into_iter()
            .map(|word| String::from_utf8_lossy(word).into_owned())
            .collect();
        words.join(" ")
    }

    #[test]
    fn passwords_are_not_shown() {
        assert_eq!(shown_words("auth", "AUTH secret"), "AUTH (redacted)");
        assert_eq!(shown_words("auth", "AUTH default secret"), "AUTH (redacted) (redacted)");
        assert_eq!(
            shown_words("hello", "HELLO 3 SETNAME me AUTH default secret"),
            "HELLO 3 SETNAME me AUTH (redacted) (redacted)"
        );
        assert_eq!(
            shown_words("hello", "HELLO 3 AUTH default secret SETNAME me"),
            "HELLO 3 AUTH (redacted) (redacted) SETNAME me"
        );
        assert_eq!(
            shown_words("config|set", "CONFIG SET hz 5 requirepass secret"),
            "CONFIG SET hz 5 requirepass (redacted)"
        );
        assert_eq!(shown_words("get", "GET auth"), "GET auth");
    }
}
