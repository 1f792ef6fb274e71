//! A host of the tests' own, for loading configurations.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::collections::BTreeMap;

use config::{Config, Host, LoadError};

/// A world with files in a map and two commands.
#[derive(Default)]
pub struct World {
    pub files: BTreeMap<&'static str, &'static str>,
    pub renamed: Vec<(String, String)>,
}

/// Returns the bytes as text.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Host for World {
    fn include(&mut self, pattern: &[u8]) -> Result<Vec<u8>, LoadError> {
        if pattern.ends_with(b"*") {
            let prefix = &pattern[..pattern.len() - 1];
            let matching = self.files.iter().filter(|(name, _)| name.as_bytes().starts_with(prefix));
            return Ok(matching.flat_map(|(_, text)| text.bytes()).collect());
        }
        match self.files.get(text(pattern).as_str()) {
            Some(text) => Ok(text.as_bytes().to_vec()),
            None => Err(LoadError::file(pattern, "No such file or directory")),
        }
    }

    fn change_dir(&mut self, path: &[u8]) -> Result<Vec<u8>, String> {
        match path {
            b"/nonexist" => Err("No such file or directory".to_owned()),
            path => Ok([b"/".as_slice(), path.strip_prefix(b"/").unwrap_or(path)].concat()),
        }
    }

    fn rename_command(&mut self, from: &[u8], to: &[u8]) -> Result<(), &'static str> {
        match from.to_ascii_lowercase().as_slice() {
            b"get" | b"set" | b"keys" if to == b"set" => Err("Target command name already exists"),
            b"get" | b"set" | b"keys" => {
                self.renamed.push((text(from), text(to)));
                Ok(())
            }
            _ => Err("No such command in rename-command"),
        }
    }
}

/// Loads the text over the defaults.
pub fn load(text: &str) -> Result<Config, LoadError> {
    let mut config = Config::default();
    config.load(text.as_bytes(), &mut World::default())?;
    Ok(config)
}
