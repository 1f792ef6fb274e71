//! `redstart recover`: gives a master that lost its data what a replica of it holds, and makes it the master again.
//!
//! ```text
//!              FROM holds the data           TO came back empty
//!  look        replica (or promoted), keys   master, no keys
//!  copy        REPLICAOF NO ONE              REPLICAOF FROM: a full resync, watched
//!  compare     writes paused ─────────────── DEBUG DIGEST of both ──────────────── writes go on
//!  hand back   FAILOVER TO ─────────────────► master
//!  follow      REPLICAOF TO; so do the other replicas
//! ```
//!
//! A procedure of a client, over the protocol that every server of either kind speaks: nothing here touches files, and the
//! servers do the copying. Each step looks at what is there before it does anything, so that all of it can be run again;
//! the data of FROM is replaced by nothing before the copy was compared. Exit codes: 0 when TO is the master again, 1 when
//! a step failed, 2 when nothing was done.

mod client;
mod verify;

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use client::{Address, Client, Credentials, Info};
use verify::Verdict;

use crate::confirmed::confirmed;
use crate::text::{count, grouped, size};

const DONE: u8 = 0;
const FAILED: u8 = 1;
const NOTHING: u8 = 2;

pub(crate) const HELP: &str = "\
Usage: redstart recover --from HOST:PORT --to HOST:PORT [--replica HOST:PORT ...] [--user NAME] [--auth PASSWORD]
                        [--timeout SECONDS] [--force] [--yes]

A master has come back without its data, and a replica still has it: this copies it back, compares both, and makes the
master the master again. The servers may be redstart or redis-server.

--from     the replica that holds the data; it serves as the master meanwhile.
--to       the master that came back empty. Both addresses must mean the same to the other server.
--replica  another replica: it is made to follow TO in the end, and must not hold more than FROM. Replicas that FROM and
           TO know of need not be named.
--auth     the password of all of them, with --user for a name; without it the environment's REDISCLI_AUTH is taken.
--timeout  give up when nothing has moved for so long (60).
--force    go on though TO holds keys (they are lost), FROM follows a master that is there, or a replica holds more.
--yes      do not ask.

Stop before what changes roles by itself: an orchestrator, Sentinel. Whatever fails, run it again: each step looks first.
Exit code: 0 if TO is the master again with the data, 1 if a step failed, 2 if nothing was done.
";

/// What was asked for.
#[derive(Debug)]
struct Wishes {
    from: Address,
    to: Address,
    replicas: Vec<Address>,
    credentials: Credentials,
    timeout: Duration,
    force: bool,
    yes: bool,
}

/// How far it came, for what is said when it goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Reached {
    Nothing,
    /// FROM is a master, TO is to copy it.
    Copying,
    Compared,
    HandedBack,
}

/// Both ends, and what is known of the others.
struct Recovery<'a> {
    wishes: &'a Wishes,
    from: Client,
    to: Client,
    others: Vec<Address>,
    reached: Reached,
}

/// How often servers are asked how far they are.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Writes are paused no longer, should nobody be left to let them go on.
const PAUSE: &str = "120000";

/// Acts as `redstart recover` does with these arguments.
pub(crate) fn run(args: &[Vec<u8>]) -> ExitCode {
    if args.iter().any(|arg| arg == b"-h" || arg == b"--help") {
        say!("{}", HELP.trim_end());
        return ExitCode::SUCCESS;
    }
    let wishes = match Wishes::parse(args) {
        Ok(wishes) => wishes,
        Err(complaint) => {
            eprintln!("redstart recover: {complaint}. See redstart recover --help");
            return ExitCode::from(NOTHING);
        }
    };
    let mut recovery = match Recovery::begin(&wishes) {
        Ok(recovery) => recovery,
        Err(complaint) => {
            eprintln!("redstart recover: {complaint}.\nNothing was changed.");
            return ExitCode::from(NOTHING);
        }
    };
    let result = recovery.carry_out();
    ExitCode::from(result.unwrap_or_else(|complaint| {
        eprintln!("redstart recover: {complaint}.");
        eprintln!("{}", recovery.advice());
        if recovery.reached == Reached::Nothing { NOTHING } else { FAILED }
    }))
}

impl Wishes {
    fn parse(args: &[Vec<u8>]) -> Result<Wishes, String> {
        let (mut from, mut to, mut replicas) = (None, None, Vec::new());
        let mut credentials = Credentials { user: None, password: std::env::var("REDISCLI_AUTH").ok() };
        let (mut timeout, mut force, mut yes) = (60, false, false);
        let mut args = args.iter().map(|arg| String::from_utf8_lossy(arg).into_owned());
        while let Some(option) = args.next() {
            let mut value = || args.next().ok_or(format!("{option} wants a value"));
            let address = |text: String| Address::parse(&text).ok_or(format!("'{text}' is no HOST:PORT"));
            match option.as_str() {
                "--from" => from = Some(address(value()?)?),
                "--to" => to = Some(address(value()?)?),
                "--replica" => replicas.push(address(value()?)?),
                "--user" => credentials.user = Some(value()?),
                "--auth" | "--pass" => credentials.password = Some(value()?),
                "--timeout" => {
                    let seconds = value()?.parse().ok().filter(|seconds| (1..=86_400).contains(seconds));
                    timeout = seconds.ok_or("--timeout wants seconds")?;
                }
                "--force" => force = true,
                "--yes" | "-y" => yes = true,
                _ => return Err(format!("no such option: {option}")),
            }
        }
        let from = from.ok_or("which replica holds the data? Name it with --from")?;
        let to = to.ok_or("which master is to have it? Name it with --to")?;
        if credentials.user.is_some() && credentials.password.is_none() {
            return Err("--user wants --auth, too".into());
        }
        Ok(Wishes { from, to, replicas, credentials, timeout: Duration::from_secs(timeout), force, yes })
    }
}

impl<'a> Recovery<'a> {
    /// Connects to both and looks whether they are what they are said to be; changes nothing.
    fn begin(wishes: &'a Wishes) -> Result<Recovery<'a>, String> {
        let mut from = Client::connect(&wishes.from, &wishes.credentials)?;
        let mut to = Client::connect(&wishes.to, &wishes.credentials)?;
        let (source, target) = (from.info()?, to.info()?);
        if source.text("run_id") == target.text("run_id") {
            return Err(format!("{} and {} are the same server", wishes.from, wishes.to));
        }
        if wishes.from.is_loopback() != wishes.to.is_loopback() {
            return Err("a loopback address means another machine to the other server: name both as they reach each other".into());
        }
        for (client, info) in [(&from, &source), (&to, &target)] {
            if info.text("role").is_empty() {
                return Err(format!("{} does not say what it is: INFO has no role", client.address));
            }
            if info.text("loading") == "1" {
                return Err(format!("{} is loading its data: wait until that is done", client.address));
            }
        }
        if source.text("master_failover_state").starts_with("failover") {
            return Err(format!("a failover is under way on {}", wishes.from));
        }
        let mut others = wishes.replicas.clone();
        others.extend(source.replicas().into_iter().chain(target.replicas()));
        let ends = [wishes.from.clone(), wishes.to.clone()];
        let mut recovery = Recovery { wishes, from, to, others: Vec::new(), reached: Reached::Nothing };
        for other in others {
            if !recovery.others.contains(&other)
                && !ends.contains(&other)
                && !recovery.is_end(&other, &source, &target)
            {
                recovery.others.push(other);
            }
        }
        recovery.refuse(&source, &target)?;
        Ok(recovery)
    }

    /// Returns whether an address that one end gives for a replica is that of the other end.
    fn is_end(&self, other: &Address, source: &Info, target: &Info) -> bool {
        let ids = [source.text("run_id"), target.text("run_id")];
        let info = Client::connect(other, &self.wishes.credentials).and_then(|mut client| client.info());
        info.is_ok_and(|info| ids.contains(&info.text("run_id")))
    }

    /// Looks whether there is any reason to leave things as they are.
    fn refuse(&mut self, source: &Info, target: &Info) -> Result<(), String> {
        let Wishes { from, to, force, .. } = self.wishes;
        if source.keys() == 0 {
            return Err(format!("{from} holds no keys: there is nothing to recover from it"));
        }
        if done(source, target, to) {
            // An earlier run came this far.
            return Ok(());
        }
        if let Some(master) = source.master().filter(|_| source.is_in_sync())
            && !force
        {
            return Err(format!(
                "{from} follows {master}, which is there and gives it its data: nothing was lost"
            ));
        }
        if copies(target, from) {
            // An earlier run came this far.
            return Ok(());
        }
        if let Some(master) = target.master()
            && !force
        {
            return Err(format!("{to} is no master: it follows {master}"));
        }
        if target.keys() > 0 && !force {
            return Err(format!(
                "{to} holds {}, which would be lost: is it the master that lost its data? (--force goes on)",
                count(target.keys(), "key")
            ));
        }
        if !self.can_log_in() {
            return Err(format!(
                "{to} has no masterauth, and {from} wants a password: CONFIG SET masterauth (and masteruser) there first"
            ));
        }
        if !force {
            self.refuse_older(source)?;
        }
        Ok(())
    }

    /// Returns whether TO could log in at FROM, as far as we may ask.
    fn can_log_in(&mut self) -> bool {
        let wants = self.from.parameter("requirepass").is_some_and(|password| !password.is_empty());
        !wants || self.to.parameter("masterauth").is_none_or(|password| !password.is_empty())
    }

    /// Looks whether another replica of the same history has come farther than FROM.
    fn refuse_older(&mut self, source: &Info) -> Result<(), String> {
        let ids = [source.text("master_replid"), source.text("master_replid2")];
        for other in self.wishes.replicas.clone() {
            let info = Client::connect(&other, &self.wishes.credentials)?.info()?;
            let same = ids.contains(&info.text("master_replid")) && !info.text("master_replid").is_empty();
            let (theirs, ours) = (offset(&info), offset(source));
            if same && info.keys() > 0 && theirs > ours {
                return Err(format!(
                    "{other} has come farther (offset {}) than {} ({}): recover from that one (--force goes on)",
                    grouped(theirs),
                    self.wishes.from,
                    grouped(ours)
                ));
            }
        }
        Ok(())
    }

    fn carry_out(&mut self) -> Result<u8, String> {
        let (source, target) = (self.from.info()?, self.to.info()?);
        let (from, to) = (self.wishes.from.clone(), self.wishes.to.clone());
        if done(&source, &target, &to) {
            say!("{to} is the master of {from} already, and the link is up.");
            self.reached = Reached::HandedBack;
        } else {
            self.describe(&source, &target);
            if !self.wishes.yes && !confirmed() {
                say!("Nothing was changed.");
                return Ok(NOTHING);
            }
            self.begin_copy(&source, &target)?;
            self.watch_copy()?;
        }
        let roles = self.reached == Reached::HandedBack;
        let verdict = match roles {
            true => paused(&mut self.to, &mut self.from, self.wishes.timeout, verify::compare)?,
            false => paused(&mut self.from, &mut self.to, self.wishes.timeout, verify::compare)?,
        };
        match &verdict {
            Verdict::Digest(digest) => say!("Compared: both have the digest {digest}."),
            Verdict::Sample { keys, compared, why } => say!(
                "Compared: both have {} in the same databases, and {} of them, chosen at random, are equal. No digests: {why}.",
                count(*keys, "key"),
                grouped(*compared)
            ),
        }
        if !roles {
            self.reached = Reached::Compared;
            self.hand_back()?;
            self.reached = Reached::HandedBack;
        }
        let left = self.lead_others();
        self.conclude(left)
    }

    fn describe(&self, source: &Info, target: &Info) {
        let Wishes { from, to, .. } = self.wishes;
        let memory = source.number("used_memory").unwrap_or(0);
        let role = match source.master() {
            Some(master) => format!("a replica of {master}"),
            None => "a master".into(),
        };
        say!(
            "{from}: {role} with {} ({} of memory), at offset {}",
            count(source.keys(), "key"),
            size(memory),
            grouped(offset(source))
        );
        if !source.text("master_refused").is_empty() {
            say!("  it refuses what its master has now: {}", source.text("master_refused"));
        }
        say!(
            "{to}: {} with {}",
            if target.follows() { "a replica" } else { "a master" },
            count(target.keys(), "key")
        );
        if target.keys() > 0 && !copies(target, from) {
            say!("  ITS KEYS WILL BE LOST.");
        }
        say!("{to} copies {from}, both are compared, and {to} becomes the master again.");
        if !self.others.is_empty() {
            let names: Vec<_> = self.others.iter().map(Address::to_string).collect();
            say!("Then these follow it, too: {}", names.join(", "));
        }
    }

    /// Makes FROM a master, and TO its replica.
    fn begin_copy(&mut self, source: &Info, target: &Info) -> Result<(), String> {
        let from = self.wishes.from.clone();
        if source.follows() {
            self.reached = Reached::Copying;
            self.from.tell(&["REPLICAOF", "NO", "ONE"])?;
            say!("{from} is a master now.");
        }
        if copies(target, &from) {
            self.reached = Reached::Copying;
            return Ok(());
        }
        // Nothing is to be written to it between the last look and the first byte of the copy.
        let pauses = !target.follows() && self.to.tell(&["CLIENT", "PAUSE", PAUSE, "WRITE"]).is_ok();
        let begun = self.begin_copy_there(&from);
        if pauses {
            self.to.ask(&["CLIENT", "UNPAUSE"])?;
        }
        begun?;
        say!("{} copies it.", self.wishes.to);
        Ok(())
    }

    fn begin_copy_there(&mut self, from: &Address) -> Result<(), String> {
        let keys = self.to.info()?.keys();
        if keys > 0 && !self.wishes.force {
            return Err(format!(
                "{} holds {} by now, which would be lost",
                self.wishes.to,
                count(keys, "key")
            ));
        }
        self.reached = Reached::Copying;
        self.to.tell(&["REPLICAOF", &from.host, &from.port.to_string()])?;
        Ok(())
    }

    /// Waits until TO has all of the data, showing how far it is.
    fn watch_copy(&mut self) -> Result<(), String> {
        let (mut progress, mut last, mut moved) = (Progress::new(), (0, 0), Instant::now());
        loop {
            let info = self.to.info()?;
            if !copies(&info, &self.wishes.from) {
                return Err(format!("somebody else has changed what {} follows", self.wishes.to));
            }
            if info.is_in_sync() {
                progress.end(info.keys());
                return Ok(());
            }
            let loading = info.text("loading") == "1";
            let (done, total, what) = match loading {
                true => (info.number("loading_loaded_bytes"), info.number("loading_total_bytes"), "loaded"),
                false => (
                    info.number("master_sync_read_bytes"),
                    info.number("master_sync_total_bytes"),
                    "received",
                ),
            };
            let done = done.unwrap_or(0);
            progress.show(what, done, total.unwrap_or(0));
            if (u64::from(loading), done) != last {
                (last, moved) = ((u64::from(loading), done), Instant::now());
            }
            if moved.elapsed() > self.wishes.timeout {
                progress.leave();
                let link = info.text("master_link_status");
                return Err(format!(
                    "nothing has moved for {} (master_link_status:{link}); the log of {} says why",
                    count(self.wishes.timeout.as_secs(), "second"),
                    self.wishes.to
                ));
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Makes TO the master and FROM its replica.
    fn hand_back(&mut self) -> Result<(), String> {
        let to = self.wishes.to.clone();
        let timeout = self.wishes.timeout;
        let failed_over = self.fail_over(&to);
        match &failed_over {
            Ok(()) => {}
            Err(reason) => {
                say!("FAILOVER did not do it ({reason}); writes are paused meanwhile instead.");
                let _ = self.from.ask(&["FAILOVER", "ABORT"]);
                let to_there = &to;
                paused(&mut self.from, &mut self.to, timeout, |from, there| {
                    there.tell(&["REPLICAOF", "NO", "ONE"])?;
                    from.tell(&["REPLICAOF", &to_there.host, &to_there.port.to_string()])
                })?;
            }
        }
        wait(timeout, || {
            let (source, target) = (self.from.info()?, self.to.info()?);
            Ok(!target.follows() && follows(&source, &to, &target) && source.is_in_sync())
        })
        .map_err(|reason| format!("{} does not follow {to} yet: {reason}", self.wishes.from))?;
        say!("{to} is the master again, and {} its replica.", self.wishes.from);
        Ok(())
    }

    /// Lets the servers change places by themselves, which loses no write.
    fn fail_over(&mut self, to: &Address) -> Result<(), String> {
        // The address under which FROM knows its replica may be another than ours.
        let known = self.from.info()?.replicas();
        let same_port: Vec<_> = known.iter().filter(|replica| replica.port == to.port).collect();
        let target = match (known.contains(to), same_port.as_slice()) {
            (true, _) => to.clone(),
            (false, [one]) => (*one).clone(),
            _ => return Err(format!("{} does not know {to} by this address", self.wishes.from)),
        };
        let millis = self.wishes.timeout.as_millis().min(30_000).to_string();
        self.from.tell(&["FAILOVER", "TO", &target.host, &target.port.to_string(), "TIMEOUT", &millis])?;
        wait(self.wishes.timeout, || Ok(self.from.info()?.text("master_failover_state") == "no-failover"))?;
        match (self.from.info()?.follows(), self.to.info()?.follows()) {
            (true, false) => Ok(()),
            _ => Err("it ended without effect".into()),
        }
    }

    /// Makes the other replicas follow TO; returns what is left to do for those that do not.
    fn lead_others(&mut self) -> Vec<String> {
        let to = &self.wishes.to;
        let mut left = Vec::new();
        for other in &self.others {
            let command = format!("REPLICAOF {} {}", to.host, to.port);
            let lead = || -> Result<(), String> {
                let mut client = Client::connect(other, &self.wishes.credentials)?;
                let info = client.info()?;
                if !info.follows() {
                    return Err(format!("{other} is a master"));
                }
                if info.master().as_ref() != Some(to) || info.text("master_link_status") != "up" {
                    client.tell(&["REPLICAOF", &to.host, &to.port.to_string()])?;
                }
                wait(self.wishes.timeout, || client.info().map(|info| info.is_in_sync()))
            };
            match lead() {
                Ok(()) => say!("{other} follows {to}."),
                Err(reason) => left.push(format!("{other}: {reason}. To be done there: {command}")),
            }
        }
        left
    }

    /// Looks at everything a last time.
    fn conclude(&mut self, left: Vec<String>) -> Result<u8, String> {
        let (source, target) = (self.from.info()?, self.to.info()?);
        let Wishes { from, to, .. } = self.wishes;
        if !done(&source, &target, to) {
            return Err(format!("{from} and {to} are not what they should be by now"));
        }
        say!(
            "{to}: master, {}, {} connected",
            count(target.keys(), "key"),
            count(target.number("connected_slaves").unwrap_or(0), "replica")
        );
        say!("{from}: replica, link up, {}", count(source.keys(), "key"));
        if left.is_empty() {
            say!("Done. Where configuration files name the roles, CONFIG REWRITE makes them say this.");
            return Ok(DONE);
        }
        for line in left {
            say!("LEFT TO DO: {line}");
        }
        Ok(FAILED)
    }

    /// Says where things stand when it goes no further.
    fn advice(&self) -> String {
        let Wishes { from, to, .. } = self.wishes;
        match self.reached {
            Reached::Nothing => "Nothing was changed.".into(),
            Reached::Copying => format!(
                "{from} has the data and is a master: let clients use it. {to} may be copying it.\n\
                 Run the same command again to go on; to go back: REPLICAOF {} {} at {from}, REPLICAOF NO ONE at {to}.",
                to.host, to.port
            ),
            Reached::Compared => format!(
                "{from} and {to} have the same data. Look which of them is the master (INFO replication), and run the same \
                 command again.\nIf both are: the writes are where the clients are; REPLICAOF at the other one ends it."
            ),
            Reached::HandedBack => {
                format!("{to} is the master and has the data. Run the same command again to go on.")
            }
        }
    }
}

/// Returns how far a server's data is in its history.
fn offset(info: &Info) -> u64 {
    info.number("slave_repl_offset").or(info.number("master_repl_offset")).unwrap_or(0)
}

/// Returns whether a server is a replica of that address.
fn copies(info: &Info, from: &Address) -> bool {
    info.master().as_ref() == Some(from)
}

/// Returns whether the source follows the target; a failover may have given it another address of that.
fn follows(source: &Info, to: &Address, target: &Info) -> bool {
    copies(source, to)
        || (source.master().is_some_and(|master| master.port == to.port)
            && source.text("master_replid") == target.text("master_replid"))
}

/// Returns whether everything is as it should be in the end.
fn done(source: &Info, target: &Info, to: &Address) -> bool {
    follows(source, to, target)
        && !target.follows()
        && source.is_in_sync()
        && source.keys() > 0
        && target.keys() > 0
}

/// Waits until a condition holds; an error says that it did not in time.
fn wait(timeout: Duration, mut condition: impl FnMut() -> Result<bool, String>) -> Result<(), String> {
    let since = Instant::now();
    while !condition()? {
        if since.elapsed() > timeout {
            return Err(format!("not within {}", count(timeout.as_secs(), "second")));
        }
        std::thread::sleep(LOOK_EVERY / 4);
    }
    Ok(())
}

/// Does something while the master's writes are paused and its replica has all of them.
fn paused<T>(
    master: &mut Client,
    replica: &mut Client,
    timeout: Duration,
    act: impl FnOnce(&mut Client, &mut Client) -> Result<T, String>,
) -> Result<T, String> {
    if let Err(reason) = master.tell(&["CLIENT", "PAUSE", PAUSE, "WRITE"]) {
        say!("Writes are not paused ({reason}): a difference may be what was just written.");
    }
    let caught_up = |master: &mut Client, replica: &mut Client| {
        let goal = master.info()?.number("master_repl_offset").unwrap_or(0);
        wait(timeout, || Ok(offset(&replica.info()?) >= goal))
            .map_err(|reason| format!("{} does not catch up: {reason}", replica.address))
    };
    let result = caught_up(master, replica).and_then(|()| act(master, replica));
    let unpaused = master.ask(&["CLIENT", "UNPAUSE"]);
    result.and_then(|result| unpaused.map(|_| result))
}

/// Shows how far a copy is: on a terminal in one line, elsewhere a line for each tenth.
struct Progress {
    terminal: bool,
    since: Instant,
    tenth: BTreeMap<&'static str, u64>,
    drawn: bool,
}

impl Progress {
    fn new() -> Progress {
        let terminal = std::io::stdout().is_terminal();
        Progress { terminal, since: Instant::now(), tenth: BTreeMap::new(), drawn: false }
    }

    fn show(&mut self, what: &'static str, done: u64, total: u64) {
        if done == 0 {
            return;
        }
        let share = if total > 0 { (done.min(total) * 100).checked_div(total).unwrap_or(0) } else { 0 };
        let text = match total {
            0 => format!("{what} {}", size(done)),
            _ => format!("{what} {} of {}, {share}%", size(done), size(total)),
        };
        if self.terminal {
            let filled = (share as usize / 5).min(20);
            let bar: String = "#".repeat(filled) + &"-".repeat(20 - filled);
            let _ = write!(std::io::stdout(), "\r[{bar}] {text}\x1b[K");
            let _ = std::io::stdout().flush();
            self.drawn = true;
        } else if self.tenth.insert(what, share / 10) != Some(share / 10) {
            say!("  {text}");
        }
    }

    /// Ends the line that is drawn.
    fn leave(&mut self) {
        if std::mem::take(&mut self.drawn) {
            say!("");
        }
    }

    fn end(&mut self, keys: u64) {
        self.leave();
        say!("Copied: {} in {:.1} s.", count(keys, "key"), self.since.elapsed().as_secs_f64());
    }
}
