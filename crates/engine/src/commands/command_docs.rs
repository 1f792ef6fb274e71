//! COMMAND DOCS: a row's documentation, with its syntax as a tree of arguments.

use crate::Reply;
use crate::syntax::Item;
use crate::table::{Row, Table};

/// Writes what is known about a command.
pub(super) fn write(table: &Table, row: &Row, out: &mut Reply<'_>) {
    let arguments = arguments(row);
    let texts = [
        ("summary", row.command.summary),
        ("since", row.command.since),
        ("group", row.group),
        ("complexity", row.command.complexity),
    ];
    let texts = texts.iter().filter(|(_, text)| !text.is_empty());
    let lists = usize::from(!arguments.is_empty()) + usize::from(!row.subcommands.is_empty());
    out.map(texts.clone().count() + lists);
    for (name, text) in texts {
        out.bulk(name.as_bytes());
        out.bulk(text.as_bytes());
    }
    if !arguments.is_empty() {
        out.bulk(b"arguments");
        write_arguments(&arguments, out);
    }
    if !row.subcommands.is_empty() {
        out.bulk(b"subcommands");
        out.map(row.subcommands.len());
        for id in &row.subcommands {
            let sub = &table.rows[*id];
            out.bulk(sub.name.as_bytes());
            write(table, sub, out);
        }
    }
}

/// One node of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Argument {
    name: String,
    kind: &'static str,
    /// Which of the command's key specs finds it.
    key_spec: Option<usize>,
    token: Option<&'static str>,
    optional: bool,
    multiple: bool,
    /// The token is repeated with each of the values.
    multiple_token: bool,
    children: Vec<Argument>,
}

impl Argument {
    fn new(name: impl Into<String>, kind: &'static str) -> Argument {
        Argument {
            name: name.into(),
            kind,
            key_spec: None,
            token: None,
            optional: false,
            multiple: false,
            multiple_token: false,
            children: Vec::new(),
        }
    }

    /// Returns one argument for several: itself if it is one, else a group of the given kind.
    fn group(mut children: Vec<Argument>, kind: &'static str) -> Option<Argument> {
        if children.len() < 2 {
            return children.pop();
        }
        let names: Vec<&str> = children.iter().map(|child| child.name.as_str()).collect();
        let name = names.join("-");
        Some(Argument { children, ..Argument::new(name, kind) })
    }

    /// Returns a group whose every member is one of the alternatives.
    fn choice(alternatives: &[Vec<Item>], builder: &mut Builder<'_>) -> Option<Argument> {
        let all = alternatives.iter().filter_map(|items| Argument::group(builder.sequence(items), "block"));
        Argument::group(all.collect(), "oneof")
    }
}

/// Returns the arguments of a command.
fn arguments(row: &Row) -> Vec<Argument> {
    let mut builder = Builder { command: &row.name, key_specs: row.command.keys.len(), keys: 0 };
    builder.sequence(&row.syntax.items)
}

/// Turns the items of a syntax into arguments.
struct Builder<'a> {
    /// The command's full name.
    command: &'a str,
    key_specs: usize,
    /// Values met so far that are keys.
    keys: usize,
}

impl Builder<'_> {
    fn sequence(&mut self, items: &[Item]) -> Vec<Argument> {
        let mut arguments: Vec<Argument> = Vec::new();
        let mut token = None;
        for (at, item) in items.iter().enumerate() {
            let argument = match item {
                Item::Word(word) => {
                    // A word belongs to the value or choice after it.
                    let next = items.get(at + 1);
                    if token.is_none() && matches!(next, Some(Item::Value(_) | Item::Choice(_))) {
                        token = Some(*word);
                        continue;
                    }
                    Some(Argument { token: Some(*word), ..Argument::new(word.to_lowercase(), "pure-token") })
                }
                Item::Value(name) => Some(self.value(name)),
                Item::Choice(alternatives) => Argument::choice(alternatives, self),
                Item::Optional(alternatives) => {
                    let choice = Argument::choice(alternatives, self);
                    choice.map(|choice| Argument { optional: true, ..choice })
                }
                Item::Again(repeated) => {
                    self.again(repeated, &mut arguments);
                    None
                }
            };
            let Some(mut argument) = argument else { continue };
            if let Some(token) = token.take() {
                argument.token = Some(token);
            }
            arguments.push(argument);
        }
        arguments
    }

    fn value(&mut self, name: &'static str) -> Argument {
        // Units are the only words that are written in lower case.
        if matches!(name, "m" | "km" | "ft" | "mi") {
            return Argument { token: Some(name), ..Argument::new(name, "pure-token") };
        }
        let kind = self.kind(name);
        let mut argument = Argument::new(name, kind);
        if kind == "key" {
            argument.key_spec = Some(self.keys.min(self.key_specs - 1));
            self.keys += 1;
        }
        if self.sorts() && name.ends_with("-pattern") {
            // What BY and GET read is told by one spec, which STORE's follows.
            argument.key_spec = Some(1);
            self.keys = 2;
        }
        argument
    }

    fn sorts(&self) -> bool {
        matches!(self.command, "sort" | "sort_ro")
    }

    /// Returns the type of a value, which its name tells, and for a few the command.
    fn kind(&self, name: &str) -> &'static str {
        let command = self.command;
        let by_score = command == "zcount" || command.ends_with("byscore");
        match name {
            "key" | "key1" | "key2" | "newkey" | "source" | "destination" | "src" | "dst" | "storekey"
            | "storedistkey"
                if self.key_specs > 0 =>
            {
                "key"
            }
            "by-pattern" | "get-pattern" | "pattern" => "pattern",
            "start" | "stop" if matches!(command, "zrange" | "zrangestore") => "string",
            "min" | "max" if by_score => "double",
            "increment" if command.ends_with("float") => "double",
            "timeout" if matches!(command, "wait" | "waitaof" | "client|pause") => "integer",
            "value" if command == "setbit" => "integer",
            "count" | "index" | "index1" | "index2" | "start" | "stop" | "end" | "offset" | "seconds"
            | "milliseconds" | "numkeys" | "decrement" | "increment" | "cursor" | "bit" | "len" | "rank"
            | "num-matches" | "db" | "destination-db" | "client-id" | "maxage" | "protover" | "version"
            | "numreplicas" | "numlocal" | "limit" | "min-match-len" | "weight" => "integer",
            "score" | "longitude" | "latitude" | "radius" | "width" | "height" | "timeout" => "double",
            name if name.starts_with("unix-time") => "unix-time",
            _ => "string",
        }
    }

    /// Marks the arguments that `repeated` says once more as ones that may come many times.
    fn again(&mut self, repeated: &[Item], arguments: &mut Vec<Argument>) {
        // What is repeated was counted when it stood first.
        let keys = self.keys;
        let count = self.sequence(repeated).len().clamp(1, arguments.len().max(1));
        self.keys = keys;
        let last = arguments.split_off(arguments.len() - count.min(arguments.len()));
        let Some(mut group) = Argument::group(last, "block") else { return };
        group.multiple = true;
        group.multiple_token = matches!(repeated.first(), Some(Item::Word(_))) && group.token.is_some();
        arguments.push(group);
    }
}

fn write_arguments(arguments: &[Argument], out: &mut Reply<'_>) {
    out.array(arguments.len());
    for argument in arguments {
        write_argument(argument, out);
    }
}

fn write_argument(argument: &Argument, out: &mut Reply<'_>) {
    let group = matches!(argument.kind, "oneof" | "block");
    let flags = [
        ("optional", argument.optional),
        ("multiple", argument.multiple),
        ("multiple_token", argument.multiple_token),
    ];
    let flags: Vec<&str> = flags.iter().filter(|(_, set)| *set).map(|(name, _)| *name).collect();
    let fields = 3
        + usize::from(argument.key_spec.is_some())
        + usize::from(argument.token.is_some())
        + usize::from(!flags.is_empty());
    out.map(fields);
    out.bulk(b"name");
    out.bulk(argument.name.as_bytes());
    out.bulk(b"type");
    out.bulk(argument.kind.as_bytes());
    if !group {
        out.bulk(b"display_text");
        out.bulk(argument.name.as_bytes());
    }
    if let Some(spec) = argument.key_spec {
        out.bulk(b"key_spec_index");
        out.int(spec as i64);
    }
    if let Some(token) = argument.token {
        out.bulk(b"token");
        out.bulk(token.as_bytes());
    }
    if !flags.is_empty() {
        out.bulk(b"flags");
        out.set(flags.len());
        for flag in flags {
            out.simple(flag);
        }
    }
    if group {
        out.bulk(b"arguments");
        write_arguments(&argument.children, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syntax::Syntax;

    /// Returns the arguments in short: name:type, its token, `?` for optional, `*` for multiple, children in brackets.
    fn tree(syntax: &'static str) -> String {
        fn show(argument: &Argument) -> String {
            let children: Vec<String> = argument.children.iter().map(show).collect();
            let children =
                if children.is_empty() { String::new() } else { format!("({})", children.join(" ")) };
            let token = argument.token.map_or(String::new(), |token| format!("{token}="));
            let optional = if argument.optional { "?" } else { "" };
            let multiple = if argument.multiple { "*" } else { "" };
            format!("{token}{}:{}{children}{optional}{multiple}", argument.name, argument.kind)
        }
        let items = Syntax::parse(syntax).unwrap().items;
        let mut builder = Builder { command: "", key_specs: 1, keys: 0 };
        builder.sequence(&items).iter().map(show).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_syntax_becomes_a_tree() {
        assert_eq!(tree("key value"), "key:key value:string");
        assert_eq!(tree("key [key ...]"), "key:key*");
        assert_eq!(
            tree("key field value [field value ...]"),
            "key:key field-value:block(field:string value:string)*"
        );
        assert_eq!(
            tree("key [NX | XX] [EX seconds | KEEPTTL]"),
            "key:key nx-xx:oneof(NX=nx:pure-token XX=xx:pure-token)? \
             seconds-keepttl:oneof(EX=seconds:integer KEEPTTL=keepttl:pure-token)?"
        );
        assert_eq!(tree("[LIMIT offset count]"), "offset-count:block(LIMIT=offset:integer count:integer)?");
    }
}
