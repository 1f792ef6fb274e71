//! Crashes: one node over a virtual disk that loses its power, its process or its health, and loads what is left.
//!
//! ```text
//! boot ─► load ─► judge ─► clients write and read, parameters change, the log is rewritten, the disk fails ─► crash
//!  ▲                                                                                                            │
//!  └────────────────────────────── power cut, kill, or shutdown: what is left on the disk ──────────────────────┘
//! ```
//!
//! The judge knows every state that the data ever had, and what clients were told; see [`ledger`]. Whatever is loaded
//! must be one of those states, with nothing missing that was promised. Between crash and load, damaged copies of the
//! files are loaded as well: they must be refused, or turn out to be such a state.

mod ledger;
mod life;
pub(crate) mod shadow;
pub(crate) mod traffic;

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use base::disk::Step;
use base::rng::Rng;
use config::Config;
use testkit::words::quote;

use crate::checkers::transcript::Transcript;
use crate::disk::{Speed, VirtualDisk};
use crate::log_files::MANIFEST;
use crate::{Clock, log_files, seeds};
use ledger::{Allowed, Ledger};
use life::{End, Life};
use shadow::Shadow;
use traffic::Traffic;

/// What a seed came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Two runs of one seed agree in this.
    pub digest: u64,
    /// Crashes of each kind that were followed by a load.
    pub power_cuts: u64,
    pub kills: u64,
    pub shutdowns: u64,
    /// Units of the stream that were executed.
    pub units: u64,
    /// Replies to writes and reads that were held against what was there after the crash.
    pub checked: u64,
    /// Those among them that promised that something survives everything.
    pub promised: u64,
    /// Tasks that were made to fail.
    pub faults: u64,
    /// How often writes had to be possible again after the disk had healed.
    pub recoveries: u64,
    /// Damaged copies: those that were refused, and those of which a correct state was loaded.
    pub refused: u64,
    pub survived: u64,
    /// Power cuts under `appendfsync no` that left a hole, so that loading was refused.
    pub holes: u64,
    /// Ends before the first base was listed, after which log files had to be moved out of the way.
    pub tidied: u64,
    /// Crashes that left filler at the end of a log file.
    pub filled: u64,
}

impl Tally {
    /// Adds another seed's figures.
    pub fn add(&mut self, other: &Tally) {
        self.power_cuts += other.power_cuts;
        self.kills += other.kills;
        self.shutdowns += other.shutdowns;
        self.units += other.units;
        self.checked += other.checked;
        self.promised += other.promised;
        self.faults += other.faults;
        self.recoveries += other.recoveries;
        self.refused += other.refused;
        self.survived += other.survived;
        self.holes += other.holes;
        self.tidied += other.tidied;
        self.filled += other.filled;
    }

    /// Returns how many crashes there were.
    pub fn crashes(&self) -> u64 {
        self.power_cuts + self.kills + self.shutdowns
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} crash points ({} power cuts, {} kills, {} stops), {} writes, {} of {} replies were promises, {} faults, \
             {} recoveries, {} damaged copies refused and {} loaded as they once were, {} holes, {} unlisted, {} with prepared space",
            self.crashes(),
            self.power_cuts,
            self.kills,
            self.shutdowns,
            self.units,
            self.promised,
            self.checked,
            self.faults,
            self.recoveries,
            self.refused,
            self.survived,
            self.holes,
            self.tidied,
            self.filled,
        )
    }
}

/// Crashes in one seed.
pub const CRASHES: u64 = 20;

/// Runs a seed to its end; the error is what was found, with what had happened before where `verbose` asks for it.
pub fn run(seed: u64, verbose: bool) -> Result<Tally, String> {
    let mut world = World::new(seed, verbose);
    let found = |world: &World, problem| format!("seed {seed}, crash {}: {problem}", world.tally.crashes());
    let mut life = world.load().map_err(|problem| found(&world, problem))?;
    for _ in 0..CRASHES {
        life = world.generation(life).map_err(|problem| found(&world, problem))?;
    }
    world.tally.digest = world.transcript.digest();
    Ok(world.tally)
}

/// Runs seeds on all cores, and returns what they came to and what was found, the seed first.
pub fn run_all(seeds: Range<u64>, verbose: bool) -> (Tally, Vec<String>) {
    seeds::run_all(seeds, verbose, |seed| run(seed, verbose), |sum: &mut Tally, found| sum.add(&found))
}

/// A file whose first sector was never written, and which holds no whole batch behind it, could be anybody's.
const NO_FRONT: &str = "the file begins with bytes that were never written";

/// How the server is configured, from one start to the next.
#[derive(Clone, Debug)]
struct Setup {
    appendonly: bool,
    fsync: &'static str,
    no_fsync_on_rewrite: bool,
    preamble: bool,
    timestamps: bool,
    rewrite_percentage: u64,
    rewrite_min_size: u64,
    prepared_space: &'static str,
}

/// What `aof-prepared-space` may be: nothing, a page or two, and more than the log ever holds.
const PREPARED_SPACES: [&str; 4] = ["0", "2000", "20000", "300000"];

impl Setup {
    fn draw(rng: &mut Rng, appendonly: bool, fsync: &'static str) -> Setup {
        Setup {
            appendonly,
            fsync,
            no_fsync_on_rewrite: rng.below(12) == 0,
            preamble: rng.below(2) == 0,
            timestamps: rng.below(3) == 0,
            rewrite_percentage: [0, 50, 100][rng.below(3) as usize],
            rewrite_min_size: [64, 1_000, 10_000][rng.below(3) as usize],
            prepared_space: PREPARED_SPACES[rng.below(4) as usize],
        }
    }

    fn config(&self) -> Config {
        let mut config = Config::default();
        let yes_no = |is| if is { "yes" } else { "no" };
        let (percentage, min_size) = (self.rewrite_percentage.to_string(), self.rewrite_min_size.to_string());
        let parameters = [
            ("save", ""),
            ("databases", "4"),
            ("appendonly", yes_no(self.appendonly)),
            ("appendfsync", self.fsync),
            ("no-appendfsync-on-rewrite", yes_no(self.no_fsync_on_rewrite)),
            ("aof-use-rdb-preamble", yes_no(self.preamble)),
            ("aof-timestamp-enabled", yes_no(self.timestamps)),
            ("auto-aof-rewrite-percentage", &percentage),
            ("auto-aof-rewrite-min-size", &min_size),
            ("aof-prepared-space", self.prepared_space),
        ];
        for (name, value) in parameters {
            config
                .set_at_start(name.as_bytes(), &[value.as_bytes()])
                .unwrap_or_else(|error| panic!("{name} {value:?} is refused: {error}"));
        }
        config
    }
}

struct World {
    verbose: bool,
    rng: Rng,
    clock: Clock,
    disk: VirtualDisk,
    setup: Setup,
    /// Whether the disk ever fails.
    failing: bool,
    /// Whether `appendfsync` is ever `no`, so that a hole in a file is not known from damage.
    lazy: bool,
    /// Syncs that have failed in all lives.
    failed_syncs: u64,
    ledger: Ledger,
    traffic: Traffic,
    transcript: Transcript,
    tally: Tally,
}

impl World {
    fn new(seed: u64, verbose: bool) -> World {
        let mut rng = Rng::seeded(seed);
        let clock = Clock::default();
        let disk = VirtualDisk::new(rng.next_u64(), Speed::default());
        let appendonly = rng.below(8) != 0;
        // A snapshot is loaded without what has expired, so that it is none of the states that there were.
        let expiry = appendonly && rng.below(2) == 0;
        let mut world = World {
            verbose,
            setup: Setup::draw(&mut rng, appendonly, "everysec"),
            failing: rng.below(2) == 0,
            lazy: rng.below(4) == 0,
            failed_syncs: 0,
            ledger: Ledger::new(clock.now().instant, verbose),
            traffic: Traffic::new(&mut rng, expiry),
            transcript: Transcript::default(),
            tally: Tally::default(),
            rng,
            clock,
            disk,
        };
        world.setup.fsync = world.draw_fsync();
        world
    }

    fn draw_fsync(&mut self) -> &'static str {
        match self.rng.below(4) {
            0 | 1 => "always",
            2 if self.lazy => "no",
            _ => "everysec",
        }
    }

    /// Starts a node over what the disk has.
    fn load(&mut self) -> Result<Life, String> {
        Life::load(self.setup.config(), self.rng.next_u64(), &self.clock, &self.disk)
    }

    /// Lets a node live until it crashes, and returns the next one, which was judged by what it has found.
    fn generation(&mut self, mut life: Life) -> Result<Life, String> {
        let mut end = life.run(self)?;
        life.look_over(self)?;
        if self.disk.failures(Step::Sync) > self.failed_syncs {
            // What a failed sync has lost is still read from the page cache by the next process, which cannot know.
            end = End::PowerCut;
        }
        self.failed_syncs = self.disk.failures(Step::Sync);
        // A sync that fails after the last look at it would be one that nobody knows of.
        self.disk.heal();
        self.disk.set_room(u64::MAX);
        let (allowed, crashed) = self.crash(&mut life, end);
        drop(life);

        self.clock.advance(Duration::from_micros(self.rng.below(3_000_000)));
        if self.rng.below(4) == 0 {
            // An operator changes his mind; nobody goes back from a log to none, and expects what the log has.
            let appendonly = self.setup.appendonly || self.rng.below(4) == 0;
            let fsync = self.draw_fsync();
            self.setup = Setup::draw(&mut self.rng, appendonly, fsync);
        }
        self.tally.tidied += u64::from(log_files::tidy(&mut self.disk, self.clock.now().instant));
        self.tally.filled += u64::from(self.is_filled());
        self.note(|| self.show_files());
        let next = match self.load() {
            // Nobody said which bytes were on the disk, or that the file is ours: an operator would have to cut it. Here he
            // begins anew.
            Err(reason)
                if end != End::Kill
                    && (self.lazy || reason.contains(NO_FRONT))
                    && reason.contains(" at offset ") =>
            {
                self.note(|| reason);
                self.tally.holes += 1;
                self.disk = VirtualDisk::new(self.rng.next_u64(), Speed::default());
                self.failed_syncs = 0;
                self.ledger.forget(self.clock.now().instant);
                return self.load();
            }
            loaded => loaded?,
        };
        self.damage()?;
        let loaded = Shadow::of(&next.node.engine.keyspace);
        let had = self.ledger.len();
        let kept = self.ledger.go_on_from(loaded, crashed, allowed)?;
        self.note(|| format!("---- loaded: {kept} units of {had}"));
        self.transcript.add(kept as u64, had as u32, b"loaded");
        (self.tally.checked, self.tally.promised) = (self.ledger.checked, self.ledger.promises);
        Ok(next)
    }

    /// Returns whether some log file ends with filler.
    fn is_filled(&self) -> bool {
        let files = self.disk.files().filter(|path| path.contains(".incr."));
        let mut ends = files.filter_map(|path| self.disk.read(path)?.last_chunk::<2>());
        ends.any(|end| matches!(end, b"##" | b"#\n"))
    }

    /// Ends a life, and says what may be gone and when it ended.
    fn crash(&mut self, life: &mut Life, end: End) -> (Allowed, base::time::Instant) {
        let now = self.clock.now().instant;
        self.tally.units = self.ledger.executed;
        let log_on = life.log_was_on && self.setup.appendonly;
        let idle = self.disk.is_idle() && !life.is_cut_short();
        life.leave_child(self);
        let allowed = match end {
            End::PowerCut => {
                self.tally.power_cuts += 1;
                self.disk.crash(&mut self.rng);
                if life.prompt { Allowed::Recent } else { Allowed::AtRisk }
            }
            End::Kill => {
                self.tally.kills += 1;
                self.disk.kill(&mut self.rng);
                if log_on && life.healthy && idle { Allowed::Untold } else { Allowed::AtRisk }
            }
            End::Shutdown => {
                self.tally.shutdowns += 1;
                self.disk.kill(&mut self.rng);
                if self.rng.below(2) == 0 {
                    self.disk.crash(&mut self.rng);
                }
                if log_on && life.healthy { Allowed::Nothing } else { Allowed::AtRisk }
            }
        };
        self.note(|| format!("---- {end:?}, and {allowed:?} may be lost"));
        (allowed, now)
    }

    /// Loads copies of the files in which something was overwritten.
    fn damage(&mut self) -> Result<(), String> {
        if self.rng.below(3) != 0 {
            return Ok(());
        }
        let paths: Vec<String> = self
            .disk
            .files()
            .filter(|path| path.contains('/') && path.contains(".aof."))
            .map(str::to_owned)
            .collect();
        for _ in 0..3 {
            let Some(path) = paths.get(self.rng.below(paths.len().max(1) as u64) as usize) else {
                return Ok(());
            };
            if path.ends_with(".manifest") || path.contains("temp-") {
                continue;
            }
            let bytes = self.disk.read(path).unwrap_or_default().to_vec();
            if bytes.is_empty() {
                continue;
            }
            let mut disk = self.disk.clone();
            let at = self.rng.below(bytes.len() as u64) as usize;
            let what = match self.rng.below(4) {
                0 => {
                    // A sector of zeros.
                    let from = at / 512 * 512;
                    for (at, byte) in bytes.iter().enumerate().skip(from).take(512) {
                        disk.flip(path, at, *byte);
                    }
                    "zeros"
                }
                1 => {
                    for at in at..bytes.len().min(at + 1 + self.rng.below(40) as usize) {
                        disk.flip(path, at, self.rng.below(256) as u8);
                    }
                    "noise"
                }
                _ => {
                    disk.flip(path, at, 1 << self.rng.below(8));
                    "one bit"
                }
            };
            match Life::load(self.setup.config(), 1, &self.clock, &disk) {
                Ok(life) => {
                    let loaded = Shadow::of(&life.node.engine.keyspace);
                    if let Err(problem) = self.ledger.find(&loaded) {
                        return Err(format!("with {what} at {at} of {path} {problem}"));
                    }
                    self.tally.survived += 1;
                }
                Err(reason) => {
                    let digit = reason.contains("offset") && reason.bytes().any(|byte| byte.is_ascii_digit());
                    if !reason.contains(path.as_str()) || !digit {
                        return Err(format!(
                            "{what} at {at} of {path} is refused without saying where: {reason}"
                        ));
                    }
                    self.tally.refused += 1;
                }
            }
        }
        Ok(())
    }

    /// Returns what is on the disk, in a line.
    fn show_files(&self) -> String {
        let manifest = self.disk.read(MANIFEST).unwrap_or_default();
        let length = |path: &str| self.disk.read(path).map_or(0, <[u8]>::len);
        let files: Vec<String> = self.disk.files().map(|path| format!("{path} {}", length(path))).collect();
        format!("{}; {}", files.join(", "), quote(manifest))
    }

    fn note(&self, line: impl FnOnce() -> String) {
        if self.verbose {
            println!("{:>12} {}", self.clock.now().instant.micros(), line());
        }
    }
}
