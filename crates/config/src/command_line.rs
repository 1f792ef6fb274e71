//! The command line: a configuration file, perhaps, and options that are lines of configuration.
//!
//! `redis-server FILE --name word word --name word -` reads FILE, then standard input, then the options; the last line
//! about a parameter is the one that counts.

use crate::words::{quote, split_words};

/// What the server was asked to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Action {
    /// Serve.
    #[default]
    Run,
    /// Print the version.
    Version,
    /// Print the usage.
    Help,
    /// Test memory; the words that follow say how many megabytes.
    TestMemory(Vec<Vec<u8>>),
    /// Check the system for settings that do harm.
    CheckSystem,
}

/// The arguments of the process, taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandLine {
    /// What to do.
    pub action: Action,
    /// The configuration file, if one is named.
    pub config_file: Option<Vec<u8>>,
    /// Whether standard input is to be read as configuration as well.
    pub reads_stdin: bool,
    /// Whether `--sentinel` is among the arguments.
    pub sentinel: bool,
    /// Whether there were no arguments at all.
    pub is_empty: bool,
    /// The options as lines of configuration.
    pub options: Vec<u8>,
}

impl CommandLine {
    /// Takes the arguments apart; the first is the first after the name of the program.
    pub fn parse(args: &[Vec<u8>]) -> Self {
        let Some(first) = args.first() else { return Self { is_empty: true, ..Self::default() } };
        let action = match first.as_slice() {
            b"-v" | b"--version" => Action::Version,
            b"-h" | b"--help" => Action::Help,
            b"--test-memory" => Action::TestMemory(args[1..].to_vec()),
            b"--check-system" => Action::CheckSystem,
            _ => Action::Run,
        };
        if action != Action::Run {
            return Self { action, ..Self::default() };
        }

        let mut line = Self { sentinel: args.iter().any(|arg| arg == b"--sentinel"), ..Self::default() };
        let mut from = 0;
        if !first.starts_with(b"-") {
            line.config_file = Some(first.clone());
            from = 1;
        }
        line.read_options(args, from);
        line
    }

    /// Returns the text to load: the file's, standard input's and the options', in that order.
    pub fn assemble(&self, file: &[u8], stdin: &[u8]) -> Vec<u8> {
        [file, stdin, b"\n", self.options.as_slice()].concat()
    }

    fn read_options(&mut self, args: &[Vec<u8>], from: usize) {
        let last = args.len() - 1;
        // An option's name takes the argument after it whatever that looks like: `--logfile --x` logs to "--x".
        let mut owes_a_word = false;
        for (index, arg) in args.iter().enumerate().skip(from) {
            if arg == b"-" && (index == 0 || index == last) {
                self.reads_stdin = true;
            } else if !owes_a_word && let Some(name) = arg.strip_prefix(b"--") {
                if !self.options.is_empty() {
                    self.options.push(b'\n');
                }
                self.options.extend_from_slice(name);
                self.options.push(b' ');

                // A name and its words may also come as one argument.
                let alone = split_words(arg).is_some_and(|words| words.len() == 1);
                let ends_here = args.get(index + 1).is_none_or(|next| next.starts_with(b"--"));
                owes_a_word = alone;
                if alone && ends_here {
                    // These two may stand without a word, for command lines made from lists that may be empty.
                    if arg.eq_ignore_ascii_case(b"--save") {
                        self.options.extend_from_slice(b"\"\"");
                        owes_a_word = false;
                    } else if arg.eq_ignore_ascii_case(b"--sentinel") {
                        owes_a_word = false;
                    }
                }
            } else {
                self.options.extend_from_slice(quote(arg).as_bytes());
                self.options.push(b' ');
                owes_a_word = false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> CommandLine {
        CommandLine::parse(&args.iter().map(|arg| arg.as_bytes().to_vec()).collect::<Vec<_>>())
    }

    fn options(args: &[&str]) -> String {
        String::from_utf8(parse(args).options).unwrap()
    }

    #[test]
    fn options_become_lines() {
        assert_eq!(options(&["--port", "7000", "--bind", "a", "b"]), "port \"7000\" \nbind \"a\" \"b\" ");
        assert_eq!(options(&["--port 7000", "--daemonize", "yes"]), "port 7000 \ndaemonize \"yes\" ");
        assert_eq!(options(&["--logfile", "--x", "--port", "1"]), "logfile \"--x\" \nport \"1\" ");
        assert_eq!(options(&["--requirepass", "a \"b\""]), "requirepass \"a \\\"b\\\"\" ");
        assert_eq!(
            options(&["--client-output-buffer-limit", "normal 0 0 0"]),
            "client-output-buffer-limit \"normal 0 0 0\" "
        );
    }

    #[test]
    fn save_and_sentinel_may_stand_alone() {
        assert_eq!(options(&["--save", "", "--port", "1"]), "save \"\" \nport \"1\" ");
        assert_eq!(options(&["--save", "--port", "1"]), "save \"\"\nport \"1\" ");
        assert_eq!(options(&["--port", "1", "--save"]), "port \"1\" \nsave \"\"");
        assert_eq!(options(&["--sentinel", "--port", "1"]), "sentinel \nport \"1\" ");
        assert!(parse(&["--sentinel"]).sentinel);
    }

    #[test]
    fn a_file_comes_first_and_a_dash_first_or_last() {
        let line = parse(&["redis.conf", "--port", "1", "-"]);
        assert_eq!(line.config_file.as_deref(), Some(b"redis.conf".as_slice()));
        assert!(line.reads_stdin);
        assert_eq!(line.options, b"port \"1\" ");
        assert_eq!(line.assemble(b"timeout 5\n", b"hz 5\n"), b"timeout 5\nhz 5\n\nport \"1\" ");

        let line = parse(&["-", "x"]);
        assert!(line.reads_stdin && line.config_file.is_none());
        assert_eq!(line.options, b"\"x\" ");
        assert!(!parse(&["f", "--logfile", "-", "x"]).reads_stdin);
    }

    #[test]
    fn special_actions_count_only_as_the_first_argument() {
        assert_eq!(parse(&["-v"]).action, Action::Version);
        assert_eq!(parse(&["--help"]).action, Action::Help);
        assert_eq!(parse(&["--test-memory", "64"]).action, Action::TestMemory(vec![b"64".to_vec()]));
        assert_eq!(parse(&["--check-system"]).action, Action::CheckSystem);
        assert_eq!(parse(&["f", "--help"]).action, Action::Run);
        assert!(parse(&[]).is_empty);
    }
}
