//! `oracle`: plays every scenario file against a server.

use std::path::{Path, PathBuf};

use testkit::tcp::ask;
use testkit::{Options, Report, ScenarioFile, run_file};

use crate::arguments::{Arguments, root, start};

/// Plays the files that the filters select; true when nothing differs.
pub(crate) fn run(arguments: &Arguments) -> Result<bool, String> {
    let files = scenario_files(&arguments.rest)?;
    if files.is_empty() {
        return Err("no scenario file matches".into());
    }
    let (mut server, mut target) = start(arguments)?;
    let mut total = Report::default();
    for path in &files {
        if ask(server.address(), &["PING"]).is_err() {
            println!("the server is gone; starting another");
            (server, target) = start(arguments)?;
        }
        let report = run_file(&ScenarioFile::read(path)?, &mut target, Options::default());
        for difference in &report.differences {
            println!("{difference}");
        }
        total.absorb(report);
    }
    println!("{} files, {total}", files.len());
    Ok(total.differences.is_empty())
}

/// Returns the scenario files under spec/ whose path contains one of the filters (or all of them), sorted.
fn scenario_files(filters: &[String]) -> Result<Vec<PathBuf>, String> {
    let root = root();
    let mut files = Vec::new();
    for folder in ["commands", "protocol", "acl", "scripting", "propagation"] {
        collect(&root.join("spec").join(folder), &mut files)?;
    }
    let mut files: Vec<PathBuf> = files
        .into_iter()
        .map(|path| path.strip_prefix(&root).map_or(path.clone(), Path::to_path_buf))
        .collect();
    files.retain(|path| {
        let path = path.display().to_string();
        filters.is_empty() || filters.iter().any(|filter| path.contains(filter))
    });
    files.sort();
    std::env::set_current_dir(&root).map_err(|e| e.to_string())?;
    Ok(files)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(()) };
    for entry in entries {
        let path = entry.map_err(|e| e.to_string())?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "txt") {
            files.push(path);
        }
    }
    Ok(())
}
