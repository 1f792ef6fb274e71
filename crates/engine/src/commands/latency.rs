//! LATENCY: how long commands and events take.

use crate::latency::{Histogram, Series};
use crate::table::{self, Command, Row, command};
use crate::{Args, Cx, Error, Reply, Result};

pub(super) const COMMANDS: &[Command] = &[
    command("DOCTOR", doctor)
        .summary("Returns a report on latency for people.")
        .since("2.8.13")
        .complexity("O(1)")
        .flags(&[table::ADMIN, table::NOSCRIPT, table::LOADING, table::STALE])
        .tips(&["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"]),
    command("GRAPH", graph)
        .summary("Draws the spikes of an event in text.")
        .since("2.8.13")
        .complexity("O(1)")
        .syntax("event")
        .flags(&[table::ADMIN, table::NOSCRIPT, table::LOADING, table::STALE])
        .tips(&["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"]),
    command("HELP", help)
        .summary("Returns what the subcommands do.")
        .since("2.8.13")
        .complexity("O(1)")
        .flags(&[table::LOADING, table::STALE]),
    command("HISTOGRAM", histogram)
        .summary("Returns how the durations of commands are distributed.")
        .since("7.0.0")
        .complexity("O(N) where N is the number of commands with latency information being retrieved.")
        .syntax("[command [command ...]]")
        .flags(&[table::ADMIN, table::NOSCRIPT, table::LOADING, table::STALE])
        .tips(&["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"]),
    command("HISTORY", history)
        .summary("Returns the spikes of an event.")
        .since("2.8.13")
        .complexity("O(1)")
        .syntax("event")
        .flags(&[table::ADMIN, table::NOSCRIPT, table::LOADING, table::STALE])
        .tips(&["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"]),
    command("LATEST", latest)
        .summary("Returns the last spike of every event.")
        .since("2.8.13")
        .complexity("O(1)")
        .flags(&[table::ADMIN, table::NOSCRIPT, table::LOADING, table::STALE])
        .tips(&["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"]),
    command("RESET", reset)
        .summary("Forgets the spikes of events.")
        .since("2.8.13")
        .complexity("O(1)")
        .syntax("[event [event ...]]")
        .flags(&[table::ADMIN, table::NOSCRIPT, table::LOADING, table::STALE])
        .tips(&["request_policy:all_nodes", "response_policy:agg_sum"]),
];

/// Returns the series of the event with this name.
fn series<'a>(cx: &'a Cx<'_>, name: &[u8]) -> Option<(&'static str, &'a Series)> {
    let mut events = cx.server.latency.events.iter();
    events.find(|(event, _)| event.as_bytes() == name).map(|(event, series)| (*event, series))
}

/// Returns the spikes of an event, oldest first.
fn history(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let samples = series(cx, args.next()?).map_or(&[][..], |(_, series)| &series.samples);
    out.array(samples.len());
    for sample in samples {
        out.array(2);
        out.int(sample.unix_secs);
        out.int(i64::from(sample.milliseconds));
    }
    Ok(())
}

/// Returns the last spike of every event, with the worst ever.
fn latest(cx: &mut Cx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let events = &cx.server.latency.events;
    out.array(events.len());
    for (event, series) in events {
        let last = series.samples.last().copied().unwrap_or_default();
        out.array(4);
        out.bulk(event.as_bytes());
        out.int(last.unix_secs);
        out.int(i64::from(last.milliseconds));
        out.int(i64::from(series.max));
    }
    Ok(())
}

/// Forgets the spikes of the named events, or of all.
fn reset(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let events = &mut cx.server.latency.events;
    let before = events.len();
    if args.is_empty() {
        events.clear();
    }
    for name in args.rest() {
        events.retain(|event, _| event.as_bytes() != name);
    }
    out.int((before - events.len()) as i64);
    Ok(())
}

/// Draws the spikes of an event in text.
fn graph(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let name = args.next()?;
    let Some((event, series)) = series(cx, name) else {
        let name = String::from_utf8_lossy(name);
        return Err(Error::from(format!("ERR No samples available for event '{name}'")));
    };
    out.verbatim("txt", series.graph(event, cx.now.unix_secs()).as_bytes());
    Ok(())
}

/// Returns how the durations of the named commands, or of all, are distributed.
fn histogram(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let table = cx.server.table;
    let mut rows: Vec<&Row> = Vec::new();
    if args.is_empty() {
        rows.extend(&table.rows);
    }
    for name in args.rest() {
        let Some(row) = table.find_full(name) else { continue };
        rows.push(row);
        // A container stands for its subcommands.
        rows.extend(row.subcommands.iter().map(|id| &table.rows[*id]));
    }
    let measured: Vec<(&Row, &Histogram)> = rows
        .into_iter()
        .filter_map(|row| Some((row, cx.server.stats.per_command[row.id].latency.as_deref()?)))
        .collect();
    out.map(measured.len());
    for (row, histogram) in measured {
        out.bulk(row.name.as_bytes());
        out.map(2);
        out.bulk(b"calls");
        out.int(histogram.total as i64);
        out.bulk(b"histogram_usec");
        let counts = histogram.cumulative();
        out.map(counts.len());
        for (microseconds, count) in counts {
            out.int(microseconds as i64);
            out.int(count as i64);
        }
    }
    Ok(())
}

/// Returns a report on latency for people.
fn doctor(cx: &mut Cx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    out.verbatim("txt", report(cx).as_bytes());
    Ok(())
}

fn report(cx: &Cx<'_>) -> String {
    let config = &cx.server.config;
    let events = &cx.server.latency.events;
    if events.is_empty() && config.latency_monitor_threshold == 0 {
        return "Latency monitoring is off. Switch it on with CONFIG SET latency-monitor-threshold <milliseconds> \
                and ask again once the server has worked for a while.\n"
            .into();
    }
    if events.is_empty() {
        return format!(
            "Nothing took {} ms or more since monitoring began.\n",
            config.latency_monitor_threshold
        );
    }
    let mut text = String::from("These events took longer than is watched for:\n\n");
    let mut advice: Vec<String> = Vec::new();
    for (number, (event, series)) in events.iter().enumerate() {
        let figures = series.figures(cx.now.unix_secs());
        text += &format!(
            "{}. {event}: {} spikes, {} ms on average (mean deviation {} ms), one every {:.2} seconds; the worst ever \
             took {} ms.\n",
            number + 1,
            series.samples.len(),
            figures.mean,
            figures.deviation,
            figures.period,
            series.max,
        );
        match *event {
            "command" => {
                let threshold = config.latency_monitor_threshold * 1000;
                if config.slowlog_log_slower_than < 0 || config.slowlog_log_slower_than as u64 > threshold {
                    advice.push(format!(
                        "Let the slow log catch these commands: CONFIG SET slowlog-log-slower-than {threshold}."
                    ));
                }
                advice.push("See with SLOWLOG GET which commands were slow.".into());
                advice.push("Delete large values with UNLINK, and read them in parts.".into());
            }
            "fast-command" => advice.push(
                "Commands that do next to nothing were slow: the system did not let the server run. Look for other \
                 busy processes, for swapping, and for other guests of the same host."
                    .into(),
            ),
            "expire-cycle" => advice.push(
                "Many keys expire at the same moment: spread their expiry, or lower active-expire-effort.".into(),
            ),
            "eviction-cycle" => advice.push(
                "Much had to be evicted at once: raise maxmemory, or write large values in smaller steps.".into(),
            ),
            _ => {}
        }
    }
    if !advice.is_empty() {
        text += "\nWhat may help:\n\n";
        for line in advice {
            text += &format!("- {line}\n");
        }
    }
    text
}

/// Returns what the subcommands do.
fn help(cx: &mut Cx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    super::help(
        cx,
        out,
        &[
            ("DOCTOR", "Return a report on latency for people."),
            ("GRAPH <event>", "Draw the spikes of an event."),
            ("HISTORY <event>", "Return the spikes of an event."),
            ("LATEST", "Return the last spike of every event."),
            ("RESET [<event> ...]", "Forget the spikes of events, or of all of them."),
            (
                "HISTOGRAM [<command> ...]",
                "Return how the durations of commands, or of all of them, are distributed.",
            ),
        ],
    );
    Ok(())
}
