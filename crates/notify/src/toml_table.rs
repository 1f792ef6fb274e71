//! Reads a table of the configuration file entry by entry, and says of each mistake in which line it stands.
//!
//! The texts of errors name entries but never quote values: those may be secrets.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::secret::Secret;

/// What is wrong with a configuration file, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The file.
    pub file: PathBuf,
    /// The line, counted from 1; nothing when it is about the whole file.
    pub line: Option<usize>,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        write!(f, " {}", self.what)
    }
}

impl std::error::Error for ConfigError {}

/// A mistake and the bytes of the file that it is about.
#[derive(Debug)]
pub(crate) struct Mistake {
    pub(crate) span: Range<usize>,
    pub(crate) what: String,
}

impl Mistake {
    pub(crate) fn new(span: Range<usize>, what: impl Into<String>) -> Mistake {
        Mistake { span, what: what.into() }
    }

    /// Returns the error that a user reads.
    pub(crate) fn in_file(self, file: &Path, text: &str) -> ConfigError {
        let before = &text.as_bytes()[..self.span.start.min(text.len())];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        ConfigError { file: file.to_owned(), line: Some(line), what: self.what }
    }
}

/// A value that remembers where it stands.
#[derive(Debug, Clone)]
pub(crate) struct At<T> {
    pub(crate) span: Range<usize>,
    pub(crate) value: T,
}

impl<T> At<T> {
    pub(crate) fn mistake(&self, what: impl Into<String>) -> Mistake {
        Mistake::new(self.span.clone(), what)
    }
}

/// A table whose entries are taken one by one; what is left in the end is a mistake.
pub(crate) struct Table<'a> {
    /// What the table is, for errors: "channel `ops`".
    pub(crate) name: String,
    pub(crate) span: Range<usize>,
    entries: BTreeMap<String, (Range<usize>, Spanned<DeValue<'a>>)>,
    /// Where relative paths in it lead from.
    directory: PathBuf,
}

impl<'a> Table<'a> {
    /// Returns a whole file as a table.
    pub(crate) fn parse(text: &'a str, directory: &Path) -> Result<Table<'a>, Mistake> {
        let table = DeTable::parse(text).map_err(|error| {
            // Its message names what was expected; its other texts would quote the line.
            Mistake::new(error.span().unwrap_or(0..0), error.message().replace('\n', ", "))
        })?;
        let span = table.span();
        Ok(Table::of("the file".into(), span, table.into_inner(), directory))
    }

    fn of(name: String, span: Range<usize>, table: DeTable<'a>, directory: &Path) -> Table<'a> {
        let entries = table.into_iter().map(|(key, value)| {
            let span = key.span();
            (key.into_inner().into_owned(), (span, value))
        });
        Table { name, span, entries: entries.collect(), directory: directory.to_owned() }
    }

    pub(crate) fn mistake(&self, what: impl fmt::Display) -> Mistake {
        Mistake::new(self.span.clone(), format!("{}: {what}", self.name))
    }

    fn take(&mut self, entry: &str) -> Option<(Range<usize>, Spanned<DeValue<'a>>)> {
        self.entries.remove(entry)
    }

    fn wrong(&self, span: Range<usize>, entry: &str, expected: &str) -> Mistake {
        Mistake::new(span, format!("{}: `{entry}` must be {expected}", self.name))
    }

    /// Takes an entry that is a text.
    pub(crate) fn text(&mut self, entry: &str) -> Result<Option<At<String>>, Mistake> {
        let Some((_, value)) = self.take(entry) else { return Ok(None) };
        let span = value.span();
        match value.get_ref() {
            DeValue::String(text) if !text.trim().is_empty() => {
                Ok(Some(At { span, value: text.to_string() }))
            }
            _ => Err(self.wrong(span, entry, "a text that is not empty")),
        }
    }

    /// Takes an entry that is a text and must be there.
    pub(crate) fn required(&mut self, entry: &str) -> Result<At<String>, Mistake> {
        self.text(entry)?.ok_or_else(|| self.mistake(format!("`{entry}` is missing")))
    }

    /// Takes an entry that is a secret: `env:NAME`, `file:PATH`, or the secret itself.
    pub(crate) fn secret(&mut self, entry: &str) -> Result<Option<At<Secret>>, Mistake> {
        let Some(text) = self.text(entry)? else { return Ok(None) };
        let value = self.resolve(entry, &text)?;
        Ok(Some(At { span: text.span, value }))
    }

    /// Takes an entry that is a secret and must be there.
    pub(crate) fn required_secret(&mut self, entry: &str) -> Result<At<Secret>, Mistake> {
        self.secret(entry)?.ok_or_else(|| self.mistake(format!("`{entry}` is missing")))
    }

    fn resolve(&self, entry: &str, text: &At<String>) -> Result<Secret, Mistake> {
        let name = &self.name;
        let found = if let Some(variable) = text.value.strip_prefix("env:") {
            std::env::var(variable)
                .map_err(|_| text.mistake(format!("{name}: `{entry}`: the environment has no {variable}")))?
        } else if let Some(path) = text.value.strip_prefix("file:") {
            let path = self.directory.join(path);
            let content = std::fs::read_to_string(&path)
                .map_err(|error| text.mistake(format!("{name}: `{entry}`: {}: {error}", path.display())))?;
            content.trim_end_matches(['\n', '\r']).to_owned()
        } else {
            text.value.clone()
        };
        if found.trim().is_empty() {
            return Err(text.mistake(format!("{name}: `{entry}` is empty")));
        }
        Ok(Secret::new(found))
    }

    /// Takes an entry that is the path of a file.
    pub(crate) fn path(&mut self, entry: &str) -> Result<Option<At<PathBuf>>, Mistake> {
        let text = self.text(entry)?;
        Ok(text.map(|text| At { span: text.span, value: self.directory.join(text.value) }))
    }

    /// Takes an entry that is a length of time, as `"90s"`, `"10m"` or `"500ms"`.
    pub(crate) fn duration(
        &mut self,
        entry: &str,
        least: Duration,
        most: Duration,
    ) -> Result<Option<Duration>, Mistake> {
        let Some(text) = self.text(entry)? else { return Ok(None) };
        let duration = parse_duration(&text.value).ok_or_else(|| {
            self.wrong(text.span.clone(), entry, "a length of time, as \"90s\", \"10m\" or \"500ms\"")
        })?;
        if duration < least || duration > most {
            let bounds = format!("from {least:?} to {most:?}");
            return Err(self.wrong(text.span, entry, &bounds));
        }
        Ok(Some(duration))
    }

    /// Takes an entry that is a port.
    pub(crate) fn port(&mut self, entry: &str) -> Result<Option<u16>, Mistake> {
        let Some((_, value)) = self.take(entry) else { return Ok(None) };
        let port = value.get_ref().as_integer().and_then(|number| {
            u16::from_str_radix(number.as_str(), number.radix()).ok().filter(|port| *port > 0)
        });
        port.map(Some).ok_or_else(|| self.wrong(value.span(), entry, "a port, from 1 to 65535"))
    }

    /// Takes an entry that is a list of texts, or one text.
    pub(crate) fn texts(&mut self, entry: &str) -> Result<Vec<At<String>>, Mistake> {
        let Some((_, value)) = self.take(entry) else { return Ok(Vec::new()) };
        let span = value.span();
        let items = match value.into_inner() {
            DeValue::Array(items) => items.into_iter().collect(),
            single => vec![Spanned::new(span.clone(), single)],
        };
        let text = |item: &Spanned<DeValue<'a>>| match item.get_ref() {
            DeValue::String(text) if !text.is_empty() => {
                Ok(At { span: item.span(), value: text.to_string() })
            }
            _ => Err(self.wrong(item.span(), entry, "a list of texts that are not empty")),
        };
        items.iter().map(text).collect()
    }

    /// Takes an entry that is a table of named tables: `[people.ada]`.
    pub(crate) fn tables(&mut self, entry: &str, noun: &str) -> Result<Vec<(String, Table<'a>)>, Mistake> {
        let Some((_, value)) = self.take(entry) else { return Ok(Vec::new()) };
        let span = value.span();
        let DeValue::Table(tables) = value.into_inner() else {
            return Err(Mistake::new(span, format!("`{entry}` must be tables, as [{entry}.name]")));
        };
        let mut found = Vec::new();
        for (key, value) in tables {
            let (span, name) = (key.span(), key.into_inner().into_owned());
            let DeValue::Table(table) = value.into_inner() else {
                return Err(Mistake::new(
                    span,
                    format!("`{entry}.{name}` must be a table, as [{entry}.{name}]"),
                ));
            };
            let table = Table::of(format!("{noun} `{name}`"), span, table, &self.directory);
            found.push((name, table));
        }
        Ok(found)
    }

    /// Takes an entry that is a table of texts which are secrets.
    pub(crate) fn secrets(&mut self, entry: &str) -> Result<Vec<(At<String>, Secret)>, Mistake> {
        let Some(mut table) = self.table(entry)? else { return Ok(Vec::new()) };
        let names: Vec<(String, Range<usize>)> =
            table.entries.iter().map(|(name, (span, _))| (name.clone(), span.clone())).collect();
        let mut found = Vec::new();
        for (name, span) in names {
            let secret = table.required_secret(&name)?;
            found.push((At { span, value: name }, secret.value));
        }
        Ok(found)
    }

    /// Takes an entry that is a table.
    pub(crate) fn table(&mut self, entry: &str) -> Result<Option<Table<'a>>, Mistake> {
        let Some((span, value)) = self.take(entry) else { return Ok(None) };
        match value.into_inner() {
            DeValue::Table(table) => Ok(Some(Table::of(format!("`{entry}`"), span, table, &self.directory))),
            _ => Err(self.wrong(span, entry, "a table")),
        }
    }

    /// Takes an entry that is a list of tables: `[[routes]]`.
    pub(crate) fn list(&mut self, entry: &str, noun: &str) -> Result<Vec<Table<'a>>, Mistake> {
        let Some((_, value)) = self.take(entry) else { return Ok(Vec::new()) };
        let span = value.span();
        let wrong = format!("`{entry}` must be a list of tables, as [[{entry}]]");
        let DeValue::Array(items) = value.into_inner() else { return Err(Mistake::new(span, wrong)) };
        let mut found = Vec::new();
        for (place, item) in items.into_iter().enumerate() {
            let span = item.span();
            let DeValue::Table(table) = item.into_inner() else { return Err(Mistake::new(span, wrong)) };
            found.push(Table::of(format!("{noun} {}", place + 1), span, table, &self.directory));
        }
        Ok(found)
    }

    /// Ends the reading: an entry that nobody took is a mistake.
    pub(crate) fn end(self) -> Result<(), Mistake> {
        match self.entries.into_iter().min_by_key(|(_, (span, _))| span.start) {
            None => Ok(()),
            Some((entry, (span, _))) => {
                Err(Mistake::new(span, format!("{}: `{entry}` means nothing here", self.name)))
            }
        }
    }
}

/// Returns the length of time that a text with a unit says.
fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = text[..digits].parse().ok()?;
    let unit_ms = match text[digits..].trim() {
        "ms" => 1,
        "s" => 1000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(unit_ms).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_have_a_unit() {
        assert_eq!(parse_duration("90s"), Some(Duration::from_secs(90)));
        assert_eq!(parse_duration("500 ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse_duration("2h"), Some(Duration::from_secs(7200)));
        for wrong in
            ["", "5", "s", "-1s", "1.5s", "99999999999999999999s", "9999999999999999999d", "1 fortnight", "é"]
        {
            assert_eq!(parse_duration(wrong), None, "{wrong}");
        }
    }
}
