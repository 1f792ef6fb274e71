//! Writes a reference server's replies into a scenario file.

use std::io;
use std::ops::Range;
use std::time::Duration;

use crate::player::{Next, Player};
use crate::scenario::{Action, Expectation, Scenario, ScenarioFile, Step, Wanted};
use crate::target::{Dialect, Target};

/// How long a `b<` without a reply waits for one.
const RECEIVE_WAIT: Duration = Duration::from_millis(1500);

/// The rewritten file, and what was done to it.
#[derive(Clone, Debug)]
pub struct Recording {
    /// The text with replies filled in.
    pub text: String,
    /// How many replies were written or replaced.
    pub recorded: usize,
    /// Written replies that the server does not give and that were left alone.
    pub kept: Vec<String>,
}

/// Plays a file and fills in the replies that it lacks; with `force`, replaces those that the server gives otherwise.
///
/// What other clients receive is filled in too, as `b<` blocks. Scenarios that do not apply to the target, and
/// replies compared by a rule that holds, stay as they are.
pub fn record(file: &ScenarioFile, target: &mut dyn Target, force: bool) -> io::Result<Recording> {
    let (dialect, place) = (target.dialect(), target.place());
    let mut edits = Edits::default();
    let mut kept = Vec::new();
    let mut player = Player::new(target);
    for scenario in file.scenarios.iter().filter(|scenario| scenario.applies(dialect, place)) {
        let mut recorder =
            Recorder { file, player: &mut player, dialect, force, edits: &mut edits, kept: &mut kept };
        player_scenario(&mut recorder, scenario)
            .map_err(|e| io::Error::new(e.kind(), format!("{}:{}: {e}", file.path, scenario.line + 1)))?;
    }
    Ok(Recording { recorded: edits.list.len(), text: edits.apply(&file.lines), kept })
}

fn player_scenario(recorder: &mut Recorder<'_, '_>, scenario: &Scenario) -> io::Result<()> {
    let played = recorder.player.begin(scenario).and_then(|()| recorder.steps(&scenario.steps));
    played.and(recorder.player.end())
}

struct Recorder<'a, 't> {
    file: &'a ScenarioFile,
    player: &'a mut Player<'t>,
    dialect: Dialect,
    force: bool,
    edits: &'a mut Edits,
    kept: &'a mut Vec<String>,
}

impl Recorder<'_, '_> {
    fn steps(&mut self, steps: &[Step]) -> io::Result<()> {
        let mut end = 0;
        for (index, step) in steps.iter().enumerate() {
            if matches!(step.action, Action::Request { .. } | Action::Raw { .. } | Action::Pass(_)) && end > 0
            {
                self.leftovers(end)?;
            }
            self.player.act(&step.action)?;
            self.expected(step, steps.get(index + 1))?;
            end = step.end;
        }
        if end > 0 { self.leftovers(end) } else { Ok(()) }
    }

    fn expected(&mut self, step: &Step, following: Option<&Step>) -> io::Result<()> {
        let (client, wait) = match &step.action {
            Action::Request { client, .. } | Action::Raw { client, .. } => (client, Duration::ZERO),
            Action::Receive { client } => (client, RECEIVE_WAIT),
            Action::Pass(_) | Action::Effect(_) => return Ok(()),
        };
        if !step.expected.is_empty() {
            return step.expected.iter().try_for_each(|expectation| self.check(client, expectation));
        }
        self.player.settle()?;
        let mut lines = Vec::new();
        loop {
            let wait = if lines.is_empty() { wait } else { Duration::ZERO };
            match self.player.next(client, wait)? {
                Next::Reply(reply) => lines.extend(reply.lines()),
                Next::Nothing if lines.is_empty() && !matches!(step.action, Action::Raw { .. }) => {
                    lines.push("...".into());
                    break;
                }
                Next::Nothing => break,
                Next::Closed => {
                    let written = following.is_some_and(|step| step.says_closed());
                    lines.extend((!written).then(|| format!("{client}< closed")));
                    break;
                }
                Next::Garbage(text) => return Err(io::Error::other(text)),
            }
        }
        if !lines.is_empty() {
            self.edits.add(step.end..step.end, lines);
        }
        Ok(())
    }

    fn check(&mut self, client: &str, expectation: &Expectation) -> io::Result<()> {
        let held_to = expectation.for_dialect(self.dialect);
        let next = match held_to.wanted {
            Wanted::Nothing => {
                self.player.settle()?;
                self.player.next(client, Duration::ZERO)?
            }
            _ => self.player.next(client, RECEIVE_WAIT)?,
        };
        if let (Some(name), Next::Reply(reply)) = (&expectation.keep, &next) {
            self.player.keep(name, reply);
        }
        let same = match (&held_to.wanted, &next) {
            (Wanted::Reply(written), Next::Reply(reply)) => written.matches(reply),
            (Wanted::Nothing, Next::Nothing) | (Wanted::Closed, Next::Closed) => true,
            _ => false,
        };
        match (same, &next, &held_to.wanted) {
            (true, ..) => {}
            (false, Next::Reply(_) | Next::Nothing, Wanted::Unwritten(_)) => {
                self.edits.add(held_to.lines.clone(), next.lines());
            }
            (false, Next::Reply(_) | Next::Nothing, Wanted::Reply(_) | Wanted::Nothing) if self.force => {
                let mut lines = annotations(&self.file.lines[held_to.lines.clone()], &next);
                lines.extend(next.lines());
                self.edits.add(held_to.lines.clone(), lines);
            }
            _ => {
                let line = held_to.lines.start + 1;
                self.kept.push(format!(
                    "{}:{line}: the server replies {}",
                    self.file.path,
                    next.lines().join(" ")
                ));
            }
        }
        Ok(())
    }

    fn leftovers(&mut self, at: usize) -> io::Result<()> {
        let mut lines = Vec::new();
        for (client, next) in self.player.leftovers()? {
            match next {
                Next::Reply(reply) => {
                    lines.push(format!("{client}<"));
                    lines.extend(reply.lines());
                }
                Next::Closed => lines.push(format!("{client}< closed")),
                Next::Garbage(text) => return Err(io::Error::other(text)),
                Next::Nothing => {}
            }
        }
        if !lines.is_empty() {
            self.edits.add(at..at, lines);
        }
        Ok(())
    }
}

/// Returns the annotations above a reply that still make sense above its replacement.
fn annotations(lines: &[String], next: &Next) -> Vec<String> {
    if *next == Next::Nothing {
        return Vec::new();
    }
    lines.iter().take_while(|line| line.starts_with("? ")).cloned().collect()
}

/// Replacements of line ranges, in file order.
#[derive(Default)]
struct Edits {
    list: Vec<(Range<usize>, Vec<String>)>,
}

impl Edits {
    fn add(&mut self, range: Range<usize>, lines: Vec<String>) {
        self.list.push((range, lines));
    }

    fn apply(mut self, lines: &[String]) -> String {
        self.list.sort_by_key(|(range, _)| range.start);
        let mut text = String::new();
        let mut at = 0;
        let mut push = |lines: &[String]| lines.iter().for_each(|line| text.extend([line.as_str(), "\n"]));
        for (range, replacement) in &self.list {
            push(&lines[at..range.start]);
            push(replacement);
            at = range.end;
        }
        push(&lines[at..]);
        text
    }
}
