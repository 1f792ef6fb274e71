//! Chores around the workspace: `cargo xtask test | oracle | record | coverage | bench | fuzz | simulate | powercut | …`.
#![deny(unsafe_code)] // But for the one call in `durability::power`.

mod arguments;
mod bench;
mod coverage;
mod durability;
mod fuzz;
mod lock;
mod oracle;
mod record;
mod replication;
mod simulate;
mod test;

use std::process::ExitCode;

use arguments::Arguments;

const USAGE: &str = "\
cargo xtask oracle [--server CMD | --ours CMD] [FILTER...]   play spec/ against a server, print every difference
cargo xtask record [--server CMD] [--force] FILE...          write the reference server's replies into scenario files
cargo xtask coverage --ours CMD [--server CMD]               compare COMMAND tables of reference and ours

cargo xtask test                                             run every test of the project and count them
cargo xtask bench [--reference CMD] [--ours CMD] [--rounds N] [--scale F] [--only WORDS] [--write]
                                                             measure both servers side by side, line by line
cargo xtask fuzz [--seconds N] [TARGET...]                   feed the fuzz targets, 60 s each by default
cargo xtask simulate [--seeds N] [--from N] | --seed N       run seeds of the simulator, 10000 by default; or show one
cargo xtask simulate --crashes N [--from N] | --crash-seed N  crash a node over a virtual disk N times; or show one seed
cargo xtask simulate --replication|--locks [--seeds N | --seeds A..B] [--from N] | --replication|--locks --seed N
                                                             masters and replicas over links that break
cargo xtask simulate --reference CMD [--seeds N] [--from N]  give random requests to CMD and a node, compare replies
cargo xtask corrupt [--bytes N] [--flips N]                  damage logs and snapshots everywhere, and load them

cargo xtask powercut [--rounds N] [--fsync always|everysec] [--seed N] [--ours CMD]
                                                             cut the power of a file system under load (as root)
cargo xtask kill9 [--rounds N] [--fsync always|everysec] [--seed N] [--ours CMD]
                                                             kill the server under load
cargo xtask diskfaults [--only WORDS] [--fsync always|everysec] [--ours CMD]
                                                             let each system call of the disk fail once (with strace)
cargo xtask replicate [--minutes N] [--only WORDS] [--seed N] [--ours CMD]
                                                             redis-server in every position, links cut, processes killed
cargo xtask sentinel [--rounds N] [--seed N] [--ours CMD]    let Redis Sentinel fail three servers over
cargo xtask promote [--rounds N] [--synchronous yes|no|wait] [--seed N] [--ours CMD]
                                                             lose the master, promote the best replica, count what is lost
cargo xtask lock linearizable [--minutes N] [--only WORDS] [--seed N] [--ours CMD]
                                                             one lock under every trouble, judged as a fenced mutex
cargo xtask lock stale [--rounds N] [--ours CMD]             let a holder oversleep its lease and write on
cargo xtask lock run-cut [--rounds N] [--ours CMD]           cut the network of redstart lock run, kill its processes
cargo xtask lock promote [--rounds N] [--seed N] [--ours CMD]
                                                             kill the master under those who hold locks on it
cargo xtask lock races [--count N] [--seed N] [--ours CMD]  acquire, abort, drop, panic: nothing may stay locked
The last ten end with 0 when every promise was kept, 1 when not, and 2 when this machine cannot do it.

CMD is a program and its leading arguments in one word; redis-server's options are added. Default: redis-server.
FILTER selects files whose path contains it.";

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let command = words.next().unwrap_or_default();
    let done = match command.as_str() {
        "bench" => bench::run(words),
        "fuzz" => fuzz::run(words),
        "simulate" => simulate::run(words),
        "corrupt" => simulate::corrupt(words),
        "powercut" => durability::powercut::run(words),
        "kill9" => durability::kill9::run(words),
        "diskfaults" => durability::diskfaults::run(words),
        "replicate" => replication::replicate::run(words),
        "sentinel" => replication::sentinel::run(words),
        "promote" => replication::promote::run(words),
        "lock" => lock::run(words),
        command => Arguments::parse(words).and_then(|arguments| match command {
            "oracle" => oracle::run(&arguments),
            "record" => record::run(&arguments),
            "test" => test::run(&arguments),
            "coverage" => coverage::run(&arguments),
            _ => Err(USAGE.to_string()),
        }),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}
