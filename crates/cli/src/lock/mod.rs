//! `redstart lock`: commands that run under a lock, what is locked now, what failed, and who is told.
//!
//! [`run`] is the part that others rely on; the rest asks one question and prints the answer.

/// Says something on standard error; nobody is left to be told when that fails, and what is at hand goes on.
macro_rules! complain {
    ($($text:tt)*) => {{
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), $($text)*);
    }};
}

mod arguments;
mod desk;
mod duration;
mod exit;
mod failures;
mod held;
mod notifier;
mod run;
mod table;
mod top;
mod view;
mod wire;

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use arguments::{Command, Line};
use wire::Failure;

/// Does what the words after `redstart lock` ask for.
pub fn main(args: &[OsString]) -> ExitCode {
    match args.first().and_then(|word| word.to_str()) {
        Some(run::keeper::WORD) => return run::keeper::main(&args[1..]),
        Some(run::exec::WORD) => return run::exec::main(&args[1..]),
        _ => {}
    }
    let words = std::iter::once(OsStr::new("redstart lock")).chain(args.iter().map(OsString::as_os_str));
    let line = match Line::try_parse_from(words) {
        Ok(line) => line,
        Err(error) => {
            let wrong = error.use_stderr();
            let _ = error.print();
            return if wrong { exit::USAGE.into() } else { ExitCode::SUCCESS };
        }
    };
    match answer(&line.command) {
        Ok(code) => code,
        Err(failure) => {
            complain!("redstart lock: {}", failure.reason);
            failure.code.into()
        }
    }
}

fn answer(command: &Command) -> Result<ExitCode, Failure> {
    let text = match command {
        Command::Run(run) => return Ok(run::run(run).into()),
        Command::Top { pattern, once, interval, place } => {
            return top::top(place, pattern, *once, *interval).map(|()| ExitCode::SUCCESS);
        }
        Command::Ls { pattern, place } => view::ls(place, pattern)?,
        Command::Show { key, place } => view::show_one(place, key)?,
        Command::Graph { place } => view::graph(place)?,
        Command::History { key, count, place } => view::history(place, key, *count)?,
        Command::Waiters { key, place } => view::waiters(place, key)?,
        Command::Stats { key, place } => view::stats(place, key.as_deref())?,
        Command::ForceUnlock { key, token, place } => view::force_unlock(place, key, *token)?,
        Command::Failures(of) => failures::run(of)?,
        Command::Notifier { once, place, records } => notifier::run(place, records, *once)?,
    };
    // Whoever has stopped reading has seen enough.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(ExitCode::SUCCESS)
}
