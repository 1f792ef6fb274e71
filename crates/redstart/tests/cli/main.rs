//! `redstart cli` from outside: byte for byte beside redis-cli, and at a terminal.
//!
//! Where there is no redis-cli or no redis-server, what needs them is passed over, and says so.

mod beside;
#[path = "../harness/mod.rs"]
mod harness;
mod terminal;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use harness::{Folder, Kind, Server};

/// The server's data in these tests: every type, and bytes that are no text.
const DATA: &[&str] = &[
    "SET text hello",
    "SET binary \"a\\x00\\xff\\\"\\n\"",
    "SET umlaut \"\\xc3\\xa4\"",
    "SET number 42",
    "RPUSH list one two three four five six seven eight nine ten eleven",
    "SADD set member",
    "HSET hash field value",
    "ZADD zset 1.5 a 2 b",
];

/// Our client.
fn ours() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_redstart"));
    command.arg("cli");
    command
}

/// Redis' client.
fn theirs() -> Command {
    Command::new("redis-cli")
}

/// Returns whether there is a redis-cli to compare with; says so if not.
fn redis_cli_is_here() -> bool {
    let version = theirs().arg("--version").output();
    let found =
        version.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).starts_with("redis-cli 7.0."));
    if !found {
        println!("no redis-cli 7.0 here to compare with");
    }
    found
}

/// Starts the servers to ask: ours, and Redis' where there is one.
fn servers(folder: &Folder, options: &[&str]) -> Vec<Server> {
    let mut kinds = vec![Kind::Ours];
    if harness::redis_is_here() {
        kinds.push(Kind::Theirs);
    }
    let servers: Vec<_> = kinds.into_iter().map(|kind| Server::start(kind, folder, options)).collect();
    if options.is_empty() {
        servers.iter().for_each(|server| server.connect().all(DATA.iter().copied()));
    }
    servers
}

/// Runs a client with a home of its own.
fn run(mut client: Command, port: u16, args: &[&str], input: &[u8], home: &Path) -> Output {
    let mut child = client
        .args(["-p", &port.to_string()])
        .args(args)
        .env_remove("REDISCLI_AUTH")
        .env_remove("FAKETTY")
        .env("HOME", home)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A client that does not read it ends without it.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

#[test]
fn every_type_is_json_that_parsers_take() {
    let folder = Folder::new();
    for server in servers(&folder, &[]) {
        let json = |args: &[&str]| {
            let args = [&["--json"], args].concat();
            let output = run(ours(), server.address().port(), &args, b"", &folder.0);
            assert!(output.stderr.is_empty(), "{args:?}: {output:?}");
            String::from_utf8(output.stdout).unwrap_or_else(|_| panic!("{args:?} gave no UTF-8"))
        };
        let table: [(&[&str], &str); 14] = [
            (&["GET", "text"], r#""hello""#),
            (&["GET", "binary"], r#""a\u0000\u00ff\"\n""#),
            (&["GET", "umlaut"], "\"ä\""),
            (&["GET", "missing"], "null"),
            (&["HGETALL", "hash"], r#"{"field":"value"}"#),
            (&["SMEMBERS", "set"], r#"["member"]"#),
            (&["ZSCORE", "zset", "a"], "1.5"),
            (&["ZADD", "zset", "+inf", "c"], "1"),
            (&["ZSCORE", "zset", "c"], r#""inf""#),
            (&["ZREM", "zset", "c"], "1"),
            (&["LLEN", "list"], "11"),
            (
                &["GET", "list"],
                r#"{"error":"WRONGTYPE Operation against a key holding the wrong kind of value"}"#,
            ),
            (&["-2", "HGETALL", "hash"], r#"["field","value"]"#),
            (&["--quoted-json", "GET", "binary"], r#""a\\x00\\xff\\\"\\n""#),
        ];
        for (args, expected) in table {
            assert_eq!(json(args), format!("{expected}\n"), "{args:?}");
        }
    }
}

#[test]
fn a_link_named_redis_cli_is_enough() {
    let folder = Folder::new();
    let server = Server::start(Kind::Ours, &folder, &[]);
    for name in ["redis-cli", "valkey-cli"] {
        let link = folder.path(name);
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_redstart"), &link).unwrap();
        let output = run(Command::new(&link), server.address().port(), &["ping"], b"", &folder.0);
        assert_eq!(output.stdout, b"PONG\n");
        let version = Command::new(&link).arg("--version").output().unwrap().stdout;
        assert!(String::from_utf8_lossy(&version).starts_with(&format!("{name} 7.2.")));
    }
}

#[test]
fn what_is_not_here_is_refused_by_name() {
    for option in ["--tls", "--cluster", "--replica", "--ldb", "--lru-test"] {
        let output = ours().arg(option).arg("ping").output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(text, format!("The option '{option}' of redis-cli is not in this version.\n"));
    }
}

#[test]
fn a_snapshot_comes_whole() {
    let folder = Folder::new();
    for (i, server) in servers(&folder, &[]).iter().enumerate() {
        let file = folder.path(&format!("copy-{i}.rdb"));
        let args = ["--rdb", file.to_str().unwrap()];
        let output = run(ours(), server.address().port(), &args, b"", &folder.0);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let checked =
            Command::new(env!("CARGO_BIN_EXE_redstart")).args(["check", "rdb"]).arg(&file).output().unwrap();
        assert!(checked.status.success(), "{checked:?}");
    }
}

#[test]
fn a_reader_that_goes_away_ends_an_endless_command() {
    let folder = Folder::new();
    let server = Server::start(Kind::Ours, &folder, &[]);
    let mut child = ours()
        .args(["-p", &server.address().port().to_string(), "-r", "-1", "ping"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(!output.status.success());
    assert!(output.stderr.is_empty(), "{output:?}");
}
