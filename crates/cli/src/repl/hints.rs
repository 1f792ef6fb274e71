//! The arguments that are still to be typed, shown behind the cursor.
//!
//! The words of the line are matched with the command's arguments from left to right:
//!
//! ```text
//! SET greeting hello NX ▌ [GET] [EX seconds|KEEPTTL]
//! ```
//!
//! Arguments that may be left out and stand side by side are taken in any order. Words that no argument takes end the
//! hints: the line is not what the documentation knows.

use super::docs::{Argument, CommandDocs, Entry, Kind, sequence_syntax};

/// Returns what could still follow `line`, a blank in front if it needs one.
pub(crate) fn hint(docs: &CommandDocs, line: &str) -> Option<String> {
    let words = resp::inline::split_args(line.as_bytes())?;
    let words: Vec<String> = words.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    let entry = find(docs, &words)?;
    let words: Vec<&str> = words[entry.words.len()..].iter().map(String::as_str).collect();
    let in_word = !line.ends_with(char::is_whitespace);
    let rest = rest_after(entry, &words).or_else(|| match words.split_last() {
        // What is being typed may become a word that must be spelled so.
        Some((begun, before)) if in_word && may_be_spelled(&entry.arguments, begun) => {
            rest_after(entry, before)
        }
        _ => None,
    })?;
    (!rest.is_empty()).then(|| format!("{}{rest}", if in_word { " " } else { "" }))
}

/// Returns the arguments that can follow these words, nothing if the words do not fit.
fn rest_after(entry: &Entry, words: &[&str]) -> Option<String> {
    let progress = sequence(&entry.arguments, words, &[])?;
    (progress.used == words.len()).then(|| progress.rest.join(" "))
}

/// Returns whether a prescribed word of these arguments begins so.
fn may_be_spelled(arguments: &[Argument], begun: &str) -> bool {
    arguments.iter().any(|argument| {
        let token = argument.token.as_deref().unwrap_or_default();
        token.get(..begun.len()).is_some_and(|start| start.eq_ignore_ascii_case(begun))
            || may_be_spelled(&argument.parts, begun)
    })
}

/// Returns the command that the words begin with; of several the one with most words.
fn find<'a>(docs: &'a CommandDocs, words: &[String]) -> Option<&'a Entry> {
    let fits = |entry: &&Entry| {
        entry.words.len() <= words.len()
            && entry.words.iter().zip(words).all(|(name, word)| name.eq_ignore_ascii_case(word))
    };
    docs.entries.iter().filter(fits).max_by_key(|entry| entry.words.len())
}

/// How far words were matched.
#[derive(Debug, Default)]
struct Progress {
    used: usize,
    /// What is still to be typed.
    rest: Vec<String>,
    /// Whether nothing that must be given is missing.
    complete: bool,
}

/// Matches arguments that follow each other; `after` are those that come behind them all.
fn sequence(arguments: &[Argument], words: &[&str], after: &[&Argument]) -> Option<Progress> {
    let mut progress = Progress { complete: true, ..Progress::default() };
    let mut i = 0;
    while i < arguments.len() {
        let left = &words[progress.used..];
        if left.is_empty() {
            progress.complete &= arguments[i..].iter().all(|argument| argument.optional);
            let rest = sequence_syntax(&arguments[i..]);
            progress.rest.push(rest);
            return Some(progress);
        }
        let run = arguments[i..].iter().take_while(|argument| argument.optional).count();
        if run == 0 {
            let behind: Vec<_> = arguments[i + 1..].iter().chain(after.iter().copied()).collect();
            let step = given(&arguments[i], left, &behind)?;
            progress.used += step.used;
            progress.complete &= step.complete;
            progress.rest.extend(step.rest);
            i += 1;
        } else {
            let behind: Vec<_> = arguments[i + run..].iter().chain(after.iter().copied()).collect();
            let step = any_order(&arguments[i..i + run], left, &behind);
            progress.used += step.used;
            progress.complete &= step.complete;
            // What was left out before other words can no longer be given.
            if progress.used == words.len() {
                progress.rest.extend(step.rest);
            }
            i += run;
        }
    }
    Some(progress)
}

/// Matches arguments each of which may be left out.
fn any_order(run: &[Argument], words: &[&str], after: &[&Argument]) -> Progress {
    let mut progress = Progress { complete: true, ..Progress::default() };
    let mut open: Vec<&Argument> = run.iter().collect();
    while progress.used < words.len() {
        let left = &words[progress.used..];
        // Words that must be spelled so go before those that may be anything.
        let spelled = open.iter().position(|argument| is_spelled(argument, left[0]));
        let free = || {
            let needed = after.iter().map(|argument| words_needed(argument)).sum::<usize>();
            let reserved = left.len() <= needed || after.iter().any(|argument| is_spelled(argument, left[0]));
            open.iter().position(|argument| !reserved && begins_freely(argument))
        };
        let Some(place) = spelled.or_else(free) else { break };
        let argument = open.remove(place);
        let others: Vec<_> = open.iter().chain(after).copied().collect();
        let Some(step) = given(argument, left, &others).filter(|step| step.used > 0) else {
            open.insert(place, argument);
            break;
        };
        progress.used += step.used;
        progress.complete &= step.complete;
        progress.rest.extend(step.rest);
    }
    progress.rest.extend(open.iter().map(|argument| argument.syntax()));
    progress
}

/// Matches an argument that is given, with its repetitions.
fn given(argument: &Argument, words: &[&str], after: &[&Argument]) -> Option<Progress> {
    let mut progress = once(argument, words, true, after)?;
    if !argument.multiple || !progress.complete || !progress.rest.is_empty() {
        if argument.multiple {
            progress.rest.push(format!("[{} ...]", argument.repeated_syntax()));
        }
        return Some(progress);
    }
    while progress.used < words.len() {
        let left = &words[progress.used..];
        if after.iter().any(|other| is_spelled(other, left[0])) {
            break;
        }
        let Some(step) = once(argument, left, argument.repeats_token, after).filter(|step| step.used > 0)
        else {
            break;
        };
        progress.used += step.used;
        progress.complete &= step.complete;
        let partial = !step.rest.is_empty();
        progress.rest.extend(step.rest);
        if partial {
            break;
        }
    }
    if progress.used == words.len() {
        progress.rest.push(format!("[{} ...]", argument.repeated_syntax()));
    }
    Some(progress)
}

/// Matches an argument one time.
fn once(argument: &Argument, words: &[&str], with_token: bool, after: &[&Argument]) -> Option<Progress> {
    let token = argument.token.as_deref().filter(|_| with_token);
    let mut used = 0;
    if let Some(token) = token {
        if !words.first()?.eq_ignore_ascii_case(token) {
            return None;
        }
        used = 1;
        if argument.kind == Kind::PureToken {
            return Some(Progress { used, rest: Vec::new(), complete: true });
        }
    }
    let left = &words[used..];
    let Some(word) = left.first() else {
        return Some(Progress { used, rest: vec![argument.value_syntax()], complete: false });
    };
    let mut step = match argument.kind {
        Kind::PureToken => None,
        Kind::Text => Some(Progress { used: 1, rest: Vec::new(), complete: true }),
        Kind::Integer => {
            word.parse::<i64>().ok().map(|_| Progress { used: 1, rest: Vec::new(), complete: true })
        }
        Kind::Double => is_score(word).then(|| Progress { used: 1, rest: Vec::new(), complete: true }),
        Kind::Block => sequence(&argument.parts, left, after),
        Kind::OneOf => {
            let spelled = argument.parts.iter().find(|part| is_spelled(part, word));
            match spelled {
                Some(part) => given(part, left, after),
                None => argument
                    .parts
                    .iter()
                    .filter(|part| begins_freely(part))
                    .find_map(|part| given(part, left, after)),
            }
        }
    }?;
    step.used += used;
    Some(step)
}

/// Returns how many words an argument takes at least.
fn words_needed(argument: &Argument) -> usize {
    if argument.optional {
        return 0;
    }
    let value = match argument.kind {
        Kind::PureToken => 0,
        Kind::Text | Kind::Integer | Kind::Double => 1,
        Kind::Block => argument.parts.iter().map(words_needed).sum(),
        Kind::OneOf => argument.parts.iter().map(words_needed).min().unwrap_or(0),
    };
    usize::from(argument.token.is_some()) + value
}

/// Returns whether the argument can begin with this very word, as one that must be spelled so.
fn is_spelled(argument: &Argument, word: &str) -> bool {
    match (&argument.token, argument.kind) {
        (Some(token), _) => word.eq_ignore_ascii_case(token),
        (None, Kind::OneOf) => argument.parts.iter().any(|part| is_spelled(part, word)),
        (None, Kind::Block) => argument.parts.first().is_some_and(|part| is_spelled(part, word)),
        _ => false,
    }
}

/// Returns whether the argument can begin with a word that is not prescribed.
fn begins_freely(argument: &Argument) -> bool {
    match (&argument.token, argument.kind) {
        (Some(_), _) | (None, Kind::PureToken) => false,
        (None, Kind::OneOf) => argument.parts.iter().any(begins_freely),
        (None, Kind::Block) => argument.parts.first().is_some_and(begins_freely),
        _ => true,
    }
}

/// Returns whether a server could read the word as a number with a fraction, or a bound of a range of them.
fn is_score(word: &str) -> bool {
    word.strip_prefix('(').unwrap_or(word).parse::<f64>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::super::docs::tests::sample;
    use super::*;

    #[test]
    fn hints_shrink_as_arguments_are_typed() {
        let docs = sample();
        let table = [
            ("set", Some(" key value [NX|XX] [GET] [EX seconds|KEEPTTL]")),
            ("SET ", Some("key value [NX|XX] [GET] [EX seconds|KEEPTTL]")),
            ("SET k", Some(" value [NX|XX] [GET] [EX seconds|KEEPTTL]")),
            ("SET k 'a b' ", Some("[NX|XX] [GET] [EX seconds|KEEPTTL]")),
            ("SET k v nx", Some(" [GET] [EX seconds|KEEPTTL]")),
            ("SET k v GET ", Some("[NX|XX] [EX seconds|KEEPTTL]")),
            ("SET k v EX ", Some("seconds [NX|XX] [GET]")),
            ("SET k v EX 10 ", Some("[NX|XX] [GET]")),
            ("SET k v KEEPTTL GET XX", None),
            ("SET k v EX 1x", None),
            ("SET k v what ", None),
            ("SET k v what", None),
            ("SET k v g", Some(" [NX|XX] [GET] [EX seconds|KEEPTTL]")),
            ("SET k v GET keep", Some(" [NX|XX] [EX seconds|KEEPTTL]")),
            ("SET k \"v", None),
            ("ZADD z ", Some("[CH] score member [score member ...]")),
            ("ZADD z CH ", Some("score member [score member ...]")),
            ("ZADD z 1", Some(" member [score member ...]")),
            ("ZADD z 1 a ", Some("[score member ...]")),
            ("ZADD z 1 a 2 ", Some("member [score member ...]")),
            ("SORT k GET ", Some("get-pattern [GET get-pattern ...] [ALPHA] [\"\" any]")),
            ("SORT k GET # GET", Some(" get-pattern [GET get-pattern ...] [ALPHA] [\"\" any]")),
            ("SORT k ALPHA GET # ", Some("[GET get-pattern ...] [\"\" any]")),
            ("SINTERCARD 2 a b", Some(" [key ...] [LIMIT limit]")),
            ("SINTERCARD 2 a b LIMIT ", Some("limit")),
            ("SINTERCARD x ", None),
            ("CONFIG GET", Some(" parameter [parameter ...]")),
            ("CONFIG GET a b ", Some("[parameter ...]")),
            ("CONFIG", None),
            ("AUTH ", Some("[username] password")),
            ("AUTH secret", None),
            ("AUTH bob secret", None),
            ("NOSUCH a", None),
            ("", None),
        ];
        for (line, expected) in table {
            assert_eq!(hint(&docs, line).as_deref(), expected, "{line:?}");
        }
    }
}
