//! Commands read line by line, from a person at a terminal or from a file.
//!
//! Owns the prompt, what the lines mean that are not for the server (`help`, `connect`, `quit`), and the wait for
//! messages of channels. A terminal has editing, history, completion and hints; a file has none of these.

use std::io::{self, BufRead, IsTerminal, Write};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout};
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::MemHistory;
use rustyline::validate::Validator;
use rustyline::{CompletionType, Config, Context, Editor, Helper};

use super::docs::CommandDocs;
use super::history::{History, dotfile, is_sensitive};
use super::options::{Output, leading_int};
use super::reply::Reply;
use super::session::{Link, Session, Stop};
use super::{complete, help, hints, interrupt};

/// From which duration on it is said how long a command took.
const SLOW: Duration = Duration::from_millis(500);

/// Reads and runs commands until there are no more.
pub(crate) fn run(session: &mut Session, name: &str) -> Result<u8, Stop> {
    interrupt::install();
    session.interactive = true;
    session.connect(false);
    let mut lines = if io::stdin().is_terminal() { Lines::terminal() } else { Lines::File };
    let mut shell = Shell { session, name, docs: Docs::Unknown };
    loop {
        shell.refresh_docs(&mut lines);
        let Some(line) = lines.next(&shell.session.prompt())? else { return Ok(0) };
        if shell.line(&line, &mut lines)? == After::Leave {
            return Ok(0);
        }
        shell.wait_for_messages(&lines)?;
    }
}

/// What follows a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    Continue,
    Leave,
}

/// What is known of the server's commands.
#[derive(Debug)]
enum Docs {
    /// Worth asking for.
    Unknown,
    /// The server was asked and did not say.
    Refused,
    Known,
}

struct Shell<'a> {
    session: &'a mut Session,
    name: &'a str,
    docs: Docs,
}

impl Shell<'_> {
    /// Asks the server for its commands, where they are used and not known yet.
    fn refresh_docs(&mut self, lines: &mut Lines) {
        let Lines::Terminal { editor, .. } = lines else { return };
        if matches!(self.docs, Docs::Unknown) && self.session.is_idle() {
            self.docs = match self.session.command_docs() {
                Some(docs) => {
                    if let Some(assistant) = editor.helper_mut() {
                        assistant.docs = docs;
                    }
                    Docs::Known
                }
                None => Docs::Refused,
            };
        }
    }

    fn line(&mut self, line: &[u8], lines: &mut Lines) -> Result<After, Stop> {
        if line.is_empty() {
            return Ok(After::Continue);
        }
        let mut stdout = io::stdout();
        let Some(args) = resp::inline::split_args(line) else {
            lines.remember(line);
            writeln!(stdout, "Invalid argument(s)")?;
            return Ok(After::Continue);
        };
        let Some(first) = args.first() else { return Ok(After::Continue) };
        let (repeat, command) = match repeat_prefix(&args) {
            Repeat::Times(times) => (times, &args[1..]),
            Repeat::None => (1, &args[..]),
            Repeat::Invalid => {
                writeln!(stdout, "Invalid redis-cli repeat command option value.")?;
                return Ok(After::Continue);
            }
        };
        if !is_sensitive(command) {
            lines.remember(line);
        }
        match (first.to_ascii_lowercase().as_slice(), args.as_slice()) {
            (b"quit" | b"exit", _) => return Ok(After::Leave),
            ([b':', ..], _) => lines.set_preference(&args, "")?,
            (b"restart", _) => writeln!(stdout, "Use 'restart' only in Lua debugging mode.")?,
            (b"connect", [_, host, port]) => {
                self.session.go_to(&String::from_utf8_lossy(host), leading_int(port) as i32);
                self.session.connect(false);
                self.docs = Docs::Unknown;
            }
            (b"clear", [_]) => {
                write!(stdout, "\x1b[H\x1b[2J")?;
                stdout.flush()?;
            }
            _ => {
                let started = Instant::now();
                self.command(command, repeat, lines)?;
                let elapsed = started.elapsed();
                if elapsed >= SLOW && self.session.options.output == Output::Formatted {
                    writeln!(stdout, "({:.2}s)", elapsed.as_secs_f64())?;
                }
            }
        }
        Ok(After::Continue)
    }

    fn command(&mut self, command: &[Vec<u8>], repeat: i64, lines: &Lines) -> Result<(), Stop> {
        let name = command[0].to_ascii_lowercase();
        if name == b"help" || name == b"?" {
            let known = lines.docs().filter(|_| matches!(self.docs, Docs::Known));
            return print_help(self.session, self.name, &command[1..], known);
        }
        self.session.issue(command, repeat)?;
        if matches!(name.as_slice(), b"auth" | b"hello") && matches!(self.docs, Docs::Refused) {
            self.docs = Docs::Unknown;
        }
        Ok(())
    }

    /// Shows messages of channels until a command is about to be typed, or Ctrl-C ends the subscriptions.
    fn wait_for_messages(&mut self, lines: &Lines) -> Result<(), Stop> {
        if !self.session.subscribed() {
            return Ok(());
        }
        let shows_info = self.session.options.output != Output::Raw && io::stdout().is_terminal();
        let terminal = match lines {
            Lines::Terminal { .. } => Some(KeyByKey::enter()),
            Lines::File => None,
        };
        while self.session.subscribed() {
            let Some(_guard) = self.session.guard_connection() else { return Ok(()) };
            let Some(client) = self.session.client.as_ref() else { return Ok(()) };
            if client.has_input() {
                self.session.show_message()?;
                continue;
            }
            if shows_info {
                print_now(WAITING)?;
            }
            let stdin = io::stdin();
            let mut waited = [
                PollFd::new(client.descriptor(), PollFlags::POLLIN),
                PollFd::new(std::os::fd::AsFd::as_fd(&stdin), PollFlags::POLLIN),
            ];
            // Interrupted or not, what is there to be read says how to go on.
            let _ = nix::poll::poll(&mut waited, PollTimeout::from(5000u16));
            let ready = waited.map(|fd| fd.any().unwrap_or(false));
            if shows_info {
                print_now("\x1b[K")?;
            }
            match ready {
                [true, _] => {
                    self.session.show_message()?;
                }
                [_, true] => break,
                _ => {}
            }
        }
        drop(terminal);
        Ok(())
    }
}

const WAITING: &str =
    "\x1b[1;90mReading messages... (press Ctrl-C to quit or any key to type command)\r\x1b[0m";

fn print_now(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// Prints help, from what is known of the server's commands or what it says when asked.
pub(crate) fn print_help(
    session: &mut Session,
    name: &str,
    topics: &[Vec<u8>],
    known: Option<&CommandDocs>,
) -> Result<(), Stop> {
    let asked = match known {
        None if !topics.is_empty() => session.command_docs(),
        _ => None,
    };
    let none = CommandDocs::default();
    help::print(&mut io::stdout(), name, topics, known.or(asked.as_ref()).unwrap_or(&none))?;
    Ok(())
}

/// A number before a command.
enum Repeat {
    None,
    Times(i64),
    Invalid,
}

fn repeat_prefix(args: &[Vec<u8>]) -> Repeat {
    let [first, _, ..] = args else { return Repeat::None };
    let digits = first.strip_prefix(b"-").or(first.strip_prefix(b"+")).unwrap_or(first);
    if !digits.iter().all(u8::is_ascii_digit) {
        return Repeat::None;
    }
    match std::str::from_utf8(first).ok().and_then(|text| text.parse::<i64>().ok()) {
        Some(times @ 1..) => Repeat::Times(times),
        _ => Repeat::Invalid,
    }
}

/// Where lines come from.
enum Lines {
    Terminal { editor: Box<Editor<Assistant, MemHistory>>, history: History },
    File,
}

impl Lines {
    fn terminal() -> Lines {
        let history = History::of_user();
        // Pasted lines are commands as typed ones are, not one line with line ends in it.
        let config = Config::builder()
            .completion_type(CompletionType::Circular)
            .auto_add_history(false)
            .bracketed_paste(false)
            .build();
        let Ok(mut editor) = Editor::with_history(config, MemHistory::new()) else { return Lines::File };
        editor.set_helper(Some(Assistant { docs: CommandDocs::default(), hints: true }));
        for line in history.load() {
            // One that is not taken is only not offered again.
            let _ = editor.add_history_entry(line);
        }
        let mut lines = Lines::Terminal { editor: Box::new(editor), history };
        lines.load_preferences();
        lines
    }

    /// Returns the next line, nothing at their end.
    fn next(&mut self, prompt: &str) -> Result<Option<Vec<u8>>, Stop> {
        match self {
            Lines::Terminal { editor, .. } => match editor.readline(prompt) {
                Ok(line) => Ok(Some(line.into_bytes())),
                Err(ReadlineError::Eof | ReadlineError::Interrupted) => Ok(None),
                Err(ReadlineError::Io(error)) if error.kind() == io::ErrorKind::InvalidData => {
                    writeln!(
                        io::stdout(),
                        "\r\nInvalid argument(s): not UTF-8; \\xHH in double quotes is any byte"
                    )?;
                    Ok(Some(Vec::new()))
                }
                Err(error) => {
                    complain!("Error reading a line: {error}");
                    Err(Stop::Code(1))
                }
            },
            Lines::File => {
                let mut line = Vec::new();
                match io::stdin().lock().read_until(b'\n', &mut line) {
                    Ok(0) => Ok(None),
                    Ok(_) => {
                        line.pop_if(|byte| *byte == b'\n');
                        Ok(Some(line))
                    }
                    Err(error) => {
                        complain!("Error reading a line: {error}");
                        Err(Stop::Code(1))
                    }
                }
            }
        }
    }

    fn remember(&mut self, line: &[u8]) {
        if let Lines::Terminal { editor, history } = self {
            let line = String::from_utf8_lossy(line);
            // Lines like the one before are not taken again.
            if editor.add_history_entry(line.as_ref()).unwrap_or(false) {
                history.add(&line);
            }
        }
    }

    fn docs(&self) -> Option<&CommandDocs> {
        match self {
            Lines::Terminal { editor, .. } => editor.helper().map(|assistant| &assistant.docs),
            Lines::File => None,
        }
    }

    fn load_preferences(&mut self) {
        let Some(path) = dotfile("REDISCLI_RCFILE", ".redisclirc") else { return };
        let Ok(text) = std::fs::read(path) else { return };
        for line in text.split(|byte| *byte == b'\n') {
            if let Some(args) = resp::inline::split_args(line).filter(|args| !args.is_empty()) {
                // Nobody to tell is nobody to complain.
                let _ = self.set_preference(&args, ".redisclirc: ");
            }
        }
    }

    /// Follows a line that begins with a colon; `origin` says in complaints where it stands.
    fn set_preference(&mut self, args: &[Vec<u8>], origin: &str) -> io::Result<()> {
        let shown = |word: &[u8]| String::from_utf8_lossy(word).into_owned();
        let complaint = match args {
            [set, name, ..] if set.eq_ignore_ascii_case(b":set") => {
                match name.to_ascii_lowercase().as_slice() {
                    b"hints" => {
                        self.set_hints(true);
                        return Ok(());
                    }
                    b"nohints" => {
                        self.set_hints(false);
                        return Ok(());
                    }
                    _ => format!("preference '{}'", shown(name)),
                }
            }
            [command, ..] => format!("internal command '{}'", shown(command)),
            [] => return Ok(()),
        };
        writeln!(io::stdout(), "{origin}unknown redis-cli {complaint}")
    }

    fn set_hints(&mut self, on: bool) {
        if let Lines::Terminal { editor, .. } = self
            && let Some(assistant) = editor.helper_mut()
        {
            assistant.hints = on;
        }
    }
}

/// What helps while a line is being typed.
struct Assistant {
    docs: CommandDocs,
    hints: bool,
}

impl Completer for Assistant {
    type Candidate = String;

    fn complete(&self, line: &str, end: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        Ok((0, complete::candidates(&self.docs, &line[..end])))
    }
}

impl Hinter for Assistant {
    type Hint = String;

    fn hint(&self, line: &str, end: usize, _: &Context<'_>) -> Option<String> {
        if !self.hints || end < line.len() {
            return None;
        }
        hints::hint(&self.docs, line)
    }
}

impl Highlighter for Assistant {
    fn highlight_hint<'h>(&self, hint: &'h str) -> std::borrow::Cow<'h, str> {
        format!("\x1b[90m{hint}\x1b[0m").into()
    }
}

impl Validator for Assistant {}
impl Helper for Assistant {}

/// A terminal that gives keys as they are pressed, until this goes.
struct KeyByKey {
    before: Option<nix::sys::termios::Termios>,
}

impl KeyByKey {
    fn enter() -> KeyByKey {
        use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};
        let before = tcgetattr(io::stdin()).ok();
        if let Some(before) = &before {
            let mut keys = before.clone();
            keys.local_flags.remove(LocalFlags::ICANON | LocalFlags::ECHO);
            // Where this fails, Enter is the key to press.
            let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, &keys);
        }
        KeyByKey { before }
    }
}

impl Drop for KeyByKey {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = nix::sys::termios::tcsetattr(io::stdin(), nix::sys::termios::SetArg::TCSANOW, before);
        }
    }
}

/// Returns the line that is typed, without showing it.
pub(crate) fn ask_password(question: &str) -> io::Result<Vec<u8>> {
    use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};
    print_now(question)?;
    let before = tcgetattr(io::stdin()).ok();
    if let Some(before) = &before {
        let mut silent = before.clone();
        silent.local_flags.remove(LocalFlags::ECHO);
        tcsetattr(io::stdin(), SetArg::TCSANOW, &silent).map_err(io::Error::from)?;
    }
    let mut line = Vec::new();
    let read = io::stdin().lock().read_until(b'\n', &mut line);
    if let Some(before) = &before {
        let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, before);
        writeln!(io::stdout())?;
    }
    read?;
    line.pop_if(|byte| *byte == b'\n');
    Ok(line)
}

impl Session {
    /// Asks the server for its commands, by whatever means it has.
    fn command_docs(&mut self) -> Option<CommandDocs> {
        if self.client.is_none() && self.connect(true) == Link::Lost {
            return None;
        }
        let client = self.client.as_mut()?;
        match client.call(&["COMMAND", "DOCS"]).ok()? {
            Reply::Error(_) => CommandDocs::from_names(&client.call(&["COMMAND"]).ok()?),
            reply => CommandDocs::read(&reply),
        }
    }
}
