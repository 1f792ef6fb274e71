//! COMMAND: the command table as clients read it.

use base::glob::glob_match;

use crate::keys_of::{keys_of, may_have_keys};
use crate::table::{self, Begin, Command, Find, Flags, KeyFlags, KeySpec, Row, Table, acl, command};
use crate::{Args, Cx, Error, Reply, Result};

use super::command_docs;

pub(super) const COMMANDS: &[Command] = &[
    command("COUNT", count)
        .summary("Returns how many commands there are.")
        .since("2.8.13")
        .complexity("O(1)")
        .flags(&[table::LOADING, table::STALE])
        .acl(&[acl::CONNECTION]),
    command("DOCS", docs)
        .summary("Returns what commands do and which arguments they take.")
        .since("7.0.0")
        .complexity("O(N) where N is the number of commands to look up")
        .syntax("[command-name [command-name ...]]")
        .flags(&[table::LOADING, table::STALE])
        .acl(&[acl::CONNECTION])
        .tips(&["nondeterministic_output_order"]),
    command("GETKEYS", getkeys)
        .summary("Returns the keys among the words of a command.")
        .since("2.8.13")
        .complexity("O(N) where N is the number of arguments to the command")
        .syntax("command [arg [arg ...]]")
        .flags(&[table::LOADING, table::STALE])
        .acl(&[acl::CONNECTION]),
    command("GETKEYSANDFLAGS", getkeysandflags)
        .summary("Returns the keys among the words of a command, and what it does to each.")
        .since("7.0.0")
        .complexity("O(N) where N is the number of arguments to the command")
        .syntax("command [arg [arg ...]]")
        .flags(&[table::LOADING, table::STALE])
        .acl(&[acl::CONNECTION]),
    command("HELP", help)
        .summary("Returns what the subcommands do.")
        .since("5.0.0")
        .complexity("O(1)")
        .flags(&[table::LOADING, table::STALE])
        .acl(&[acl::CONNECTION]),
    command("INFO", info)
        .summary("Describes commands: arity, flags, keys and categories.")
        .since("2.8.13")
        .complexity("O(N) where N is the number of commands to look up")
        .syntax("[command-name [command-name ...]]")
        .flags(&[table::LOADING, table::STALE])
        .acl(&[acl::CONNECTION])
        .tips(&["nondeterministic_output_order"]),
    command("LIST", list)
        .summary("Returns the names of commands.")
        .since("7.0.0")
        .complexity("O(N) where N is the total number of commands")
        .syntax("[FILTERBY <MODULE module-name | ACLCAT category | PATTERN pattern>]")
        .flags(&[table::LOADING, table::STALE])
        .acl(&[acl::CONNECTION])
        .tips(&["nondeterministic_output_order"]),
];

/// Flags that COMMAND does not tell.
const HIDDEN: Flags = Flags(table::MAY_REPLICATE.0 | table::PROTECTED.0);

/// Describes all commands.
pub(super) fn describe_commands(cx: &mut Cx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    describe_all(cx.server.table, out);
    Ok(())
}

fn describe_all(table: &Table, out: &mut Reply<'_>) {
    out.array(table.top().count());
    for row in table.top() {
        describe(table, row, out);
    }
}

/// Returns how many commands there are.
fn count(cx: &mut Cx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    out.int(cx.server.table.top().count() as i64);
    Ok(())
}

/// Describes the named commands, or all.
fn info(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let table = cx.server.table;
    if args.is_empty() {
        describe_all(table, out);
        return Ok(());
    }
    out.array(args.left());
    for name in args.rest() {
        match table.find_full(name) {
            Some(row) => describe(table, row, out),
            None => out.null(),
        }
    }
    Ok(())
}

/// Writes what COMMAND INFO says about one command.
fn describe(table: &Table, row: &Row, out: &mut Reply<'_>) {
    out.array(10);
    out.bulk(row.name.as_bytes());
    out.int(i64::from(row.arity));
    words(Flags(row.flags.0 & !HIDDEN.0).names(), out);
    for number in [row.first_key, row.last_key, row.key_step] {
        out.int(i64::from(number));
    }
    let categories: Vec<String> = row.acl.names().map(|name| format!("@{name}")).collect();
    words(categories.iter().map(String::as_str), out);
    out.set(row.command.tips.len());
    for tip in row.command.tips {
        out.bulk(tip.as_bytes());
    }
    out.set(row.command.keys.len());
    for spec in row.command.keys {
        describe_spec(spec, out);
    }
    match row.subcommands.len() {
        0 => out.set(0),
        count => out.array(count),
    }
    for id in &row.subcommands {
        describe(table, &table.rows[*id], out);
    }
}

/// Writes a set of words.
fn words<'a>(words: impl Iterator<Item = &'a str>, out: &mut Reply<'_>) {
    let words: Vec<&str> = words.collect();
    out.set(words.len());
    for word in words {
        out.simple(word);
    }
}

/// Writes where a command's keys are.
fn describe_spec(spec: &KeySpec, out: &mut Reply<'_>) {
    let fields = |out: &mut Reply<'_>, kind: &str, numbers: &[(&str, i32)]| {
        out.map(2);
        out.bulk(b"type");
        out.bulk(kind.as_bytes());
        out.bulk(b"spec");
        out.map(numbers.len());
        for (name, number) in numbers {
            out.bulk(name.as_bytes());
            out.int(i64::from(*number));
        }
    };
    out.map(3);
    out.bulk(b"flags");
    words(spec.flags.names(), out);
    out.bulk(b"begin_search");
    match spec.begin {
        Begin::Index(index) => fields(out, "index", &[("index", index)]),
        Begin::Keyword(word, from) => {
            out.map(2);
            out.bulk(b"type");
            out.bulk(b"keyword");
            out.bulk(b"spec");
            out.map(2);
            out.bulk(b"keyword");
            out.bulk(word.as_bytes());
            out.bulk(b"startfrom");
            out.int(i64::from(from));
        }
        Begin::Unknown => fields(out, "unknown", &[]),
    }
    out.bulk(b"find_keys");
    match spec.find {
        Find::Range { last, step, limit } => {
            fields(out, "range", &[("lastkey", last), ("keystep", step), ("limit", limit)]);
        }
        Find::Count { at, first, step } => {
            fields(out, "keynum", &[("keynumidx", at), ("firstkey", first), ("keystep", step)]);
        }
        Find::Unknown => fields(out, "unknown", &[]),
    }
}

/// Returns what the named commands, or all, do and take.
fn docs(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let table = cx.server.table;
    let rows: Vec<&Row> = if args.is_empty() {
        table.top().collect()
    } else {
        args.rest().filter_map(|name| table.find_full(name)).collect()
    };
    out.map(rows.len());
    for row in rows {
        out.bulk(row.name.as_bytes());
        command_docs::write(table, row, out);
    }
    Ok(())
}

/// Returns the keys among the words of a command.
fn getkeys(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let keys = find_keys(cx, args)?;
    out.array(keys.len());
    for (key, _) in keys {
        out.bulk(key);
    }
    Ok(())
}

/// Returns the keys among the words of a command, and what it does to each.
fn getkeysandflags(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let keys = find_keys(cx, args)?;
    out.array(keys.len());
    for (key, flags) in keys {
        out.array(2);
        out.bulk(key);
        words(flags.names(), out);
    }
    Ok(())
}

fn find_keys<'a>(cx: &Cx<'_>, args: &Args<'a>) -> Result<Vec<(&'a [u8], KeyFlags)>> {
    let request = args.request().without(2);
    let table = cx.server.table;
    let row = match table.find(request.arg(0)) {
        Some(row) if !row.subcommands.is_empty() => match request.get(1) {
            Some(word) => table.find_sub(row.id, word),
            None => Some(row),
        },
        row => row,
    };
    let Some(row) = row else { return Err(Error::text("ERR Invalid command specified")) };
    if !may_have_keys(row) {
        return Err(Error::text("ERR The command has no key arguments"));
    }
    if !row.takes(request.len()) {
        return Err(Error::text("ERR Invalid number of arguments specified for command"));
    }
    let mut places = Vec::new();
    keys_of(row, request, &mut places);
    if places.is_empty() && !row.flags.has(table::NO_MANDATORY_KEYS) {
        return Err(Error::text("ERR Invalid arguments specified for command"));
    }
    Ok(places.into_iter().map(|(at, flags)| (request.arg(at), flags)).collect())
}

/// Which commands COMMAND LIST names.
enum Filter<'a> {
    All,
    /// Those of a module: none, as there are no modules.
    Module,
    Category(&'a [u8]),
    Pattern(&'a [u8]),
}

impl Filter<'_> {
    fn covers(&self, row: &Row) -> bool {
        match self {
            Filter::All => true,
            Filter::Module => false,
            Filter::Category(name) => {
                row.acl.names().any(|category| category.as_bytes().eq_ignore_ascii_case(name))
            }
            Filter::Pattern(pattern) => glob_match(pattern, row.name.as_bytes(), true),
        }
    }
}

/// Returns the names of commands, subcommands included.
fn list(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let filter = if args.is_empty() {
        Filter::All
    } else if args.left() == 3 && args.accept("FILTERBY") {
        match args.next()?.to_ascii_lowercase().as_slice() {
            b"module" => Filter::Module,
            b"aclcat" => Filter::Category(args.next()?),
            b"pattern" => Filter::Pattern(args.next()?),
            _ => return Err(Error::Syntax),
        }
    } else {
        return Err(Error::Syntax);
    };
    let table = cx.server.table;
    let rows = table
        .top()
        .flat_map(|row| std::iter::once(row).chain(row.subcommands.iter().map(|id| &table.rows[*id])));
    let names: Vec<&str> = rows.filter(|row| filter.covers(row)).map(|row| row.name.as_str()).collect();
    out.array(names.len());
    for name in names {
        out.bulk(name.as_bytes());
    }
    Ok(())
}

/// Returns what the subcommands do.
fn help(cx: &mut Cx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    super::help(
        cx,
        out,
        &[
            ("(no subcommand)", "Describe all commands."),
            ("COUNT", "Return how many commands there are."),
            ("DOCS [<command-name> ...]", "Return what commands do and which arguments they take."),
            ("GETKEYS <full-command>", "Return the keys among the words of a command."),
            ("GETKEYSANDFLAGS <full-command>", "Return these keys, and what the command does to each."),
            ("INFO [<command-name> ...]", "Describe commands: arity, flags, keys and categories."),
            (
                "LIST [FILTERBY (MODULE <name>|ACLCAT <category>|PATTERN <pattern>)]",
                "Return the names of commands.",
            ),
        ],
    );
    Ok(())
}
