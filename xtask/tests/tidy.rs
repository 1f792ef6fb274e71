//! The rules of the workspace that no compiler checks: which crate may use which, and where `unsafe` may live.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What each crate of the workspace may depend on. A crate that is not here may not exist.
///
/// The reasons stand in ARCHITECTURE.md, "Which way dependencies point".
const MAY_USE: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("resp", &["base"]),
    ("aof", &["base", "resp"]),
    ("replication", &["base", "resp"]),
    ("structures", &["base"]),
    ("keyspace", &["base", "structures"]),
    ("config", &["base"]),
    ("rdb", &["base", "keyspace", "structures"]),
    ("engine", &["base", "config", "keyspace", "rdb", "replication", "resp", "structures"]),
    ("node", &["aof", "base", "config", "engine", "keyspace", "rdb", "replication", "resp", "structures"]),
    ("server", &["base", "config", "engine", "keyspace", "node", "rdb"]),
    ("cli", &["base", "lock", "notify", "resp"]),
    ("lock", &[]),
    ("notify", &["base", "lock"]),
    ("testkit", &[]),
    (
        "simulator",
        &[
            "aof",
            "base",
            "config",
            "engine",
            "keyspace",
            "node",
            "rdb",
            "replication",
            "resp",
            "structures",
            "testkit",
        ],
    ),
    ("redstart", &["aof", "base", "cli", "config", "keyspace", "rdb", "resp", "server"]),
    ("xtask", &["base", "lock", "simulator", "testkit"]),
];

/// Crates that know no time, file, socket, thread or entropy; `clippy.toml` in each bans the calls.
const PURE: &[&str] =
    &["base", "resp", "aof", "replication", "structures", "keyspace", "config", "rdb", "engine", "node"];

/// The only files outside `structures` in which `unsafe` may stand, each for the reason that its `//!` gives.
const UNSAFE_FILES: &[&str] = &[
    "crates/keyspace/src/word.rs",
    "crates/server/src/clock.rs",
    "crates/server/src/crash.rs",
    "crates/server/src/fork.rs",
    "crates/server/src/log.rs",
    "crates/server/src/memory.rs",
    "crates/server/src/page_cache.rs",
    "crates/server/src/process.rs",
    "crates/server/src/signals.rs",
    "crates/server/src/title.rs",
    "xtask/src/durability/power.rs",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace").to_path_buf()
}

/// Returns the workspace's crates with their folders.
fn crates() -> BTreeMap<String, PathBuf> {
    let folders = fs::read_dir(root().join("crates")).expect("the workspace has crates");
    let mut found: BTreeMap<_, _> = folders
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| path.join("Cargo.toml").exists())
        .map(|path| (path.file_name().expect("a name").to_string_lossy().into_owned(), path))
        .collect();
    found.insert("xtask".into(), root().join("xtask"));
    found
}

/// Returns the names in a manifest's `[dependencies]`; those for tests and builds do not bind the code.
fn dependencies(manifest: &str) -> Vec<String> {
    let section =
        manifest.split("\n[").find(|section| section.starts_with("dependencies]")).unwrap_or_default();
    section
        .lines()
        .skip(1)
        .filter_map(|line| line.split(['.', '=', ' ']).next())
        // The library goes by a name that says whose it is.
        .map(|name| if name == "redstart-lock" { "lock" } else { name })
        .filter(|name| !name.is_empty() && !name.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn crates_use_only_what_the_table_allows() {
    let crates = crates();
    for (name, path) in &crates {
        let Some((_, allowed)) = MAY_USE.iter().find(|(n, _)| n == name) else {
            panic!("crate {name} does not stand in the dependency table");
        };
        let manifest = fs::read_to_string(path.join("Cargo.toml")).expect("a readable manifest");
        for used in dependencies(&manifest).iter().filter(|used| crates.contains_key(*used)) {
            assert!(allowed.contains(&used.as_str()), "{name} must not depend on {used}");
        }
        assert!(manifest.contains("[lints]\nworkspace = true"), "{name} does not take the workspace's lints");
    }
}

#[test]
fn pure_crates_ban_what_the_drivers_own() {
    let crates = crates();
    let model = fs::read_to_string(crates["base"].join("clippy.toml")).expect("base bans calls");
    for name in PURE {
        let bans = fs::read_to_string(crates[*name].join("clippy.toml")).unwrap_or_default();
        assert_eq!(bans, model, "crates/{name}/clippy.toml differs from that of base");
    }
}

#[test]
fn unsafe_stands_only_where_it_may() {
    for (name, path) in crates() {
        if name == "structures" {
            continue;
        }
        let mut files = Vec::new();
        sources(&path.join("src"), &mut files);
        for file in files {
            let short = file.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned();
            let text = fs::read_to_string(&file).expect("a readable source");
            let code = text.lines().map(|line| line.split("//").next().unwrap_or_default());
            let uses = code.into_iter().any(|line| {
                line.contains("unsafe {")
                    || line.contains("unsafe impl")
                    || line.contains("unsafe fn")
                    || line.contains("unsafe extern")
            });
            assert!(!uses || UNSAFE_FILES.contains(&short.as_str()), "{short} has unsafe code");
        }
    }
}

#[test]
fn every_module_says_what_it_is_for() {
    for (_, path) in crates() {
        let mut files = Vec::new();
        sources(&path.join("src"), &mut files);
        for file in files {
            let text = fs::read_to_string(&file).expect("a readable source");
            assert!(text.starts_with("//!"), "{} does not begin with //!", file.display());
        }
    }
}

#[test]
fn every_command_has_a_scenario_file_and_every_file_a_command() {
    let names: Vec<_> = engine::table::Table::standard().top().map(|row| row.name.clone()).collect();
    let mut specified = Vec::new();
    for family in fs::read_dir(root().join("spec/commands")).expect("spec/commands is there") {
        for file in fs::read_dir(family.expect("a readable folder").path()).expect("families are folders") {
            let path = file.expect("a readable folder").path();
            specified.push(path.file_stem().expect("a name").to_string_lossy().to_lowercase());
        }
    }
    let missing: Vec<_> = names.iter().filter(|name| !specified.contains(name)).collect();
    assert!(missing.is_empty(), "commands without a scenario file: {missing:?}");
}
