//! Our client and redis-cli, asked the same of the same servers: output, errors and exit codes must not differ.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;

use super::harness::{Folder, Kind, Server};
use super::{ours, redis_cli_is_here, run, servers, theirs};

/// Runs both clients, and compares.
fn compare(server: &Server, folder: &Folder, args: &[&str], input: &str) {
    compare_commands(server, folder, &|| (ours(), theirs()), args, input);
}

fn compare_commands(
    server: &Server,
    folder: &Folder,
    clients: &dyn Fn() -> (Command, Command),
    args: &[&str],
    input: &str,
) {
    let port = server.address().port();
    let (ours, theirs) = clients();
    let expected = run(theirs, port, args, input.as_bytes(), &folder.0);
    let found = run(ours, port, args, input.as_bytes(), &folder.0);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(text(&found.stdout), text(&expected.stdout), "output of {args:?} with {input:?}");
    assert_eq!(text(&found.stderr), text(&expected.stderr), "errors of {args:?} with {input:?}");
    assert_eq!(found.status.code(), expected.status.code(), "exit code of {args:?} with {input:?}");
}

/// Splits a line at blanks; no argument in these tests has any.
fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

#[test]
fn one_command_is_shown_in_every_format() {
    if !redis_cli_is_here() {
        return;
    }
    let folder = Folder::new();
    let formats =
        ["", "--no-raw", "--csv", "-3", "-3 --no-raw", "-3 --csv", "-d ; -D |", "-e", "--no-raw -e"];
    let commands = [
        "PING",
        "GET text",
        "GET binary",
        "GET umlaut",
        "GET missing",
        "GET list",
        "STRLEN text",
        "LRANGE list 0 -1",
        "LRANGE missing 0 -1",
        "HGETALL hash",
        "HGETALL missing",
        "SMEMBERS set",
        "SMEMBERS missing",
        "ZRANGE zset 0 -1 WITHSCORES",
        "ZSCORE zset a",
        "CONFIG GET max*-ziplist-*",
        "COMMAND INFO get config",
        "COMMAND DOCS set config",
        "COMMAND LIST FILTERBY PATTERN z*",
        "OBJECT HELP",
        "CLIENT NO-EVICT",
        "NOSUCH command",
        "SET text",
        "DEBUG PROTOCOL string",
        "DEBUG PROTOCOL integer",
        "DEBUG PROTOCOL double",
        "DEBUG PROTOCOL null",
        "DEBUG PROTOCOL array",
        "DEBUG PROTOCOL set",
        "DEBUG PROTOCOL map",
        "DEBUG PROTOCOL verbatim",
        "DEBUG PROTOCOL true",
        "DEBUG PROTOCOL false",
    ];
    for server in servers(&folder, &[]) {
        for format in formats {
            for command in commands {
                compare(&server, &folder, &words(&format!("{format} {command}")), "");
            }
        }
    }
}

#[test]
fn json_is_the_same_where_redis_cli_writes_json() {
    if !redis_cli_is_here() {
        return;
    }
    let folder = Folder::new();
    for server in servers(&folder, &[]) {
        for line in [
            "GET text",
            "GET umlaut",
            "GET missing",
            "LRANGE list 0 -1",
            "HGETALL hash",
            "-2 HGETALL hash",
            "SMEMBERS set",
            "ZRANGE zset 0 -1 WITHSCORES",
            "COMMAND DOCS set config",
            "DEBUG PROTOCOL map",
            "DEBUG PROTOCOL verbatim",
            "DEBUG PROTOCOL true",
            "--quoted-json GET text",
            "--quoted-json GET umlaut",
        ] {
            compare(&server, &folder, &words(&format!("--json {line}")), "");
        }
    }
}

#[test]
fn options_mean_the_same() {
    if !redis_cli_is_here() {
        return;
    }
    let folder = Folder::new();
    for server in servers(&folder, &[]) {
        let uri = format!("redis://127.0.0.1:{}/3", server.address().port());
        for line in [
            "-n 3 DBSIZE",
            "-n 99 GET text",
            "-r 3 GET text",
            "-r 2 -i 0.01 --no-raw PING",
            "-r 0 PING",
            "-x ECHO",
            "--no-raw -x ECHO",
            "-X tag MGET text tag number",
            "-X nope GET text",
            "-x -X tag GET",
            "--quoted-input GET \"te\\x78t\"",
            "--quoted-input GET \"text",
            "-2 -3 PING",
            "-c -s /nowhere PING",
            "--no-such-option PING",
            "-p",
            "-s /nowhere PING",
            "-p 1 PING",
            "-h host.invalid PING",
            "-u http://host PING",
            "-a secret PING",
            "--no-auth-warning -a secret PING",
            "--user bob --pass secret PING",
            "--show-pushes maybe PING",
            "--verbose PING",
            "--eval /nowhere",
            "--quoted-pattern 'x --scan",
            "help get",
            "HELP @string",
            "? config get",
            "help nosuch",
            "QUIT",
        ] {
            compare(&server, &folder, &words(line), "from the input\n");
        }
        compare(&server, &folder, &["-u", &uri, "--no-raw", "DBSIZE"], "");
    }
}

#[test]
fn passwords_come_from_arguments_and_the_environment() {
    if !redis_cli_is_here() {
        return;
    }
    let folder = Folder::new();
    for server in servers(&folder, &["--requirepass", "secret"]) {
        for line in
            ["GET k", "-a secret GET k", "-a wrong GET k", "--no-auth-warning --user default -a secret GET k"]
        {
            compare(&server, &folder, &words(line), "");
        }
        for password in ["secret", "wrong"] {
            let with = |mut client: Command| {
                client.env("REDISCLI_AUTH", password);
                client
            };
            // `run` takes it away again, so it is handed on by env(1).
            let through_env = |client: Command| {
                let mut command = Command::new("env");
                command
                    .arg(format!("REDISCLI_AUTH={password}"))
                    .arg(client.get_program())
                    .args(client.get_args());
                command
            };
            let clients = || (through_env(with(ours())), through_env(with(theirs())));
            compare_commands(&server, &folder, &clients, &["GET", "k"], "");
            compare_commands(
                &server,
                &folder,
                &clients,
                &["-n", "2", "--no-raw"],
                "DBSIZE\nAUTH secret\nDBSIZE\n",
            );
        }
    }
}

#[test]
fn lines_of_a_file_are_run_one_after_the_other() {
    if !redis_cli_is_here() {
        return;
    }
    let folder = Folder::new();
    let files = [
        "MULTI\nSET a b\nINCR a\nEXEC\nSELECT 3\nGET a\nSELECT 99\nSELECT 0\nDEL a\n",
        "MULTI\nSELECT 4\nDISCARD\nGET text\nRESET\nGET text",
        "3 PING\n0 PING\n-1 PING\n99999999999999999999 PING\n5\n\"\" PING\n+2 GET number\n",
        "GET \"te\\x78t\"\nGET 'text'\nECHO \"a\\nb\"\nGET \"text\nGET \"text\"x\n   \n\n\tGET text \n",
        ":set nothing\n:nothing\n:set hints\nrestart\nclear\nconnect a\n",
        "connect 127.0.0.1 1\nPING\n",
        "HELLO 9\nHGETALL hash\nhelp get\n?  config get\nhelp @nothing\n",
        "quit now\nPING\n",
        "exit\nPING\n",
        "CLIENT TRACKING\nDEBUG PROTOCOL verbatim\nDEBUG PROTOCOL push\n",
    ];
    for server in servers(&folder, &[]) {
        for file in files {
            for format in ["", "--no-raw", "--csv", "-3 --no-raw"] {
                compare(&server, &folder, &words(format), file);
            }
        }
    }
}

#[test]
fn masses_of_commands_are_sent_and_counted() {
    if !redis_cli_is_here() {
        return;
    }
    let folder = Folder::new();
    let many: String = (0..20_000).map(|i| format!("SET mass:{i} {i}\r\n")).collect();
    for server in servers(&folder, &[]) {
        for input in
            ["", "*1\r\n$4\r\nPING\r\n", "GET text\r\nLRANGE list 0 -1\r\nNOSUCH\r\nGET list\r\n", &many]
        {
            compare(&server, &folder, &["--pipe"], input);
        }
        assert_eq!(server.ask("GET mass:19999"), "\"19999\"");
    }
}

#[test]
fn scans_find_the_same_keys_in_the_same_order() {
    if !redis_cli_is_here() {
        return;
    }
    let folder = Folder::new();
    for server in servers(&folder, &[]) {
        for line in [
            "--scan",
            "--no-raw --scan",
            "--scan --pattern *t*",
            "--scan --quoted-pattern 'te*'",
            "--bigkeys",
            "--memkeys",
            "--memkeys-samples 2",
        ] {
            compare(&server, &folder, &words(line), "");
        }
    }
}

/// Starts a server that says of every request that it belongs to `port`.
fn redirecting(kind: &'static str, port: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, mut request) = (stream.unwrap(), [0; 1024]);
            // A client that has read the reply goes.
            while let Ok(1..) = stream.read(&mut request) {
                let _ = stream.write_all(format!("-{kind} 7 127.0.0.1:{port}\r\n").as_bytes());
            }
        }
    });
    place
}

#[test]
fn redirections_of_a_cluster_are_followed_when_asked_for() {
    if !redis_cli_is_here() {
        return;
    }
    let folder = Folder::new();
    let server = Server::start(Kind::Ours, &folder, &[]);
    let port = redirecting("MOVED", server.address().port()).to_string();
    // The last port given is the one that counts.
    for line in ["GET k", "-c GET k", "-c --no-raw", "-c -e SET k v", "-e SET k v"] {
        compare(&server, &folder, &[&["-p", &port], words(line).as_slice()].concat(), "SET k v\nGET k\n");
    }
}

#[test]
fn keys_that_are_used_often_are_found() {
    let folder = Folder::new();
    for server in servers(&folder, &["--maxmemory-policy", "allkeys-lfu"]) {
        server.connect().all(["CONFIG SET lfu-log-factor 0", "SET hot x", "SET cold x"]);
        (0..20).for_each(|_| assert_eq!(server.ask("GET hot"), "\"x\""));
        let output = run(ours(), server.address().port(), &["--hotkeys"], b"", &folder.0);
        let text = String::from_utf8(output.stdout).unwrap();
        let hottest = text.lines().find(|line| line.starts_with("hot key found")).unwrap_or_default();
        assert!(hottest.ends_with("\tkeyname: \"hot\""), "{text}");
    }
}

#[test]
fn latency_and_statistics_have_their_form() {
    let folder = Folder::new();
    let server = Server::start(Kind::Ours, &folder, &[]);
    let said = |args: &[&str]| {
        let output = run(ours(), server.address().port(), args, b"", &folder.0);
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(said(&["--latency", "-i", "0.1"]).split_whitespace().count(), 4);
    assert_eq!(said(&["--latency", "-i", "0.1", "--csv"]).split(',').count(), 4);
    assert!(said(&["--latency", "-i", "0.1", "--json"]).starts_with("{\"min\": "));
    assert!(said(&["--intrinsic-latency", "0"]).contains("Worst run took "));
}
