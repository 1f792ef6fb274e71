//! INFO replication: who follows whom, and how far they are.

use replication::primary::Figures;
use replication::replica::{self, Refusal};

use crate::Cx;
use crate::failover::Failover;

use super::info::Fields;

/// Writes the section.
pub(super) fn replication(cx: &mut Cx<'_>, fields: &mut Fields) {
    let now = cx.now.instant;
    let known = &cx.server.replication;
    let figures = known.primary.figures(now);
    match &known.replica {
        None => fields.field("role", "master"),
        Some(replica) => {
            fields.field("role", "slave");
            following(cx, &replica.figures(now), fields);
        }
    }
    fields.field("connected_slaves", figures.replicas.len());
    let config = &cx.server.config;
    if config.min_replicas_to_write > 0 && config.min_replicas_max_lag > 0 {
        fields.field("min_slaves_good_slaves", figures.good_replicas);
    }
    for (number, replica) in figures.replicas.iter().enumerate() {
        fields.field(
            format_args!("slave{number}"),
            format_args!(
                "ip={},port={},state={},offset={},lag={}",
                replica.address, replica.port, replica.state, replica.acked, replica.lag
            ),
        );
    }
    fields.field("master_failover_state", Failover::state_word(known.failover.as_ref()));
    history(&figures, fields);
    let size = figures.backlog.map_or(config.repl_backlog_size, |backlog| backlog.size);
    fields.field("repl_backlog_active", u8::from(figures.backlog.is_some()));
    fields.field("repl_backlog_size", size);
    fields.field("repl_backlog_first_byte_offset", figures.backlog.map_or(0, |backlog| backlog.start + 1));
    fields.field("repl_backlog_histlen", figures.backlog.map_or(0, |backlog| backlog.len));
    synchronous(cx, fields);
}

fn history(figures: &Figures, fields: &mut Fields) {
    fields.field("master_replid", figures.history.id.as_str());
    match &figures.history.second {
        None => fields.field("master_replid2", "0".repeat(40)),
        Some(second) => fields.field("master_replid2", second.id.as_str()),
    }
    fields.field("master_repl_offset", figures.offset);
    let second = figures.history.second.map_or(-1, |second| second.offset as i64 + 1);
    fields.field("second_repl_offset", second);
}

/// Writes what a replica knows of its master.
fn following(cx: &Cx<'_>, figures: &replica::Figures, fields: &mut Fields) {
    let config = &cx.server.config;
    fields.field("master_host", &figures.host);
    fields.field("master_port", figures.port);
    fields.field("master_link_status", if figures.link_up { "up" } else { "down" });
    let silent = figures.last_io_secs.map_or(-1, |secs| secs as i64);
    fields.field("master_last_io_seconds_ago", if figures.link_up { silent } else { -1 });
    fields.field("master_sync_in_progress", u8::from(figures.state == "sync"));
    let unnamed = cx.server.replication.primary.offset();
    let applied = figures.position.map_or(unnamed, |position| position.offset);
    fields.field("slave_read_repl_offset", applied.max(figures.received));
    fields.field("slave_repl_offset", applied);
    if let Some((read, total)) = figures.sync {
        let total = total.unwrap_or(0);
        let share = if total > 0 { read as f64 * 100.0 / total as f64 } else { 0.0 };
        fields.field("master_sync_total_bytes", total);
        fields.field("master_sync_read_bytes", read);
        fields.field("master_sync_left_bytes", total as i64 - read as i64);
        fields.field("master_sync_perc", format_args!("{share:.2}"));
        fields.field("master_sync_last_io_seconds_ago", silent.max(0));
    }
    if !figures.link_up {
        let down = figures.down_secs.map_or(-1, |secs| secs as i64);
        fields.field("master_link_down_since_seconds", down);
    }
    if let Some(refusal) = figures.refused {
        fields.field("master_refused", refusal_words(refusal));
    }
    fields.field("slave_priority", config.replica_priority);
    fields.field("slave_read_only", u8::from(config.replica_read_only));
    fields.field("replica_announced", u8::from(config.replica_announced));
}

fn refusal_words(refusal: Refusal) -> String {
    match refusal {
        Refusal::Empty { keys_held } => format!("empty,keys_held={keys_held}"),
        Refusal::Behind { offset, held } => format!("behind,offset={offset},held={held}"),
        Refusal::Loop => "loop".into(),
    }
}

/// Writes how the synchronous mode goes, where it is on.
fn synchronous(cx: &Cx<'_>, fields: &mut Fields) {
    let (server, config) = (&*cx.server, &cx.server.config);
    if !server.is_synchronous() {
        return;
    }
    let leased = server.leased_replicas(cx.now.instant);
    let refuses = server.lacks_leases(cx.now.instant);
    let waiting =
        |session: &crate::Session| session.held.iter().map(|held| u64::from(held.replies)).sum::<u64>();
    let waiting = waiting(cx.session) + server.sessions.iter().map(waiting).sum::<u64>();
    fields.field("synchronous_replicas", config.synchronous_replicas);
    fields.field("synchronous_state", if refuses { "refusing-writes" } else { "ok" });
    fields.field("synchronous_heard_replicas", leased);
    fields.field("synchronous_acked_offset", server.acked());
    fields.field("synchronous_waiting_replies", waiting);
    fields.field("synchronous_unknown_outcomes", server.replication.synchronous.unknown);
}
