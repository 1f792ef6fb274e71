//! Files both ways with redis-server: what one has written, the other loads, and has the same data.

mod harness;

use std::fs;

use harness::{Client, Folder, Kind, Server, redis_is_here};

const KINDS: [Kind; 2] = [Kind::Ours, Kind::Theirs];

/// Fills a server with every type in every encoding, in several databases.
fn fill(client: &mut Client) {
    let long = "x".repeat(5_000);
    let mixed: String = (0..20_000u64).map(|n| char::from(b'a' + (n * n * 31 % 25) as u8)).collect();
    let texts = [
        "SET int 12345".to_string(),
        "SET int64 -9223372036854775808".into(),
        "SET int32 -2147483649".into(),
        "SET int16 32767".into(),
        "SET int8 -128".into(),
        "SET embedded hello".into(),
        "SET empty \"\"".into(),
        "SET binary \"\\x00\\xff\\r\\n\\x80\"".into(),
        "SET float 3.14159".into(),
        "SET leading 0012".into(),
        format!("SET compressible {long}"),
        format!("SET mixed {mixed}"),
        "APPEND appended one".into(),
        "APPEND appended two".into(),
        "SETRANGE padded 300 end".into(),
        "SETBIT bits 70000 1".into(),
        "RPUSH list:small a 1 -1 300 70000 3000000000 -9223372036854775808 \"\"".into(),
        format!("RPUSH list:wide a {long} b {mixed} c"),
        "SADD set:16 1 -2 300".into(),
        "SADD set:32 1 70000 -70000".into(),
        "SADD set:64 1 3000000000 -3000000000".into(),
        "SADD set:small a b c 1 2".into(),
        format!("SADD set:wide a {long}"),
        "ZADD zset:small 1 a 2 b -1.5 c inf d -inf e 0.1 f 1e300 g 1 h".into(),
        format!("ZADD zset:wide 1 a 2 {long}"),
        "HSET hash:small field value number 17 negative -5 empty \"\"".into(),
        format!("HSET hash:wide field {long} other value"),
        "PFADD hll:sparse a b c".into(),
        "GEOADD geo 13.361389 38.115556 Palermo 15.087269 37.502669 Catania".into(),
        "SET expires value PXAT 32503680000123".into(),
        "HSET hash:expires f v".into(),
        "PEXPIREAT hash:expires 32503680000456".into(),
        "SET gone value".into(),
        "DEL gone".into(),
    ];
    client.all(texts.iter().map(String::as_str));
    for n in 0..1500 {
        for request in [
            format!("RPUSH list:long element:{n}"),
            format!("RPUSH list:numbers {}", n * n),
            format!("SADD set:long member:{n}"),
            format!("SADD set:numbers {}", n * 3),
            format!("ZADD zset:long {}.5 member:{n}", n % 100),
            format!("HSET hash:long field:{n} {n}"),
            format!("PFADD hll:dense {n}"),
        ] {
            client.send(&request);
        }
    }
    for _ in 0..1500 * 7 {
        assert!(!client.receive().is_error());
    }
    for db in [1, 5, 15] {
        client.all([format!("SELECT {db}").as_str(), format!("SET db {db}").as_str(), "SADD s a b"]);
    }
    client.all(["SELECT 0"]);
}

/// Returns what must be equal: the digest, the numbers of keys, and when keys expire.
fn digest(server: &Server) -> String {
    let mut client = server.connect();
    let mut facts = vec![client.ask("DEBUG DIGEST")];
    for db in 0..16 {
        client.all([format!("SELECT {db}").as_str()]);
        facts.push(client.ask("DBSIZE"));
    }
    client.all(["SELECT 0"]);
    facts.push(client.ask("PEXPIRETIME expires"));
    facts.push(client.ask("PEXPIRETIME hash:expires"));
    for key in ["int", "embedded", "mixed", "list:long", "zset:small", "zset:long", "hash:small", "hash:long"]
    {
        facts.push(client.ask(&format!("OBJECT ENCODING {key}")));
    }
    for key in ["set:16", "set:numbers", "set:long"] {
        facts.push(client.ask(&format!("OBJECT ENCODING {key}")));
    }
    facts.join(" ")
}

#[test]
fn snapshots_are_loaded_by_the_other() {
    if !redis_is_here() {
        return;
    }
    let mut digests = Vec::new();
    for (writer, reader) in [(Kind::Ours, Kind::Theirs), (Kind::Theirs, Kind::Ours), (Kind::Ours, Kind::Ours)]
    {
        for compression in ["yes", "no"] {
            let folder = Folder::new();
            let server = Server::start(writer, &folder, &["--rdbcompression", compression]);
            fill(&mut server.connect());
            let before = digest(&server);
            assert_eq!(server.ask("SAVE"), "+OK");
            server.shut_down("NOSAVE");
            let server = Server::start(reader, &folder, &[]);
            assert_eq!(digest(&server), before, "{writer:?} to {reader:?}, compression {compression}");
            digests.push(before);
        }
    }
    digests.dedup();
    assert_eq!(digests.len(), 1, "the same commands lead to the same data");
}

#[test]
fn logs_are_loaded_by_the_other() {
    if !redis_is_here() {
        return;
    }
    for (writer, reader) in [(Kind::Ours, Kind::Theirs), (Kind::Theirs, Kind::Ours), (Kind::Ours, Kind::Ours)]
    {
        for preamble in ["yes", "no"] {
            let folder = Folder::new();
            let options =
                ["--appendonly", "yes", "--aof-use-rdb-preamble", preamble, "--aof-timestamp-enabled", "yes"];
            let mut server = Server::start(writer, &folder, &options);
            fill(&mut server.connect());
            // All that there is as commands of an increment; then as a base; then both.
            let plain = digest(&server);
            server.kill_when_written();
            let mut server = Server::start(reader, &folder, &options);
            assert_eq!(digest(&server), plain, "{writer:?} to {reader:?}, only an increment");
            server.kill();
            let mut server = Server::start(writer, &folder, &options);
            let rewrites = server.rewrites();
            server.ask("BGREWRITEAOF");
            server.wait_until("a rewrite", |server| server.rewrites() > rewrites);
            let mut client = server.connect();
            client.all([
                "SELECT 5",
                "INCR after",
                "MULTI",
                "SET a 1",
                "LPUSH list:after x y",
                "EXEC",
                "SELECT 0",
            ]);
            client.all(["SPOP set:long 10", "SET expires value PXAT 32503680000999", "DEL list:long"]);
            let before = digest(&server);
            server.kill_when_written();
            let server = Server::start(reader, &folder, &options);
            assert_eq!(
                digest(&server),
                before,
                "{writer:?} to {reader:?}, base and increment, preamble {preamble}"
            );
            // And on: what the reader makes of it, the writer reads.
            if reader != writer {
                let mut server = server;
                let rewrites = server.rewrites();
                server.ask("BGREWRITEAOF");
                server.wait_until("a rewrite", |server| server.rewrites() > rewrites);
                server.ask("SET at last");
                let before = digest(&server);
                server.kill_when_written();
                assert_eq!(digest(&Server::start(writer, &folder, &options)), before, "back to {writer:?}");
            }
        }
    }
}

#[test]
fn a_log_with_prepared_space_is_loaded_and_gone_on_with() {
    if !redis_is_here() {
        return;
    }
    let folder = Folder::new();
    let options = ["--appendonly", "yes", "--appendfsync", "always"];
    let path = folder.0.join("appendonlydir/appendonly.aof.1.incr.aof");
    let ours = [&options[..], &["--aof-prepared-space", "100kb"]].concat();
    let mut server = Server::start(Kind::Ours, &folder, &ours);
    fill(&mut server.connect());
    for number in 0..100 {
        // The data ends before, at and behind the ends of lines.
        server.ask(&format!("SET number {number} PXAT 32503680000999"));
    }
    let before = digest(&server);
    server.kill();
    let bytes = std::fs::read(&path).unwrap();
    assert!(bytes.ends_with(b"####\n") && bytes.len() % 4096 == 64, "space was prepared");
    let filler = bytes.iter().rev().take_while(|byte| matches!(byte, b'#' | b'\n')).count();
    let mut server = Server::start(Kind::Theirs, &folder, &options);
    assert_eq!(digest(&server), before);
    server.ask("SET theirs 1");
    server.ask("INCR both");
    let before = digest(&server);
    server.kill();
    assert!(std::fs::read(&path).unwrap().starts_with(&bytes), "they append behind it");
    let mut server = Server::start(Kind::Ours, &folder, &ours);
    assert_eq!(digest(&server), before);
    server.ask("INCR both");
    let before = digest(&server);
    server.kill();
    assert!(std::fs::read(&path).unwrap().len() > bytes.len(), "nothing of theirs is gone");
    let server = Server::start(Kind::Theirs, &folder, &options);
    assert_eq!(digest(&server), before);
    assert!(filler > 10_000, "{filler}");
}

#[test]
fn a_log_of_one_file_is_loaded() {
    if !redis_is_here() {
        return;
    }
    // As Redis 6 wrote them: commands, with or without a snapshot in front.
    for preamble in ["no", "yes"] {
        let folder = Folder::new();
        let options = ["--appendonly", "yes", "--appendfsync", "always", "--aof-use-rdb-preamble", preamble];
        let mut server = Server::start(Kind::Theirs, &folder, &options);
        fill(&mut server.connect());
        let rewrites = server.rewrites();
        server.ask("BGREWRITEAOF");
        server.wait_until("a rewrite", |server| server.rewrites() > rewrites);
        let mut client = server.connect();
        client.all(["SET after 1", "SELECT 7", "SET other 2"]);
        let before = digest(&server);
        server.kill_when_written();
        let mut bytes = Vec::new();
        for name in folder.names("appendonlydir").iter().filter(|name| !name.ends_with("manifest")) {
            bytes.extend(fs::read(folder.path("appendonlydir").join(name)).unwrap());
        }
        fs::remove_dir_all(folder.path("appendonlydir")).unwrap();
        fs::write(folder.path("appendonly.aof"), bytes).unwrap();

        for first in KINDS {
            let copy = Folder::new();
            fs::copy(folder.path("appendonly.aof"), copy.path("appendonly.aof")).unwrap();
            let mut server = Server::start(first, &copy, &options);
            assert_eq!(digest(&server), before, "{first:?}, preamble {preamble}");
            server.ask("SET more 1");
            let before = digest(&server);
            server.kill_when_written();
            // The one file has become a part of many, which each loads again.
            for kind in KINDS {
                let mut server = Server::start(kind, &copy, &options);
                assert_eq!(digest(&server), before, "{first:?} then {kind:?}");
                server.kill();
            }
        }
    }
}

impl Server {
    /// Kills the process once all that it answered is in its files.
    fn kill_when_written(&mut self) {
        self.wait_for_info("aof_buffer_length", "0");
        self.kill();
    }

    /// Returns how many rewrites of the log have succeeded, as the server's log has it.
    fn rewrites(&self) -> usize {
        self.log().matches("Background AOF rewrite finished successfully").count()
    }
}
