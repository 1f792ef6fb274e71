//! The scenario file format: parsing.
//!
//! ```text
//! ## a relative expiry reads back            a scenario: fresh state, fresh clients, RESP2
//! config: notify-keyspace-events KEA         also since: 7.2, only: redstart, skip-redstart: streams, tcp-only, in-process-only, resp3
//! b> SUBSCRIBE c                             a request by client b (the default client has no name)
//! *3                                         its reply; elements are indented by two spaces a level
//!   "subscribe"
//!   "c"
//!   :1
//! > EXPIRE k ${n}                            ${n} was kept by `? keep n` from an earlier reply
//! ? between 1 2                              how the reply under it is compared (any, unordered, match …)
//! :1
//! ? redis-7.0                                from here, what a reference server before 7.2 replies instead
//! :2
//! > BLPOP l 0
//! ...                                        no reply yet
//! b<                                         what b receives without asking (`b< closed`: it is disconnected)
//! raw "*1\r\n"                               bytes as they are (`b raw "…"`)
//! @ +1500                                    milliseconds pass
//! ! notify __keyspace@0__:k:expire           an effect of the last request, compared where effects are visible
//! ```

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use crate::target::{Dialect, Effect, Place};
use crate::words;
use crate::written::{Rule, Written};

/// A parsed scenario file, and its lines for those who rewrite it.
#[derive(Clone, Debug)]
pub struct ScenarioFile {
    /// The path as it is reported.
    pub path: String,
    /// The lines as they were read.
    pub lines: Vec<String>,
    /// The scenarios in order.
    pub scenarios: Vec<Scenario>,
}

/// One scenario: a title, its conditions and its steps.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The index of its title line.
    pub line: usize,
    /// The text after `## `.
    pub title: String,
    /// The first reference version that it applies to.
    pub since: Option<(u32, u32)>,
    /// Whether no reference server behaves like this.
    pub only_redstart: bool,
    /// What Redstart still lacks for it.
    pub lacks: Option<String>,
    /// Where it can be played, when not everywhere.
    pub place: Option<Place>,
    /// Parameters to set before it.
    pub config: Vec<(String, String)>,
    /// Whether the default client speaks RESP3 from the start.
    pub resp3: bool,
    /// What is done, in order.
    pub steps: Vec<Step>,
}

impl Scenario {
    /// Returns whether the scenario says anything about such a target.
    pub fn applies(&self, dialect: Dialect, place: Place) -> bool {
        let version = match dialect {
            Dialect::Redstart => self.lacks.is_none(),
            Dialect::Reference(major, minor) => {
                !self.only_redstart && self.since.is_none_or(|since| since <= (major, minor))
            }
        };
        version && self.place.is_none_or(|wanted| wanted == place)
    }
}

/// One action and what is expected to come of it.
#[derive(Clone, Debug)]
pub struct Step {
    /// The index of its line.
    pub line: usize,
    /// The index after its last line, expectations included.
    pub end: usize,
    /// What is done.
    pub action: Action,
    /// What the acting client receives, in order.
    pub expected: Vec<Expectation>,
}

impl Step {
    /// Returns whether the step is that a client finds its connection closed.
    pub fn says_closed(&self) -> bool {
        self.expected.first().is_some_and(|expectation| matches!(expectation.wanted, Wanted::Closed))
    }
}

/// What a step does.
#[derive(Clone, Debug)]
pub enum Action {
    /// A client sends a request; the default client's name is empty.
    Request { client: String, words: Vec<Vec<u8>> },
    /// A client sends bytes.
    Raw { client: String, bytes: Vec<u8> },
    /// A client waits for something it did not just ask for.
    Receive { client: String },
    /// Time passes.
    Pass(Duration),
    /// The last request had this effect.
    Effect(Effect),
}

/// What a client should receive.
#[derive(Clone, Debug)]
pub struct Expectation {
    /// The indices of its lines, annotations included.
    pub lines: Range<usize>,
    /// What should arrive.
    pub wanted: Wanted,
    /// The name under which the reply's text is kept for `${name}`.
    pub keep: Option<String>,
    /// What a reference server before 7.2 sends instead.
    pub older: Option<Box<Expectation>>,
}

impl Expectation {
    /// Returns the expectation that such a target is held to.
    pub fn for_dialect(&self, dialect: Dialect) -> &Expectation {
        match (&self.older, dialect) {
            (Some(older), Dialect::Reference(major, minor)) if (major, minor) < (7, 2) => older,
            _ => self,
        }
    }
}

/// What should arrive at a client.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// A reply, message or push.
    Reply(Written),
    /// Nothing yet.
    Nothing,
    /// The end of the connection.
    Closed,
    /// Something that is still to be recorded; only how to compare it is written.
    Unwritten(Rule),
}

impl ScenarioFile {
    /// Reads and parses a file.
    pub fn read(path: &Path) -> Result<ScenarioFile, String> {
        let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
        ScenarioFile::parse(&path.display().to_string(), &text)
    }

    /// Parses the text of a file; the error names file and line.
    pub fn parse(path: &str, text: &str) -> Result<ScenarioFile, String> {
        let lines: Vec<String> = text.lines().map(str::to_string).collect();
        let mut parser = Parser { lines: &lines, at: 0, scenarios: Vec::new() };
        match parser.file() {
            Ok(()) => {
                let scenarios = parser.scenarios;
                Ok(ScenarioFile { path: path.to_string(), lines, scenarios })
            }
            Err(error) => Err(format!("{path}:{}: {error}", parser.at.min(lines.len()) + 1)),
        }
    }
}

struct Parser<'a> {
    lines: &'a [String],
    at: usize,
    scenarios: Vec<Scenario>,
}

impl<'a> Parser<'a> {
    fn file(&mut self) -> Result<(), String> {
        while let Some(line) = self.line() {
            if line.is_empty() || is_comment(line) {
                self.at += 1;
            } else if let Some(title) = line.strip_prefix("## ") {
                self.scenarios.push(Scenario {
                    line: self.at,
                    title: title.to_string(),
                    since: None,
                    only_redstart: false,
                    lacks: None,
                    place: None,
                    config: Vec::new(),
                    resp3: false,
                    steps: Vec::new(),
                });
                self.at += 1;
            } else {
                self.scenario_line(line)?;
            }
        }
        Ok(())
    }

    fn line(&self) -> Option<&'a str> {
        self.lines.get(self.at).map(String::as_str)
    }

    fn scenario_line(&mut self, line: &str) -> Result<(), String> {
        let scenario = self.scenarios.last_mut().ok_or("a scenario begins with \"## title\"")?;
        if scope(scenario, line)? {
            self.at += 1;
            return Ok(());
        }
        if let Some((action, closed)) = action(line)? {
            let mut expected = Vec::new();
            if closed {
                let lines = self.at..self.at + 1;
                expected.push(Expectation { lines, wanted: Wanted::Closed, keep: None, older: None });
            }
            scenario.steps.push(Step { line: self.at, end: self.at + 1, action, expected });
            self.at += 1;
            return Ok(());
        }
        let expectation = self.expectation()?;
        let step = self.scenarios.last_mut().and_then(|scenario| scenario.steps.last_mut());
        match step {
            Some(Step { action: Action::Pass(_) | Action::Effect(_), .. }) | None => {
                Err("a reply needs a request above it".into())
            }
            Some(step) => {
                step.expected.push(expectation);
                step.end = self.at;
                Ok(())
            }
        }
    }

    fn expectation(&mut self) -> Result<Expectation, String> {
        let start = self.at;
        let mut keep = None;
        let rule = self.annotations(0, Some(&mut keep))?;
        let wanted = if self.line() == Some("...") {
            self.at += 1;
            Wanted::Nothing
        } else if self.at > start && !self.line().is_some_and(is_reply) {
            return Ok(Expectation {
                lines: self.at..self.at,
                wanted: Wanted::Unwritten(rule),
                keep,
                older: None,
            });
        } else {
            Wanted::Reply(self.written(0, rule)?)
        };
        let lines = start..self.at;
        let older = if self.line() == Some("? redis-7.0") {
            self.at += 1;
            let older = self.expectation()?;
            Some(Box::new(older))
        } else {
            None
        };
        Ok(Expectation { lines, wanted, keep, older })
    }

    fn annotations(&mut self, depth: usize, mut keep: Option<&mut Option<String>>) -> Result<Rule, String> {
        let mut rule = Rule::Exact;
        while let Some(text) = self.line().and_then(|line| indented(line, depth)?.strip_prefix("? ")) {
            match (text.strip_prefix("keep "), &mut keep) {
                (Some(name), Some(keep)) => **keep = Some(name.to_string()),
                (Some(_), None) => return Err("only a whole reply can be kept".into()),
                (None, _) => rule = Rule::parse(text)?,
            }
            self.at += 1;
        }
        Ok(rule)
    }

    fn written(&mut self, depth: usize, rule: Rule) -> Result<Written, String> {
        let line = self.line().and_then(|line| indented(line, depth));
        let line = line.ok_or("a reply line is missing or its indentation is wrong")?;
        let (mut written, count) = Written::parse_head(line, rule)?;
        self.at += 1;
        for _ in 0..count {
            let rule = self.annotations(depth + 1, None)?;
            written.elements.push(self.written(depth + 1, rule)?);
        }
        Ok(written)
    }
}

fn is_reply(line: &str) -> bool {
    Written::parse_head(line, Rule::Exact).is_ok()
}

fn is_comment(line: &str) -> bool {
    line.starts_with('#') && !line.starts_with("## ") && line != "#t" && line != "#f"
}

fn indented(line: &str, depth: usize) -> Option<&str> {
    let text = line.trim_start_matches(' ');
    (line.len() - text.len() == depth * 2).then_some(text)
}

/// Takes a line that holds for the whole scenario; false when it is not one.
fn scope(scenario: &mut Scenario, line: &str) -> Result<bool, String> {
    let (name, rest) = line.split_once(':').unwrap_or((line, ""));
    let rest = rest.trim();
    match (name, rest) {
        ("since", _) => {
            let (major, minor) = rest.split_once('.').ok_or("since takes a version such as 7.2")?;
            let number = |text: &str| text.parse::<u32>().map_err(|e| e.to_string());
            scenario.since = Some((number(major)?, number(minor)?));
        }
        ("only", "redstart") => scenario.only_redstart = true,
        ("skip-redstart", "") => return Err("skip-redstart takes what is lacking".into()),
        ("skip-redstart", lacking) => scenario.lacks = Some(lacking.to_string()),
        ("tcp-only", "") | ("only", "tcp-only") => scenario.place = Some(Place::Tcp),
        ("in-process-only", "") | ("only", "in-process-only") => scenario.place = Some(Place::InProcess),
        ("resp3", "") => scenario.resp3 = true,
        ("config", _) => {
            let (name, value) = rest.split_once(' ').unwrap_or((rest, ""));
            let value = if value == "\"\"" { "" } else { value };
            scenario.config.push((name.to_string(), value.to_string()));
        }
        _ => return Ok(false),
    }
    if scenario.steps.is_empty() { Ok(true) } else { Err(format!("{name} must stand before the first step")) }
}

/// Reads a line that does something, and whether it says that the connection is closed.
fn action(line: &str) -> Result<Option<(Action, bool)>, String> {
    if let Some(time) = line.strip_prefix("@ +") {
        let time = time.trim().parse().map_err(|_| "@ takes +milliseconds")?;
        return Ok(Some((Action::Pass(Duration::from_millis(time)), false)));
    }
    if let Some(effect) = line.strip_prefix("! ") {
        let (kind, rest) = effect.split_once(' ').unwrap_or((effect, ""));
        let words = words::split(rest).ok_or("unbalanced quotes")?;
        return Ok(Some((Action::Effect(Effect { kind: kind.to_string(), words }), false)));
    }
    if line.starts_with("raw \"") {
        return raw(String::new(), line).map(Some);
    }
    let end = line.find(|c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit()).unwrap_or(line.len());
    let (client, rest) = line.split_at(end);
    if client.starts_with(|c: char| c.is_ascii_digit()) {
        return Ok(None);
    }
    let client = client.to_string();
    match rest {
        "<" => Ok(Some((Action::Receive { client }, false))),
        "< closed" => Ok(Some((Action::Receive { client }, true))),
        _ if rest.starts_with(" raw \"") => raw(client, &rest[1..]).map(Some),
        _ => match rest.strip_prefix("> ") {
            Some(request) => {
                let words = words::split(request).ok_or("unbalanced quotes")?;
                Ok(Some((Action::Request { client, words }, false)))
            }
            None => Ok(None),
        },
    }
}

fn raw(client: String, text: &str) -> Result<(Action, bool), String> {
    let mut words = words::split(text).ok_or("unbalanced quotes")?;
    match (words.pop(), words.len()) {
        (Some(bytes), 1) => Ok((Action::Raw { client, bytes }, false)),
        _ => Err("raw takes one quoted string".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_kind_of_line() {
        let text = "# about\n## one\nsince: 7.2\nconfig: save \"\"\nresp3\n> GET k\n? any\n? keep v\n\"x\"\n\
            ? redis-7.0\n_\nb> SUBSCRIBE c\n>3\n  \"subscribe\"\n  \"c\"\n  :1\nb< closed\n<\n~1\n  ? any\n  :1\n\
            raw \"*1\\r\\n\"\n...\n@ +5\n! propagate DEL k\n## two\nonly: redstart\n## three\nskip-redstart: streams\n";
        let file = ScenarioFile::parse("f", text).unwrap();
        let scenario = &file.scenarios[0];
        assert_eq!((scenario.since, scenario.resp3), (Some((7, 2)), true));
        assert_eq!(scenario.config, [("save".to_string(), String::new())]);
        assert_eq!(scenario.steps.len(), 7);
        let get = &scenario.steps[0].expected[0];
        assert_eq!((get.lines.clone(), get.keep.as_deref(), get.older.is_some()), (6..9, Some("v"), true));
        assert_eq!(scenario.steps[0].end, 11);
        assert!(matches!(scenario.steps[2].expected[0].wanted, Wanted::Closed));
        assert!(matches!(scenario.steps[4].expected[0].wanted, Wanted::Nothing));
        assert!(file.scenarios[1].only_redstart);
        let three = &file.scenarios[2];
        assert_eq!(three.lacks.as_deref(), Some("streams"));
        assert!(
            !three.applies(Dialect::Redstart, Place::Tcp)
                && three.applies(Dialect::Reference(7, 0), Place::Tcp)
        );
    }

    #[test]
    fn errors_name_file_and_line() {
        let error = ScenarioFile::parse("f", "## t\n> GET k\n*2\n  :1\n").unwrap_err();
        assert_eq!(error, "f:5: a reply line is missing or its indentation is wrong");
    }
}
