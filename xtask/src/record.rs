//! `record`: fills in the replies of scenario files from the reference server.

use std::path::Path;

use testkit::ScenarioFile;
use testkit::record::record;

use crate::arguments::{Arguments, start};

/// Records each file in place; true when every reply already written agrees with the server.
pub(crate) fn run(arguments: &Arguments) -> Result<bool, String> {
    if arguments.ours.is_some() {
        return Err("replies are recorded from the reference server only".into());
    }
    if arguments.rest.is_empty() {
        return Err("record which file?".into());
    }
    let (_server, mut target) = start(arguments)?;
    let mut agrees = true;
    for path in &arguments.rest {
        let file = ScenarioFile::read(Path::new(path))?;
        let recording = record(&file, &mut target, arguments.force).map_err(|e| e.to_string())?;
        if recording.recorded > 0 {
            std::fs::write(path, &recording.text).map_err(|e| format!("{path}: {e}"))?;
        }
        println!("{path}: {} replies recorded", recording.recorded);
        for kept in &recording.kept {
            println!("  left as written: {kept}");
        }
        agrees &= recording.kept.is_empty();
    }
    Ok(agrees)
}
