//! `cargo xtask test`: every test of the project, with one count at the end. `make test` is this after its installs.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use testkit::ServerProcess;

use crate::arguments::Arguments;

/// What one step ran.
#[derive(Clone, Copy, Default)]
struct Count {
    passed: u64,
    failed: u64,
    skipped: u64,
}

impl Count {
    fn of(ok: bool) -> Count {
        Count { passed: u64::from(ok), failed: u64::from(!ok), skipped: 0 }
    }

    fn skipped(why: &str) -> Count {
        println!("SKIPPED: {why}");
        Count { skipped: 1, ..Count::default() }
    }

    fn add(&mut self, other: Count) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

/// The binary under test, built by the first step.
const OURS: &str = "target/debug/redstart";

/// Runs all steps and prints how many tests passed, failed and were skipped; returns whether none failed.
pub(crate) fn run(_: &Arguments) -> Result<bool, String> {
    let steps: &[(&str, fn() -> Count)] = &[
        ("format", || Count::of(succeeds(Command::new("cargo").args(["fmt", "--all", "--check"])))),
        ("lints", || {
            let mut clippy = Command::new("cargo");
            clippy.args(["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]);
            Count::of(succeeds(&mut clippy))
        }),
        ("build", || Count::of(succeeds(Command::new("cargo").args(["build", "--quiet", "-p", "redstart"])))),
        ("cargo test", cargo_test),
        ("scenarios on redis-server", || oracle(&[])),
        ("scenarios on redstart", || oracle(&["--ours", OURS])),
        ("command table", coverage),
        ("redis-cli", redis_cli),
        ("redis-benchmark", redis_benchmark),
        ("redis-py", redis_py),
        ("ioredis", ioredis),
    ];
    let (mut total, mut lines) = (Count::default(), Vec::new());
    for (name, step) in steps {
        println!("==> {name}");
        let start = Instant::now();
        let count = step();
        total.add(count);
        lines.push(format!(
            "{name:28} {:>7} passed {:>4} failed {:>4} skipped  {:>5.0} s",
            count.passed,
            count.failed,
            count.skipped,
            start.elapsed().as_secs_f64()
        ));
    }
    println!("\n{}\n", lines.join("\n"));
    println!("{} passed, {} failed, {} skipped", total.passed, total.failed, total.skipped);
    Ok(total.failed == 0)
}

fn succeeds(command: &mut Command) -> bool {
    match command.stdin(Stdio::null()).status() {
        Ok(status) => status.success(),
        Err(error) => {
            println!("{command:?}: {error}");
            false
        }
    }
}

/// Runs a command, passes its output on, and returns it with whether it succeeded.
fn output(command: &mut Command) -> (bool, String) {
    match command.stdin(Stdio::null()).output() {
        Ok(output) => {
            let text = format!(
                "{}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
            if !output.status.success() {
                println!("{text}");
            }
            (output.status.success(), text)
        }
        Err(error) => {
            println!("{command:?}: {error}");
            (false, String::new())
        }
    }
}

/// Returns the number that stands before `word` in the first line that has both.
fn number_before(text: &str, word: &str) -> Option<u64> {
    let mut words = text.split_whitespace().map(|w| w.trim_matches([',', ';', '.', '(', ')']));
    let mut last = words.next()?;
    for next in words {
        if next == word
            && let Ok(number) = last.parse()
        {
            return Some(number);
        }
        last = next;
    }
    None
}

fn cargo_test() -> Count {
    let mut command = Command::new("cargo");
    command.args(["test", "--quiet", "--workspace", "--no-fail-fast"]);
    let (ok, text) = output(&mut command);
    let mut count = Count::default();
    for line in text.lines().filter(|line| line.starts_with("test result:")) {
        count.passed += number_before(line, "passed").unwrap_or(0);
        count.failed += number_before(line, "failed").unwrap_or(0);
        count.skipped += number_before(line, "ignored").unwrap_or(0);
    }
    if !ok && count.failed == 0 {
        count.failed = 1;
    }
    count
}

fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    found.is_ok()
}

/// Returns this program. `cargo test` may have built it anew, with the features that all members ask for together.
fn own() -> Command {
    let path = std::env::current_exe().expect("a running program has a path");
    let path = path.to_string_lossy();
    Command::new(path.trim_end_matches(" (deleted)"))
}

fn oracle(arguments: &[&str]) -> Count {
    if arguments.is_empty() && !has("redis-server") {
        return Count::skipped("no redis-server here to compare with");
    }
    let ours = format!("{OURS} server");
    let mut command = own();
    command.arg("oracle");
    if !arguments.is_empty() {
        command.args(["--ours", &ours]);
    }
    let (ok, text) = output(&mut command);
    let last = text.lines().rfind(|line| line.contains("replies")).unwrap_or_default();
    println!("{last}");
    let replies = number_before(last, "replies").unwrap_or(0);
    let differences = number_before(last, "differences").unwrap_or(u64::from(!ok));
    let skipped = number_before(last, "skipped").unwrap_or(0);
    Count { passed: replies.saturating_sub(differences), failed: differences.max(u64::from(!ok)), skipped }
}

fn coverage() -> Count {
    if !has("redis-server") {
        return Count::skipped("no redis-server here to compare the command table with");
    }
    Count::of(succeeds(own().args(["coverage", "--ours", &format!("{OURS} server")])))
}

fn server() -> Option<ServerProcess> {
    match ServerProcess::start(&[OURS.into(), "server".into()], &[]) {
        Ok(server) => Some(server),
        Err(error) => {
            println!("{OURS} does not start: {error}");
            None
        }
    }
}

/// Answers of redis-cli, alone and as a mass loader.
fn redis_cli() -> Count {
    if !has("redis-cli") {
        return Count::skipped("no redis-cli here");
    }
    let Some(server) = server() else { return Count::of(false) };
    let port = server.address().port().to_string();
    let cli = |args: &[&str]| output(Command::new("redis-cli").args(["-p", &port]).args(args)).1;
    let mut count = Count::default();
    let mut check = |what: &str, ok: bool| {
        if !ok {
            println!("redis-cli: {what} FAILED");
        }
        count.add(Count::of(ok));
    };
    check("ping", cli(&["ping"]).trim() == "PONG");
    check("set", cli(&["set", "k", "v"]).trim() == "OK");
    check("RESP3 hash", {
        cli(&["hset", "h", "f", "v"]);
        cli(&["-3", "--no-raw", "hgetall", "h"]).contains("1# \"f\" => \"v\"")
    });
    check("--scan", cli(&["--scan"]).lines().count() == 2);
    check("--bigkeys", cli(&["--bigkeys"]).contains("Biggest string found"));
    check("--latency-history is served", cli(&["-r", "3", "-i", "0.01", "ping"]).lines().count() == 3);
    check("help comes from COMMAND DOCS", cli(&["command", "docs", "set"]).contains("summary"));
    let script: String = (0..10_000).map(|i| format!("SET pipe:{i} {i}\r\n")).collect();
    let path = server.directory().join("mass.txt");
    std::fs::write(&path, script).expect("the server's own directory can be written to");
    let piped = Command::new("sh")
        .arg("-c")
        .arg(format!("redis-cli -p {port} --pipe < '{}'", path.display()))
        .output()
        .map(|o| String::from_utf8_lossy(&o.stdout).into_owned())
        .unwrap_or_default();
    check("--pipe", piped.contains("errors: 0, replies: 10000"));
    check("--pipe stored everything", cli(&["dbsize"]).trim() == "10002");
    count
}

fn redis_benchmark() -> Count {
    if !has("redis-benchmark") {
        return Count::skipped("no redis-benchmark here");
    }
    let Some(server) = server() else { return Count::of(false) };
    let port = server.address().port().to_string();
    let mut command = Command::new("redis-benchmark");
    command.args(["-p", &port, "-n", "2000", "-P", "8", "-c", "20", "-q"]);
    command.args(["-t", "ping,set,get,incr,lpush,rpush,lpop,rpop,sadd,hset,spop,zadd,zpopmin,lrange,mset"]);
    let (ok, text) = output(&mut command);
    let done = text.matches("requests per second").count() as u64;
    let errors = text.matches("Error from server").count() as u64;
    Count { passed: done, failed: errors.max(u64::from(!ok || done < 15)), skipped: 0 }
}

fn redis_py() -> Count {
    let python = ".venv/bin/python";
    let there = Path::new(python).exists() && succeeds(Command::new(python).args(["-c", "import redis"]));
    if !there {
        return Count::skipped("redis-py is not installed");
    }
    let Some(server) = server() else { return Count::of(false) };
    let mut command = Command::new(python);
    command.arg("clients/redis-py/test_redis_py.py");
    command.env("REDSTART_PORT", server.address().port().to_string());
    let (ok, text) = output(&mut command);
    let ran =
        text.lines().find_map(|l| l.strip_prefix("Ran ")).and_then(|l| l.split(' ').next()?.parse().ok());
    let ran: u64 = ran.unwrap_or(0);
    let failed =
        if ok { 0 } else { text.matches("\nFAIL:").count() + text.matches("\nERROR:").count() } as u64;
    let failed = failed.max(u64::from(!ok || ran == 0));
    Count { passed: ran.saturating_sub(failed), failed, skipped: 0 }
}

fn ioredis() -> Count {
    if !Path::new("clients/ioredis/node_modules/ioredis").exists() {
        return Count::skipped("ioredis is not installed");
    }
    let Some(server) = server() else { return Count::of(false) };
    let mut command = Command::new("node");
    command.args(["--test", "--test-reporter=tap", "clients/ioredis/"]);
    command.env("REDSTART_PORT", server.address().port().to_string());
    let (ok, text) = output(&mut command);
    let after = |word: &str| {
        text.lines().find_map(|line| line.strip_prefix(word)?.trim().parse::<u64>().ok()).unwrap_or(0)
    };
    let (passed, failed) = (after("# pass"), after("# fail"));
    Count { passed, failed: failed.max(u64::from(!ok || passed == 0)), skipped: after("# skipped") }
}
