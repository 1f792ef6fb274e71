//! Which arguments of a request are keys, and what is done to each.

use base::number::parse_i64;
use resp::decode::Request;

use crate::table::{Begin, Find, KeyFlags, KeySpec, Row, key};

/// Returns whether a request of this command may name keys.
pub fn may_have_keys(row: &Row) -> bool {
    row.command.find_keys.is_some() || row.command.keys.iter().any(|spec| !spec.flags.has(key::NOT_KEY))
}

/// Appends the positions of a request's keys; `false` where the request does not allow to tell.
///
/// The row's specs are asked first; where they cannot tell, or not what is done to the keys, the row's own function.
pub fn keys_of(row: &Row, request: Request<'_>, found: &mut Vec<(usize, KeyFlags)>) -> bool {
    let specs = row.command.keys;
    let real = specs.iter().any(|spec| !spec.flags.has(key::NOT_KEY));
    let vague = specs.iter().any(|spec| spec.flags.has(key::VARIABLE_FLAGS));
    let start = found.len();
    if real && !(vague && row.command.find_keys.is_some()) {
        if by_specs(specs, request, found).is_some() {
            return true;
        }
        found.truncate(start);
    }
    match row.command.find_keys {
        Some(find) => {
            find(request, found);
            true
        }
        None => false,
    }
}

fn by_specs(specs: &[KeySpec], request: Request<'_>, found: &mut Vec<(usize, KeyFlags)>) -> Option<()> {
    for spec in specs.iter().filter(|spec| !spec.flags.has(key::NOT_KEY)) {
        let Some(begin) = begin(spec.begin, request)? else { continue };
        let (first, last, step) = run(spec.find, begin, request)?;
        if last < first || last >= request.len() {
            return None;
        }
        found.extend((first..=last).step_by(step).map(|at| (at, spec.flags)));
        if spec.flags.has(key::INCOMPLETE) {
            return None;
        }
    }
    Some(())
}

/// Returns where a run begins, `Some(None)` if its keyword is not there, `None` if the spec does not say.
fn begin(begin: Begin, request: Request<'_>) -> Option<Option<usize>> {
    let is = |at: &usize, word: &str| request.arg(*at).eq_ignore_ascii_case(word.as_bytes());
    match begin {
        Begin::Index(index) => Some(usize::try_from(index).ok()),
        Begin::Keyword(word, from) if from > 0 => {
            Some((from as usize..request.len().saturating_sub(1)).find(|at| is(at, word)).map(|at| at + 1))
        }
        Begin::Keyword(word, from) => {
            let from = request.len().checked_sub(from.unsigned_abs() as usize);
            Some(from.and_then(|from| (2..=from).rev().find(|at| is(at, word))).map(|at| at + 1))
        }
        Begin::Unknown => None,
    }
}

/// Returns the first and the last place of a run, and the step between its keys.
fn run(find: Find, begin: usize, request: Request<'_>) -> Option<(usize, usize, usize)> {
    let count = request.len();
    match find {
        Find::Range { last, step, limit } => {
            let last = match last {
                0.. => begin + last as usize,
                _ if limit > 1 => (begin + count.checked_sub(begin)? / limit as usize)
                    .checked_sub(last.unsigned_abs() as usize)?,
                _ => count.checked_sub(last.unsigned_abs() as usize)?,
            };
            Some((begin, last, step.max(1) as usize))
        }
        Find::Count { at, first, step } => {
            let number = parse_i64(request.get(begin.checked_add_signed(at as isize)?)?)?;
            let first = begin.checked_add_signed(first as isize)?;
            let last = first.checked_add(usize::try_from(number).ok()?)?.checked_sub(1)?;
            Some((first, last, step.max(1) as usize))
        }
        Find::Unknown => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::OwnedRequest;
    use crate::table::{at, counted, range, spec};

    fn found(specs: &[KeySpec], words: &[&str]) -> Option<Vec<usize>> {
        let request = OwnedRequest::from_words(words.iter().map(|word| word.as_bytes()));
        let mut found = Vec::new();
        by_specs(specs, request.request(), &mut found).map(|()| found.iter().map(|(at, _)| *at).collect())
    }

    #[test]
    fn ranges_and_counts_and_keywords_are_found() {
        assert_eq!(found(&[at(1, key::RO)], &["GET", "k"]), Some(vec![1]));
        assert_eq!(found(&[range(1, -1, 2, 0, key::OW)], &["MSET", "a", "1", "b", "2"]), Some(vec![1, 3]));
        assert_eq!(found(&[range(1, -2, 1, 0, key::RW)], &["BLPOP", "a", "b", "0"]), Some(vec![1, 2]));
        let zunionstore = [at(1, key::OW), counted(2, 0, 1, 1, key::RO)];
        assert_eq!(found(&zunionstore, &["ZUNIONSTORE", "d", "2", "a", "b"]), Some(vec![1, 3, 4]));
        assert_eq!(found(&zunionstore, &["ZUNIONSTORE", "d", "3", "a", "b"]), None);
        assert_eq!(found(&zunionstore, &["ZUNIONSTORE", "d", "0"]), None);
        let half = Find::Range { last: -1, step: 1, limit: 2 };
        let xread = [spec(Begin::Keyword("STREAMS", 1), half, key::RO)];
        assert_eq!(found(&xread, &["XREAD", "COUNT", "1", "STREAMS", "a", "b", "0", "0"]), Some(vec![4, 5]));
        let migrate = Find::Range { last: -1, step: 1, limit: 0 };
        let migrate = [spec(Begin::Keyword("KEYS", -2), migrate, key::RW)];
        assert_eq!(found(&migrate, &["MIGRATE", "h", "1", "", "0", "1", "KEYS", "a", "b"]), Some(vec![7, 8]));
        assert_eq!(found(&migrate, &["MIGRATE", "h", "1", "k", "0", "1"]), Some(vec![]));
    }
}
