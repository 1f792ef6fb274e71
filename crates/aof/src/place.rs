//! What lies in a log's directory before this process writes there: what is listed, and what must not be run over.
//!
//! Every file that has one of the log's names keeps it: new files get higher numbers. Files that no manifest lists are
//! left by a server that was killed; they go once this process has put a manifest on the disk.

use crate::manifest::{Manifest, Numbered};
use crate::settings::Settings;

/// What was found in a log's directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub manifest: Manifest,
    /// The names of all files there.
    pub names: Vec<String>,
}

impl From<Manifest> for Place {
    fn from(manifest: Manifest) -> Place {
        Place { manifest, names: Vec::new() }
    }
}

impl Place {
    /// Returns what a log finds, given the text of its manifest and the names of all files in its directory.
    ///
    /// The error says why no log can be kept there without an operator's decision.
    pub fn look(settings: &Settings, manifest: Option<&[u8]>, names: Vec<String>) -> Result<Place, String> {
        if let Some(text) = manifest {
            let manifest = Manifest::parse(text)
                .map_err(|error| format!("The manifest of the append only file cannot be read: {error}"))?;
            return Ok(Place { manifest, names });
        }
        if let Some(name) = names.iter().find(|found| Numbered::parse(&settings.name, found).is_some()) {
            let (dir, manifest) = (&settings.dir, Manifest::file_name(&settings.name));
            return Err(format!(
                "{dir} holds log files ({name}) but no manifest. Restore {dir}/{manifest}, or move the files away"
            ));
        }
        Ok(Place { manifest: Manifest::default(), names })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_without_a_manifest_are_for_the_operator() {
        let settings = Settings::default();
        let names = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
        assert_eq!(Place::look(&settings, None, names(&["notes", "temp-x"])).unwrap().names.len(), 2);
        let error = Place::look(&settings, None, names(&["notes", "appendonly.aof.3.incr.aof"])).unwrap_err();
        assert_eq!(
            error,
            "appendonlydir holds log files (appendonly.aof.3.incr.aof) but no manifest. Restore \
             appendonlydir/appendonly.aof.manifest, or move the files away"
        );
        assert!(Place::look(&settings, Some(b"nonsense\n"), Vec::new()).is_err());
    }
}
