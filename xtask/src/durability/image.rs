//! An ext4 file system in a file, whose power can be cut; and a world of its own to mount it in.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::power;

/// Said to this program when it runs inside [`enclosed`].
const INSIDE: &str = "REDSTART_XTASK_ENCLOSED";

/// Runs this program again with mounts and processes of its own: however it ends, the system takes both away.
///
/// Returns nothing inside, and outside what came of it. The error says why this machine cannot do it.
pub(super) fn enclosed() -> Result<Option<bool>, String> {
    if std::env::var_os(INSIDE).is_some() {
        return Ok(None);
    }
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    // When this process ends, so does unshare; and with that the first process inside, and with that everything there.
    let enclosure =
        ["--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];
    let may = Command::new("setpriv").args(enclosure).arg("true").stderr(Stdio::null()).status();
    if !may.is_ok_and(|status| status.success()) {
        return Err(
            "CANNOT BE DONE HERE: file systems can be mounted only by root (setpriv or unshare failed)"
                .into(),
        );
    }
    let status = Command::new("setpriv")
        .args(enclosure)
        .arg(own)
        .args(std::env::args_os().skip(1))
        .env(INSIDE, "1")
        .status()
        .map_err(|error| format!("setpriv: {error}"))?;
    match status.code() {
        Some(0) => Ok(Some(true)),
        Some(1) => Ok(Some(false)),
        // It has said why.
        _ => Err(String::new()),
    }
}

/// A mounted image.
#[derive(Debug)]
pub(super) struct Image {
    file: PathBuf,
    mount: PathBuf,
    mounted: bool,
}

impl Image {
    /// Makes a file system of so many megabytes in `directory`, and mounts it.
    pub(super) fn new(directory: &Path, megabytes: u64) -> Result<Image, String> {
        let (file, mount) = (directory.join("image"), directory.join("mount"));
        let made = File::create(&file).and_then(|image| image.set_len(megabytes << 20));
        made.and_then(|()| fs::create_dir_all(&mount))
            .map_err(|error| format!("making an image: {error}"))?;
        let options = "lazy_itable_init=0,lazy_journal_init=0";
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-E", options]).arg(&file))?;
        let mut image = Image { file, mount, mounted: false };
        image.mount()?;
        Ok(image)
    }

    /// Returns where it is mounted.
    pub(super) fn path(&self) -> &Path {
        &self.mount
    }

    /// Mounts it; what the journal holds is replayed.
    pub(super) fn mount(&mut self) -> Result<(), String> {
        run(Command::new("mount").args(["-o", "loop"]).arg(&self.file).arg(&self.mount))?;
        self.mounted = true;
        Ok(())
    }

    /// Cuts the power: what is not on the device now never gets there.
    pub(super) fn cut(&self) -> Result<(), String> {
        power::cut(&self.mount).map_err(|error| format!("FS_IOC_SHUTDOWN: {error}"))
    }

    /// Takes it away; whoever used it must have ended, though the system may need a moment to notice.
    pub(super) fn unmount(&mut self) -> Result<(), String> {
        let mut tries = 0;
        while let Err(error) = run(Command::new("umount").arg(&self.mount)) {
            tries += 1;
            if tries == 200 {
                return Err(error);
            }
            std::thread::sleep(Duration::from_millis(25));
        }
        self.mounted = false;
        Ok(())
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        if self.mounted {
            // The loop device goes with its last user.
            let _ = run(Command::new("umount").arg("--lazy").arg(&self.mount));
        }
        let _ = fs::remove_file(&self.file);
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("CANNOT BE DONE HERE: {name}: {error}"))?;
    let words = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("CANNOT BE DONE HERE: {name}: {}", words.trim()))
    }
}
