//! The notation in which a row declares its arguments, and what follows from it.
//!
//! ```text
//! key                an argument              EX seconds         a word, then an argument
//! [NX | XX]          at most one of these     <LEFT | RIGHT>     exactly one of these
//! key [key ...]      the same again, any number of times
//! ```

/// A command's arguments, parsed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Syntax {
    pub items: Vec<Item>,
}

/// One part of a syntax.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A word to be written as it stands, in any case.
    Word(&'static str),
    /// A value; named in lower case.
    Value(&'static str),
    /// May be left out; more than one alternative means at most one of them.
    Optional(Vec<Vec<Item>>),
    /// Exactly one of the alternatives.
    Choice(Vec<Vec<Item>>),
    /// The parts before it once more, any number of times.
    Again(Vec<Item>),
}

impl Syntax {
    /// Parses the notation; the error says what is wrong with it.
    pub fn parse(text: &'static str) -> Result<Syntax, String> {
        let mut tokens = tokens(text).into_iter().peekable();
        let items = sequence(&mut tokens)?;
        match tokens.next() {
            None => Ok(Syntax { items }),
            Some(token) => Err(format!("'{token}' does not belong there")),
        }
    }

    /// Returns the arity that Redis declares: `words` for the name, plus what must stand; negative if more may.
    pub fn arity(&self, words: i32) -> i32 {
        let (least, open) = extent(&self.items);
        let total = words + least;
        if open { -total } else { total }
    }
}

type Tokens = std::iter::Peekable<std::vec::IntoIter<&'static str>>;

fn tokens(text: &'static str) -> Vec<&'static str> {
    let mut found = Vec::new();
    let mut start = None;
    for (i, c) in text.char_indices() {
        let single = "[]<>|".contains(c);
        if (single || c == ' ')
            && let Some(s) = start.take()
        {
            found.push(&text[s..i]);
        }
        if single {
            found.push(&text[i..i + 1]);
        } else if c != ' ' && start.is_none() {
            start = Some(i);
        }
    }
    if let Some(s) = start {
        found.push(&text[s..]);
    }
    found
}

fn sequence(tokens: &mut Tokens) -> Result<Vec<Item>, String> {
    let mut items = Vec::new();
    while let Some(token) = tokens.peek().copied() {
        match token {
            "]" | ">" | "|" => break,
            "[" => {
                tokens.next();
                let inner = alternatives(tokens, "]")?;
                match again(&inner) {
                    Some(repeated) => items.push(Item::Again(repeated)),
                    None => items.push(Item::Optional(inner)),
                }
            }
            "<" => {
                tokens.next();
                items.push(Item::Choice(alternatives(tokens, ">")?));
            }
            word => {
                tokens.next();
                items.push(if is_word(word) { Item::Word(word) } else { Item::Value(word) });
            }
        }
    }
    Ok(items)
}

fn alternatives(tokens: &mut Tokens, close: &str) -> Result<Vec<Vec<Item>>, String> {
    let mut all = vec![sequence(tokens)?];
    loop {
        match tokens.next() {
            Some("|") => all.push(sequence(tokens)?),
            Some(token) if token == close => return Ok(all),
            Some(token) => return Err(format!("'{token}' instead of '{close}'")),
            None => return Err(format!("'{close}' is missing")),
        }
    }
}

fn again(inner: &[Vec<Item>]) -> Option<Vec<Item>> {
    match inner {
        [only] => match only.split_last() {
            Some((Item::Value("..."), repeated)) => Some(repeated.to_vec()),
            _ => None,
        },
        _ => None,
    }
}

fn is_word(token: &str) -> bool {
    !token.bytes().any(|b| b.is_ascii_lowercase()) && token != "..."
}

/// Returns the least number of arguments, and whether there can be more.
fn extent(items: &[Item]) -> (i32, bool) {
    let (mut least, mut open) = (0, false);
    for item in items {
        match item {
            Item::Word(_) | Item::Value(_) => least += 1,
            Item::Optional(_) | Item::Again(_) => open = true,
            Item::Choice(all) => {
                let extents: Vec<_> = all.iter().map(|items| extent(items)).collect();
                let shortest = extents.iter().map(|e| e.0).min().unwrap_or(0);
                open |= extents.iter().any(|e| e.1 || e.0 != shortest);
                least += shortest;
            }
        }
    }
    (least, open)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arity_follows_from_the_notation() {
        for (syntax, arity) in [
            ("", 1),
            ("key", 2),
            ("key value [NX | XX] [GET] [EX seconds | PX milliseconds | KEEPTTL]", -3),
            ("key [key ...]", -2),
            ("source destination <LEFT | RIGHT> <LEFT | RIGHT> timeout", 6),
            ("numkeys key [key ...] <MIN | MAX> [COUNT count]", -4),
            ("<count | RESET>", 2),
            ("[message]", -1),
        ] {
            assert_eq!(Syntax::parse(syntax).unwrap().arity(1), arity, "{syntax}");
        }
    }

    #[test]
    fn unbalanced_brackets_are_refused() {
        assert!(Syntax::parse("key [NX").is_err());
        assert!(Syntax::parse("key NX]").is_err());
    }
}
