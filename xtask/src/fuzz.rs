//! `cargo xtask fuzz`: runs the fuzz targets with libFuzzer, for as long as asked, and counts what they did.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

const TARGETS: [&str; 13] = [
    "decoder",
    "arguments",
    "glob",
    "listpack",
    "stream",
    "session",
    "config",
    "rdb",
    "restore",
    "aof",
    "manifest",
    "replica_link",
    "primary_link",
];

/// What makes LLVM count which code an input reaches: what cargo-fuzz passes, which stable Rust takes as well.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
     -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing";

/// Where the build goes; apart from the ordinary one, as everything is instrumented.
const BUILD: &str = "fuzz/target";

/// Runs each target for the seconds asked for; returns whether none found anything.
pub(crate) fn run(mut words: impl Iterator<Item = String>) -> Result<bool, String> {
    let (mut seconds, mut wanted) = (60u64, Vec::new());
    while let Some(word) = words.next() {
        match word.as_str() {
            "--seconds" => {
                let text = words.next().unwrap_or_default();
                seconds = text.parse().map_err(|_| format!("--seconds {text}: not a number"))?;
            }
            name if TARGETS.contains(&name) => wanted.push(word),
            _ => return Err(format!("{word}: no such target; there are {}", TARGETS.join(", "))),
        }
    }
    let host = host_triple()?;
    println!("building the targets");
    let built = Command::new("cargo")
        .args(["build", "--quiet", "--release", "--manifest-path", "fuzz/Cargo.toml", "--target", &host])
        .args(["--target-dir", BUILD])
        .env("RUSTFLAGS", COVERAGE)
        .status()
        .map_err(|e| format!("cargo: {e}"))?;
    if !built.success() {
        return Err("the targets do not build".into());
    }
    let mut clean = true;
    for target in TARGETS.iter().filter(|t| wanted.is_empty() || wanted.iter().any(|w| w == *t)) {
        let corpus = format!("fuzz/corpus/{target}");
        std::fs::create_dir_all(&corpus).map_err(|e| format!("{corpus}: {e}"))?;
        std::fs::create_dir_all("fuzz/artifacts").map_err(|e| format!("fuzz/artifacts: {e}"))?;
        let program = Path::new(BUILD).join(&host).join("release").join(target);
        let mut child = Command::new(program)
            .arg(&corpus)
            .args([
                format!("-max_total_time={seconds}"),
                format!("-artifact_prefix=fuzz/artifacts/{target}-"),
            ])
            .args([
                "-timeout=20",
                "-rss_limit_mb=6000",
                "-max_len=4096",
                "-print_final_stats=1",
                "-verbosity=0",
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| format!("{target}: {e}"))?;
        let (mut executions, mut tail) = (0u64, Vec::new());
        for line in BufReader::new(child.stderr.take().expect("asked for")).lines().map_while(Result::ok) {
            if let Some(count) = line.strip_prefix("stat::number_of_executed_units:") {
                executions = count.trim().parse().unwrap_or(0);
            }
            tail.push(line);
            if tail.len() > 60 {
                tail.remove(0);
            }
        }
        let ok = child.wait().map_err(|e| format!("{target}: {e}"))?.success();
        clean &= ok;
        println!(
            "{target:10} {seconds} s  {executions:>10} executions  {}",
            if ok { "no finding" } else { "FINDING" }
        );
        if !ok {
            println!("{}", tail.join("\n"));
        }
    }
    Ok(clean)
}

fn host_triple() -> Result<String, String> {
    let output = Command::new("rustc").arg("-vV").output().map_err(|e| format!("rustc: {e}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or("rustc -vV names no host".into())
}
