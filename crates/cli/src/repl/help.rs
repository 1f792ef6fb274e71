//! What `help` prints, for a command, a group of commands, or in general.

use std::io::{self, Write};

use super::docs::CommandDocs;

/// Prints help on what `topics` name; `name` is what this program was called.
pub(crate) fn print(
    out: &mut impl Write,
    name: &str,
    topics: &[Vec<u8>],
    docs: &CommandDocs,
) -> io::Result<()> {
    let Some(first) = topics.first() else { return general(out, name) };
    let group = first.strip_prefix(b"@").map(|group| String::from_utf8_lossy(group).into_owned());
    for entry in &docs.entries {
        let shown = match &group {
            Some(group) => entry.group.eq_ignore_ascii_case(group),
            None => {
                topics.len() <= entry.words.len()
                    && entry
                        .words
                        .iter()
                        .zip(topics)
                        .all(|(word, topic)| word.as_bytes().eq_ignore_ascii_case(topic))
            }
        };
        if !shown {
            continue;
        }
        let (name, syntax) = (entry.name(), entry.syntax());
        write!(out, "\r\n  \x1b[1m{name}\x1b[0m \x1b[90m{syntax}\x1b[0m\r\n")?;
        write!(out, "  \x1b[33msummary:\x1b[0m {}\r\n", entry.summary)?;
        if let Some(since) = &entry.since {
            write!(out, "  \x1b[33msince:\x1b[0m {since}\r\n")?;
        }
        if group.is_none() {
            write!(out, "  \x1b[33mgroup:\x1b[0m {}\r\n", entry.group)?;
        }
    }
    write!(out, "\r\n")
}

fn general(out: &mut impl Write, name: &str) -> io::Result<()> {
    writeln!(
        out,
        "{name} {}
help COMMAND        what a command is for, and its arguments
help @GROUP         the commands of a group; Tab after \"help @\" shows the groups
COUNT COMMAND ...   runs a command several times
connect HOST PORT   goes to another server
clear               clears the screen
quit                leaves, as Ctrl-D does
:set hints          shows arguments while you type; \":set nohints\" does not
Settings of this kind are read from ~/.redisclirc as well.",
        base::version::VERSION
    )
}

#[cfg(test)]
mod tests {
    use super::super::docs::tests::sample;
    use super::*;

    fn help(topics: &[&str]) -> String {
        let topics: Vec<_> = topics.iter().map(|topic| topic.as_bytes().to_vec()).collect();
        let mut out = Vec::new();
        print(&mut out, "redstart cli", &topics, &sample()).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_command_is_found_by_its_first_words_and_a_group_by_its_name() {
        assert_eq!(
            help(&["set"]),
            "\r\n  \x1b[1mSET\x1b[0m \x1b[90mkey value [NX|XX] [GET] [EX seconds|KEEPTTL]\x1b[0m\r\n  \
             \x1b[33msummary:\x1b[0m Set a value.\r\n  \x1b[33msince:\x1b[0m 1.0.0\r\n  \
             \x1b[33mgroup:\x1b[0m string\r\n\r\n"
        );
        assert_eq!(help(&["config"]).matches("CONFIG").count(), 2);
        assert_eq!(help(&["CONFIG", "get"]).matches("CONFIG").count(), 1);
        assert!(help(&["@String"]).contains("SET") && !help(&["@string"]).contains("group:"));
        assert_eq!(help(&["nosuch"]), "\r\n");
        assert!(help(&[]).starts_with("redstart cli "));
    }
}
