//! `redstart cli`: the command-line client, with the options and the output of redis-cli.
//!
//! ```text
//! options, uri        what the command line says
//! client, reply       the connection                 subscriptions           what it listens to
//! session             commands in, replies shown     render, json            how they are shown
//! interactive         lines in                       docs, help, hints,
//! pipe, scan, keys,                                  complete, history       what helps to type them
//! latency, stat, rdb  what else can be asked for     interrupt               Ctrl-C
//! ```

/// Prints a line; who does not read it has no use for it.
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write;
        let _ = writeln!(std::io::stdout(), $($text)*);
    }};
}

/// Prints a line on the error stream; who does not read it has no use for it.
macro_rules! complain {
    ($($text:tt)*) => {{
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), $($text)*);
    }};
}

mod client;
mod complete;
mod docs;
mod help;
mod hints;
mod history;
mod interactive;
mod interrupt;
mod json;
mod keys;
mod latency;
mod options;
mod pipe;
mod rdb;
mod render;
mod reply;
mod scan;
mod session;
mod stat;
mod subscriptions;
mod uri;

use std::io::{self, IsTerminal, Read};
use std::process::ExitCode;

use base::version::{REDIS_VERSION, VERSION};
use keys::Measure;
use options::{Mode, Options, Parsed};
use session::{Link, Session, Stop};

/// What the shell says of a program that wrote to a pipe which nobody reads.
const BROKEN_PIPE: u8 = 128 + 13;

/// Acts as redis-cli does with these arguments; `name` is what it was called.
pub fn main(name: &str, args: &[Vec<u8>]) -> ExitCode {
    // Terminals of tests are none; this says that they are.
    let terminal = io::stdout().is_terminal() || std::env::var_os("FAKETTY").is_some();
    let (options, args) = match Options::parse(args, terminal) {
        Ok(Parsed::Run { options, warnings, taken }) => {
            warnings.iter().for_each(|warning| complain!("{warning}"));
            (*options, &args[taken..])
        }
        Ok(Parsed::Help) => {
            say!("{}", help_text(name));
            return ExitCode::SUCCESS;
        }
        Ok(Parsed::Version) => {
            say!("{}", version_text(name));
            return ExitCode::SUCCESS;
        }
        Err(complaint) => {
            complain!("{complaint}");
            return ExitCode::FAILURE;
        }
    };
    match run(options, name, args) {
        Ok(code) | Err(Stop::Code(code)) => ExitCode::from(code),
        Err(Stop::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::from(BROKEN_PIPE),
        Err(Stop::Output(error)) => {
            complain!("Error writing what the server said: {}", reply::system_text(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(mut options: Options, name: &str, args: &[Vec<u8>]) -> Result<u8, Stop> {
    if options.password.is_none() {
        use std::os::unix::ffi::OsStringExt;
        options.password = std::env::var_os("REDISCLI_AUTH").map(OsStringExt::into_vec);
    }
    if options.ask_password {
        options.password = Some(interactive::ask_password("Please input password: ")?);
    }
    let mode = options.mode.clone();
    let mut session = Session::new(options);
    match &mode {
        Mode::Commands if args.is_empty() => return interactive::run(&mut session, name),
        Mode::Commands => {
            session.connect(true);
            return one_command(&mut session, name, args);
        }
        Mode::IntrinsicLatency { seconds } => return latency::intrinsic(*seconds),
        _ => {}
    }
    if session.connect(false) == Link::Lost {
        return Ok(1);
    }
    match &mode {
        Mode::Commands | Mode::IntrinsicLatency { .. } => Ok(0),
        Mode::Eval(file) => eval(&mut session, file, args),
        Mode::Latency { history } => latency::run(&mut session, *history),
        Mode::LatencyDistribution { colors } => latency::spectrum(&mut session, *colors),
        Mode::Pipe => pipe::run(&mut session),
        Mode::BigKeys => keys::biggest(&mut session, Measure::Elements),
        Mode::MemKeys { samples } => keys::biggest(&mut session, Measure::Memory { samples: *samples }),
        Mode::HotKeys => keys::hottest(&mut session),
        Mode::Stat => stat::run(&mut session),
        Mode::Scan => scan::run(&mut session),
        Mode::Rdb { file, functions } => rdb::run(&mut session, file, *functions),
    }
}

/// Sends the script of a file; a comma separates its keys from its other arguments.
fn eval(session: &mut Session, file: &[u8], args: &[Vec<u8>]) -> Result<u8, Stop> {
    use std::os::unix::ffi::OsStrExt;
    let script = match std::fs::read(std::ffi::OsStr::from_bytes(file)) {
        Ok(script) => script,
        Err(error) => {
            let file = String::from_utf8_lossy(file);
            complain!("Can't open file '{file}': {}", reply::system_text(&error));
            return Ok(1);
        }
    };
    let comma = args.iter().position(|arg| arg == b",");
    let (keys, rest) = match comma {
        Some(place) => (&args[..place], &args[place + 1..]),
        None => (args, &[][..]),
    };
    let mut command = vec![b"EVAL".to_vec(), script, keys.len().to_string().into_bytes()];
    command.extend(keys.iter().chain(rest).cloned());
    let repeat = session.options.repeat;
    Ok(u8::from(session.issue(&command, repeat)? == Link::Lost))
}

/// Runs the command of the command line.
fn one_command(session: &mut Session, name: &str, args: &[Vec<u8>]) -> Result<u8, Stop> {
    let options = &session.options;
    let mut args = args.to_vec();
    if options.quoted_input {
        let unquoted: Option<Vec<_>> = args.iter().map(|arg| options::unquote(arg)).collect();
        let Some(unquoted) = unquoted else {
            say!("Invalid quoted string");
            return Ok(1);
        };
        args = unquoted;
    }
    if options.last_argument_from_stdin {
        args.push(standard_input()?);
    } else if let Some(tag) = &options.tagged_argument_from_stdin {
        let Some(tagged) = args.iter_mut().find(|arg| *arg == tag) else {
            complain!("Using -X option but stdin tag not match.");
            return Ok(1);
        };
        *tagged = standard_input()?;
    }
    if args[0].eq_ignore_ascii_case(b"help") || args[0] == b"?" {
        interactive::print_help(session, name, &args[1..], None)?;
        return Ok(0);
    }
    let repeat = options.repeat;
    Ok(u8::from(session.issue(&args, repeat)? == Link::Lost))
}

fn standard_input() -> Result<Vec<u8>, Stop> {
    let mut bytes = Vec::new();
    match io::stdin().read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(error) => {
            complain!("Reading from standard input: {}", reply::system_text(&error));
            Err(Stop::Code(1))
        }
    }
}

/// Returns the version under either name: that of Redis under the name of Redis' client.
fn version_text(name: &str) -> String {
    match name.ends_with("-cli") {
        true => format!("{name} {REDIS_VERSION} (redstart {VERSION})"),
        false => format!("{name} {VERSION} (compatible with Redis {REDIS_VERSION})"),
    }
}

fn help_text(name: &str) -> String {
    let version = version_text(name);
    format!(
        "\
{version}

Usage: {name} [OPTION ...] [COMMAND [ARGUMENT ...]]
       Without a command, commands are read from the terminal or the standard input; \"help\" says more there.

Which server:
  -h HOST            its name or address, 127.0.0.1 unless given
  -p PORT            its port, 6379 unless given
  -s PATH            its Unix socket, instead of host and port
  -u URI             all of it: redis://[[USER:]PASSWORD@]HOST[:PORT][/DB]
  -n DB              the database
  -4, -6             prefers addresses of this kind where a name has both
  -t SECONDS         waits no longer for a connection
  -c                 follows a cluster's redirections
Who asks:
  -a, --pass TEXT    the password; the environment variable REDISCLI_AUTH keeps it out of lists of processes
  --user NAME        the user, together with a password
  --askpass          asks for the password
  --no-auth-warning  does not warn of passwords on the command line
What is sent:
  -2, -3             speaks RESP2 or RESP3
  -r COUNT           runs the command so often, for ever if negative
  -i SECONDS         waits so long after each; with --scan after each page, with --stat between rows, and with --bigkeys,
                     --memkeys and --hotkeys after 100 pages
  -x                 takes the last argument from the standard input
  -X TAG             takes the argument that is TAG from the standard input
  --quoted-input     reads arguments as quoted strings
  --eval FILE        sends EVAL with the script in the file; a comma separates keys from other arguments
How replies are shown:
  --no-raw, --raw    formatted for people, or not; people are assumed at a terminal
  --csv              as comma-separated values
  --json             as JSON, asking for RESP3 unless -2 is given
  --quoted-json      as JSON of ASCII only
  -d TEXT, -D TEXT   what raw output has between elements, and after replies; a line end unless given
  --show-pushes YN   shows messages that answer nothing, or does not; shown at a terminal unless told otherwise
  -e                 ends with code 1 when the server replies with an error
What else can be done:
  --pipe             sends the standard input as it is, and counts replies
  --pipe-timeout N   waits at most so many seconds for its last replies, for ever if 0; 30 unless given
  --scan             lists all keys
  --pattern TEXT     only keys that match, with --scan, --bigkeys, --memkeys and --hotkeys; --quoted-pattern in quotes
  --bigkeys          finds the keys with most elements
  --memkeys          finds the keys that take most memory; --memkeys-samples N looks at N elements of each
  --hotkeys          finds the keys that are used most; the server needs an LFU policy
  --latency          samples how long PING takes: for ever at a terminal, else for a second (-i)
  --latency-history  the same in rows of 15 seconds (-i)
  --latency-dist     the same as a spectrum of colours, or of greys with --mono
  --intrinsic-latency SECONDS   samples how long this system keeps a program waiting
  --stat             shows rows of numbers about the server
  --rdb FILE         writes the snapshot that a replica would get; --functions-rdb FILE only the functions
  --help, --version"
    )
}
