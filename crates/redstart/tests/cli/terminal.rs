//! Our client at a terminal: prompt, hints, completion, history, channels, and what Ctrl-C does.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use nix::pty::{Winsize, openpty};

use super::harness::{Folder, Kind, Server};
use super::ours;

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(20);

/// A client and the terminal that it believes to be at.
struct Terminal {
    child: Child,
    keys: File,
    shown: Receiver<Vec<u8>>,
    /// What was shown and not yet waited for.
    screen: String,
}

impl Terminal {
    fn start(server: &Server, folder: &Folder, args: &[&str]) -> Terminal {
        let size = Winsize { ws_row: 24, ws_col: 200, ws_xpixel: 0, ws_ypixel: 0 };
        let pair = openpty(&size, None).unwrap();
        let end = || File::from(pair.slave.try_clone().unwrap());
        let child = ours()
            .args(["-p", &server.address().port().to_string()])
            .args(args)
            .env("HOME", &folder.0)
            .env("TERM", "xterm")
            .env_remove("REDISCLI_AUTH")
            .env_remove("REDISCLI_HISTFILE")
            .env_remove("REDISCLI_RCFILE")
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .unwrap();
        drop(pair.slave);
        let mut output = File::from(pair.master.try_clone().unwrap());
        let (sender, shown) = channel();
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            // A terminal that nobody holds any more cannot be read.
            while let Ok(len @ 1..) = output.read(&mut chunk) {
                if sender.send(chunk[..len].to_vec()).is_err() {
                    break;
                }
            }
        });
        Terminal { child, keys: File::from(pair.master), shown, screen: String::new() }
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until `text` is shown, and forgets what was shown up to it.
    fn wait_for(&mut self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(place) = self.screen.find(text) {
                self.screen.drain(..place + text.len());
                return;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.shown.recv_timeout(left) {
                Ok(bytes) => self.screen += &String::from_utf8_lossy(&bytes),
                Err(_) => panic!("waited in vain for {text:?}, but was shown {:?}", self.screen),
            }
        }
    }

    /// Types a line and waits until something is shown for it.
    fn enter(&mut self, line: &str, shown: &str) {
        self.press(&format!("{line}\r"));
        self.wait_for(shown);
    }

    /// Does what a terminal does when Ctrl-C is pressed while a program runs.
    fn interrupt(&self) {
        let process = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &process]).status().unwrap().success());
    }

    fn exit_code(mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "it does not end");
            std::thread::sleep(Duration::from_millis(3));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn server(folder: &Folder) -> (Server, String) {
    let server = Server::start(Kind::Ours, folder, &[]);
    let prompt = format!("127.0.0.1:{}", server.address().port());
    (server, prompt)
}

#[test]
fn the_prompt_says_where_one_is() {
    let folder = Folder::new();
    let (server, place) = server(&folder);
    let mut terminal = Terminal::start(&server, &folder, &[]);
    terminal.wait_for(&format!("{place}> "));
    terminal.enter("select 2", "OK\r\n");
    terminal.wait_for(&format!("{place}[2]> "));
    terminal.enter("multi", "OK\r\n");
    terminal.wait_for(&format!("{place}[2](TX)> "));
    terminal.enter("set k v", "QUEUED");
    terminal.enter("exec", "1) OK\r\n");
    terminal.wait_for(&format!("{place}[2]> "));
    terminal.enter("2 incr n", "(integer) 1\r\n(integer) 2\r\n");
    terminal.enter("connect 127.0.0.1 1", "Connection refused");
    terminal.wait_for("not connected> ");
    terminal.enter(&format!("connect 127.0.0.1 {}", server.address().port()), &format!("{place}[2]> "));
    terminal.enter("quit", "\r\n");
    assert_eq!(terminal.exit_code(), Some(0));
}

#[test]
fn commands_are_completed_and_arguments_hinted_at() {
    let folder = Folder::new();
    let (server, place) = server(&folder);
    let mut terminal = Terminal::start(&server, &folder, &[]);
    terminal.wait_for(&format!("{place}> "));
    terminal.press("conf\t");
    terminal.wait_for("CONFIG");
    terminal.press(" ge\t");
    terminal.wait_for("CONFIG GET\x1b[90m parameter [parameter ...]\x1b[0m");
    terminal.enter(" maxclients", "2) \"10000\"");
    terminal.press("lpush k");
    terminal.wait_for("lpush k\x1b[90m element [element ...]\x1b[0m");
    terminal.enter(" v", "(integer) 1");
    terminal.enter("help lpush", "\x1b[1mLPUSH\x1b[0m \x1b[90mkey element [element ...]\x1b[0m");
    terminal.enter(":set nohints", &format!("{place}> "));
    terminal.press("llen");
    terminal.enter(" k", "(integer) 1");
    terminal.press("\x04");
    assert_eq!(terminal.exit_code(), Some(0));
}

#[test]
fn pasted_lines_are_run_one_by_one() {
    let folder = Folder::new();
    let (server, place) = server(&folder);
    let mut terminal = Terminal::start(&server, &folder, &[]);
    terminal.wait_for(&format!("{place}> "));
    terminal.press("echo one\recho two\recho three\r");
    terminal.wait_for("\"one\"\r\n");
    terminal.wait_for("\"two\"\r\n");
    terminal.wait_for("\"three\"\r\n");
}

#[test]
fn history_outlives_the_client_but_has_no_secrets() {
    let folder = Folder::new();
    let (server, place) = server(&folder);
    let prompt = format!("{place}> ");
    let mut first = Terminal::start(&server, &folder, &[]);
    first.wait_for(&prompt);
    first.enter("set kept 1", "OK\r\n");
    first.enter("auth secret", "(error)");
    first.enter("config set requirepass \"\"", "OK\r\n");
    first.wait_for(&prompt);
    first.press("\x04");
    assert_eq!(first.exit_code(), Some(0));
    assert_eq!(std::fs::read_to_string(folder.path(".redstart_history")).unwrap(), "set kept 1\n");

    let mut second = Terminal::start(&server, &folder, &[]);
    second.wait_for(&prompt);
    second.press("\x1b[A");
    second.wait_for("set kept 1");
    second.enter("", "OK\r\n");
}

#[test]
fn channels_are_listened_to_until_they_are_left() {
    let folder = Folder::new();
    let (server, place) = server(&folder);
    for protocol in ["-2", "-3"] {
        let mut terminal = Terminal::start(&server, &folder, &[protocol]);
        terminal.wait_for(&format!("{place}> "));
        terminal.enter("subscribe news more", "2) \"more\"\r\n3) (integer) 2\r\n");
        terminal.wait_for("Reading messages... (press Ctrl-C to quit or any key to type command)");
        assert_eq!(server.ask("PUBLISH news first"), ":1");
        terminal.wait_for("1) \"message\"\r\n2) \"news\"\r\n3) \"first\"\r\n");
        terminal.press("u");
        terminal.wait_for("(subscribed mode)> ");
        terminal.enter("nsubscribe", "3) (integer) 0\r\n");
        terminal.wait_for(&format!("{place}> "));
        terminal.enter("psubscribe n*", "3) (integer) 1\r\n");
        terminal.wait_for("Reading messages...");
        terminal.interrupt();
        terminal.wait_for(&format!("{place}> "));
        terminal.enter("echo back", "\"back\"\r\n");
        assert_eq!(server.ask("PUBLISH news second"), ":0");
    }
}

#[test]
fn monitor_ends_with_ctrl_c_and_commands_follow() {
    let folder = Folder::new();
    let (server, place) = server(&folder);
    let mut terminal = Terminal::start(&server, &folder, &["-n", "5"]);
    terminal.wait_for(&format!("{place}[5]> "));
    terminal.enter("monitor", "OK\r\n");
    server.ask("GET watched");
    terminal.wait_for("\"GET\" \"watched\"");
    terminal.interrupt();
    terminal.wait_for(&format!("{place}[5]> "));
    terminal.enter("echo back", "\"back\"\r\n");
}

#[test]
fn a_connection_that_was_lost_is_made_again() {
    let folder = Folder::new();
    let (server, place) = server(&folder);
    let mut terminal = Terminal::start(&server, &folder, &[]);
    terminal.wait_for(&format!("{place}> "));
    terminal.enter("hello 3", "# \"modules\" => (empty array)\r\n");
    terminal.enter("select 3", &format!("{place}[3]> "));
    server.ask("CLIENT KILL TYPE normal SKIPME yes");
    terminal.enter("ping", "Error: ");
    terminal.wait_for("not connected> ");
    terminal.enter("set k v", "OK\r\n");
    terminal.wait_for(&format!("{place}[3]> "));
    // The protocol is again the one that was chosen.
    terminal.enter("hgetall nothing", "(empty hash)\r\n");
}

#[test]
fn keys_that_others_changed_are_told_of() {
    let folder = Folder::new();
    if !super::harness::redis_is_here() {
        return;
    }
    let server = Server::start(Kind::Theirs, &folder, &[]);
    let mut terminal = Terminal::start(&server, &folder, &["-3"]);
    terminal.enter("client tracking on", "OK\r\n");
    terminal.enter("get k", "(nil)\r\n");
    server.ask("SET k v");
    terminal.enter("ping", "-> invalidate: 'k'\r\nPONG\r\n");
}
