//! The configuration in force: reading it, CONFIG GET, CONFIG SET.

use std::ops::Deref;

use crate::error::SetError;
use crate::kind::Reason;
use crate::params::{PARAMS, Param, lookup, split_at_spaces};
use crate::value::Value;
use crate::values::Values;

/// Every parameter's value; the fields of [`Values`] are read straight from it.
#[derive(Clone, Debug)]
pub struct Config {
    values: Values,
    /// Save points were named at the start: further ones are added to them instead of taking the defaults' place.
    named_save_points: bool,
}

impl Default for Config {
    fn default() -> Self {
        let mut values = Values::default();
        for param in PARAMS {
            param.write(&mut values, param.default_value());
        }
        Self { values, named_save_points: false }
    }
}

/// How the values came about does not matter.
impl PartialEq for Config {
    fn eq(&self, other: &Config) -> bool {
        self.values == other.values
    }
}

impl Deref for Config {
    type Target = Values;

    fn deref(&self) -> &Values {
        &self.values
    }
}

/// Who asks for a change, and when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// Whether the client is on this machine.
    pub local: bool,
    /// Whether the data set is still being loaded.
    pub loading: bool,
}

/// What a CONFIG SET changed, to be put into force or taken back.
#[derive(Debug)]
#[must_use = "a change is only in force once someone has acted on it"]
pub struct Changes {
    params: Vec<&'static Param>,
    before: Box<Values>,
}

impl Changes {
    /// Returns the parameters whose values are not what they were, in the order in which they were set.
    pub fn params(&self) -> &[&'static Param] {
        &self.params
    }

    /// Says whether the parameter of that name has changed.
    pub fn contains(&self, name: &str) -> bool {
        self.params.iter().any(|param| param.name == name)
    }

    /// Returns the values as they were before.
    pub fn before(&self) -> &Values {
        &self.before
    }
}

impl Config {
    /// Returns the names and values that CONFIG GET replies for these names and patterns.
    ///
    /// A name is given back as the caller spells it; a pattern passes hidden parameters over. Each is listed once.
    pub fn get(&self, patterns: &[&[u8]]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut found: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        let mut list = |name: &[u8], param: &Param| {
            if !found.iter().any(|(listed, _)| listed.eq_ignore_ascii_case(name)) {
                found.push((name.to_vec(), self.text_of(param)));
            }
        };
        for &pattern in patterns {
            if !pattern.iter().any(|byte| b"[*?".contains(byte)) {
                if let Some((param, _)) = lookup(pattern) {
                    list(pattern, param);
                }
                continue;
            }
            for param in PARAMS.iter().filter(|param| !param.hidden) {
                for name in param.names() {
                    if base::glob::glob_match(pattern, name.as_bytes(), true) {
                        list(name.as_bytes(), param);
                    }
                }
            }
        }
        found
    }

    /// Returns the parameter's value as CONFIG GET prints it.
    pub fn text_of(&self, param: &Param) -> Vec<u8> {
        param.kind.print(&self.value_of(param))
    }

    pub(crate) fn value_of(&self, param: &Param) -> Value {
        param.read(&self.values)
    }

    /// Sets one parameter as CONFIG SET does.
    pub fn set(&mut self, name: &[u8], value: &[u8], caller: Caller) -> Result<Changes, SetError> {
        self.set_many(&[(name, value)], caller)
    }

    /// Sets several parameters as one CONFIG SET does: all of them, or none.
    ///
    /// The values are in place when this returns. What follows from them (a socket to be bound, memory to be freed) is
    /// the caller's to do; where it cannot be done, [`Config::roll_back`] takes all of it back.
    pub fn set_many(&mut self, pairs: &[(&[u8], &[u8])], caller: Caller) -> Result<Changes, SetError> {
        let mut chosen: Vec<(&'static Param, &'static str)> = Vec::with_capacity(pairs.len());
        for &(given, _) in pairs {
            let (param, name) = lookup(given).ok_or_else(|| SetError::Unknown(given.to_vec()))?;
            if !param.mutable {
                return Err(SetError::failed(given, "can't set immutable config"));
            }
            if param.protected && !self.enable_protected_configs.allows(caller.local) {
                return Err(SetError::failed(given, "can't set protected config"));
            }
            if param.deny_loading && caller.loading {
                return Err(SetError::Loading);
            }
            // As in Redis, a parameter and its alias may both be set; the later one stays.
            if chosen.iter().any(|(_, chosen)| *chosen == name) {
                return Err(SetError::failed(given, "duplicate parameter"));
            }
            chosen.push((param, name));
        }

        let before = Box::new(self.values.clone());
        for (&(param, name), (_, value)) in chosen.iter().zip(pairs) {
            let words = if param.kind.is_multi() { split_at_spaces(value) } else { vec![*value] };
            if let Err(reason) = param.assign(&mut self.values, &words) {
                self.values = *before;
                return Err(SetError::failed(name.as_bytes(), reason));
            }
        }

        let mut params: Vec<&'static Param> = Vec::with_capacity(chosen.len());
        for (param, _) in chosen {
            let seen = params.iter().any(|seen| seen.name == param.name);
            if !seen && param.read(&before) != param.read(&self.values) {
                params.push(param);
            }
        }
        Ok(Changes { params, before })
    }

    /// Puts back what a [`Config::set_many`] replaced.
    pub fn roll_back(&mut self, changes: Changes) {
        self.values = *changes.before;
    }

    /// Sets one parameter before the server runs, from the words that follow its name in a file.
    ///
    /// Everything may be set now. Words that came as one are split once more, so that `save "900 1"` is two.
    pub fn set_at_start(&mut self, name: &[u8], words: &[&[u8]]) -> Result<(), String> {
        let (param, _) = lookup(name).ok_or("Bad directive or wrong number of arguments")?;
        self.assign_words(param, words).map_err(Reason::into_owned)
    }

    pub(crate) fn assign_words(&mut self, param: &Param, words: &[&[u8]]) -> Result<(), Reason> {
        if param.name == "save" {
            return self.assign_save_points(param, words);
        }
        self.assign(param, words)
    }

    /// Takes one of possibly several `save` lines.
    fn assign_save_points(&mut self, param: &Param, words: &[&[u8]]) -> Result<(), Reason> {
        let before = std::mem::take(&mut self.values.save);
        let assigned = self.assign(param, words);
        if assigned.is_err() {
            self.values.save = before;
        } else if self.named_save_points && !self.values.save.is_empty() {
            self.values.save = [before, std::mem::take(&mut self.values.save)].concat();
        }
        self.named_save_points = true;
        assigned
    }

    fn assign(&mut self, param: &Param, words: &[&[u8]]) -> Result<(), Reason> {
        match words {
            &[word] if param.kind.is_multi() && !word.is_empty() => {
                let split =
                    crate::words::split_words(word).ok_or("Unbalanced quotes in configuration line")?;
                let split: Vec<&[u8]> = split.iter().map(Vec::as_slice).collect();
                param.assign(&mut self.values, &split)
            }
            words => param.assign(&mut self.values, words),
        }
    }

    /// Notes which master is followed, so that CONFIG GET tells it and CONFIG REWRITE keeps it.
    pub fn set_replicaof(&mut self, master: Option<(Vec<u8>, u16)>) {
        self.values.replicaof = master;
    }

    /// Notes the working directory, which only the server can know.
    pub fn set_dir(&mut self, absolute: Vec<u8>) {
        self.values.dir = absolute;
    }
}
