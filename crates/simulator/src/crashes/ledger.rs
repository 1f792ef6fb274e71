//! What was executed, what was told to whom, and what must therefore be there after a crash.
//!
//! ```text
//! states   0────1────2────3────4────5────6────7     one after each unit; a unit is a command or a transaction
//!                         │         │         └ executed
//!                         │         └ told under `everysec`: at risk for a while
//!                         └ promised: told under `always`, or by WAITAOF
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use base::time::Instant;

use super::shadow::{Shadow, Touched};
use crate::checkers::model::Words;

/// Writes that `everysec` may lose were executed within so much time.
pub(super) const AT_RISK: Duration = Duration::from_millis(1500);

/// The past of a data set, as far as anybody may remember it.
#[derive(Clone, Debug)]
pub(super) struct Ledger {
    /// The state after so many units, and when it came about.
    states: Vec<(u64, Instant)>,
    shadow: Shadow,
    /// Every command and the unit that it belongs to, where somebody wants to know more of a failure.
    commands: Option<Vec<(usize, usize, Words)>>,
    /// States that were executed and were not loaded after the last crash: until the file that they may still be in is
    /// opened and cut, the next crash can bring them back.
    former: Vec<u64>,
    in_unit: bool,
    /// Which unit touched a key last.
    touched: BTreeMap<(usize, Vec<u8>), usize>,
    touched_all: usize,
    /// So many units must survive everything.
    promised: usize,
    /// Units beyond that whose replies left under `everysec`.
    at_risk: Vec<usize>,
    /// So many units somebody was told of, whatever the policy.
    told: usize,
    /// Replies that were noted.
    pub(super) checked: u64,
    pub(super) promises: u64,
    /// Units in all lives.
    pub(super) executed: u64,
}

/// What a crash may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Allowed {
    /// What is not promised, and of what was at risk as much as fits into [`AT_RISK`].
    AtRisk,
    /// The same, and nothing that was executed longer ago than that: the disk was quick.
    Recent,
    /// Nothing that somebody was told of.
    Untold,
    /// Nothing at all.
    Nothing,
}

impl Ledger {
    pub(super) fn new(now: Instant, verbose: bool) -> Ledger {
        let shadow = Shadow::default();
        Ledger {
            states: vec![(shadow.digest(), now)],
            shadow,
            commands: verbose.then(Vec::new),
            former: Vec::new(),
            in_unit: false,
            touched: BTreeMap::new(),
            touched_all: 0,
            promised: 0,
            at_risk: Vec::new(),
            told: 0,
            checked: 0,
            promises: 0,
            executed: 0,
        }
    }

    /// Begins anew with nothing, and nothing promised.
    pub(super) fn forget(&mut self, now: Instant) {
        let fresh = Ledger::new(now, self.commands.is_some());
        let (checked, promises, executed) = (self.checked, self.promises, self.executed);
        *self = Ledger { checked, promises, executed, ..fresh };
    }

    /// Returns how many units were executed.
    pub(super) fn len(&self) -> usize {
        self.states.len() - 1
    }

    /// Takes a command of the stream.
    pub(super) fn execute(&mut self, now: Instant, db: usize, words: &[Vec<u8>]) -> Result<(), String> {
        let unit = self.states.len();
        if let Some(commands) = &mut self.commands {
            commands.push((unit, db, words.to_vec()));
        }
        match self.shadow.apply(db, words)? {
            Touched::Nothing => {}
            Touched::Keys(places) => self.touched.extend(places.into_iter().map(|place| (place, unit))),
            Touched::Everything => self.touched_all = unit,
        }
        match &words[0][..] {
            b"MULTI" => self.in_unit = true,
            b"EXEC" => self.in_unit = false,
            _ => {}
        }
        if !self.in_unit && words[0] != b"PUBLISH" {
            self.states.push((self.shadow.digest(), now));
            self.executed += 1;
        }
        Ok(())
    }

    /// Returns the unit that touched a key last.
    pub(super) fn last_touch(&self, db: usize, key: &[u8]) -> usize {
        let own = self.touched.get(&(db, key.to_vec())).copied().unwrap_or(0);
        own.max(self.touched_all)
    }

    /// Notes that somebody knows that a unit survives everything.
    pub(super) fn promise(&mut self, unit: usize) {
        self.promised = self.promised.max(unit);
        self.promises += 1;
        self.told(unit);
    }

    /// Notes that the reply to a unit left under `everysec`.
    pub(super) fn risk(&mut self, unit: usize) {
        self.at_risk.push(unit);
        self.told(unit);
    }

    /// Notes that the reply to a unit left.
    pub(super) fn told(&mut self, unit: usize) {
        self.told = self.told.max(unit);
        self.checked += 1;
    }

    /// Notes that the file which is written to was cut where loading ended.
    pub(super) fn opened(&mut self) {
        self.former.clear();
    }

    /// Notes that from now on less is promised: what is at risk may be lost later.
    pub(super) fn forgive(&mut self) {
        self.at_risk.clear();
    }

    /// Checks that the recorded stream makes what a keyspace holds.
    pub(super) fn agrees(&self, keyspace: &Shadow) -> Result<(), String> {
        if keyspace.digest() == self.shadow.digest() {
            return Ok(());
        }
        let difference = keyspace.difference(&self.shadow);
        Err(format!("the keyspace differs from what the recorded stream makes: {difference}"))
    }

    /// Returns the newest moment at which the data were these.
    pub(super) fn find(&self, state: &Shadow) -> Result<usize, String> {
        let found = self.states.iter().rposition(|(digest, _)| *digest == state.digest());
        found.ok_or_else(|| format!("this was never the data: {}", self.nearest(state)))
    }

    /// Says to which state another is most similar.
    fn nearest(&self, state: &Shadow) -> String {
        let Some(commands) = &self.commands else { return state.difference(&self.shadow) };
        let (mut shadow, mut best) = (Shadow::default(), (usize::MAX, 0, String::new()));
        for (unit, db, words) in commands {
            if shadow.apply(*db, words).is_err() {
                continue;
            }
            let count = state.differing(&shadow).count();
            if count <= best.0 {
                best = (count, *unit, state.difference(&shadow));
            }
        }
        format!("of {} units most similar in {}: {}", self.len(), best.1, best.2)
    }

    /// Judges what was loaded after a crash at `now`, and goes on from there.
    pub(super) fn go_on_from(
        &mut self,
        loaded: Shadow,
        now: Instant,
        allowed: Allowed,
    ) -> Result<usize, String> {
        if self.former.contains(&loaded.digest()) && self.find(&loaded).is_err() {
            // Nobody was told of it, and nothing that was told is missing in it.
            self.states.push((loaded.digest(), now));
        }
        let kept = self.find(&loaded)?;
        if kept < self.promised {
            return Err(format!(
                "{} units of {} are there, and {} were promised",
                kept,
                self.len(),
                self.promised
            ));
        }
        self.may_lose(kept, now, allowed)?;
        self.former.extend(self.states.drain(kept + 1..).map(|(digest, _)| digest));
        self.shadow = loaded;
        if let Some(commands) = &mut self.commands {
            commands.retain(|(unit, ..)| *unit <= kept);
        }
        self.in_unit = false;
        self.touched.retain(|_, unit| *unit <= kept);
        self.touched_all = self.touched_all.min(kept);
        // What was loaded may be told again; it is promised by whoever tells it.
        self.at_risk.clear();
        self.told = 0;
        Ok(kept)
    }

    fn may_lose(&self, kept: usize, now: Instant, allowed: Allowed) -> Result<(), String> {
        let lost = || self.at_risk.iter().copied().filter(|unit| *unit > kept);
        let at = |unit: usize| self.states[unit].1;
        match allowed {
            Allowed::Nothing if kept < self.len() => {
                Err(format!("{kept} units of {} are there after a clean stop", self.len()))
            }
            Allowed::Untold if kept < self.told => {
                Err(format!("{kept} units are there, and the reply to unit {} had left", self.told))
            }
            Allowed::Nothing | Allowed::Untold => Ok(()),
            Allowed::AtRisk | Allowed::Recent => {
                let (Some(first), Some(last)) = (lost().min(), lost().max()) else { return Ok(()) };
                let span = at(last).saturating_since(at(first));
                let age = now.saturating_since(at(first));
                if span > AT_RISK || (allowed == Allowed::Recent && age > AT_RISK) {
                    return Err(format!(
                        "units {first} to {last} were told and are lost: executed within {span:?}, the first {age:?} ago"
                    ));
                }
                Ok(())
            }
        }
    }
}
