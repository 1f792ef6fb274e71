//! Memory: resident bytes for each element of a data set.

use std::io;
use std::thread::sleep;
use std::time::Duration;

use super::Contest;
use super::load::Loader;
use super::report::{Goal, Line, Section, Table};
use super::server::Server;

/// How long a server has to settle between its last reply and the reading.
const SETTLING: Duration = Duration::from_millis(300);

/// A way to fill a server with `keys` keys or elements, of which each counts `elements`.
struct DataSet {
    name: &'static str,
    goal: f64,
    requests: u64,
    elements_each: u64,
    request: fn(&mut Loader, u64) -> io::Result<()>,
}

const VALUE: &str = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";

const DATA_SETS: &[DataSet] = &[
    data_set("strings (key 16 B, value 32 B)", 0.60, |loader, i| loader.request(&["SET", &key(i), VALUE])),
    data_set("strings that expire", 0.52, |loader, i| {
        loader.request(&["SET", &key(i), VALUE, "EX", "100000"])
    }),
    data_set("strings that are integers", 0.55, |loader, i| {
        loader.request(&["SET", &key(i), &i.to_string()])
    }),
    DataSet {
        name: "small hashes (8 fields each)",
        goal: 0.95,
        requests: 200_000,
        elements_each: 8,
        request: small_hash,
    },
    data_set("one hash (field 16 B, value 32 B)", 0.65, |loader, i| {
        loader.request(&["HSET", "bh", &format!("field:{i:010}"), VALUE])
    }),
    data_set("one sorted set", 0.55, |loader, i| {
        let score = (i * 7919 % 1_000_003).to_string();
        loader.request(&["ZADD", "bz", &score, &format!("member:{i:010}")])
    }),
    data_set("one set", 0.55, |loader, i| loader.request(&["SADD", "bs", &format!("member:{i:010}")])),
    data_set("one list (element 32 B)", 1.00, |loader, _| loader.request(&["RPUSH", "bl", VALUE])),
];

/// Returns a data set of a million elements, one a request.
const fn data_set(name: &'static str, goal: f64, request: fn(&mut Loader, u64) -> io::Result<()>) -> DataSet {
    DataSet { name, goal, requests: 1_000_000, elements_each: 1, request }
}

fn key(i: u64) -> String {
    format!("key:{i:012}")
}

fn small_hash(loader: &mut Loader, i: u64) -> io::Result<()> {
    let mut words = vec!["HSET".to_string(), format!("h:{i:010}")];
    words.extend((0..8).flat_map(|field| [format!("f{field}"), format!("value{:010}", i + field)]));
    loader.request(&words)
}

/// Measures all data sets that are selected.
pub(super) fn section(contest: &Contest) -> Section {
    let selected = DATA_SETS.iter().filter(|data_set| contest.selects("memory", data_set.name));
    let lines = selected.map(|data_set| {
        let pairs = contest.pairs(data_set.name, |command| run(command, data_set, contest));
        Line::new(data_set.name, Goal::RatioAtMost(data_set.goal), pairs)
    });
    Section {
        title: "Memory",
        method: "Resident memory (VmRSS) 0.3 seconds after loading 1,000,000 elements (200,000 small hashes), less \
            that of the fresh server, for each element.",
        tables: vec![Table::new("resident bytes per element", lines.collect())],
    }
}

fn run(command: &[String], data_set: &DataSet, contest: &Contest) -> io::Result<f64> {
    let server = Server::start(command, &[])?;
    let before = server.resident_bytes()?;
    let requests = contest.scaled(data_set.requests);
    let mut loader = Loader::connect(server.address(), 2000)?;
    (0..requests).try_for_each(|i| (data_set.request)(&mut loader, i))?;
    loader.finish()?;
    sleep(SETTLING);
    Ok(server.resident_bytes()?.saturating_sub(before) as f64 / (requests * data_set.elements_each) as f64)
}
