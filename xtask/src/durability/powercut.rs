//! `cargo xtask powercut`: a server on a file system whose power is cut at a random moment, again and again.
//!
//! The log is rewritten and snapshots are taken all the time, so that the power fails in the middle of those as well. The
//! next round goes on with what was found, and after some rounds begins with an empty disk.

use std::net::SocketAddr;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;

use super::clients::{Clients, Connection, Manner};
use super::image::{Image, enclosed};
use super::process::Server;
use super::sequence::State;
use super::tally::{Cut, Tally};
use super::{Options, Policy, Random, Scratch};

const CLIENTS: u64 = 8;

/// Writes that a client may have under way.
const BATCH: u64 = 16;

/// A disk serves so many rounds.
const DISK_ROUNDS: u64 = 20;

/// What was under way when the power was cut, as its leftovers tell.
#[derive(Debug, Default)]
struct Interrupted {
    rewrites: u64,
    snapshots: u64,
    manifests: u64,
    removals: u64,
}

/// Cuts the power as often as asked, under each policy; true when every promise was kept.
pub(crate) fn run(words: impl Iterator<Item = String>) -> Result<bool, String> {
    if let Some(done) = enclosed()? {
        return Ok(done);
    }
    let options = Options::parse(words, 50)?;
    println!("powercut --seed {}", options.seed);
    let mut kept = true;
    for &policy in &options.policies {
        let (tally, interrupted) = rounds(&options, policy)?;
        for what in &tally.broken {
            println!("BROKEN: {what}");
        }
        let Interrupted { rewrites, snapshots, manifests, removals } = interrupted;
        println!("{policy}: {tally}");
        println!(
            "{policy}: cut during {rewrites} rewrites, {snapshots} snapshots, {manifests} writes of a manifest, with \
             replaced files still listed {removals} times"
        );
        kept &= tally.kept();
    }
    println!("{}", if kept { "every promise was kept" } else { "PROMISES WERE BROKEN" });
    Ok(kept)
}

fn rounds(options: &Options, policy: Policy) -> Result<(Tally, Interrupted), String> {
    let scratch = Scratch::new("powercut")?;
    let mut random = Random(options.seed);
    let (mut tally, mut interrupted) = (Tally::default(), Interrupted::default());
    let log = scratch.0.join("log");
    while tally.rounds < options.rounds {
        let mut image = Image::new(&scratch.0, 512)?;
        let mut states: Vec<State> = (0..CLIENTS).map(State::new).collect();
        let mut server = start(options, policy, &image, &log, &mut random)?;
        for _ in 0..DISK_ROUNDS.min(options.rounds - tally.rounds) {
            let starts: Vec<u64> = states.iter().map(State::number).collect();
            let manner = Manner { batch: BATCH, insist: false };
            let clients = Clients::start(server.address(), &starts, manner, &mut random);
            let stirrer = stir(server.address(), random.next());
            std::thread::sleep(Duration::from_millis(random.between(50, 2500)));
            let mut cut = Cut::now();
            image.cut()?;
            // Clients need a moment to read what was sent by then.
            cut.twilight = cut.at.elapsed() + Duration::from_millis(50);
            // The server may well live on for a while; it must not promise anything now.
            std::thread::sleep(Duration::from_millis(random.between(0, 300)));
            server.kill();
            cut.hear(&server);
            let records = clients.finish();
            let _ = stirrer.join();
            image.unmount()?;
            image.mount()?;
            interrupted.look(image.path());
            tally.rounds += 1;
            server = match start(options, policy, &image, &log, &mut random) {
                Ok(server) => server,
                Err(reason) => {
                    let kept =
                        std::env::temp_dir().join(format!("powercut-{}-{}", options.seed, tally.rounds));
                    copy(image.path(), &kept);
                    tally.broken.push(format!(
                        "round {}: {reason}\n(a copy of its files is in {})",
                        tally.rounds,
                        kept.display()
                    ));
                    break;
                }
            };
            let broken = tally.broken.len();
            tally.check(&server, &mut states, &records, policy, cut)?;
            if tally.broken.len() > broken {
                break;
            }
            if tally.rounds % 10 == 0 {
                eprintln!("… {policy}: {tally}");
            }
        }
        drop(server);
    }
    Ok((tally, interrupted))
}

fn start(
    options: &Options,
    policy: Policy,
    image: &Image,
    log: &Path,
    random: &mut Random,
) -> Result<Server, String> {
    let policy = policy.to_string();
    let mut arguments = vec!["--appendonly", "yes", "--appendfsync", &policy, "--save", "1 1000"];
    arguments.extend(["--auto-aof-rewrite-min-size", "64kb", "--auto-aof-rewrite-percentage", "20"]);
    arguments.extend(["--aof-use-rdb-preamble", if random.between(0, 2) == 0 { "yes" } else { "no" }]);
    // A child that takes its time is there when the power is cut.
    let delay = ["0", "0", "100", "1000"][random.between(0, 4) as usize];
    arguments.extend(["--rdb-key-save-delay", delay]);
    Server::start(&options.ours, image.path(), log, &arguments)
}

/// Asks for rewrites and snapshots until the server is gone.
fn stir(address: SocketAddr, seed: u64) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut random = Random(seed);
        let Ok(mut connection) = Connection::open(address, Duration::from_secs(60)) else { return };
        loop {
            std::thread::sleep(Duration::from_millis(random.between(1, 150)));
            let what = if random.between(0, 3) == 0 { "BGSAVE" } else { "BGREWRITEAOF" };
            // That one is under way already is said by an error.
            if connection.reply(&[what]).is_err() {
                return;
            }
        }
    })
}

impl Interrupted {
    fn look(&mut self, path: &Path) {
        let names = |path: &Path| -> Vec<String> {
            let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
        };
        let (top, log) = (names(path), names(&path.join("appendonlydir")));
        let any = |names: &[String], start: &str| u64::from(names.iter().any(|name| name.starts_with(start)));
        self.rewrites += any(&top, "temp-rewriteaof").max(any(&log, "temp-rewriteaof"));
        self.snapshots += any(&top, "temp-bgsave");
        self.manifests += any(&log, "temp-appendonly");
        let manifest = path.join("appendonlydir/appendonly.aof.manifest");
        let text = std::fs::read_to_string(manifest).unwrap_or_default();
        self.removals += u64::from(text.contains("type h"));
    }
}

fn copy(from: &Path, to: &Path) {
    let copied = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status();
    if !copied.is_ok_and(|status| status.success()) {
        eprintln!("{} could not be copied", from.display());
    }
}
