//! `coverage`: compares our COMMAND table with the reference server's.
//!
//! Differences that are meant are listed in `spec/coverage-exceptions.txt`, one a line:
//!
//! ```text
//! # reason, for the lines below it
//! XADD                 everything about the command and its subcommands
//! X*                   and about all commands whose name matches (`*` at the end only)
//! SET flags            one property of one command
//! config|set           a subcommand, as COMMAND names it
//! ```

use std::collections::{BTreeMap, BTreeSet};

use testkit::tcp::ask;
use testkit::{Reply, ServerProcess};

use crate::arguments::{Arguments, root};

const PROPERTIES: [&str; 8] = ["arity", "flags", "first", "last", "step", "categories", "tips", "key-specs"];

/// What COMMAND says about one command: property name to its text.
type Row = BTreeMap<&'static str, String>;

/// Prints the differences that are not listed as meant; true when there are none.
pub(crate) fn run(arguments: &Arguments) -> Result<bool, String> {
    let ours = arguments.ours.as_ref().ok_or("coverage needs --ours CMD")?;
    let (reference, ours) = (table(&arguments.server)?, table(ours)?);
    let exceptions = Exceptions::read()?;

    let names: BTreeSet<&String> = reference.keys().chain(ours.keys()).collect();
    let (mut shown, mut meant, mut same) = (0, 0, 0);
    for name in names {
        let mut differences: Vec<(&str, String)> = Vec::new();
        match (reference.get(name), ours.get(name)) {
            (Some(_), None) => differences.push(("missing", "not in our table".into())),
            (None, _) => differences.push(("extra", "not in the reference server's table".into())),
            (Some(reference), Some(ours)) => {
                for property in PROPERTIES {
                    let (theirs, ours) = (&reference[property], &ours[property]);
                    if theirs != ours {
                        differences.push((property, format!("reference {theirs} | ours {ours}")));
                    }
                }
            }
        }
        same += usize::from(differences.is_empty());
        for (property, text) in differences {
            if exceptions.covers(name, property) {
                meant += 1;
            } else {
                shown += 1;
                println!("{name} {property}: {text}");
            }
        }
    }
    println!("{same} commands equal, {shown} differences, {meant} differences listed as meant");
    Ok(shown == 0)
}

fn table(command: &[String]) -> Result<BTreeMap<String, Row>, String> {
    let server = ServerProcess::start(command, &[]).map_err(|e| e.to_string())?;
    let reply = ask(server.address(), &["COMMAND"]).map_err(|e| e.to_string())?;
    let mut rows = BTreeMap::new();
    reply.elements().iter().for_each(|command| add(command, &mut rows));
    if rows.is_empty() { Err("COMMAND lists nothing".into()) } else { Ok(rows) }
}

/// Adds a command and its subcommands; lists whose order means nothing are sorted.
fn add(command: &Reply, rows: &mut BTreeMap<String, Row>) {
    let parts = command.elements();
    let part = |index: usize| parts.get(index).map_or(String::new(), text);
    let sorted = |index: usize| {
        let mut words: Vec<String> =
            parts.get(index).map_or(&[][..], Reply::elements).iter().map(text).collect();
        words.sort();
        words.join(" ")
    };
    let row: Row = [
        ("arity", part(1)),
        ("flags", sorted(2)),
        ("first", part(3)),
        ("last", part(4)),
        ("step", part(5)),
        ("categories", sorted(6)),
        ("tips", sorted(7)),
        ("key-specs", key_specs(parts.get(8))),
    ]
    .into();
    rows.insert(part(0), row);
    parts.get(9).map_or(&[][..], Reply::elements).iter().for_each(|subcommand| add(subcommand, rows));
}

/// Returns key specifications as one line, with the flags of each sorted.
fn key_specs(reply: Option<&Reply>) -> String {
    let specs = reply.map_or(&[][..], Reply::elements).iter().map(|spec| {
        let fields = spec.elements().chunks(2).map(|pair| {
            let name = pair.first().map_or(String::new(), text);
            let mut words: Vec<String> = match pair.get(1) {
                Some(value) if value.elements().is_empty() => vec![text(value)],
                Some(value) => value.elements().iter().map(flat).collect(),
                None => Vec::new(),
            };
            if name == "flags" {
                words.sort();
            }
            format!("{name}={}", words.join(","))
        });
        fields.collect::<Vec<_>>().join(" ")
    });
    specs.map(|spec| format!("[{spec}]")).collect::<Vec<_>>().join(" ")
}

fn flat(reply: &Reply) -> String {
    match reply.elements() {
        [] => text(reply),
        elements => format!("({})", elements.iter().map(flat).collect::<Vec<_>>().join(",")),
    }
}

fn text(reply: &Reply) -> String {
    match reply {
        Reply::Leaf(_, bytes) => String::from_utf8_lossy(bytes).to_lowercase(),
        Reply::Branch(..) => reply.head(),
    }
}

/// The differences that are meant.
struct Exceptions {
    lines: Vec<(String, Option<String>)>,
}

impl Exceptions {
    fn read() -> Result<Exceptions, String> {
        let path = root().join("spec/coverage-exceptions.txt");
        let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let lines = lines
            .map(|line| {
                let (name, property) = line.split_once(' ').unwrap_or((line, ""));
                let property = property.trim();
                (name.to_lowercase(), (!property.is_empty()).then(|| property.to_string()))
            })
            .collect();
        Ok(Exceptions { lines })
    }

    fn covers(&self, name: &str, property: &str) -> bool {
        let container = name.split('|').next().unwrap_or(name);
        self.lines.iter().any(|(pattern, only)| {
            let named = match pattern.strip_suffix('*') {
                Some(start) => name.starts_with(start),
                None => pattern == name || (only.is_none() && pattern == container),
            };
            named && only.as_deref().is_none_or(|only| only == property)
        })
    }
}
