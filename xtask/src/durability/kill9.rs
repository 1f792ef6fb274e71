//! `cargo xtask kill9`: a server that is killed at a random moment, again and again.

use std::path::Path;
use std::time::Duration;

use super::clients::{Clients, Connection, Manner};
use super::process::Server;
use super::sequence::State;
use super::tally::{Cut, Tally};
use super::{Options, Policy, Random, Scratch};

const CLIENTS: u64 = 8;
const BATCH: u64 = 16;

/// Kills the server as often as asked, under each policy; true when every promise was kept.
pub(crate) fn run(words: impl Iterator<Item = String>) -> Result<bool, String> {
    let options = Options::parse(words, 50)?;
    println!("kill9 --seed {}", options.seed);
    let mut kept = true;
    for &policy in &options.policies {
        let tally = rounds(&options, policy)?;
        for what in &tally.broken {
            println!("BROKEN: {what}");
        }
        println!("{policy}: {tally}");
        kept &= tally.kept();
    }
    println!("{}", if kept { "every promise was kept" } else { "PROMISES WERE BROKEN" });
    Ok(kept)
}

fn rounds(options: &Options, policy: Policy) -> Result<Tally, String> {
    let scratch = Scratch::new("kill9")?;
    let directory = scratch.0.join("data");
    std::fs::create_dir_all(&directory).map_err(|error| error.to_string())?;
    let log = scratch.0.join("log");
    let mut random = Random(options.seed);
    let mut tally = Tally::default();
    let mut states: Vec<State> = (0..CLIENTS).map(State::new).collect();
    let mut server = start(options, policy, &directory, &log)?;
    while tally.rounds < options.rounds {
        let starts: Vec<u64> = states.iter().map(State::number).collect();
        let manner = Manner { batch: BATCH, insist: false };
        let clients = Clients::start(server.address(), &starts, manner, &mut random);
        std::thread::sleep(Duration::from_millis(random.between(0, 300)));
        let mut connection = Connection::open(server.address(), Duration::from_secs(30))?;
        // One that is under way already is as good.
        let _ = connection.reply(&["BGREWRITEAOF"])?;
        std::thread::sleep(Duration::from_millis(random.between(0, 500)));
        let cut = Cut::now();
        server.kill();
        let records = clients.finish();
        tally.rounds += 1;
        server = match start(options, policy, &directory, &log) {
            Ok(server) => server,
            Err(reason) => {
                tally.broken.push(format!("round {}: {reason}", tally.rounds));
                return Ok(tally);
            }
        };
        tally.check(&server, &mut states, &records, policy, cut)?;
        if tally.rounds % 20 == 0 {
            eprintln!("… {policy}: {tally}");
        }
    }
    Ok(tally)
}

fn start(options: &Options, policy: Policy, directory: &Path, log: &Path) -> Result<Server, String> {
    let policy = policy.to_string();
    let arguments =
        ["--appendonly", "yes", "--appendfsync", &policy, "--save", "", "--auto-aof-rewrite-min-size"];
    Server::start(&options.ours, directory, log, &[&arguments[..], &["1mb"]].concat())
}
