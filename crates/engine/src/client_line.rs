//! A session as a line of text, as CLIENT LIST and CLIENT INFO print it.

use std::io::Write;

use base::time::Instant;

use crate::commands::connection::{DEFAULT_USER, version_number};
use crate::session::{Closing, Origin, Session};
use crate::table::Table;

/// Output up to this size counts as Redis' static buffer (`obl`), what is larger as its list (`oll`, `omem`).
const STATIC_OUTPUT: usize = 16 * 1024;

/// Appends the session's line.
pub(crate) fn push(text: &mut Vec<u8>, session: &Session, table: &Table, now: Instant) {
    push_owed(text, session, table, now, 0);
}

/// Appends the line of a session that is owed so many bytes which lie elsewhere.
pub(crate) fn push_owed(text: &mut Vec<u8>, session: &Session, table: &Table, now: Instant, owed: usize) {
    let seconds = |since: Instant| now.saturating_since(since).as_secs();
    let (channels, patterns, shards) = match &session.subscriptions {
        Some(own) => (own.channels.len(), own.patterns.len(), own.shards.len()),
        None => (0, 0, 0),
    };
    let queued: Option<usize> = session.multi.as_ref().map(|multi| multi.queue.len());
    let waiting = session.blocked.as_ref().map_or(0, |blocked| blocked.request.size());
    let unsent = session.unsent();
    let (buffered, listed) = if unsent <= STATIC_OUTPUT { (unsent, 0) } else { (0, unsent) };

    // Writing to a vector cannot fail.
    let _ = write!(text, "id={} addr={}", session.client_id, session.addr);
    let _ = write!(text, " laddr={} fd={} name=", session.local_addr, session.fd);
    text.extend_from_slice(&session.name);
    let _ = write!(text, " age={} idle={}", seconds(session.created), seconds(session.last_active));
    let _ = write!(text, " flags={} db={}", flags(session), session.db);
    let _ = write!(text, " sub={channels} psub={patterns} ssub={shards}");
    let _ = write!(text, " multi={}", queued.map_or(-1, |count| count as i64));
    let _ = write!(text, " qbuf={} qbuf-free={}", session.query_len, session.query_free);
    let _ = write!(text, " argv-mem={waiting} multi-mem={}", session.multi_memory());
    let _ = write!(text, " rbs={} rbp={}", session.out.capacity(), session.out.capacity());
    let listed = listed + owed;
    let _ = write!(text, " obl={buffered} oll={} omem={listed}", u8::from(listed > 0));
    let _ = write!(text, " tot-mem={}", session.memory() + owed);
    let _ = write!(text, " events={}", if unsent + owed > 0 { "rw" } else { "r" });
    let command = session.last_command.map_or("NULL", |row| table.rows[row].name.as_str());
    let _ = write!(text, " cmd={command} user={DEFAULT_USER} redir=-1");
    let _ = write!(text, " resp={} lib-name=", version_number(session.protocol));
    text.extend_from_slice(&session.lib_name);
    text.extend_from_slice(b" lib-ver=");
    text.extend_from_slice(&session.lib_version);
    text.push(b'\n');
}

/// Returns a letter for everything that is special about the session, or `N`.
fn flags(session: &Session) -> String {
    let letters = [
        ('O', session.monitor),
        ('S', session.replica && !session.monitor),
        ('M', session.origin == Origin::Master),
        ('P', session.subscribed()),
        ('x', session.multi.is_some()),
        ('b', session.blocked.is_some() || session.postponed),
        ('d', session.dirty_watch),
        ('c', session.closing == Closing::AfterReply),
        ('A', session.closing == Closing::Now),
        ('U', session.unix_socket),
        ('e', session.no_evict),
        ('T', session.no_touch),
    ];
    let flags: String = letters.iter().filter(|(_, set)| *set).map(|(letter, _)| *letter).collect();
    if flags.is_empty() { "N".into() } else { flags }
}
