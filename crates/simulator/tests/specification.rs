//! The executable specification, played against a node in this process.

use std::path::{Path, PathBuf};

use simulator::InProcess;
use testkit::{Options, Report, ScenarioFile, run_file};

fn scenario_files(folder: &Path, files: &mut Vec<PathBuf>) {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            scenario_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "txt") {
            files.push(path);
        }
    }
}

fn play(folder: &str) {
    std::env::set_current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")).unwrap();
    let mut files = Vec::new();
    scenario_files(&Path::new("spec").join(folder), &mut files);
    files.sort();
    // SPEC=part-of-a-path plays only the files that it names.
    let filter = std::env::var("SPEC").unwrap_or_default();
    files.retain(|path| path.display().to_string().contains(&filter));
    let mut total = Report::default();
    for path in files {
        let file = ScenarioFile::read(&path).unwrap_or_else(|error| panic!("{error}"));
        total.absorb(run_file(&file, &mut InProcess::new(1), Options::default()));
    }
    for difference in &total.differences {
        println!("{difference}");
    }
    println!("{total}");
    assert!(total.differences.is_empty(), "{} differences", total.differences.len());
}

#[test]
fn commands_reply_as_specified() {
    play("commands");
}

#[test]
fn the_protocol_is_spoken_as_specified() {
    play("protocol");
}

#[test]
fn writes_are_propagated_as_specified() {
    play("propagation");
}
