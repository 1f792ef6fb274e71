//! DEBUG RELOAD: saves the data set and loads it again, while everything waits.

use keyspace::{Entry, Keys};
use rdb::{Context, Item, LoadError, LoadOptions, Loader};

use crate::effect::{Effect, LogLevel};
use crate::persistence::save_now;
use crate::{Args, Cx, Error, Reply, Result};

/// Carries out what the options say.
pub(super) fn reload(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let (mut merge, mut flush, mut save) = (false, true, true);
    for word in args.rest() {
        match word.to_ascii_lowercase().as_slice() {
            b"merge" => merge = true,
            b"noflush" => flush = false,
            b"nosave" => save = false,
            _ => {
                return Err(Error::text(
                    "ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.",
                ));
            }
        }
    }
    if save && save_now(cx.server, cx.keys.space, cx.now, cx.host).is_err() {
        return Err(Error::text("ERR"));
    }
    // Neither a log nor a replica hears of it: after a save the data is what it was.
    let dirty = cx.keys.space.recorder.dirty;
    if flush {
        for db in 0..cx.keys.space.dbs.len() {
            super::server::flush(cx, db, false);
        }
        cx.server.persistence.functions.clear();
    }
    let loaded = load(cx, merge);
    cx.server.locks.start();
    cx.server.adopt_loaded(cx.keys.space, cx.now);
    cx.keys.space.recorder.dirty = dirty;
    if !save && cx.server.config.appendonly {
        cx.server.effects.push(Effect::RewriteLog);
    }
    match loaded {
        Ok(()) => {
            cx.server.log(LogLevel::Notice, "DB reloaded by DEBUG RELOAD".into());
            out.ok();
            Ok(())
        }
        Err(reason) => {
            cx.server.log(LogLevel::Warning, format!("DEBUG RELOAD: {reason}"));
            Err(Error::text("ERR Error trying to load the RDB dump, check server logs."))
        }
    }
}

/// Loads the RDB file; with `merge`, its keys replace those that are there.
fn load(cx: &mut Cx<'_>, merge: bool) -> std::result::Result<(), String> {
    let path = String::from_utf8_lossy(&cx.server.config.dbfilename).into_owned();
    let now_ms = cx.now.unix_ms();
    let (host, server, space) = (cx.host, &mut *cx.server, &mut *cx.keys.space);
    let context = Context { limits: space.limits, seed: space.seed };
    let options = LoadOptions {
        verify_checksum: server.config.rdbchecksum,
        aging: space.aging,
        now_ms,
        input_len: None,
    };
    let (mut loader, mut db) = (Loader::new(context, options), 0);
    space.loading = true;
    let loaded = host.read_file(&path, &mut |bytes| {
        if loader.is_done() {
            return Ok(bytes.len());
        }
        let taken = loader.parse(bytes, &mut |item| {
            match item {
                Item::Entry(entry) if entry.stamp().is_some_and(|at| at < now_ms) => {
                    server.persistence.keys_expired += 1;
                }
                Item::Entry(mut entry) => {
                    server.note_loaded(db, &mut entry);
                    if merge {
                        drop(Keys::new(space, db, now_ms, true).take(entry.key()));
                    }
                    put(space, db, entry)?;
                }
                Item::Select(index) if index >= space.dbs.len() => {
                    let count = space.dbs.len();
                    return Err(LoadError::refused(format!(
                        "database {index} of a server with {count} databases"
                    )));
                }
                Item::Select(index) => db = index,
                Item::Resize { keys, .. } => space.reserve(db, keys),
                Item::Function(source) => server.persistence.functions.push(source.into()),
                Item::Aux(name, value) => server.note_aux(name, value),
                Item::Checksum(_) | Item::End => {}
            }
            Ok(())
        });
        taken.map_err(|error| format!("{path}: {error}"))
    });
    space.loading = false;
    loaded?;
    loader.end_of_input().map_err(|error| format!("{path}: {error}"))
}

fn put(space: &mut keyspace::Keyspace, db: usize, entry: Entry) -> std::result::Result<(), LoadError> {
    space.load(db, entry).map_err(|duplicate| {
        let key = String::from_utf8_lossy(&duplicate.key).into_owned();
        LoadError::refused(format!("the key '{key}' of database {db} is there already"))
    })
}
