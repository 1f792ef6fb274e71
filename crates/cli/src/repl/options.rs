//! What the command line asks for.
//!
//! Options and what they mean are those of redis-cli 7.0, and a few of 7.2. Options of redis-cli that are not in this
//! version are refused by name: nothing that is asked for is left undone silently.

use std::time::Duration;

use super::json::Strings;
use super::uri;

/// How replies are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// For people.
    Formatted,
    Raw,
    Csv,
    Json(Strings),
}

/// What is done instead of running a command or reading lines.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Mode {
    /// Runs the command of the command line, or reads commands if there is none.
    Commands,
    /// Runs a script in a file.
    Eval(Vec<u8>),
    Latency {
        history: bool,
    },
    LatencyDistribution {
        colors: bool,
    },
    IntrinsicLatency {
        seconds: i64,
    },
    Pipe,
    BigKeys,
    /// How much memory keys take; 0 samples are the server's default.
    MemKeys {
        samples: i64,
    },
    HotKeys,
    Stat,
    Scan,
    /// Writes the snapshot that a replica would be sent.
    Rdb {
        file: Vec<u8>,
        functions: bool,
    },
}

/// Where the server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) host: String,
    pub(crate) port: i32,
    /// A Unix socket, which goes before host and port.
    pub(crate) socket: Option<Vec<u8>>,
}

/// Which family of addresses is tried first when a name has several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

/// Who talks to the server, and in what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProtocolWish {
    /// As the server begins: RESP2.
    None,
    /// RESP2, said by -2.
    Resp2,
    /// RESP3, or nothing.
    Resp3,
    /// RESP3, if the server has it.
    Resp3IfPossible,
}

/// Everything that the command line says before the command.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Options {
    pub(crate) endpoint: Endpoint,
    pub(crate) family: Option<Family>,
    pub(crate) connect_timeout: Option<Duration>,
    pub(crate) user: Option<Vec<u8>>,
    pub(crate) password: Option<Vec<u8>>,
    pub(crate) ask_password: bool,
    pub(crate) db: i32,
    pub(crate) protocol: ProtocolWish,
    /// How often the command runs; for ever if negative.
    pub(crate) repeat: i64,
    pub(crate) interval: Duration,
    pub(crate) output: Output,
    pub(crate) element_delimiter: Vec<u8>,
    pub(crate) reply_delimiter: Vec<u8>,
    pub(crate) show_pushes: bool,
    pub(crate) last_argument_from_stdin: bool,
    pub(crate) tagged_argument_from_stdin: Option<Vec<u8>>,
    pub(crate) quoted_input: bool,
    pub(crate) error_exit_code: bool,
    pub(crate) cluster: bool,
    pub(crate) pattern: Option<Vec<u8>>,
    pub(crate) pipe_timeout: i64,
    pub(crate) mode: Mode,
}

/// What the command line amounts to.
#[derive(Debug, PartialEq)]
pub(crate) enum Parsed {
    /// Options, warnings to print first, and how many arguments they took.
    Run {
        options: Box<Options>,
        warnings: Vec<String>,
        taken: usize,
    },
    Help,
    Version,
}

/// Why the command line cannot be followed.
pub(crate) type Complaint = String;

/// Options of redis-cli, up to its newest version, that are not in this one.
const NOT_HERE: &[&str] = &[
    "--tls",
    "--sni",
    "--cacert",
    "--cacertdir",
    "--insecure",
    "--cert",
    "--key",
    "--tls-ciphers",
    "--tls-ciphersuites",
    "--lru-test",
    "--slave",
    "--replica",
    "--ldb",
    "--ldb-sync-mode",
    "--cluster",
    "--cluster-yes",
    "--cluster-replicas",
    "--cluster-from",
    "--cluster-to",
    "--cluster-slots",
    "--keystats",
    "--keystats-samples",
    "--vset-recall",
];

impl Options {
    /// Returns what holds when nothing is said; people at a terminal are shown formatted replies and pushes.
    pub(crate) fn new(terminal: bool) -> Options {
        Options {
            endpoint: Endpoint { host: "127.0.0.1".into(), port: 6379, socket: None },
            family: None,
            connect_timeout: None,
            user: None,
            password: None,
            ask_password: false,
            db: 0,
            protocol: ProtocolWish::None,
            repeat: 1,
            interval: Duration::ZERO,
            output: if terminal { Output::Formatted } else { Output::Raw },
            element_delimiter: b"\n".to_vec(),
            reply_delimiter: b"\n".to_vec(),
            show_pushes: terminal,
            last_argument_from_stdin: false,
            tagged_argument_from_stdin: None,
            quoted_input: false,
            error_exit_code: false,
            cluster: false,
            pattern: None,
            pipe_timeout: 30,
            mode: Mode::Commands,
        }
    }

    /// Reads options up to the command.
    pub(crate) fn parse(args: &[Vec<u8>], terminal: bool) -> Result<Parsed, Complaint> {
        let mut options = Options::new(terminal);
        let mut warnings = Vec::new();
        let (mut resp2, mut resp3, mut json, mut colors, mut auth_warning) =
            (false, false, false, true, true);
        let mut rest = args;
        while let [first, after @ ..] = rest
            && first.first() == Some(&b'-')
        {
            let name = String::from_utf8_lossy(first).into_owned();
            let mut alone = true;
            match name.as_str() {
                "--help" => return Ok(Parsed::Help),
                "-v" | "--version" => return Ok(Parsed::Version),
                "-x" => options.last_argument_from_stdin = true,
                "-2" => resp2 = true,
                "-3" => resp3 = true,
                "-4" => options.family = Some(Family::V4),
                "-6" => options.family = Some(Family::V6),
                "-e" => options.error_exit_code = true,
                "-c" => options.cluster = true,
                "--no-auth-warning" => auth_warning = false,
                "--askpass" => options.ask_password = true,
                "--raw" => options.output = Output::Raw,
                "--no-raw" => options.output = Output::Formatted,
                "--csv" => options.output = Output::Csv,
                "--json" => (json, options.output) = (true, Output::Json(Strings::Unicode)),
                "--quoted-json" => (json, options.output) = (true, Output::Json(Strings::Quoted)),
                "--quoted-input" => options.quoted_input = true,
                "--latency" => options.mode = Mode::Latency { history: false },
                "--latency-history" => options.mode = Mode::Latency { history: true },
                "--latency-dist" => options.mode = Mode::LatencyDistribution { colors: true },
                "--mono" => colors = false,
                "--pipe" => options.mode = Mode::Pipe,
                "--bigkeys" => options.mode = Mode::BigKeys,
                "--memkeys" => options.mode = Mode::MemKeys { samples: 0 },
                "--hotkeys" => options.mode = Mode::HotKeys,
                "--stat" => options.mode = Mode::Stat,
                "--scan" => options.mode = Mode::Scan,
                // It makes a part of redis-cli talk more that is not here.
                "--verbose" => {}
                _ if NOT_HERE.contains(&name.as_str()) => {
                    return Err(format!("The option '{name}' of redis-cli is not in this version."));
                }
                _ => alone = false,
            }
            if alone {
                rest = after;
                continue;
            }
            let [value, after @ ..] = after else {
                return match name.as_str() {
                    "-h" => Ok(Parsed::Help),
                    _ => Err(unrecognized(&name)),
                };
            };
            match name.as_str() {
                "-h" => options.endpoint.host = String::from_utf8_lossy(value).into_owned(),
                "-p" => options.endpoint.port = leading_int(value) as i32,
                "-s" => options.endpoint.socket = Some(value.clone()),
                "-t" => options.connect_timeout = Some(connect_timeout(value)?),
                "-r" => options.repeat = leading_int(value),
                "-i" => options.interval = seconds(value),
                "-n" => options.db = leading_int(value) as i32,
                "-a" | "--pass" => options.password = Some(value.clone()),
                "--user" => options.user = Some(value.clone()),
                "-u" => uri::apply(value, &mut options)?,
                "-X" => options.tagged_argument_from_stdin = Some(value.clone()),
                "-d" => options.element_delimiter.clone_from(value),
                "-D" => options.reply_delimiter.clone_from(value),
                "--show-pushes" => match value.first().map(u8::to_ascii_lowercase) {
                    Some(b'y') => options.show_pushes = true,
                    Some(b'n') => options.show_pushes = false,
                    _ => warnings.push(format!(
                        "Unknown --show-pushes value '{}' (valid: '[y]es', '[n]o')",
                        String::from_utf8_lossy(value)
                    )),
                },
                "--pattern" => options.pattern = Some(value.clone()),
                "--quoted-pattern" => {
                    let pattern = unquote(value);
                    let complaint = "Invalid quoted string specified for --quoted-pattern.";
                    options.pattern = Some(pattern.ok_or(complaint)?);
                }
                "--pipe-timeout" => options.pipe_timeout = leading_int(value),
                "--memkeys-samples" => options.mode = Mode::MemKeys { samples: leading_int(value) },
                "--intrinsic-latency" => {
                    options.mode = Mode::IntrinsicLatency { seconds: leading_int(value) }
                }
                "--eval" => options.mode = Mode::Eval(value.clone()),
                "--rdb" => options.mode = Mode::Rdb { file: value.clone(), functions: false },
                "--functions-rdb" => options.mode = Mode::Rdb { file: value.clone(), functions: true },
                _ => return Err(unrecognized(&name)),
            }
            rest = after;
        }
        options.protocol = match (resp2, resp3, json) {
            (true, true, _) => return Err("Options -2 and -3 are mutually exclusive.".into()),
            (true, ..) => ProtocolWish::Resp2,
            (_, true, _) => ProtocolWish::Resp3,
            (_, _, true) => ProtocolWish::Resp3IfPossible,
            _ => ProtocolWish::None,
        };
        if options.endpoint.socket.is_some() && options.cluster {
            return Err("Options -c and -s are mutually exclusive.".into());
        }
        if options.last_argument_from_stdin && options.tagged_argument_from_stdin.is_some() {
            return Err("Options -x and -X are mutually exclusive.".into());
        }
        if let Mode::LatencyDistribution { colors: wish } = &mut options.mode {
            *wish = colors;
        }
        if options.password.is_some() && auth_warning {
            warnings.push(AUTH_WARNING.into());
        }
        Ok(Parsed::Run { options: Box::new(options), warnings, taken: args.len() - rest.len() })
    }
}

const AUTH_WARNING: &str =
    "Warning: Using a password with '-a' or '-u' option on the command line interface may not be safe.";

fn unrecognized(name: &str) -> Complaint {
    format!("Unrecognized option or bad number of args for: '{name}'")
}

/// Returns the one word that `text` is when read as a line of words with quotes.
pub(crate) fn unquote(text: &[u8]) -> Option<Vec<u8>> {
    let mut words = resp::inline::split_args(text)?;
    if words.len() == 1 { words.pop() } else { None }
}

/// Returns the integer that `text` begins with, 0 if it begins with none; as C's `atoi` does.
pub(crate) fn leading_int(text: &[u8]) -> i64 {
    let text = text.trim_ascii_start();
    let signs = usize::from(matches!(text.first(), Some(b'-' | b'+')));
    let digits = text[signs..].iter().take_while(|byte| byte.is_ascii_digit());
    let magnitude =
        digits.fold(0i64, |sum, digit| sum.saturating_mul(10).saturating_add(i64::from(digit - b'0')));
    if text.first() == Some(&b'-') { -magnitude } else { magnitude }
}

/// Returns the time that `text` says in seconds, none if it says none.
fn seconds(text: &[u8]) -> Duration {
    Duration::try_from_secs_f64(leading_float(text)).unwrap_or_default()
}

/// Returns the number that `text` begins with, 0 if it begins with none.
fn leading_float(text: &[u8]) -> f64 {
    let text = String::from_utf8_lossy(text.trim_ascii_start()).into_owned();
    let ends = text.char_indices().map(|(i, _)| i).skip(1).chain([text.len()]);
    ends.filter_map(|end| text[..end].parse::<f64>().ok()).last().unwrap_or(0.0)
}

fn connect_timeout(text: &[u8]) -> Result<Duration, Complaint> {
    let value = String::from_utf8_lossy(text).parse::<f64>().ok();
    let time = value.filter(|value| *value >= 0.0).and_then(|value| Duration::try_from_secs_f64(value).ok());
    time.ok_or_else(|| "Invalid connection timeout for -t.".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<Vec<u8>> {
        line.split_whitespace().map(|word| word.as_bytes().to_vec()).collect()
    }

    fn parse(line: &str) -> (Options, Vec<String>, usize) {
        match Options::parse(&words(line), false) {
            Ok(Parsed::Run { options, warnings, taken }) => (*options, warnings, taken),
            other => panic!("{line}: {other:?}"),
        }
    }

    fn complaint(line: &str) -> String {
        Options::parse(&words(line), false).expect_err("this line is refused")
    }

    #[test]
    fn options_end_where_the_command_begins() {
        let (options, warnings, taken) = parse("-h example.org -p 70x -n 3 -r -1 -i 0.25 --csv get -x");
        assert_eq!(
            (options.endpoint.host.as_str(), options.endpoint.port, options.db),
            ("example.org", 70, 3)
        );
        assert_eq!((options.repeat, options.interval), (-1, Duration::from_millis(250)));
        assert_eq!((options.output, taken), (Output::Csv, 11));
        assert!(!options.last_argument_from_stdin && warnings.is_empty());
    }

    #[test]
    fn json_asks_for_resp3_unless_told_otherwise() {
        assert_eq!(parse("--json").0.protocol, ProtocolWish::Resp3IfPossible);
        assert_eq!(parse("-3 --json").0.protocol, ProtocolWish::Resp3);
        assert_eq!(parse("--json -2").0.protocol, ProtocolWish::Resp2);
    }

    #[test]
    fn a_password_on_the_command_line_is_warned_of() {
        assert_eq!(parse("-a secret").1, [AUTH_WARNING]);
        assert!(parse("--no-auth-warning -a secret").1.is_empty());
        assert_eq!(parse("--show-pushes maybe").1.len(), 1);
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        assert_eq!(complaint("-nosuch"), "Unrecognized option or bad number of args for: '-nosuch'");
        assert_eq!(complaint("-p"), "Unrecognized option or bad number of args for: '-p'");
        assert_eq!(complaint("--tls get"), "The option '--tls' of redis-cli is not in this version.");
        assert_eq!(complaint("-2 -3"), "Options -2 and -3 are mutually exclusive.");
        assert_eq!(complaint("-x -X tag"), "Options -x and -X are mutually exclusive.");
        assert_eq!(complaint("-c -s /tmp/x"), "Options -c and -s are mutually exclusive.");
        assert_eq!(Options::parse(&words("-h"), false), Ok(Parsed::Help));
    }

    #[test]
    fn numbers_are_read_as_far_as_they_go() {
        let ints: [(&[u8], i64); 5] = [(b"12a", 12), (b" -3", -3), (b"x", 0), (b"", 0), (b"+4.5", 4)];
        for (text, value) in ints {
            assert_eq!(leading_int(text), value);
        }
        assert_eq!(leading_float(b"1.5s"), 1.5);
        assert_eq!(leading_float(b"s"), 0.0);
        assert_eq!(seconds(b"-1"), Duration::ZERO);
        assert_eq!(unquote(b"'a b'"), Some(b"a b".to_vec()));
        assert_eq!(unquote(b"a b"), None);
    }
}
