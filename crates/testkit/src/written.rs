//! A reply as an author wrote it: a tree of lines, each with the rule by which it is compared.

use regex_lite::Regex;

use crate::reply::{Branch, Leaf, Reply};
use crate::words;

/// What a scenario file says a reply looks like.
#[derive(Clone, Debug)]
pub struct Written {
    /// How the actual reply is compared.
    pub rule: Rule,
    /// The first line without its indentation.
    pub head: String,
    /// The aggregate's type, or `None` for a reply in one piece.
    pub branch: Option<Branch>,
    /// The elements, a map's keys and values alternating.
    pub elements: Vec<Written>,
}

/// How a written reply is compared with an actual one.
#[derive(Clone, Debug, Default)]
pub enum Rule {
    /// Line by line.
    #[default]
    Exact,
    /// Only the type matters.
    Any,
    /// The elements (a map's pairs) may come in any order.
    Unordered,
    /// Keys and values alternate in an array, and the pairs may come in any order.
    UnorderedPairs,
    /// The elements may come in any order, at every level.
    NestedUnordered,
    /// The first line matches a regular expression.
    Match(Regex),
    /// The number lies between two others.
    Between(f64, f64),
}

impl Rule {
    /// Reads the text after `? `.
    pub fn parse(text: &str) -> Result<Rule, String> {
        let (name, rest) = text.split_once(' ').unwrap_or((text, ""));
        let number =
            |word: Option<&str>| word.and_then(|w| w.parse::<f64>().ok()).ok_or("between takes two numbers");
        Ok(match name {
            "any" => Rule::Any,
            "unordered" => Rule::Unordered,
            "unordered-pairs" => Rule::UnorderedPairs,
            "nested-unordered" => Rule::NestedUnordered,
            "match" => Rule::Match(Regex::new(rest).map_err(|e| e.to_string())?),
            "between" => {
                let mut bounds = rest.split_whitespace();
                Rule::Between(number(bounds.next())?, number(bounds.next())?)
            }
            _ => return Err(format!("unknown annotation {name:?}")),
        })
    }
}

impl Written {
    /// Reads the first line of a reply (without indentation): the reply, and how many elements must follow.
    pub fn parse_head(line: &str, rule: Rule) -> Result<(Written, usize), String> {
        let (head, branch, count) = match line.as_bytes() {
            [b'$', ..] if line == "$-1" => (line.to_string(), None, 0),
            [b'*', ..] if line == "*-1" => (line.to_string(), None, 0),
            [b'_'] => (line.to_string(), None, 0),
            [b'+' | b'-' | b':' | b',' | b'(', ..] => (line.to_string(), None, 0),
            [b'#', b't' | b'f'] => (line.to_string(), None, 0),
            [b'"', ..] => (words::quote(&single_word(line)?), None, 0),
            [b'=', rest @ ..] if !rest.is_empty() => {
                let word = single_word(&line[1..])?;
                (format!("={}", words::quote(&word)), None, 0)
            }
            [sigil, ..] => {
                let branch = Branch::of(*sigil).ok_or_else(|| format!("not a reply: {line}"))?;
                let count: usize = line[1..].parse().map_err(|_| format!("bad count: {line}"))?;
                (line.to_string(), Some(branch), count * branch.arity())
            }
            [] => return Err("empty reply line".into()),
        };
        Ok((Written { rule, head, branch, elements: Vec::new() }, count))
    }

    /// Returns the reply's lines as the author could have written them, without annotations.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![self.head.clone()];
        for element in &self.elements {
            lines.extend(element.lines().into_iter().map(|line| format!("  {line}")));
        }
        lines
    }

    /// Returns whether `actual` is what was written.
    pub fn matches(&self, actual: &Reply) -> bool {
        self.matches_with(actual, &self.rule)
    }

    fn matches_with(&self, actual: &Reply, rule: &Rule) -> bool {
        match rule {
            Rule::Exact => self.head == actual.head() && self.elements_in_order(actual),
            Rule::Any => same_type(&self.head, &actual.head()),
            Rule::Match(regex) => regex.is_match(&actual.head()),
            Rule::Between(low, high) => {
                same_type(&self.head, &actual.head())
                    && number(actual).is_some_and(|n| *low <= n && n <= *high)
            }
            Rule::Unordered => {
                let group = self.branch.map_or(1, Branch::arity);
                self.head == actual.head() && self.elements_in_any_order(actual, group, false)
            }
            Rule::UnorderedPairs => {
                self.head == actual.head() && self.elements_in_any_order(actual, 2, false)
            }
            Rule::NestedUnordered => {
                let group = self.branch.map_or(1, Branch::arity);
                self.head == actual.head() && self.elements_in_any_order(actual, group, true)
            }
        }
    }

    fn elements_in_order(&self, actual: &Reply) -> bool {
        self.elements.len() == actual.elements().len()
            && self.elements.iter().zip(actual.elements()).all(|(written, actual)| written.matches(actual))
    }

    /// Each group of written elements takes the first actual group that it matches and that is still free.
    fn elements_in_any_order(&self, actual: &Reply, group: usize, nested: bool) -> bool {
        let actual = actual.elements();
        if self.elements.len() != actual.len() || !actual.len().is_multiple_of(group) {
            return false;
        }
        let mut free: Vec<&[Reply]> = actual.chunks(group).collect();
        self.elements.chunks(group).all(|written| {
            let found = free.iter().position(|candidate| {
                written.iter().zip(*candidate).all(|(written, actual)| match (nested, &written.rule) {
                    (true, Rule::Exact) => written.matches_with(actual, &Rule::NestedUnordered),
                    (_, rule) => written.matches_with(actual, rule),
                })
            });
            found.map(|index| free.swap_remove(index)).is_some()
        })
    }
}

fn single_word(text: &str) -> Result<Vec<u8>, String> {
    match words::split(text).map(|mut words| (words.pop(), words.is_empty())) {
        Some((Some(word), true)) => Ok(word),
        _ => Err(format!("not one quoted word: {text}")),
    }
}

fn same_type(written: &str, actual: &str) -> bool {
    let null = |text: &str| text == "$-1" || text == "*-1";
    null(written) == null(actual) && written.chars().next() == actual.chars().next()
}

fn number(reply: &Reply) -> Option<f64> {
    match reply {
        Reply::Leaf(Leaf::Null | Leaf::NullBulk | Leaf::NullArray, _) => None,
        _ => std::str::from_utf8(reply.text()?).ok()?.parse().ok(),
    }
}
