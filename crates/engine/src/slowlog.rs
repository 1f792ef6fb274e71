//! The slow log: the last commands that took long.

use std::collections::VecDeque;

/// Arguments kept of an entry, and bytes of each.
const MAX_ARGS: usize = 32;
const MAX_ARG: usize = 128;

/// One slow command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub id: u64,
    pub unix_secs: i64,
    pub microseconds: u64,
    pub argv: Vec<Vec<u8>>,
    pub addr: Box<str>,
    pub name: Box<[u8]>,
}

/// The entries, newest first.
#[derive(Clone, Debug, Default)]
pub struct SlowLog {
    pub entries: VecDeque<Entry>,
    next_id: u64,
}

impl SlowLog {
    /// Adds an entry for a command of these words, and drops what exceeds `max`.
    pub fn add(
        &mut self,
        words: &[&[u8]],
        microseconds: u64,
        unix_secs: i64,
        addr: &str,
        name: &[u8],
        max: usize,
    ) {
        let shown = if words.len() > MAX_ARGS { MAX_ARGS - 1 } else { words.len() };
        let mut argv: Vec<Vec<u8>> = (0..shown)
            .map(|i| {
                let arg = words[i];
                if arg.len() <= MAX_ARG {
                    return arg.to_vec();
                }
                let mut cut = arg[..MAX_ARG].to_vec();
                cut.extend_from_slice(format!("... ({} more bytes)", arg.len() - MAX_ARG).as_bytes());
                cut
            })
            .collect();
        if shown < words.len() {
            argv.push(format!("... ({} more arguments)", words.len() - shown).into_bytes());
        }
        let entry =
            Entry { id: self.next_id, unix_secs, microseconds, argv, addr: addr.into(), name: name.into() };
        self.next_id += 1;
        self.entries.push_front(entry);
        self.entries.truncate(max);
    }
}
