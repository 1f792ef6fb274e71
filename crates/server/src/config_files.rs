//! Configuration from files, standard input and the command line.

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use base::glob::glob_match;
use config::{CommandLine, Config, Host, LoadError};
use engine::table::Table;

use crate::text::reason;

/// What a server starts with.
pub(crate) struct Setup {
    pub(crate) config: Config,
    /// The configuration file's absolute name.
    pub(crate) file: Option<PathBuf>,
    pub(crate) table: &'static Table,
    /// Lines for the log.
    pub(crate) notes: Vec<String>,
}

/// Loads what the command line names and says.
pub(crate) fn load(line: &CommandLine) -> Result<Setup, LoadError> {
    let mut config = Config::default();
    let dir = std::env::current_dir().unwrap_or_default();
    config.set_dir(dir.as_os_str().as_bytes().to_vec());

    let file = line.config_file.as_ref().map(|name| dir.join(OsStr::from_bytes(name)));
    let text = match (&file, &line.config_file) {
        (Some(path), Some(name)) => fs::read(path).map_err(|error| LoadError::file(name, &reason(&error)))?,
        _ => Vec::new(),
    };
    let mut stdin = Vec::new();
    if line.reads_stdin {
        std::io::stdin().read_to_end(&mut stdin).map_err(|error| {
            LoadError::without_line(format!("reading standard input: {}", reason(&error)))
        })?;
    }

    let mut files = Files { renamed: None };
    let notes = config.load(&line.assemble(&text, &stdin), &mut files)?.notes;
    let logfile = Path::new(OsStr::from_bytes(&config.logfile));
    if !config.logfile.is_empty() {
        let opened = fs::OpenOptions::new().append(true).create(true).open(logfile);
        opened.map_err(|error| {
            LoadError::without_line(format!("Can't open the log file: {}", reason(&error)))
        })?;
    }
    // The table of commands lives as long as the process, renamed or not.
    let table = files.renamed.map_or_else(Table::standard, |table| Box::leak(Box::new(table)));
    Ok(Setup { config, file, table, notes })
}

/// The files and the table of commands that a configuration refers to.
struct Files {
    renamed: Option<Table>,
}

impl Host for Files {
    fn include(&mut self, pattern: &[u8]) -> Result<Vec<u8>, LoadError> {
        let mut text = Vec::new();
        for path in matching(pattern) {
            let name = path.as_os_str().as_bytes();
            let part = fs::read(&path).map_err(|error| LoadError::file(name, &reason(&error)))?;
            text.extend_from_slice(&part);
            text.push(b'\n');
        }
        Ok(text)
    }

    fn change_dir(&mut self, path: &[u8]) -> Result<Vec<u8>, String> {
        let shown = String::from_utf8_lossy(path);
        std::env::set_current_dir(OsStr::from_bytes(path))
            .and_then(|()| std::env::current_dir())
            .map(|dir| dir.as_os_str().as_bytes().to_vec())
            .map_err(|error| format!("Can't chdir to '{shown}': {}", reason(&error)))
    }

    fn rename_command(&mut self, from: &[u8], to: &[u8]) -> Result<(), &'static str> {
        let table = self.renamed.get_or_insert_with(|| Table::new(engine::commands::FAMILIES));
        if table.find(from).is_none() {
            return Err("No such command in rename-command");
        }
        if table.rename(from, to) { Ok(()) } else { Err("Target command name already exists") }
    }
}

/// Returns the files that a name means, in order; without `*`, `?` or `[` that is the name itself, be it there or not.
fn matching(pattern: &[u8]) -> Vec<PathBuf> {
    let mut paths = vec![PathBuf::new()];
    for part in Path::new(OsStr::from_bytes(pattern)).components() {
        let part = part.as_os_str();
        if !part.as_bytes().iter().any(|byte| b"*?[".contains(byte)) {
            paths.iter_mut().for_each(|path| path.push(part));
            continue;
        }
        let mut found = Vec::new();
        for path in paths {
            let dir = if path.as_os_str().is_empty() { Path::new(".") } else { &path };
            let Ok(entries) = fs::read_dir(dir) else { continue };
            for entry in entries.flatten() {
                let name = entry.file_name();
                let hidden = name.as_bytes().starts_with(b".") && !part.as_bytes().starts_with(b".");
                if !hidden && glob_match(part.as_bytes(), name.as_bytes(), false) {
                    found.push(path.join(name));
                }
            }
        }
        found.sort();
        paths = found;
    }
    paths
}
