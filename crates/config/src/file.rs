//! Configuration files: lines of words, loaded into a [`Config`].

use sha2::{Digest, Sha256};

use crate::config::Config;
use crate::error::LoadError;
use crate::kind::Kind;
use crate::params::lookup;
use crate::words::split_words;

/// What loading a configuration needs from the world outside.
pub trait Host {
    /// Returns the text of the files that `pattern` names, one after the other.
    ///
    /// A pattern with `*`, `?` or `[` may match none and is then the empty text. The error says why a file could not be
    /// read, and which.
    fn include(&mut self, pattern: &[u8]) -> Result<Vec<u8>, LoadError>;

    /// Changes the working directory and returns its absolute path, or says why not in the words of the system.
    fn change_dir(&mut self, path: &[u8]) -> Result<Vec<u8>, String>;

    /// Renames a command, or takes it away where the new name is empty.
    ///
    /// Redis says "No such command in rename-command" and "Target command name already exists".
    fn rename_command(&mut self, from: &[u8], to: &[u8]) -> Result<(), &'static str>;
}

/// What is worth telling about a configuration that has been loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Lines for the log, about what was read and has no effect.
    pub notes: Vec<String>,
}

/// Parameters of long ago that Redis still reads and does nothing with.
const OBSOLETE: [&[u8]; 3] =
    [b"list-max-ziplist-entries", b"list-max-ziplist-value", b"lua-replicate-commands"];

/// Files that include themselves end here rather than never.
const MAX_DEPTH: usize = 16;

impl Config {
    /// Applies the text of a configuration file, or of a command line's [`assemble`](crate::CommandLine::assemble).
    ///
    /// After an error the configuration is half applied and of no use.
    pub fn load(&mut self, text: &[u8], host: &mut dyn Host) -> Result<Loaded, LoadError> {
        let mut loader = Loader { config: self, host, loaded: Loaded::default(), users: Vec::new() };
        loader.text(text, 0)?;
        loader.check_users()?;
        Ok(loader.loaded)
    }
}

struct Loader<'a> {
    config: &'a mut Config,
    host: &'a mut dyn Host,
    loaded: Loaded,
    users: Vec<UserLine>,
}

/// A `user` line: it can only be judged when requirepass is known for good.
struct UserLine {
    number: usize,
    line: Vec<u8>,
    rules: Vec<Vec<u8>>,
}

/// Why a line was refused: for itself, or for what it includes.
enum Refusal {
    Line(String),
    Elsewhere(LoadError),
}

impl<T: Into<String>> From<T> for Refusal {
    fn from(reason: T) -> Self {
        Self::Line(reason.into())
    }
}

impl Loader<'_> {
    fn text(&mut self, text: &[u8], depth: usize) -> Result<(), LoadError> {
        for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
            let line = trim(line);
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            self.line(index + 1, line, depth).map_err(|refusal| match refusal {
                Refusal::Line(reason) => LoadError::Config { line: Some((index + 1, line.to_vec())), reason },
                Refusal::Elsewhere(error) => error,
            })?;
        }
        Ok(())
    }

    fn line(&mut self, number: usize, line: &[u8], depth: usize) -> Result<(), Refusal> {
        let words = split_words(line).ok_or("Unbalanced quotes in configuration line")?;
        let Some((name, rest)) = words.split_first() else { return Ok(()) };
        let args: Vec<&[u8]> = rest.iter().map(Vec::as_slice).collect();

        if let Some((param, _)) = lookup(name) {
            if let (Kind::Directory, &[path]) = (param.kind, args.as_slice()) {
                let absolute = self.host.change_dir(path)?;
                self.config.set_dir(absolute);
                return Ok(());
            }
            return Ok(self.config.assign_words(param, &args).map_err(|reason| reason.into_owned())?);
        }

        match (name.to_ascii_lowercase().as_slice(), args.as_slice()) {
            (name, [_]) if OBSOLETE.contains(&name) => {
                let name = String::from_utf8_lossy(name);
                self.loaded.notes.push(format!("'{name}' is obsolete and has no effect"));
                Ok(())
            }
            (b"include", _) if depth >= MAX_DEPTH => Err("too many files include one another".into()),
            (b"include", [pattern]) => {
                let text = self.host.include(pattern).map_err(Refusal::Elsewhere)?;
                self.text(&text, depth + 1).map_err(Refusal::Elsewhere)
            }
            (b"rename-command", [from, to]) => Ok(self.host.rename_command(from, to)?),
            (b"user", [_, ..]) => {
                self.users.push(UserLine { number, line: line.to_vec(), rules: rest.to_vec() });
                Ok(())
            }
            (b"loadmodule", [_, ..]) => Err("modules are not in this version".into()),
            (name, []) if name.contains(&b'.') => Err("Module config specified without value".into()),
            (name, _) if name.contains(&b'.') => Err("modules are not in this version".into()),
            (b"sentinel", []) => Err("Sentinel mode is not in this version".into()),
            (b"sentinel", _) => Err("sentinel directive while not in sentinel mode".into()),
            _ => Err("Bad directive or wrong number of arguments".into()),
        }
    }

    /// Accepts users that say no more than requirepass does, as CONFIG REWRITE of Redis leaves them in every file.
    fn check_users(&self) -> Result<(), LoadError> {
        let refused = self.users.iter().find(|user| !is_default_user(&user.rules, &self.config.requirepass));
        refused.map_or(Ok(()), |user| {
            Err(LoadError::Config {
                line: Some((user.number, user.line.clone())),
                reason: "ACL users are not in this version".to_owned(),
            })
        })
    }
}

/// Says whether the rules describe the one user there is: `default`, who may do everything.
fn is_default_user(words: &[Vec<u8>], requirepass: &[u8]) -> bool {
    let Some((name, rules)) = words.split_first() else { return false };
    name == b"default"
        && rules.iter().all(|rule| match rule.as_slice() {
            b"on" | b"~*" | b"allkeys" | b"&*" | b"allchannels" | b"+@all" | b"allcommands"
            | b"sanitize-payload" => true,
            b"nopass" => requirepass.is_empty(),
            rule if requirepass.is_empty() => rule.is_empty(),
            rule => match rule.split_first() {
                Some((b'>', password)) => password == requirepass,
                Some((b'#', hash)) => hash == password_hash(requirepass).as_bytes(),
                _ => false,
            },
        })
}

/// Returns the words by which Redis describes the default user under that password.
pub(crate) fn default_user(requirepass: &[u8]) -> String {
    let password = match requirepass {
        b"" => "nopass".to_owned(),
        password => format!("#{}", password_hash(password)),
    };
    format!("default on {password} ~* &* +@all")
}

fn password_hash(password: &[u8]) -> String {
    Sha256::digest(password).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns the line without blanks and line ends at its ends.
pub(crate) fn trim(line: &[u8]) -> &[u8] {
    let is_blank = |byte: &u8| b" \t\r\n".contains(byte);
    let start = line.iter().position(|byte| !is_blank(byte)).unwrap_or(line.len());
    let end = line.iter().rposition(|byte| !is_blank(byte)).map_or(start, |last| last + 1);
    &line[start..end]
}
