//! A row of numbers about the server every second.

use std::io::{self, Write};
use std::time::Duration;

use super::latency::call;
use super::reply::Reply;
use super::session::{Session, Stop};

/// How many rows stand under one heading.
const ROWS_PER_HEADING: usize = 20;

const HEADING: &str = "\
------- data ------ --------------------- load -------------------- - child -
keys       mem      clients blocked requests            connections          
";

/// Prints rows until ended.
pub(crate) fn run(session: &mut Session) -> Result<u8, Stop> {
    let interval = session.options.interval;
    let interval = if interval.is_zero() { Duration::from_secs(1) } else { interval };
    let mut commands_before = 0;
    for row in 0.. {
        let text = match call(session, &["INFO"])? {
            Reply::Error(text) => {
                complain!("ERROR: {}", String::from_utf8_lossy(&text));
                return Ok(1);
            }
            reply => String::from_utf8_lossy(reply.text().unwrap_or_default()).into_owned(),
        };
        if row % ROWS_PER_HEADING == 0 {
            io::stdout().write_all(HEADING.as_bytes())?;
        }
        let (line, commands) = self::row(&text, commands_before);
        commands_before = commands;
        writeln!(io::stdout(), "{line}")?;
        std::thread::sleep(interval);
    }
    Ok(0)
}

/// Returns the row that INFO's text amounts to, and how many commands the server had run.
fn row(info: &str, commands_before: i64) -> (String, i64) {
    let number = |name: &str| field(info, name).unwrap_or(0);
    let keys: i64 = info.lines().filter_map(database_keys).sum();
    let commands = number("total_commands_processed");
    let more = if commands_before == 0 { 0 } else { commands - commands_before };
    let work = match (number("rdb_bgsave_in_progress"), number("aof_rewrite_in_progress"), number("loading"))
    {
        (0, 0, 0) => "",
        (_, 0, 0) => "SAVE",
        (0, _, 0) => "AOF",
        (_, _, 0) => "SAVE+AOF",
        _ => "LOAD",
    };
    let line = format!(
        "{:<11}{:<8} {:<8}{:<8}{:<19} {:<12}{work}",
        keys.to_string(),
        human(number("used_memory")),
        number("connected_clients").to_string(),
        number("blocked_clients").to_string(),
        format!("{commands} (+{more})"),
        number("total_connections_received").to_string(),
    );
    (line, commands)
}

/// Returns the number that INFO has under a name.
fn field(info: &str, name: &str) -> Option<i64> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.trim_end().parse().ok())
}

/// Returns the keys of a database, if the line is about one.
fn database_keys(line: &str) -> Option<i64> {
    let (_, counts) = line.strip_prefix("db")?.split_once(":keys=")?;
    counts.split(',').next()?.parse().ok()
}

/// Returns a number of bytes for people.
fn human(bytes: i64) -> String {
    let units = [(1i64 << 40, 'T'), (1 << 30, 'G'), (1 << 20, 'M'), (1 << 10, 'K')];
    match units.iter().find(|(size, _)| bytes >= *size) {
        Some((size, unit)) => format!("{:.2}{unit}", bytes as f64 / *size as f64),
        None => format!("{bytes}B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_sums_up_info() {
        let info = "# Clients\r\nconnected_clients:2\r\nblocked_clients:1\r\nused_memory:1572864\r\n\
            used_memory_human:1.50M\r\nloading:0\r\nrdb_bgsave_in_progress:1\r\naof_rewrite_in_progress:0\r\n\
            total_connections_received:7\r\ntotal_commands_processed:110\r\n# Keyspace\r\n\
            db0:keys=10,expires=0,avg_ttl=0\r\ndb12:keys=5,expires=0,avg_ttl=0\r\n";
        let (line, commands) = row(info, 100);
        assert_eq!(line, "15         1.50M    2       1       110 (+10)           7           SAVE");
        assert_eq!(commands, 110);
        assert_eq!(
            (human(1023), human(1024), human(3 << 40)),
            ("1023B".into(), "1.00K".into(), "3.00T".into())
        );
    }
}
