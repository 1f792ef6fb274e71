//! CONFIG, and what parameters mean to the engine.

use config::{Caller, Config, EvictionPolicy, SetError};
use keyspace::db::Aging;
use keyspace::evict::{Order, Scope};
use keyspace::{Keyspace, Limits};

use crate::effect::{Effect, LogLevel};
use crate::host::{Refused, RewriteError};
use crate::table::{self, Command, command};
use crate::{Args, Cx, Error, Reply, Result};

pub(super) const COMMANDS: &[Command] = &[
    command("GET", get)
        .summary("Returns the values of parameters.")
        .since("2.0.0")
        .complexity("O(N) when N is the number of configuration parameters provided")
        .syntax("parameter [parameter ...]")
        .flags(&[table::ADMIN, table::NOSCRIPT, table::LOADING, table::STALE]),
    command("HELP", help)
        .summary("Returns what the subcommands do.")
        .since("5.0.0")
        .complexity("O(1)")
        .flags(&[table::LOADING, table::STALE]),
    command("RESETSTAT", resetstat)
        .summary("Lets the counters of INFO begin anew.")
        .since("2.0.0")
        .complexity("O(1)")
        .flags(&[table::ADMIN, table::NOSCRIPT, table::LOADING, table::STALE])
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"]),
    command("REWRITE", rewrite)
        .summary("Writes the configuration in force into its file.")
        .since("2.8.0")
        .complexity("O(1)")
        .flags(&[table::ADMIN, table::NOSCRIPT, table::LOADING, table::STALE])
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"]),
    command("SET", set)
        .summary("Changes parameters: all of those named, or none.")
        .since("2.0.0")
        .complexity("O(N) when N is the number of configuration parameters provided")
        .syntax("parameter value [parameter value ...]")
        .flags(&[table::ADMIN, table::NOSCRIPT, table::LOADING, table::STALE])
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"]),
];

/// Returns the values of the parameters with these names, or that match these patterns.
fn get(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let patterns: Vec<&[u8]> = args.rest().collect();
    let found = cx.server.config.get(&patterns);
    out.map(found.len());
    for (name, value) in &found {
        out.bulk(name);
        out.bulk(value);
    }
    Ok(())
}

/// Changes parameters: all of those named, or none.
fn set(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let mut pairs = Vec::with_capacity(args.left() / 2);
    while let Ok(name) = args.next() {
        pairs.push((name, args.next()?));
    }
    let caller = Caller { local: cx.session.is_local(), loading: cx.server.persistence.loading().is_some() };
    let changes = cx.server.config.set_many(&pairs, caller).map_err(|error| refused(&error))?;
    let names: Vec<&'static str> = changes.params().iter().map(|param| param.name).collect();
    if !names.is_empty() {
        if let Err(Refused { parameter, reason }) = cx.host.reconfigure(&mut cx.server.config, &names) {
            cx.server.config.roll_back(changes);
            // What was in force before can be in force again; should it not, the log says so.
            let _ = cx.host.reconfigure(&mut cx.server.config, &names);
            return Err(refused(&SetError::failed(parameter.as_bytes(), reason)));
        }
        apply(&cx.server.config, cx.keys.space);
        cx.server.limit_clients();
        cx.server.configure_replication(cx.now);
        cx.server.effects.push(Effect::Reconfigured);
    }
    out.ok();
    Ok(())
}

fn refused(error: &SetError) -> Error {
    Error::from(String::from_utf8_lossy(&error.reply()).into_owned())
}

/// Writes the configuration in force into its file.
fn rewrite(cx: &mut Cx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let config = &cx.server.config;
    match cx.host.rewrite_config(&mut |old| config::rewrite(old, config)) {
        Ok(()) => {
            cx.server.log(LogLevel::Notice, "CONFIG REWRITE executed with success.".into());
            out.ok();
            Ok(())
        }
        Err(RewriteError::NoFile) => Err(Error::text("ERR The server is running without a config file")),
        Err(RewriteError::Failed(reason)) => Err(Error::from(format!("ERR Rewriting config file: {reason}"))),
    }
}

/// Lets the counters of INFO begin anew.
fn resetstat(cx: &mut Cx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let syncs = cx.server.replication.primary.stats();
    cx.server.stats.reset(&cx.host.report(), syncs);
    let recorder = &mut cx.keys.space.recorder;
    (recorder.hits, recorder.misses, recorder.expired, recorder.evicted) = (0, 0, 0, 0);
    out.ok();
    Ok(())
}

/// Returns what the subcommands do.
fn help(cx: &mut Cx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    super::help(
        cx,
        out,
        &[
            ("GET <pattern> [<pattern> ...]", "Return the parameters that match, with their values."),
            ("RESETSTAT", "Let the counters of INFO begin anew."),
            ("REWRITE", "Write the configuration in force into its file."),
            ("SET <parameter> <value> [<parameter> <value> ...]", "Change parameters."),
        ],
    );
    Ok(())
}

/// Makes the keyspace follow the configuration.
pub(crate) fn apply(config: &Config, keyspace: &mut Keyspace) {
    keyspace.limits = Limits {
        hash_entries: config.hash_max_listpack_entries,
        hash_value: config.hash_max_listpack_value,
        set_ints: config.set_max_intset_entries,
        set_entries: config.set_max_listpack_entries,
        set_value: config.set_max_listpack_value,
        zset_entries: config.zset_max_listpack_entries,
        zset_value: config.zset_max_listpack_value,
        list_size: config.list_max_listpack_size,
        hll_sparse: config.hll_sparse_max_bytes,
    };
    let aging = match eviction(config) {
        Some((_, Order::Lfu)) => {
            Aging::Lfu { log_factor: config.lfu_log_factor, decay_minutes: config.lfu_decay_time }
        }
        _ => Aging::Lru,
    };
    if keyspace.aging != aging {
        keyspace.aging = aging;
        keyspace.evictor.clear();
    }
}

/// Returns whether the policy needs to know when or how often each key was used.
pub(crate) fn ages(config: &Config) -> bool {
    matches!(eviction(config), Some((_, Order::Lru | Order::Lfu)))
}

/// Returns which keys are evicted and in which order; `None` for `noeviction`.
pub(crate) fn eviction(config: &Config) -> Option<(Scope, Order)> {
    Some(match config.maxmemory_policy {
        EvictionPolicy::NoEviction => return None,
        EvictionPolicy::AllkeysLru => (Scope::All, Order::Lru),
        EvictionPolicy::AllkeysLfu => (Scope::All, Order::Lfu),
        EvictionPolicy::AllkeysRandom => (Scope::All, Order::Random),
        EvictionPolicy::VolatileLru => (Scope::Volatile, Order::Lru),
        EvictionPolicy::VolatileLfu => (Scope::Volatile, Order::Lfu),
        EvictionPolicy::VolatileRandom => (Scope::Volatile, Order::Random),
        EvictionPolicy::VolatileTtl => (Scope::Volatile, Order::Ttl),
    })
}
