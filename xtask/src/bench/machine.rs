//! The machine that measures: what it is, and which of its processors does what.

use std::fs;
use std::io;
use std::process::{Command, Stdio};

/// The processor that clients run on.
pub(super) const CLIENT_CPU: &str = "1";

/// Keeps this process and what it starts on the processor kept for clients.
pub(super) fn stay_on_client_cpu() -> io::Result<()> {
    let pid = std::process::id().to_string();
    let status = Command::new("taskset").args(["-cp", CLIENT_CPU, &pid]).stdout(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other("there must be two processors")) }
}

/// Lets the calling thread yield to every other one on its processor.
pub(super) fn yield_to_others() -> io::Result<()> {
    let status =
        Command::new("renice").args(["-n", "19", "-p", &thread_id()?]).stdout(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other("renice failed")) }
}

/// Runs a thread before every other one on its processor that is not itself of the real-time class; threads that it
/// starts later are as they would have been.
pub(super) fn put_first(thread: &str) -> io::Result<()> {
    let status = Command::new("chrt").args(["-R", "-f", "-p", "1", thread]).stdout(Stdio::null()).status()?;
    if status.success() {
        Ok(())
    } else {
        Err(io::Error::other("chrt failed: this needs the right to SCHED_FIFO"))
    }
}

/// Returns the kernel's number of the calling thread.
pub(super) fn thread_id() -> io::Result<String> {
    // The link reads "PID/task/TID".
    let thread = fs::read_link("/proc/thread-self")?;
    Ok(thread.file_name().unwrap_or_default().to_string_lossy().into_owned())
}

/// Warns when other work on the machine will show in the figures.
pub(super) fn warn_if_busy() {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().and_then(|word| word.parse::<f64>().ok()).unwrap_or(0.0);
    if load > 0.5 {
        eprintln!("the machine is busy (load average {load}): other work will show in the figures");
    }
}

/// Returns the machine in words: processor, memory, kernel and compiler.
pub(super) fn description() -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let models: Vec<&str> = cpus.lines().filter(|line| line.starts_with("model name")).collect();
    let model = models.first().and_then(|line| line.split_once(": ")).map_or("unknown", |(_, model)| model);
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = memory.lines().next().and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!(
        "| processor | {model}, {} cores |\n| memory | {:.0} GiB |\n| kernel | Linux {} |\n| compiler | {} |",
        models.len(),
        kib.unwrap_or(0.0) / 1024.0 / 1024.0,
        kernel.trim(),
        first_line("rustc", &["--version"])
    )
}

/// Returns the first line that a program prints, or "unknown".
pub(super) fn first_line(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(crate::arguments::root()).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().next().unwrap_or("unknown").to_string()
}
