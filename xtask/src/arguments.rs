//! Arguments that the chores share.

use std::path::PathBuf;

use testkit::{Dialect, ServerProcess, TcpTarget};

/// Parsed arguments of a chore.
#[derive(Debug, Default)]
pub(crate) struct Arguments {
    /// The reference server's command.
    pub(crate) server: Vec<String>,
    /// Our server's command, when it is the one to play against.
    pub(crate) ours: Option<Vec<String>>,
    /// Whether replies are replaced.
    pub(crate) force: bool,
    /// Everything that is not an option.
    pub(crate) rest: Vec<String>,
}

impl Arguments {
    /// Parses what follows the chore's name.
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
        let mut arguments = Arguments { server: vec!["redis-server".to_string()], ..Arguments::default() };
        while let Some(word) = words.next() {
            let mut command = || -> Result<Vec<String>, String> {
                let text = words.next().ok_or_else(|| format!("{word} takes a command"))?;
                Ok(text.split_whitespace().map(str::to_string).collect())
            };
            match word.as_str() {
                "--server" => arguments.server = command()?,
                "--ours" => arguments.ours = Some(command()?),
                "--force" => arguments.force = true,
                _ if word.starts_with("--") => return Err(format!("unknown option {word}")),
                _ => arguments.rest.push(word),
            }
        }
        Ok(arguments)
    }
}

/// Starts the server to play against and returns it with a target for it.
pub(crate) fn start(arguments: &Arguments) -> Result<(ServerProcess, TcpTarget), String> {
    let command = arguments.ours.as_ref().unwrap_or(&arguments.server);
    let server = ServerProcess::start(command, &[]).map_err(|e| e.to_string())?;
    let dialect = match arguments.ours {
        Some(_) => Dialect::Redstart,
        None => server.reference_dialect().map_err(|e| e.to_string())?,
    };
    let target = TcpTarget::new(server.address(), dialect);
    Ok((server, target))
}

/// Returns the repository's root.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}
