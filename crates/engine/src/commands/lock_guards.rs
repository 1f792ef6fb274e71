//! Commands that an old token does not get past: LOCK.GUARD for what is in this server, LOCK.FENCE for what is elsewhere.

use base::number::IntText;
use keyspace::lock::{FENCE_FIELD, TOKENS_END};
use keyspace::{Guard, Hash};
use resp::decode::Request;

use super::locks::token;
use crate::locks::book::{Event, What};
use crate::locks::record::limits;
use crate::session::OwnedRequest;
use crate::table::{self, Begin, Command, Find, KeyFlags, Row, Table, at, command, does, key, spec};
use crate::{Args, Cx, Error, Reply, Result};

pub(super) const COMMANDS: &[Command] = &[
    command("LOCK.FENCE", fence)
        .summary(
            "Accepts a token that is not older than the newest seen of a resource, and returns the newest.",
        )
        .since("7.2.0")
        .complexity("O(1)")
        .syntax("key token")
        .flags(&[table::WRITE, table::DENYOOM, table::FAST])
        .keys(&[at(1, does(&[key::RW, key::ACCESS, key::UPDATE]))]),
    command("LOCK.GUARD", guard)
        .summary("Runs a command if a token is that of the lock's present holder.")
        .since("7.2.0")
        .complexity("That of the command.")
        .syntax("key token command [arg [arg ...]]")
        .flags(&[table::WRITE, table::NOSCRIPT])
        .keys(&[
            at(1, does(&[key::RO, key::ACCESS])),
            spec(Begin::Unknown, Find::Unknown, does(&[key::RW, key::UPDATE, key::INCOMPLETE])),
        ])
        .find_keys(find_keys),
];

/// Words of LOCK.GUARD before the command that it runs.
const BEFORE: usize = 3;

/// Returns the command inside a LOCK.GUARD, with its row.
pub(crate) fn guarded(table: &'static Table, request: Request<'_>) -> Option<(&'static Row, OwnedRequest)> {
    let inner = OwnedRequest::from_words((BEFORE..request.len()).map(|index| request.arg(index)));
    let row = table.find(inner.request().get(0)?)?;
    if row.subcommands.is_empty() || inner.request().len() < 2 {
        return Some((row, inner));
    }
    let row = table.find_sub(row.id, inner.request().arg(1))?;
    Some((row, inner))
}

/// Returns whether a row is LOCK.GUARD's.
#[inline]
pub(crate) fn is_guard(row: &Row) -> bool {
    row.command.name == "LOCK.GUARD"
}

fn find_keys(request: Request<'_>, found: &mut Vec<(usize, KeyFlags)>) {
    found.push((1, does(&[key::RO, key::ACCESS])));
    if let Some((row, inner)) = guarded(Table::standard(), request)
        && !is_guard(row)
    {
        let from = found.len();
        crate::keys_of::keys_of(row, inner.request(), found);
        found[from..].iter_mut().for_each(|(at, _)| *at += BEFORE);
    }
}

/// Runs a command for the present holder of a lock.
fn guard(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let (key, token) = (args.key()?, token(args)?);
    let (row, request) = guarded(cx.server.table, cx.request)
        .ok_or(Error::text("ERR LOCK.GUARD is given no command that this server knows"))?;
    // What looks after links, or waits, has nothing to do with data.
    let touches_data = row.flags.has(table::WRITE | table::READONLY | table::MAY_REPLICATE);
    if !touches_data || is_guard(row) || row.command.handler.is_none() {
        return Err(Error::from(format!("ERR '{}' cannot be run by LOCK.GUARD", row.name)));
    }
    if !row.takes(request.request().len()) {
        return Err(Error::Arity(row.name.clone().into()));
    }
    cx.is_for_masters()?;
    let held = cx.lock(key)?;
    if held.is_none_or(|held| held.token != token) {
        return Err(fenced(cx, key, token, "FENCED The token is not that of the lock's present holder"));
    }
    cx.run_queued(row, &request, out);
    // What the command came to is in the stream.
    cx.propagate_nothing();
    Ok(())
}

/// Counts a refusal and returns it.
fn fenced(cx: &mut Cx<'_>, key: &[u8], token: u64, text: &'static str) -> Error {
    let (db, book) = (cx.keys.db, &mut cx.server.locks.book);
    let event = Event { at_ms: cx.now.unix_ms(), what: What::Fenced, owner: Box::default(), token };
    book.note(db, key, event, |figures| figures.fenced += 1);
    Error::text(text)
}

/// Lets a token pass unless a newer one was seen.
fn fence(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    const RANGE: Error = Error::text("ERR invalid token, it must be between 1 and 9007199254740991");
    const NEVER_GIVEN: Error = Error::text("ERR invalid token, it is far ahead of any that was granted");
    let resource = args.key()?;
    let token = args.int_in(1..=TOKENS_END as i64 - 1, RANGE)? as u64;
    args.end()?;
    cx.is_for_masters()?;
    let newest = match cx.keys.read::<Hash>(resource)?.map(|hash| Guard::of_hash(&hash)) {
        None => 0,
        Some(Some(Guard::Fence(newest))) => newest,
        Some(_) => return Err(Error::WrongType),
    };
    if token < newest {
        return Err(fenced(cx, resource, token, "FENCED A newer token was seen"));
    }
    if token > newest {
        if !cx.server.locks.tokens.may_be_given(token, cx.now.unix_ms()) {
            return Err(NEVER_GIVEN);
        }
        cx.server.locks.tokens.see(token);
        let (limits, seed, text) =
            (limits(cx.keys.space.limits), cx.keys.space.seed, IntText::new(token as i64));
        let mut hash = cx.keys.edit_or_create::<Hash>(resource)?;
        hash.set(FENCE_FIELD, text.as_bytes(), &limits, seed);
        hash.changed("hset");
        drop(hash);
        cx.propagate(&[b"HSET", resource, FENCE_FIELD, text.as_bytes()]);
    }
    out.int(token as i64);
    Ok(())
}
