//! `redstart check`, from outside: what it says, what it cuts, and how it ends.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use aof::Batches;
use aof::manifest::{LogFile, Manifest};
use base::prepared::{Plan, Space};

/// A directory of its own, removed with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Scratch {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("redstart-check-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs a program with what it reads from its standard input; returns its exit code and what it printed.
fn run(program: &Path, args: &[&str], answer: &str) -> (i32, String) {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that asks nothing has closed its input.
    let _ = child.stdin.take().unwrap().write_all(answer.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

fn check(args: &[&str], answer: &str) -> (i32, String) {
    let args: Vec<&str> = ["check"].iter().chain(args).copied().collect();
    run(Path::new(env!("CARGO_BIN_EXE_redstart")), &args, answer)
}

const SET: &[u8] = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n";
const INCR: &[u8] = b"*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n";

/// Returns a log of three batches, written at the times 100, 200 and 300, and where they begin.
fn log() -> (Vec<u8>, [u64; 3]) {
    let mut batches = Batches::new(0);
    let starts = [100, 200, 300].map(|time| {
        batches.seal();
        let start = batches.end();
        batches.push(start, &[format!("#TS:{time}\r\n").as_bytes(), SET, INCR]);
        start
    });
    (batches.take(), starts)
}

/// Returns a snapshot of a few keys.
fn snapshot() -> Vec<u8> {
    struct Bytes(Vec<u8>);
    impl rdb::Sink for Bytes {
        fn write(&mut self, bytes: &[u8]) -> Result<(), rdb::SinkError> {
            self.0.extend_from_slice(bytes);
            Ok(())
        }
    }
    let mut keyspace = keyspace::Keyspace::new(16, 1);
    // "v" as DUMP gives it: type, length and byte, version, checksum.
    let mut payload = b"\x00\x01v\x0a\x00".to_vec();
    payload.extend_from_slice(&base::crc64::crc64(0, &payload).to_le_bytes());
    for (index, db) in [0, 0, 3].into_iter().enumerate() {
        let key = format!("key:{index}");
        let context = rdb::Context { limits: keyspace.limits, seed: keyspace.seed };
        let entry = rdb::restore(&payload, key.as_bytes(), None, &context).unwrap();
        keyspace.load(db, entry).unwrap();
    }
    let mut sink = Bytes(Vec::new());
    let (meta, options) = (rdb::Meta::default(), rdb::SaveOptions::default());
    rdb::save(&mut sink, &keyspace, &meta, &options, &mut |_| ()).unwrap();
    sink.0
}

#[test]
fn a_whole_log_is_counted() {
    let scratch = Scratch::new();
    let (bytes, _) = log();
    let path = scratch.write("a.aof", &[&bytes, SET].concat());
    let (code, text) = check(&["aof", path.to_str().unwrap()], "");
    assert_eq!(code, 0, "{text}");
    for words in [
        "7 commands, 3 checked batches and from offset",
        "set   4",
        "incr  3",
        "from 1970-01-01 00:01:40 UTC",
        "The log is whole.",
    ] {
        assert!(text.contains(words), "{words:?} is not in:\n{text}");
    }
}

#[test]
fn a_torn_tail_is_cut_when_that_is_confirmed() {
    let scratch = Scratch::new();
    let (bytes, starts) = log();
    let path = scratch.write("a.aof", &bytes[..bytes.len() - 5]);
    let name = path.to_str().unwrap();
    let (code, text) = check(&["aof", name], "");
    assert_eq!(code, 1);
    let place = format!("TORN TAIL at offset {}", starts[2]);
    assert!(text.contains(&place) && text.contains("about 2 commands can be made out"), "{text}");
    for answer in ["", "n\n"] {
        let (code, text) = check(&["aof", "--fix", name], answer);
        assert!(code == 1 && text.contains("Nothing was changed."), "{text}");
        assert_eq!(fs::read(&path).unwrap().len(), bytes.len() - 5);
    }
    let (code, text) = check(&["aof", "--fix", name], "y\n");
    assert_eq!(code, 0, "{text}");
    assert_eq!(fs::read(&path).unwrap(), bytes[..starts[2] as usize]);
    let kept = scratch.0.join(format!("a.aof.cut-{}", starts[2]));
    assert_eq!(fs::read(kept).unwrap(), bytes[starts[2] as usize..bytes.len() - 5]);
    assert_eq!(check(&["aof", name], "").0, 0);
}

#[test]
fn damage_is_named_and_what_is_cut_never_overwrites_an_older_cut() {
    let scratch = Scratch::new();
    let (mut bytes, starts) = log();
    bytes[starts[1] as usize + 60] ^= 4;
    for suffix in ["", "-2"] {
        let path = scratch.write("a.aof", &bytes);
        let name = path.to_str().unwrap();
        let (code, text) = check(&["aof", name], "");
        assert!(code == 1 && text.contains(&format!("BROKEN at offset {}", starts[1])), "{text}");
        assert_eq!(check(&["aof", name, "--fix", "--yes"], "").0, 0);
        assert_eq!(fs::read(&path).unwrap(), bytes[..starts[1] as usize]);
        let kept = scratch.0.join(format!("a.aof.cut-{}{suffix}", starts[1]));
        assert_eq!(fs::read(kept).unwrap(), bytes[starts[1] as usize..]);
    }
}

#[test]
fn prepared_space_is_named_and_cut() {
    let scratch = Scratch::new();
    let (bytes, _) = log();
    let mut space = Space::new(bytes.len() as u64);
    let Plan::Fill(part) = space.plan(10_000) else { panic!("there is filler to write") };
    let filled = [&bytes[..], &space.filler(part)].concat();
    let path = scratch.write("a.aof", &filled);
    let name = path.to_str().unwrap();
    let (code, text) = check(&["aof", name], "");
    assert!(code == 0 && text.contains("whole") && text.contains("prepared"), "{text}");
    assert!(text.contains(&format!("from offset {} on", bytes.len())), "{text}");
    let (code, text) = check(&["aof", name, "--fix"], "no\n");
    assert!(code == 0 && fs::read(&path).unwrap() == filled, "{text}");
    let (code, text) = check(&["aof", name, "--fix"], "yes\n");
    assert!(code == 0 && fs::read(&path).unwrap() == bytes, "{text}");
    // What was appended behind it stays.
    let path = scratch.write("b.aof", &[&filled, SET].concat());
    let (code, text) = check(&["aof", path.to_str().unwrap(), "--fix", "--yes"], "");
    assert!(code == 0 && text.contains(&format!("from offset {} on", filled.len())), "{text}");
    assert_eq!(fs::read(&path).unwrap().len(), filled.len() + SET.len());
}

#[test]
fn a_log_is_cut_before_what_is_later() {
    let scratch = Scratch::new();
    let (bytes, starts) = log();
    let path = scratch.write("a.aof", &bytes);
    let name = path.to_str().unwrap();
    let (code, text) = check(&["aof", "--truncate-to-timestamp", "300", name], "y\n");
    assert!(code == 0 && text.contains("Nothing was written later"), "{text}");
    let (code, text) = check(&["aof", "--truncate-to-timestamp", "50", name], "y\n");
    assert!(code == 1 && text.contains("it is not cut"), "{text}");
    let (code, text) = check(&["aof", "--truncate-to-timestamp", "150", name], "y\n");
    assert_eq!(code, 0, "{text}");
    assert_eq!(fs::read(&path).unwrap(), bytes[..starts[1] as usize]);
}

#[test]
fn all_files_of_a_manifest_are_read_and_only_the_last_is_cut() {
    let scratch = Scratch::new();
    let (bytes, _) = log();
    let file = |name: &str, seq| LogFile { name: name.into(), seq };
    let manifest = Manifest {
        base: Some(file("a.1.base.rdb", 1)),
        history: Vec::new(),
        increments: vec![file("a.1.incr.aof", 1), file("a.2.incr.aof", 2)],
    };
    let manifest = scratch.write("appendonlydir/a.manifest", &manifest.print());
    let manifest = manifest.to_str().unwrap();
    scratch.write("appendonlydir/a.1.base.rdb", &snapshot());
    let first = scratch.write("appendonlydir/a.1.incr.aof", &bytes[..bytes.len() - 1]);
    let second = scratch.write("appendonlydir/a.2.incr.aof", SET);
    let (code, text) = check(&["aof", manifest, "--fix", "--yes"], "");
    assert!(code == 1 && text.contains("not the last file"), "{text}");
    assert_eq!(fs::read(&first).unwrap().len(), bytes.len() - 1);
    // A file with nothing in it does not count.
    fs::write(&second, b"").unwrap();
    let (code, text) = check(&["aof", scratch.0.to_str().unwrap(), "--fix", "--yes"], "");
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("3 keys") && text.contains("4 commands in 2 checked batches"), "{text}");
    assert_eq!(check(&["aof", manifest], "").0, 0);
    fs::remove_file(&second).unwrap();
    let (code, text) = check(&["aof", manifest], "");
    assert!(code == 2 && text.contains("a.2.incr.aof"), "{text}");
}

#[test]
fn a_snapshot_is_counted_or_named_broken() {
    let scratch = Scratch::new();
    let mut bytes = snapshot();
    let path = scratch.write("dump.rdb", &bytes);
    let name = path.to_str().unwrap();
    let (code, text) = check(&["rdb", name], "");
    assert_eq!(code, 0, "{text}");
    for words in ["version 10, 3 keys", "string  embstr", "key:2", "the checksum is right", "is whole"] {
        assert!(text.contains(words), "{words:?} is not in:\n{text}");
    }
    let place = bytes.len() - 12;
    bytes[place] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let (code, text) = check(&["rdb", name], "");
    assert!(code == 1 && text.contains("BROKEN at offset"), "{text}");
    fs::write(&path, &bytes[..40]).unwrap();
    assert_eq!(check(&["rdb", name], "").0, 1);
}

#[test]
fn wrong_arguments_and_missing_files_are_told_apart_from_broken_ones() {
    for args in [
        &[][..],
        &["aof"],
        &["rdb"],
        &["aof", "/nowhere"],
        &["rdb", "/nowhere"],
        &["rdb", "x", "--fix"],
        &["aof", "a", "b"],
        &["aof", "a", "--truncate-to-timestamp", "x"],
        &["other", "a"],
    ] {
        assert_eq!(check(args, "").0, 2, "{args:?}");
    }
    assert_eq!(check(&["--help"], "").0, 0);
}

#[test]
fn under_the_names_of_redis_programs_it_speaks_as_they_do() {
    let scratch = Scratch::new();
    let [aof, rdb] = ["redis-check-aof", "redis-check-rdb"].map(|name| {
        let path = scratch.0.join(name);
        symlink(env!("CARGO_BIN_EXE_redstart"), &path).unwrap();
        path
    });
    let (bytes, starts) = log();
    let dump = scratch.write("dump.rdb", &snapshot());
    let dump = dump.to_str().unwrap();
    let (code, text) = run(&rdb, &[dump], "");
    assert!(code == 0 && text.contains("Checksum OK\n"), "{text}");
    assert!(text.contains("\\o/ RDB looks OK! \\o/\n[info] 3 keys read\n"), "{text}");
    let part = scratch.write("part.rdb", &snapshot()[..30]);
    let (code, text) = run(&rdb, &[part.to_str().unwrap()], "");
    assert!(code == 1 && text.contains("--- RDB ERROR DETECTED ---"), "{text}");
    assert_eq!(run(&rdb, &[], "").0, 1);

    let path = scratch.write("a.aof", &bytes);
    let name = path.to_str().unwrap();
    let (code, text) = run(&aof, &[name], "");
    let length = bytes.len();
    let analyzed = format!("size={length}, ok_up_to={length}, ok_up_to_line=37, diff=0");
    assert!(code == 0 && text.contains(&analyzed), "{text}");
    assert!(text.ends_with(&format!("AOF {name} is valid\n")), "{text}");
    fs::write(&path, &bytes[..length - 1]).unwrap();
    let (code, text) = run(&aof, &[name], "");
    assert!(code == 1 && text.ends_with("is not valid. Use the --fix option to try fixing it.\n"), "{text}");
    assert_eq!(run(&aof, &["--fix", name], "n\n").0, 1);
    let (code, text) = run(&aof, &["--fix", name], "y\n");
    assert!(code == 0 && text.ends_with(&format!("Successfully truncated AOF {name}\n")), "{text}");
    let (code, text) = run(&aof, &["--truncate-to-timestamp", "100", name], "");
    assert!(code == 0 && text.ends_with("to timestamp 100\n"), "{text}");
    assert_eq!(fs::read(&path).unwrap(), bytes[..starts[1] as usize]);

    let manifest = Manifest {
        base: Some(LogFile { name: "dump.rdb".into(), seq: 1 }),
        increments: vec![LogFile { name: "a.aof".into(), seq: 1 }],
        ..Manifest::default()
    };
    let manifest = scratch.write("a.manifest", &manifest.print());
    let (code, text) = run(&aof, &[manifest.to_str().unwrap()], "");
    assert_eq!(code, 0, "{text}");
    for words in [
        "Start checking Multi Part AOF\nStart to check BASE AOF (RDB format).\n",
        "RDB preamble is OK, proceeding with AOF tail...\n",
        "BASE AOF dump.rdb is valid\nStart to check INCR files.\n",
        "INCR AOF a.aof is valid\nAll AOF files and manifest are valid\n",
    ] {
        assert!(text.contains(words), "{words:?} is not in:\n{text}");
    }
    assert_eq!(run(&aof, &["--fix"], "").0, 1);
    assert_eq!(run(&aof, &[], "").0, 1);
}
