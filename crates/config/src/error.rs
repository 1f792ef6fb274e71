//! Why a parameter could not be set, in the words that Redis uses.

use std::borrow::Cow;

/// A CONFIG SET that was refused; nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetError {
    /// There is no such parameter.
    Unknown(Vec<u8>),
    /// The parameter `name` would not take its value, for `reason`.
    Failed {
        /// The parameter as it was named.
        name: Vec<u8>,
        /// Why, without the name.
        reason: Cow<'static, str>,
    },
    /// The parameter must not change while the data set is being loaded.
    Loading,
}

impl SetError {
    /// Returns the refusal of `name` for `reason`, as for a change that could not be put into force.
    pub fn failed(name: &[u8], reason: impl Into<Cow<'static, str>>) -> Self {
        Self::Failed { name: name.to_vec(), reason: reason.into() }
    }

    /// Returns the error as the line that is replied, code included.
    pub fn reply(&self) -> Vec<u8> {
        match self {
            Self::Unknown(name) => {
                [b"ERR Unknown option or number of arguments for CONFIG SET - '", name.as_slice(), b"'"]
                    .concat()
            }
            Self::Failed { name, reason } => [
                b"ERR CONFIG SET failed (possibly related to argument '",
                name.as_slice(),
                b"') - ",
                reason.as_bytes(),
            ]
            .concat(),
            Self::Loading => b"LOADING Redis is loading the dataset in memory".to_vec(),
        }
    }
}

/// A configuration with which the server cannot start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadError {
    /// Something in the configuration is wrong.
    Config {
        /// The line, counted from 1, and its text, when one line is to blame.
        line: Option<(usize, Vec<u8>)>,
        /// What is wrong with it.
        reason: String,
    },
    /// A file could not be read; the text is what belongs into the log.
    File(String),
}

impl LoadError {
    /// Returns the failure of the configuration as a whole, as for a log file that cannot be opened.
    pub fn without_line(reason: impl Into<String>) -> Self {
        Self::Config { line: None, reason: reason.into() }
    }

    /// Returns the failure to read the configuration file at `path`.
    pub fn file(path: &[u8], reason: &str) -> Self {
        Self::File(format!(
            "Fatal error, can't open config file '{}': {reason}",
            String::from_utf8_lossy(path)
        ))
    }

    /// Returns what is written to standard error before the server exits, in the shape that Redis gives it.
    pub fn report(&self, version: &str) -> String {
        match self {
            Self::File(text) => format!("{text}\n"),
            Self::Config { line, reason } => {
                let place = line.as_ref().map_or(String::new(), |(number, text)| {
                    let text = String::from_utf8_lossy(text);
                    format!("Reading the configuration file, at line {number}\n>>> '{text}'\n")
                });
                format!("\n*** FATAL CONFIG FILE ERROR (Redis {version}) ***\n{place}{reason}\n")
            }
        }
    }
}
