//! Speed: requests per second, and what the server's processor spends on each.

use std::io;
use std::process::Command;

use super::Contest;
use super::load::Loader;
use super::machine::CLIENT_CPU;
use super::report::{Goal, Line, Section, Table};
use super::server::Server;

/// What redis-benchmark sends, and what the server holds before.
struct Workload {
    name: &'static str,
    arguments: &'static str,
    requests: u64,
    preload: Option<fn(&mut Loader, u64) -> io::Result<()>>,
    cpu: f64,
    throughput: Option<f64>,
}

/// Returns a workload without a goal for its throughput.
const fn workload(name: &'static str, arguments: &'static str, requests: u64, cpu: f64) -> Workload {
    Workload { name, arguments, requests, preload: None, cpu, throughput: None }
}

const WORKLOADS: &[Workload] = &[
    workload("PING", "-t ping_mbulk -P 1", 300_000, 0.90),
    workload("GET", "-t get -P 1 -r 1000000 -d 64", 300_000, 0.90).after(strings),
    workload("SET", "-t set -P 1 -r 1000000 -d 64", 300_000, 0.90),
    workload("GET, pipeline 16", "-t get -P 16 -r 1000000 -d 64", 3_000_000, 0.65).after(strings).faster(1.5),
    workload("SET, pipeline 16", "-t set -P 16 -r 1000000 -d 64", 2_000_000, 0.65).faster(1.5),
    workload("INCR, pipeline 16", "-t incr -P 16 -r 1000000", 3_000_000, 0.65).faster(1.5),
    workload("LPUSH, pipeline 16", "-t lpush -P 16 -d 32", 2_000_000, 0.75),
    workload("RPOP, pipeline 16", "-t rpop -P 16", 2_000_000, 0.75).after(list),
    workload("SADD, pipeline 16", "-t sadd -P 16 -r 1000000", 2_000_000, 0.75),
    workload("HSET, pipeline 16", "-t hset -P 16 -r 1000000 -d 32", 2_000_000, 0.75),
    workload("ZADD, pipeline 16", "-t zadd -P 16 -r 1000000", 1_000_000, 0.75),
    workload("ZPOPMIN, pipeline 16", "-t zpopmin -P 16", 1_000_000, 0.75).after(sorted_set),
    workload("LRANGE of 100, pipeline 16", "-P 16 LRANGE mylist 0 99", 200_000, 0.75).after(list),
    workload("MSET of 10, pipeline 16", "-t mset -P 16 -r 1000000 -d 32", 300_000, 0.75),
];

impl Workload {
    const fn after(mut self, preload: fn(&mut Loader, u64) -> io::Result<()>) -> Workload {
        self.preload = Some(preload);
        self
    }

    const fn faster(mut self, ratio: f64) -> Workload {
        self.throughput = Some(ratio);
        self
    }
}

// The keys of the preloads are those that redis-benchmark asks for.

fn strings(loader: &mut Loader, _: u64) -> io::Result<()> {
    let value = "x".repeat(64);
    (0..1_000_000).try_for_each(|i| loader.request(&["SET", &format!("key:{i:012}"), &value]))
}

fn list(loader: &mut Loader, requests: u64) -> io::Result<()> {
    let element = "x".repeat(32);
    (0..requests).try_for_each(|_| loader.request(&["LPUSH", "mylist", &element]))
}

fn sorted_set(loader: &mut Loader, requests: u64) -> io::Result<()> {
    (0..requests).try_for_each(|i| {
        // Multiplying by a number that shares no factor with the modulus scatters the scores.
        let score = i.wrapping_mul(7919) % 1_000_003;
        loader.request(&["ZADD", "myzset", &score.to_string(), &format!("element:{i:012}")])
    })
}

/// Figures of both servers, theirs first, or why there are none.
pub(super) type Pairs = Result<Vec<(f64, f64)>, String>;

/// What one run of redis-benchmark came to.
#[derive(Clone, Copy, Debug)]
struct Run {
    requests_per_second: f64,
    cpu_ns: f64,
}

/// Measures all workloads that are selected.
pub(super) fn section(contest: &Contest) -> Section {
    let (mut cpu, mut throughput) = (Vec::new(), Vec::new());
    for workload in WORKLOADS.iter().filter(|workload| contest.selects("speed", workload.name)) {
        let requests = contest.scaled(workload.requests);
        let pairs = contest.pairs(workload.name, |command| run(command, workload, requests));
        let of = |part: fn(&Run) -> f64| {
            let pairs = pairs.as_ref().map_err(String::clone)?;
            Ok(pairs.iter().map(|(theirs, ours)| (part(theirs), part(ours))).collect())
        };
        cpu.push(Line::new(workload.name, Goal::RatioAtMost(workload.cpu), of(|run| run.cpu_ns)));
        let goal = workload.throughput.map_or(Goal::None, Goal::RatioAtLeast);
        throughput.push(Line::new(workload.name, goal, of(|run| run.requests_per_second / 1000.0)));
    }
    Section {
        title: "Speed",
        method: "redis-benchmark with 50 connections against a fresh server. Processor time is that of all threads \
            of the server. GET finds 1,000,000 keys, RPOP, ZPOPMIN and LRANGE find as many elements as there are \
            requests.",
        tables: vec![
            Table::new("server CPU, ns per request", cpu),
            Table::new("throughput, thousand requests per second", throughput),
        ],
    }
}

fn run(command: &[String], workload: &Workload, requests: u64) -> io::Result<Run> {
    let server = Server::start(command, &[])?;
    if let Some(preload) = workload.preload {
        let mut loader = Loader::connect(server.address(), 1000)?;
        preload(&mut loader, requests)?;
        loader.finish()?;
    }
    let port = server.address().port().to_string();
    let mut benchmark = Command::new("taskset");
    benchmark.args(["-c", CLIENT_CPU, "redis-benchmark", "-p", &port, "--csv", "-c", "50"]);
    benchmark.args(["-n", &requests.to_string()]).args(workload.arguments.split(' '));

    let before = server.cpu_ns()?;
    let output = benchmark.output()?;
    let cpu_ns = (server.cpu_ns()? - before) as f64 / requests as f64;

    server.no_errors()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let requests_per_second = rate(&text).ok_or_else(|| {
        io::Error::other(format!("redis-benchmark: {}", text.lines().next().unwrap_or("nothing")))
    })?;
    Ok(Run { requests_per_second, cpu_ns })
}

/// Returns the rate from the last row: `"GET","123456.78",…`.
pub(super) fn rate(csv: &str) -> Option<f64> {
    csv.lines().last()?.split(',').nth(1)?.trim_matches('"').parse().ok()
}
