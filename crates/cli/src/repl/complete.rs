//! What Tab makes of a line: names of commands and subcommands, and topics of help.

use super::docs::CommandDocs;

/// Returns the lines that could be meant, in the order in which Tab goes through them.
pub(crate) fn candidates(docs: &CommandDocs, line: &str) -> Vec<String> {
    let topic_start = line.get(..5).filter(|start| start.eq_ignore_ascii_case("help ")).map(|_| {
        let topic = line[5..].trim_start();
        line.len() - topic.len()
    });
    let start = topic_start.unwrap_or(0);
    let typed = &line[start..];
    if typed.is_empty() && topic_start.is_none() {
        return Vec::new();
    }
    let commands = docs.entries.iter().map(|entry| entry.name());
    let groups = docs.groups.iter().filter(|_| topic_start.is_some()).map(|group| format!("@{group}"));
    commands
        .chain(groups)
        .filter(|name| name.get(..typed.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(typed)))
        .map(|name| format!("{}{name}", &line[..start]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::docs::tests::sample;
    use super::*;

    #[test]
    fn names_complete_the_line_and_topics_complete_help() {
        let docs = sample();
        assert_eq!(candidates(&docs, "s"), ["SET", "SINTERCARD", "SORT"]);
        assert_eq!(candidates(&docs, "config g"), ["CONFIG GET"]);
        assert_eq!(candidates(&docs, "CONFIG"), ["CONFIG", "CONFIG GET"]);
        assert_eq!(candidates(&docs, "help  @s"), ["help  @server", "help  @sorted-set", "help  @string"]);
        assert_eq!(candidates(&docs, "HELP se"), ["HELP SET"]);
        assert!(candidates(&docs, "set k").is_empty() && candidates(&docs, "").is_empty());
        assert!(candidates(&docs, "sä").is_empty());
    }
}
