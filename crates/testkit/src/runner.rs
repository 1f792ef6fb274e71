//! Plays scenario files and compares what comes back with what is written.

use std::io;
use std::time::Duration;

use crate::player::{Next, Player};
use crate::report::{Difference, Report};
use crate::scenario::{Action, Expectation, Scenario, ScenarioFile, Step, Wanted};
use crate::target::{Dialect, Effect, Target};
use crate::words;

/// How scenarios are played.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How long an expected reply may take to arrive.
    pub reply_wait: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options { reply_wait: Duration::from_secs(3) }
    }
}

/// Plays a file's scenarios against a target.
pub fn run_file(file: &ScenarioFile, target: &mut dyn Target, options: Options) -> Report {
    let mut report = Report::default();
    let (dialect, place) = (target.dialect(), target.place());
    let mut player = Player::new(target);
    for scenario in &file.scenarios {
        if !scenario.applies(dialect, place) {
            report.skipped += 1;
            if let (Some(lack), Dialect::Redstart) = (&scenario.lacks, dialect) {
                *report.lacking.entry(lack.clone()).or_default() += 1;
            }
            continue;
        }
        let mut run = Run { file, scenario, player: &mut player, options, report: &mut report, step: None };
        if let Err(error) = run.scenario() {
            run.difference(scenario.line, Vec::new(), vec![format!("the target failed: {error}")]);
        }
    }
    report
}

const UNWRITTEN: &str = "no reply is written; `xtask record` writes it";

struct Run<'a, 't> {
    file: &'a ScenarioFile,
    scenario: &'a Scenario,
    player: &'a mut Player<'t>,
    options: Options,
    report: &'a mut Report,
    step: Option<&'a Step>,
}

/// Whether a scenario can be played on after a step.
#[derive(PartialEq)]
enum Flow {
    Continue,
    /// Replies and requests no longer belong together.
    Abandon,
}

impl<'a> Run<'a, '_> {
    fn scenario(&mut self) -> io::Result<()> {
        self.report.scenarios += 1;
        let played = self.player.begin(self.scenario).and_then(|()| self.steps());
        let ended = self.player.end();
        played.and(ended)
    }

    fn steps(&mut self) -> io::Result<()> {
        let steps = &self.scenario.steps;
        let mut index = 0;
        while let Some(step) = steps.get(index) {
            if let Action::Effect(_) = step.action {
                let effects =
                    steps[index..].iter().take_while(|step| matches!(step.action, Action::Effect(_))).count();
                self.effects(&steps[index..index + effects]);
                index += effects;
                continue;
            }
            self.step = Some(step);
            self.player.target().take_effects();
            self.player.act(&step.action)?;
            if self.expected(step)? == Flow::Abandon {
                return Ok(());
            }
            index += 1;
        }
        for (client, next) in self.player.leftovers()? {
            let line = steps.last().map_or(self.scenario.line, |step| step.line);
            let mut actual = vec![format!("{client}<")];
            actual.extend(next.lines());
            self.difference(line, vec!["nothing more at the end of the scenario".into()], actual);
        }
        Ok(())
    }

    fn expected(&mut self, step: &Step) -> io::Result<Flow> {
        let (Action::Request { client, .. } | Action::Raw { client, .. } | Action::Receive { client }) =
            &step.action
        else {
            return Ok(Flow::Continue);
        };
        if step.expected.is_empty() && !matches!(step.action, Action::Raw { .. }) {
            self.difference(step.line, vec![UNWRITTEN.into()], Vec::new());
            return Ok(Flow::Abandon);
        }
        let dialect = self.player.target().dialect();
        for expectation in &step.expected {
            if self.expectation(client, expectation.for_dialect(dialect))? == Flow::Abandon {
                return Ok(Flow::Abandon);
            }
        }
        Ok(Flow::Continue)
    }

    fn expectation(&mut self, client: &str, expectation: &Expectation) -> io::Result<Flow> {
        self.report.compared += 1;
        let next = match &expectation.wanted {
            Wanted::Nothing => {
                self.player.settle()?;
                self.player.next(client, Duration::ZERO)?
            }
            _ => self.player.next(client, self.options.reply_wait)?,
        };
        if let (Some(name), Next::Reply(reply)) = (&expectation.keep, &next) {
            self.player.keep(name, reply);
        }
        let (same, expected) = match (&expectation.wanted, &next) {
            (Wanted::Reply(written), Next::Reply(reply)) => (written.matches(reply), written.lines()),
            (Wanted::Reply(written), _) => (false, written.lines()),
            (Wanted::Nothing, _) => (next == Next::Nothing, vec!["...".into()]),
            (Wanted::Closed, _) => (next == Next::Closed, vec!["closed".into()]),
            (Wanted::Unwritten(_), _) => (false, vec![UNWRITTEN.into()]),
        };
        if same {
            return Ok(Flow::Continue);
        }
        self.difference(expectation.lines.start, expected, next.lines());
        let in_step = matches!((&expectation.wanted, &next), (Wanted::Reply(_), Next::Reply(_)));
        Ok(if in_step { Flow::Continue } else { Flow::Abandon })
    }

    /// Compares the effects of the last request with consecutive `!` lines, for the kinds that these mention.
    fn effects(&mut self, steps: &[Step]) {
        let Some(actual) = self.player.target().take_effects() else { return };
        let expected: Vec<&Effect> = steps
            .iter()
            .filter_map(|step| if let Action::Effect(effect) = &step.action { Some(effect) } else { None })
            .collect();
        let mut kinds: Vec<&str> = expected.iter().map(|effect| effect.kind.as_str()).collect();
        kinds.sort_unstable();
        kinds.dedup();
        for kind in kinds {
            self.report.compared += 1;
            // A kind with no words after it says that there is no such effect.
            let lines = |effects: &mut dyn Iterator<Item = &Effect>| -> Vec<String> {
                effects.filter(|e| e.kind == kind && !e.words.is_empty()).map(effect_line).collect()
            };
            let (expected, actual) = (lines(&mut expected.iter().copied()), lines(&mut actual.iter()));
            if expected != actual {
                self.difference(steps[0].line, expected, actual);
            }
        }
    }

    fn difference(&mut self, line: usize, expected: Vec<String>, actual: Vec<String>) {
        let request = self.step.map_or(String::new(), |step| self.file.lines[step.line].clone());
        self.report.differences.push(Difference {
            file: self.file.path.clone(),
            line: line + 1,
            scenario: self.scenario.title.clone(),
            request,
            expected,
            actual,
        });
    }
}

fn effect_line(effect: &Effect) -> String {
    let words: Vec<String> = effect.words.iter().map(|word| shell_word(word)).collect();
    format!("! {} {}", effect.kind, words.join(" "))
}

fn shell_word(word: &[u8]) -> String {
    let bare =
        !word.is_empty() && word.iter().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\'' | b'\\'));
    if bare { String::from_utf8_lossy(word).into_owned() } else { words::quote(word) }
}
