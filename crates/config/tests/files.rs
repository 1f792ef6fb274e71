//! Configuration files and command lines: read and refused.

mod world;

use config::{CommandLine, Config, EvictionPolicy, LoadError};
use world::{World, load};

/// Returns the line to blame and the reason.
fn refusal(text: &str) -> (usize, String) {
    match load(text).expect_err(text) {
        LoadError::Config { line: Some((number, _)), reason } => (number, reason),
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn a_file_is_lines_of_words() {
    let config = load(
        "# comment\r\n\tport 7000\r\n\n  MaxMemory 1gb\nmaxmemory-policy 'allkeys-lfu'\nbind 127.0.0.1 -::1\n\
         save \"\"\nclient-output-buffer-limit normal 1mb 2mb 3\nclient-output-buffer-limit \"pubsub 1 2 3\"\n\
         requirepass \"a b\\x01\"\nnotify-keyspace-events \"\"\nhash-max-ziplist-entries 7\ndir data\n\
         lua-replicate-commands yes\nmaxmemory 2gb\nreplicaof no one\nappendonly no\ncluster-enabled no\n",
    )
    .unwrap();
    assert_eq!(config.port, 7000);
    assert_eq!(config.maxmemory, 2 << 30, "the last line about a parameter counts");
    assert_eq!(config.maxmemory_policy, EvictionPolicy::AllkeysLfu);
    assert_eq!(config.bind, ["127.0.0.1", "-::1"]);
    assert_eq!(config.requirepass, b"a b\x01");
    assert_eq!(config.hash_max_listpack_entries, 7);
    assert_eq!(config.dir, b"/data");
    let limits = config.client_output_buffer_limit;
    assert_eq!(
        (limits.normal.soft_bytes, limits.replica.soft_secs, limits.pubsub.hard_bytes),
        (2 << 20, 60, 1)
    );
}

#[test]
fn the_stock_configuration_of_a_distribution_loads() {
    // What Debian's redis.conf sets: defaults spelt out, but for what makes it a service.
    let config = load(
        "bind 127.0.0.1 -::1\nprotected-mode yes\nport 6379\ntcp-backlog 511\ntimeout 0\ntcp-keepalive 300\n\
         daemonize yes\npidfile /run/redis/redis-server.pid\nloglevel notice\n\
         logfile /var/log/redis/redis-server.log\ndatabases 16\nalways-show-logo no\nset-proc-title yes\n\
         proc-title-template \"{title} {listen-addr} {server-mode}\"\nstop-writes-on-bgsave-error yes\n\
         rdbcompression yes\nrdbchecksum yes\ndbfilename dump.rdb\nrdb-del-sync-files no\ndir /var/lib/redis\n\
         replica-serve-stale-data yes\nreplica-read-only yes\nrepl-diskless-sync yes\n\
         repl-diskless-sync-delay 5\nrepl-diskless-sync-max-replicas 0\nrepl-diskless-load disabled\n\
         repl-disable-tcp-nodelay no\nreplica-priority 100\nacllog-max-len 128\nlazyfree-lazy-eviction no\n\
         replica-lazy-flush no\noom-score-adj no\noom-score-adj-values 0 200 800\ndisable-thp yes\n\
         appendonly no\nappendfilename \"appendonly.aof\"\nappenddirname \"appendonlydir\"\n\
         appendfsync everysec\nno-appendfsync-on-rewrite no\nauto-aof-rewrite-percentage 100\n\
         auto-aof-rewrite-min-size 64mb\naof-load-truncated yes\naof-use-rdb-preamble yes\n\
         aof-timestamp-enabled no\nslowlog-log-slower-than 10000\nslowlog-max-len 128\n\
         notify-keyspace-events \"\"\nhash-max-listpack-entries 512\nlist-max-listpack-size -2\n\
         activerehashing yes\nclient-output-buffer-limit normal 0 0 0\n\
         client-output-buffer-limit replica 256mb 64mb 60\nclient-output-buffer-limit pubsub 32mb 8mb 60\n\
         hz 10\ndynamic-hz yes\naof-rewrite-incremental-fsync yes\nrdb-save-incremental-fsync yes\n\
         jemalloc-bg-thread yes\n",
    );
    assert_eq!(config.unwrap().pidfile, b"/run/redis/redis-server.pid");
}

#[test]
fn errors_name_the_line_as_redis_does() {
    let error = load("port 1\n\nfoo bar\n").unwrap_err();
    assert_eq!(
        error.report("7.0.15"),
        "\n*** FATAL CONFIG FILE ERROR (Redis 7.0.15) ***\nReading the configuration file, at line 3\n\
         >>> 'foo bar'\nBad directive or wrong number of arguments\n"
    );
    let error = LoadError::without_line("Can't open the log file: No such file or directory");
    assert_eq!(
        error.report("7.0.15"),
        "\n*** FATAL CONFIG FILE ERROR (Redis 7.0.15) ***\nCan't open the log file: No such file or directory\n"
    );

    for (text, number, reason) in [
        ("port 1 2", 1, "wrong number of arguments"),
        ("port", 1, "wrong number of arguments"),
        ("  maxmemory \"1", 1, "Unbalanced quotes in configuration line"),
        ("daemonize x", 1, "argument must be 'yes' or 'no'"),
        ("port 99\r\nport 0x\r\n", 2, "argument couldn't be parsed into an integer"),
        ("rename-command foo bar", 1, "No such command in rename-command"),
        ("rename-command get set", 1, "Target command name already exists"),
        ("rename-command get", 1, "Bad directive or wrong number of arguments"),
        ("sentinel monitor x", 1, "sentinel directive while not in sentinel mode"),
        ("mod.x", 1, "Module config specified without value"),
        ("mod.x 1", 1, "modules are not in this version"),
        ("loadmodule /x.so", 1, "modules are not in this version"),
        ("user", 1, "Bad directive or wrong number of arguments"),
        ("save 1", 1, "Invalid save parameters"),
        ("client-output-buffer-limit \"\"", 1, "Wrong number of arguments in buffer limit configuration."),
        ("dir /nonexist", 1, "No such file or directory"),
        ("dir a b", 1, "wrong number of arguments"),
        ("hz 1 2", 1, "wrong number of arguments"),
        ("replicaof 1", 1, "wrong number of arguments"),
        ("replicaof 1 2x", 1, "Invalid master port"),
        ("unixsocketperm 888", 1, "argument couldn't be parsed as an octal number"),
        ("unixsocketperm 1777", 1, "argument must be between 0 and 777 inclusive"),
        ("include a b", 1, "Bad directive or wrong number of arguments"),
        ("\nsave 900 x", 2, "Invalid save parameters"),
        ("appendonly maybe", 1, "argument must be 'yes' or 'no'"),
        ("appendfilename a/b", 1, "appendfilename can't be a path, just a filename"),
        ("appendfilename \"\\xff\"", 1, "must be valid UTF-8"),
        ("appenddirname \"a\\xff\"", 1, "must be valid UTF-8"),
        ("dbfilename \"\\xc3.rdb\"", 1, "must be valid UTF-8"),
        ("rdb-version 8", 1, "rdb-version must be 0 (as low as the data allows), or 9 to 12"),
        ("tls-port 6380", 1, "must stay '0': TLS is not in this version"),
        ("io-threads 4", 1, "must stay '1': more than one I/O thread is not in this version"),
    ] {
        assert_eq!(refusal(text), (number, reason.to_owned()), "{text}");
    }
}

#[test]
fn included_files_are_read_in_place_and_keep_their_own_line_numbers() {
    let mut world = World::default();
    world.files.insert("a.conf", "timeout 1\nhz 50");
    world.files.insert("conf.d/1", "timeout 2\n");
    world.files.insert("conf.d/2", "hz 60\n");
    world.files.insert("bad", "\n\nport x");
    world.files.insert("loop", "include loop");

    let mut config = Config::default();
    config.load(b"timeout 9\ninclude a.conf\nhz 7\ninclude none/*\n", &mut world).unwrap();
    assert_eq!((config.timeout, config.hz), (1, 7));
    config.load(b"include conf.d/*", &mut world).unwrap();
    assert_eq!((config.timeout, config.hz), (2, 60));

    let LoadError::Config { line, .. } = config.load(b"include bad", &mut world).unwrap_err() else {
        panic!()
    };
    assert_eq!(line, Some((3, b"port x".to_vec())));
    let error = config.load(b"include nope", &mut world).unwrap_err();
    assert_eq!(error.report(""), "Fatal error, can't open config file 'nope': No such file or directory\n");
    assert!(config.load(b"include loop", &mut world).is_err());
}

#[test]
fn only_the_default_user_may_be_declared_and_only_as_requirepass_has_it() {
    let hash = "#7c7f578472659c8fb84b647fa4640a2dafea4f9a559b04a6e44b8bb0168f31df";
    assert!(load("user default on nopass sanitize-payload ~* &* +@all").is_ok());
    assert!(load(&format!("user default on {hash} ~* &* +@all\nrequirepass \"a b\\x01\"")).is_ok());
    for text in [
        "user default on +foo",
        "user default off nopass ~* &* +@all",
        "user alice on nopass ~* &* +@all",
        "requirepass x\nuser default on nopass ~* &* +@all",
        &format!("user default on {hash} ~* &* +@all"),
        &format!("user default on {hash} ~* &* +@all\nrequirepass x"),
    ] {
        assert_eq!(refusal(text).1, "ACL users are not in this version", "{text}");
    }
}

#[test]
fn a_command_line_overrides_its_file() {
    let args = ["redis.conf", "--port", "7001", "--save", "--bind", "a", "b", "--rename-command", "KEYS", ""];
    let line = CommandLine::parse(&args.map(|arg| arg.as_bytes().to_vec()));
    let mut world = World::default();
    let mut config = Config::default();
    config.load(&line.assemble(b"port 7000\ntimeout 3", b""), &mut world).unwrap();
    assert_eq!((config.port, config.timeout), (7001, 3));
    assert_eq!(config.bind, ["a", "b"]);
    assert_eq!(world.renamed, [("KEYS".to_owned(), String::new())]);
}

proptest::proptest! {
    #[test]
    fn no_text_makes_reading_or_rewriting_panic(
        lines in proptest::collection::vec((0..config::PARAMS.len(), ".{0,40}"), 0..20),
        bytes in proptest::collection::vec(proptest::arbitrary::any::<u8>(), 0..200),
    ) {
        let mut text: Vec<u8> = bytes.clone();
        for (row, words) in lines {
            let line = format!("{} {words}\n", config::PARAMS[row].name);
            let mut config = Config::default();
            let _ = config.load(line.as_bytes(), &mut World::default());
            let _ = config.set(config::PARAMS[row].name.as_bytes(), words.as_bytes(), Default::default());
            text.extend_from_slice(line.as_bytes());
        }
        let _ = Config::default().load(&bytes, &mut World::default());
        let once = config::rewrite(&text, &Config::default());
        proptest::prop_assert!(once.ends_with(b"\n"));
    }
}
