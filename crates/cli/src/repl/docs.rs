//! What a server says of its commands: names, arguments and what they are for.
//!
//! Read from the reply to COMMAND DOCS, whichever protocol it came in; servers that lack it still list their names.

use std::collections::BTreeSet;

use super::reply::Reply;

/// The commands of a server, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CommandDocs {
    pub(crate) entries: Vec<Entry>,
    pub(crate) groups: BTreeSet<String>,
}

/// A command or subcommand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    /// One word, or two for subcommands, in capitals.
    pub(crate) words: Vec<String>,
    pub(crate) summary: String,
    pub(crate) since: Option<String>,
    pub(crate) group: String,
    pub(crate) arguments: Vec<Argument>,
}

/// One argument of a command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Argument {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// The word before the value, or instead of one.
    pub(crate) token: Option<String>,
    pub(crate) optional: bool,
    pub(crate) multiple: bool,
    /// Whether the token is repeated as well.
    pub(crate) repeats_token: bool,
    /// The parts of a block, or what may be chosen from.
    pub(crate) parts: Vec<Argument>,
}

/// What an argument consists of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Kind {
    #[default]
    Text,
    Integer,
    Double,
    PureToken,
    OneOf,
    Block,
}

impl CommandDocs {
    /// Reads the reply to COMMAND DOCS, nothing if it is none.
    pub(crate) fn read(reply: &Reply) -> Option<CommandDocs> {
        let mut docs = CommandDocs::default();
        for (name, description) in reply.pairs()? {
            docs.add(vec![text(name)?.to_uppercase()], description);
        }
        docs.entries.sort_by(|a, b| a.words.cmp(&b.words));
        docs.groups = docs.entries.iter().map(|entry| entry.group.clone()).collect();
        docs.groups.remove("");
        Some(docs)
    }

    /// Reads the reply to COMMAND, which has names only; nothing if it is none.
    pub(crate) fn from_names(reply: &Reply) -> Option<CommandDocs> {
        let names = reply.items()?.iter().filter_map(|command| text(command.items()?.first()?));
        let mut entries: Vec<_> =
            names.map(|name| Entry { words: vec![name.to_uppercase()], ..Entry::default() }).collect();
        entries.sort_by(|a, b| a.words.cmp(&b.words));
        Some(CommandDocs { entries, groups: BTreeSet::new() })
    }

    fn add(&mut self, words: Vec<String>, description: &Reply) {
        let mut entry = Entry { words, ..Entry::default() };
        for (field, value) in description.pairs().unwrap_or_default() {
            match (field.text(), value) {
                (Some(b"summary"), value) => entry.summary = text(value).unwrap_or_default(),
                (Some(b"since"), value) => entry.since = text(value),
                (Some(b"group"), value) => entry.group = text(value).unwrap_or_default(),
                (Some(b"arguments"), value) => entry.arguments = arguments(value),
                (Some(b"subcommands"), value) => {
                    for (name, description) in value.pairs().unwrap_or_default() {
                        let name = text(name).unwrap_or_default().to_uppercase();
                        let sub = name.split_once('|').map_or(name.as_str(), |(_, sub)| sub).to_string();
                        self.add(vec![entry.words[0].clone(), sub], description);
                    }
                }
                _ => {}
            }
        }
        self.entries.push(entry);
    }
}

impl Entry {
    /// Returns the name, its words separated by a blank.
    pub(crate) fn name(&self) -> String {
        self.words.join(" ")
    }

    /// Returns all arguments as documentation writes them.
    pub(crate) fn syntax(&self) -> String {
        sequence_syntax(&self.arguments)
    }
}

impl Argument {
    /// Returns the argument as documentation writes it, in brackets if it may be left out.
    pub(crate) fn syntax(&self) -> String {
        let required = self.required_syntax();
        if self.optional { format!("[{required}]") } else { required }
    }

    /// Returns the argument as documentation writes it, once it is decided that it is given.
    pub(crate) fn required_syntax(&self) -> String {
        let first = format!("{}{}", self.token_syntax(), self.value_syntax());
        if self.multiple { format!("{first} [{} ...]", self.repeated_syntax()) } else { first }
    }

    /// Returns what follows the dots of a repetition.
    pub(crate) fn repeated_syntax(&self) -> String {
        let token = if self.repeats_token { self.token_syntax() } else { String::new() };
        format!("{token}{}", self.value_syntax())
    }

    /// Returns the value without its token.
    pub(crate) fn value_syntax(&self) -> String {
        match self.kind {
            Kind::PureToken => String::new(),
            Kind::OneOf => self.parts.iter().map(Argument::syntax).collect::<Vec<_>>().join("|"),
            Kind::Block => sequence_syntax(&self.parts),
            Kind::Text | Kind::Integer | Kind::Double => or_quotes(&self.name).to_string(),
        }
    }

    /// Returns the token, and a blank if a value follows it.
    fn token_syntax(&self) -> String {
        match &self.token {
            None => String::new(),
            Some(token) if self.kind == Kind::PureToken => or_quotes(token).to_string(),
            Some(token) => format!("{} ", or_quotes(token)),
        }
    }
}

/// Returns arguments as documentation writes them, one after the other.
pub(crate) fn sequence_syntax(arguments: &[Argument]) -> String {
    arguments.iter().map(Argument::syntax).collect::<Vec<_>>().join(" ")
}

/// An empty word is written as a person would have to type it.
fn or_quotes(word: &str) -> &str {
    if word.is_empty() { "\"\"" } else { word }
}

fn arguments(reply: &Reply) -> Vec<Argument> {
    reply.items().unwrap_or_default().iter().map(argument).collect()
}

fn argument(reply: &Reply) -> Argument {
    let mut argument = Argument::default();
    let mut display = None;
    for (field, value) in reply.pairs().unwrap_or_default() {
        match field.text().unwrap_or_default() {
            b"name" => argument.name = text(value).unwrap_or_default(),
            b"display_text" => display = text(value),
            b"token" => argument.token = text(value),
            b"arguments" => argument.parts = arguments(value),
            b"type" => {
                argument.kind = match value.text().unwrap_or_default() {
                    b"integer" | b"unix-time" => Kind::Integer,
                    b"double" => Kind::Double,
                    b"pure-token" => Kind::PureToken,
                    b"oneof" => Kind::OneOf,
                    b"block" => Kind::Block,
                    _ => Kind::Text,
                }
            }
            b"flags" => {
                let flags = value.items().unwrap_or_default();
                let has = |name: &[u8]| flags.iter().any(|flag| flag.text() == Some(name));
                argument.optional = has(b"optional");
                argument.multiple = has(b"multiple");
                argument.repeats_token = has(b"multiple_token");
            }
            _ => {}
        }
    }
    if let Some(display) = display {
        argument.name = display;
    }
    argument
}

fn text(reply: &Reply) -> Option<String> {
    Some(String::from_utf8_lossy(reply.text()?).into_owned())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn bulk(text: &str) -> Reply {
        Reply::Bulk(text.as_bytes().to_vec())
    }

    /// Builds an argument's description, flat as RESP2 has it.
    fn described(name: &str, kind: &str, more: &[(&str, Reply)]) -> Reply {
        let mut fields = vec![bulk("name"), bulk(name), bulk("type"), bulk(kind)];
        for (field, value) in more {
            fields.extend([bulk(field), value.clone()]);
        }
        Reply::Array(fields)
    }

    fn flags(names: &[&str]) -> (&'static str, Reply) {
        ("flags", Reply::Set(names.iter().map(|name| Reply::Status(name.as_bytes().to_vec())).collect()))
    }

    fn list(items: &[Reply]) -> (&'static str, Reply) {
        ("arguments", Reply::Array(items.to_vec()))
    }

    fn token(text: &str) -> (&'static str, Reply) {
        ("token", bulk(text))
    }

    /// Some commands with every kind of argument.
    pub(crate) fn sample() -> CommandDocs {
        let set = Reply::Map(vec![
            (bulk("summary"), bulk("Set a value.")),
            (bulk("since"), bulk("1.0.0")),
            (bulk("group"), bulk("string")),
            (
                bulk("arguments"),
                Reply::Array(vec![
                    described("key", "key", &[]),
                    described("value", "string", &[]),
                    described(
                        "condition",
                        "oneof",
                        &[
                            flags(&["optional"]),
                            list(&[
                                described("nx", "pure-token", &[token("NX")]),
                                described("xx", "pure-token", &[token("XX")]),
                            ]),
                        ],
                    ),
                    described("get", "pure-token", &[token("GET"), flags(&["optional"])]),
                    described(
                        "expiration",
                        "oneof",
                        &[
                            flags(&["optional"]),
                            list(&[
                                described("seconds", "integer", &[token("EX")]),
                                described("keepttl", "pure-token", &[token("KEEPTTL")]),
                            ]),
                        ],
                    ),
                ]),
            ),
        ]);
        let zadd = Reply::Map(vec![
            (bulk("group"), bulk("sorted-set")),
            (
                bulk("arguments"),
                Reply::Array(vec![
                    described("key", "key", &[]),
                    described("change", "pure-token", &[token("CH"), flags(&["optional"])]),
                    described(
                        "data",
                        "block",
                        &[
                            flags(&["multiple"]),
                            list(&[described("score", "double", &[]), described("member", "string", &[])]),
                        ],
                    ),
                ]),
            ),
        ]);
        let sort = Reply::Map(vec![(
            bulk("arguments"),
            Reply::Array(vec![
                described("key", "key", &[]),
                described(
                    "get-pattern",
                    "pattern",
                    &[token("GET"), flags(&["optional", "multiple", "multiple_token"])],
                ),
                described("sorting", "pure-token", &[token("ALPHA"), flags(&["optional"])]),
                described("any", "string", &[token(""), flags(&["optional"])]),
            ]),
        )]);
        let sinter = Reply::Map(vec![(
            bulk("arguments"),
            Reply::Array(vec![
                described("numkeys", "integer", &[]),
                described("key", "key", &[flags(&["multiple"])]),
                described("limit", "integer", &[token("LIMIT"), flags(&["optional"])]),
            ]),
        )]);
        let config_get = Reply::Map(vec![(
            bulk("arguments"),
            Reply::Array(vec![described("parameter", "string", &[flags(&["multiple"])])]),
        )]);
        let auth = Reply::Map(vec![(
            bulk("arguments"),
            Reply::Array(vec![
                described("username", "string", &[flags(&["optional"])]),
                described("password", "string", &[]),
            ]),
        )]);
        let config = Reply::Map(vec![
            (bulk("group"), bulk("server")),
            (bulk("subcommands"), Reply::Map(vec![(bulk("config|get"), config_get)])),
        ]);
        let reply = Reply::Array(vec![
            bulk("zadd"),
            zadd,
            bulk("set"),
            set,
            bulk("sort"),
            sort,
            bulk("sintercard"),
            sinter,
            bulk("config"),
            config,
            bulk("auth"),
            auth,
        ]);
        CommandDocs::read(&reply).unwrap()
    }

    #[test]
    fn arguments_are_written_as_documentation_does() {
        let docs = sample();
        let syntax: Vec<_> =
            docs.entries.iter().map(|entry| format!("{} {}", entry.name(), entry.syntax())).collect();
        assert_eq!(
            syntax,
            [
                "AUTH [username] password",
                "CONFIG ",
                "CONFIG GET parameter [parameter ...]",
                "SET key value [NX|XX] [GET] [EX seconds|KEEPTTL]",
                "SINTERCARD numkeys key [key ...] [LIMIT limit]",
                "SORT key [GET get-pattern [GET get-pattern ...]] [ALPHA] [\"\" any]",
                "ZADD key [CH] score member [score member ...]",
            ]
        );
        assert_eq!(docs.groups.into_iter().collect::<Vec<_>>(), ["server", "sorted-set", "string"]);
        let set = &docs.entries[3];
        assert_eq!((set.summary.as_str(), set.since.as_deref()), ("Set a value.", Some("1.0.0")));
    }

    #[test]
    fn servers_without_documentation_have_names() {
        let reply = Reply::Array(vec![Reply::Array(vec![bulk("set"), Reply::Int(-3)])]);
        assert_eq!(CommandDocs::from_names(&reply).unwrap().entries[0].words, ["SET"]);
        assert_eq!(CommandDocs::read(&Reply::Error(b"ERR".to_vec())), None);
    }
}
