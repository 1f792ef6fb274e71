//! The directories of a virtual disk: names that are given at once, and last once their directory is synced.
//!
//! Changes are kept in order, as a file system's journal keeps them: a sync of a directory makes everything last up to the
//! last change of that directory, and a power cut leaves some first part of what is left. A rename is one change.

use std::collections::{BTreeMap, BTreeSet};

use base::rng::Rng;

/// Names and what they stand for.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    now: Tree,
    lasting: Tree,
    /// What leads from `lasting` to `now`.
    changes: Vec<Change>,
}

#[derive(Clone, Debug, Default)]
struct Tree {
    files: BTreeMap<String, usize>,
    directories: BTreeSet<String>,
}

#[derive(Clone, Debug)]
enum Change {
    Link { path: String, inode: usize },
    Unlink { path: String },
    Rename { from: String, to: String },
    MakeDir { path: String },
}

/// Returns the directory that a path lies in; the disk's own is the empty path.
pub(super) fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

impl Names {
    pub(super) fn file(&self, path: &str) -> Option<usize> {
        self.now.files.get(path).copied()
    }

    pub(super) fn files(&self) -> impl Iterator<Item = &str> {
        self.now.files.keys().map(String::as_str)
    }

    /// Returns the inodes that have a name.
    pub(super) fn inodes(&self) -> BTreeSet<usize> {
        self.now.files.values().copied().collect()
    }

    pub(super) fn is_dir(&self, path: &str) -> bool {
        path.is_empty() || self.now.directories.contains(path)
    }

    /// Returns whether a file at this path could be made.
    pub(super) fn has_parent(&self, path: &str) -> bool {
        self.is_dir(parent(path))
    }

    pub(super) fn link(&mut self, path: &str, inode: usize) {
        self.change(Change::Link { path: path.into(), inode });
    }

    /// Takes a name away; returns whether there was one.
    pub(super) fn unlink(&mut self, path: &str) -> bool {
        let there = self.now.files.contains_key(path);
        if there {
            self.change(Change::Unlink { path: path.into() });
        }
        there
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) {
        self.change(Change::Rename { from: from.into(), to: to.into() });
    }

    pub(super) fn make_dir(&mut self, path: &str) {
        if !self.now.directories.contains(path) {
            self.change(Change::MakeDir { path: path.into() });
        }
    }

    /// Makes last what was changed in a directory.
    pub(super) fn sync(&mut self, directory: &str) {
        let last = self.changes.iter().rposition(|change| change.touches(directory));
        self.last(last.map_or(0, |last| last + 1));
    }

    /// Makes last all that was changed.
    pub(super) fn sync_all(&mut self) {
        self.last(self.changes.len());
    }

    /// Leaves what a power cut would.
    pub(super) fn crash(&mut self, rng: &mut Rng) {
        let kept = rng.below(self.changes.len() as u64 + 1) as usize;
        self.last(kept);
        self.changes.clear();
        self.now = self.lasting.clone();
    }

    fn change(&mut self, change: Change) {
        self.now.apply(&change);
        self.changes.push(change);
    }

    fn last(&mut self, count: usize) {
        for change in self.changes.drain(..count) {
            self.lasting.apply(&change);
        }
    }
}

impl Tree {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Link { path, inode } => {
                self.files.insert(path.clone(), *inode);
            }
            Change::Unlink { path } => {
                self.files.remove(path);
            }
            Change::Rename { from, to } => {
                if let Some(inode) = self.files.remove(from) {
                    self.files.insert(to.clone(), inode);
                }
            }
            Change::MakeDir { path } => {
                self.directories.insert(path.clone());
            }
        }
    }
}

impl Change {
    fn touches(&self, directory: &str) -> bool {
        match self {
            Change::Link { path, .. } | Change::Unlink { path } | Change::MakeDir { path } => {
                parent(path) == directory
            }
            Change::Rename { from, to } => parent(from) == directory || parent(to) == directory,
        }
    }
}
