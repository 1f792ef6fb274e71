//! The driver, from outside: it binds, serves, refuses and stops.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A server of this build in a directory of its own, ended with the test.
struct Server {
    child: Child,
    port: u16,
    directory: PathBuf,
}

impl Server {
    fn start(options: &[&str]) -> Server {
        let server = Server::launch(options);
        server.wait_for_log("Ready to accept connections");
        server
    }

    fn launch(options: &[&str]) -> Server {
        Server::launch_with(&[], options)
    }

    fn launch_with(first: &[&str], options: &[&str]) -> Server {
        Server::spawn(first, options, None)
    }

    /// Launches a server that finds a supervisor at `socket`.
    fn launch_under(socket: &Path, options: &[&str]) -> Server {
        Server::spawn(&[], options, Some(socket))
    }

    fn spawn(first: &[&str], options: &[&str], supervisor: Option<&Path>) -> Server {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("redstart-{}-{number}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let child = Command::new(env!("CARGO_BIN_EXE_redstart"))
            .arg("server")
            .args(first)
            .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--dir"])
            .arg(&directory)
            .args(options)
            .current_dir(&directory)
            .envs(supervisor.map(|socket| ("NOTIFY_SOCKET", socket)))
            .stdout(fs::File::create(directory.join("stdout")).unwrap())
            .stderr(fs::File::create(directory.join("stderr")).unwrap())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Server { child, port, directory }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    }

    fn file(&self, name: &str) -> String {
        fs::read_to_string(self.directory.join(name)).unwrap_or_default()
    }

    fn wait_for_log(&self, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !self.file("stdout").contains(text) {
            assert!(
                Instant::now() < deadline,
                "no {text:?} in:\n{}{}",
                self.file("stdout"),
                self.file("stderr")
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    fn exit_code(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Sends a request and compares what comes back.
fn say(stream: &mut (impl Read + Write), request: &[u8], reply: &[u8]) {
    stream.write_all(request).unwrap();
    expect(stream, reply);
}

fn expect(stream: &mut impl Read, reply: &[u8]) {
    let mut got = vec![0; reply.len()];
    stream.read_exact(&mut got).unwrap();
    assert_eq!(got, reply, "{:?}", String::from_utf8_lossy(&got));
}

fn rest(stream: &mut impl Read) -> String {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => {}
        // A server that closes before it has read everything resets the connection.
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    String::from_utf8_lossy(&rest).into_owned()
}

#[test]
fn it_serves_a_pipeline_that_arrives_in_pieces() {
    let server = Server::start(&[]);
    let mut stream = server.connect();
    let mut requests = Vec::new();
    for i in 0..10_000 {
        requests.extend_from_slice(format!("*3\r\n$3\r\nSET\r\n$5\r\n{i:05}\r\n$5\r\n{i:05}\r\n").as_bytes());
        requests.extend_from_slice(format!("*2\r\n$3\r\nGET\r\n$5\r\n{i:05}\r\n").as_bytes());
    }
    let mut writer = stream.try_clone().unwrap();
    let sender = std::thread::spawn(move || {
        for piece in requests.chunks(4099) {
            writer.write_all(piece).unwrap();
        }
    });
    for i in 0..10_000 {
        expect(&mut stream, format!("+OK\r\n$5\r\n{i:05}\r\n").as_bytes());
    }
    sender.join().unwrap();
}

#[test]
fn it_carries_large_values_both_ways() {
    let server = Server::start(&[]);
    let mut stream = server.connect();
    let value = vec![b'x'; 20 << 20];
    stream.write_all(format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${}\r\n", value.len()).as_bytes()).unwrap();
    stream.write_all(&value).unwrap();
    say(&mut stream, b"\r\n", b"+OK\r\n");
    stream.write_all(b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n").unwrap();
    // The sockets in between are full long before we begin to read.
    std::thread::sleep(Duration::from_millis(100));
    expect(&mut stream, format!("${}\r\n", value.len()).as_bytes());
    expect(&mut stream, &value);
    expect(&mut stream, b"\r\n");
    say(&mut stream, b"SET k 1\r\n", b"+OK\r\n");
}

#[test]
fn it_serves_on_a_unix_socket_only_if_told_so() {
    let server = Server::launch(&["--port", "0", "--unixsocket", "sock", "--unixsocketperm", "700"]);
    server.wait_for_log("Ready to accept connections unix");
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, server.port)).is_err());
    let path = server.directory.join("sock");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    let mut stream = UnixStream::connect(&path).unwrap();
    say(&mut stream, b"SET k v\r\nGET k\r\n", b"+OK\r\n$1\r\nv\r\n");
    server.signal("TERM");
    let deadline = Instant::now() + Duration::from_secs(10);
    while path.exists() {
        assert!(Instant::now() < deadline, "the socket's name is left behind");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn it_stops_on_sigterm_with_its_last_words() {
    let mut server = Server::start(&["--pidfile", "pid"]);
    assert_eq!(server.file("pid").trim(), server.child.id().to_string());
    server.signal("HUP");
    say(&mut server.connect(), b"SET k v\r\n", b"+OK\r\n");
    server.signal("TERM");
    assert_eq!(server.exit_code(), Some(0));
    let log = server.file("stdout");
    let words = [
        "Received SIGTERM scheduling shutdown...",
        "User requested shutdown...",
        "Removing the pid file.",
        "Redis is now ready to exit, bye bye...",
    ];
    let mut rest = log.lines();
    for words in words {
        assert!(rest.any(|line| line.ends_with(words)), "{words:?} in its place:\n{log}");
    }
    assert_eq!(rest.next(), None, "{log}");
    assert!(!server.directory.join("pid").exists());
}

#[test]
fn its_log_has_the_lines_that_scripts_wait_for() {
    let server = Server::start(&["--always-show-logo", "yes"]);
    let plain = Server::start(&[]);
    for server in [&server, &plain] {
        let log = server.file("stdout");
        let (before, after) = log.split_once("Server initialized").unwrap();
        assert!(before.contains(&format!(" PID: {}", server.child.id())), "{log}");
        assert!(after.contains("Ready to accept connections"), "{log}");
        assert!(log.contains("oO0OoO0OoO0Oo Redis is starting oO0OoO0OoO0Oo"), "{log}");
    }
}

#[test]
fn it_refuses_a_configuration_it_does_not_understand() {
    let mut server = Server::launch(&["--prot", "1"]);
    assert_eq!(server.exit_code(), Some(1));
    let error = server.file("stderr");
    assert!(error.contains("*** FATAL CONFIG FILE ERROR (Redis "), "{error}");
    assert!(error.contains(">>> 'prot \"1\"'\nBad directive or wrong number of arguments"), "{error}");
}

#[test]
fn it_does_not_start_on_a_port_that_is_taken() {
    let server = Server::start(&[]);
    let mut second = Server::launch(&["--port", &server.port.to_string()]);
    assert_eq!(second.exit_code(), Some(1));
    let log = second.file("stdout");
    let line = format!(
        "Could not create server TCP listening socket 127.0.0.1:{}: bind: Address already in use",
        server.port
    );
    assert!(log.contains(&line), "{log}");
    assert!(log.contains(&format!("Failed listening on port {} (tcp), aborting.", server.port)), "{log}");
}

#[test]
fn it_turns_clients_beyond_maxclients_away() {
    let server = Server::start(&["--maxclients", "2"]);
    let mut first = server.connect();
    let mut second = server.connect();
    say(&mut first, b"SET k v\r\n", b"+OK\r\n");
    say(&mut second, b"SET k v\r\n", b"+OK\r\n");
    assert_eq!(rest(&mut server.connect()), "-ERR max number of clients reached\r\n");
    drop(first);
    // The server may learn of the parting a moment later.
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let mut third = server.connect();
        let mut reply = [0; 4];
        if third.write_all(b"SET k v\r\n").is_ok()
            && third.read_exact(&mut reply).is_ok()
            && reply == *b"+OK\r"
        {
            break;
        }
        assert!(Instant::now() < deadline, "the place is not given to another client");
    }
    say(&mut second, b"GET k\r\n", b"$1\r\nv\r\n");
}

#[test]
fn a_protocol_error_is_told_before_the_link_is_closed() {
    let server = Server::start(&[]);
    let mut stream = server.connect();
    stream.write_all(b"SET k v\r\n*2\r\n$3\r\nGET\r\n$-5\r\nSET k w\r\n").unwrap();
    assert_eq!(rest(&mut stream), "+OK\r\n-ERR Protocol error: invalid bulk length\r\n");
    say(&mut server.connect(), b"GET k\r\n", b"$1\r\nv\r\n");
}

#[test]
fn a_browser_gets_nothing() {
    let server = Server::start(&[]);
    let mut stream = server.connect();
    stream.write_all(b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\nSET k v\r\n").unwrap();
    assert_eq!(rest(&mut stream), "");
    server.wait_for_log("Possible SECURITY ATTACK detected");
    say(&mut server.connect(), b"GET k\r\n", b"$-1\r\n");
}

#[test]
fn a_client_that_does_not_read_is_cut_off_at_its_limit() {
    let server = Server::start(&["--client-output-buffer-limit", "normal 1mb 0 0"]);
    let mut stream = server.connect();
    let value = "x".repeat(100_000);
    say(&mut stream, format!("SET k {}\r\n", &value[..50_000]).as_bytes(), b"+OK\r\n");
    stream.set_write_timeout(Some(Duration::from_secs(10))).unwrap();
    let requests = b"GET k\r\n".repeat(1000);
    // 50 MB of replies fit neither the sockets nor the limit.
    let _ = stream.write_all(&requests);
    server.wait_for_log("overcoming of output buffer limits");
    let mut other = server.connect();
    say(&mut other, b"SET j v\r\n", b"+OK\r\n");
    let mut read = 0;
    let mut chunk = [0; 65536];
    while let Ok(count @ 1..) = stream.read(&mut chunk) {
        read += count;
    }
    assert!(read < 50_000_000, "{read}");
}

#[test]
fn a_replica_that_stood_still_is_sent_everything_without_asking() {
    // Small pieces of the stream, so that there are far more than the driver sends in a row.
    let server = Server::start(&["--repl-backlog-size", "16kb", "--repl-diskless-sync", "no"]);
    let mut replica = server.connect();
    replica.write_all(b"PSYNC ? -1\r\n").unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\xff") || head.len() < 100 {
        let mut byte = [0];
        replica.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }

    // More than sockets keep.
    let request = [&b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$10000\r\n"[..], &[b'x'; 10_000], b"\r\n"].concat();
    let mut client = server.connect();
    let count = 3000;
    (0..count).for_each(|_| say(&mut client, &request, b"+OK\r\n"));

    let (mut left, mut part) = (count * request.len(), vec![0; 1 << 20]);
    while left > 0 {
        let length = replica.read(&mut part).expect("the stream does not stand still");
        left = left.saturating_sub(length);
    }
}

#[test]
fn it_moves_to_another_port_and_stays_where_that_is_taken() {
    let server = Server::start(&[]);
    let other = Server::start(&[]);
    let mut stream = server.connect();
    let taken = format!("CONFIG SET port {}\r\n", other.port);
    let refusal = "-ERR CONFIG SET failed (possibly related to argument 'port') - Unable to listen on this port. Check \
                   server logs.\r\n";
    say(&mut stream, taken.as_bytes(), refusal.as_bytes());
    say(&mut server.connect(), b"SET k v\r\n", b"+OK\r\n");

    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    say(&mut stream, format!("CONFIG SET port {free}\r\n").as_bytes(), b"+OK\r\n");
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, server.port)).is_err());
    say(&mut TcpStream::connect((Ipv4Addr::LOCALHOST, free)).unwrap(), b"GET k\r\n", b"$1\r\nv\r\n");
    // Who is connected stays connected.
    say(&mut stream, b"GET k\r\n", b"$1\r\nv\r\n");
}

#[test]
fn a_changed_configuration_takes_effect_and_is_written_back() {
    let server =
        Server::launch(&["--port", "0", "--unixsocket", "sock", "--enable-protected-configs", "yes"]);
    server.wait_for_log("Ready to accept connections");
    let mut stream = UnixStream::connect(server.directory.join("sock")).unwrap();
    say(&mut stream, b"CONFIG REWRITE\r\n", b"-ERR The server is running without a config file\r\n");
    let refusal =
        "-ERR CONFIG SET failed (possibly related to argument 'dir') - No such file or directory\r\n";
    say(&mut stream, b"CONFIG SET maxclients 5 dir /nowhere\r\n", refusal.as_bytes());
    say(&mut stream, b"CONFIG GET maxclients\r\n", b"*2\r\n$10\r\nmaxclients\r\n$5\r\n10000\r\n");
    say(
        &mut stream,
        b"CONFIG SET dir /usr/../tmp\r\nCONFIG GET dir\r\n",
        b"+OK\r\n*2\r\n$3\r\ndir\r\n$4\r\n/tmp\r\n",
    );

    let file = server.directory.join("redis.conf");
    fs::write(&file, "# Ours\nhz 20\n").unwrap();
    let second = Server::launch_with(&[file.to_str().unwrap()], &[]);
    second.wait_for_log("Ready to accept connections");
    let mut stream = second.connect();
    say(&mut stream, b"CONFIG SET hz 30 maxclients 77\r\nCONFIG REWRITE\r\n", b"+OK\r\n+OK\r\n");
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("# Ours\nhz 30\n") && text.contains("\nmaxclients 77\n"), "{text}");
}

#[test]
fn it_becomes_a_daemon_and_leaves_its_process_id() {
    let mut parent = Server::launch(&["--daemonize", "yes", "--pidfile", "pid", "--logfile", "log"]);
    assert_eq!(parent.exit_code(), Some(0));
    let deadline = Instant::now() + Duration::from_secs(10);
    while !parent.file("log").contains("Ready to accept connections") {
        assert!(Instant::now() < deadline, "{}", parent.file("log"));
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(parent.file("log").contains(&format!("pid={}", parent.file("pid").trim())));
    let mut stream = parent.connect();
    say(&mut stream, b"SET k v\r\n", b"+OK\r\n");
    stream.write_all(b"SHUTDOWN\r\n").unwrap();
    assert_eq!(rest(&mut stream), "");
    while parent.directory.join("pid").exists() {
        assert!(Instant::now() < deadline, "{}", parent.file("log"));
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(parent.file("stdout").is_empty());
}

#[test]
fn it_tells_systemd_when_it_is_ready() {
    let path = std::env::temp_dir().join(format!("redstart-notify-{}", std::process::id()));
    let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    // Who is supervised stays in the foreground, whatever is configured.
    let server = Server::launch_under(&path, &["--supervised", "auto", "--daemonize", "yes"]);
    let mut told = String::new();
    while !told.contains("READY=1\n") {
        let mut message = [0; 1024];
        let length = socket.recv(&mut message).unwrap();
        told += std::str::from_utf8(&message[..length]).unwrap();
    }
    fs::remove_file(&path).unwrap();
    say(&mut server.connect(), b"SET k v\r\n", b"+OK\r\n");
}

#[test]
fn a_crash_leaves_a_report() {
    let mut server = Server::start(&["--enable-debug-command", "yes"]);
    server.connect().write_all(b"DEBUG SEGFAULT\r\n").unwrap();
    assert_eq!(server.exit_code(), None);
    let log = server.file("stdout");
    assert!(log.contains("=== REDIS BUG REPORT START") && log.contains("STACK TRACE"), "{log}");
    assert!(log.trim_end().ends_with("=== REDIS BUG REPORT END. ==="), "{log}");
}

#[test]
fn it_acts_as_redis_server_under_that_name() {
    let directory = std::env::temp_dir().join(format!("redstart-name-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let link = directory.join("redis-server");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_redstart"), &link).unwrap();
    let output = Command::new(&link).arg("-v").output().unwrap();
    fs::remove_dir_all(&directory).unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.starts_with("Redis server v=7.2.4 sha=")
            && text.contains(" malloc=jemalloc-5.3.0 bits=64 build=")
    );
}
