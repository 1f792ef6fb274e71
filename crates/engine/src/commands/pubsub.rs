//! SUBSCRIBE and its kin, PUBLISH, PUBSUB.

use base::glob::glob_match;

use crate::pubsub::Scope;
use crate::table::{self, Command, at, command, container, key, range};
use crate::{Args, Cx, Error, Reply, Result};

pub(super) const COMMANDS: &[Command] = &[
    command("PSUBSCRIBE", psubscribe)
        .summary("Listens to the channels that match glob patterns.")
        .since("2.0.0")
        .complexity("O(N) where N is the number of patterns to subscribe to.")
        .syntax("pattern [pattern ...]")
        .flags(&[table::PUBSUB, table::NOSCRIPT, table::LOADING, table::STALE]),
    command("PUBLISH", publish)
        .summary("Sends a message to a channel and returns how many got it.")
        .since("2.0.0")
        .complexity("O(N+M) where N is the number of clients subscribed to the receiving channel and M is the total number of subscribed patterns (by any client).")
        .syntax("channel message")
        .flags(&[table::PUBSUB, table::LOADING, table::STALE, table::FAST, table::MAY_REPLICATE]),
    container("PUBSUB", PUBSUB)
        .summary("Tells of channels, patterns and their listeners.")
        .since("2.8.0")
        .complexity("Depends on subcommand."),
    command("PUNSUBSCRIBE", punsubscribe)
        .summary("Stops listening to patterns, or to all of them.")
        .since("2.0.0")
        .complexity("O(N) where N is the number of patterns to unsubscribe.")
        .syntax("[pattern [pattern ...]]")
        .flags(&[table::PUBSUB, table::NOSCRIPT, table::LOADING, table::STALE]),
    command("SPUBLISH", spublish)
        .summary("Sends a message to a shard channel and returns how many got it.")
        .since("7.0.0")
        .complexity("O(N) where N is the number of clients subscribed to the receiving shard channel.")
        .syntax("shardchannel message")
        .flags(&[table::PUBSUB, table::LOADING, table::STALE, table::FAST, table::MAY_REPLICATE])
        .keys(&[at(1, key::NOT_KEY)]),
    command("SSUBSCRIBE", ssubscribe)
        .summary("Listens to shard channels.")
        .since("7.0.0")
        .complexity("O(N) where N is the number of shard channels to subscribe to.")
        .syntax("shardchannel [shardchannel ...]")
        .flags(&[table::PUBSUB, table::NOSCRIPT, table::LOADING, table::STALE])
        .keys(&[range(1, -1, 1, 0, key::NOT_KEY)]),
    command("SUBSCRIBE", subscribe)
        .summary("Listens to channels.")
        .since("2.0.0")
        .complexity("O(N) where N is the number of channels to subscribe to.")
        .syntax("channel [channel ...]")
        .flags(&[table::PUBSUB, table::NOSCRIPT, table::LOADING, table::STALE]),
    command("SUNSUBSCRIBE", sunsubscribe)
        .summary("Stops listening to shard channels, or to all of them.")
        .since("7.0.0")
        .complexity("O(N) where N is the number of shard channels to unsubscribe.")
        .syntax("[shardchannel [shardchannel ...]]")
        .flags(&[table::PUBSUB, table::NOSCRIPT, table::LOADING, table::STALE])
        .keys(&[range(1, -1, 1, 0, key::NOT_KEY)]),
    command("UNSUBSCRIBE", unsubscribe)
        .summary("Stops listening to channels, or to all of them.")
        .since("2.0.0")
        .complexity("O(N) where N is the number of channels to unsubscribe.")
        .syntax("[channel [channel ...]]")
        .flags(&[table::PUBSUB, table::NOSCRIPT, table::LOADING, table::STALE]),
];

const PUBSUB: &[Command] = &[
    command("CHANNELS", pubsub_channels)
        .summary("Returns the channels that somebody listens to.")
        .since("2.8.0")
        .complexity("O(N) where N is the number of active channels, and assuming constant time pattern matching (relatively short channels and patterns)")
        .syntax("[pattern]")
        .flags(&[table::PUBSUB, table::LOADING, table::STALE]),
    command("HELP", pubsub_help)
        .summary("Returns what the subcommands do.")
        .since("6.2.0")
        .complexity("O(1)")
        .flags(&[table::LOADING, table::STALE]),
    command("NUMPAT", pubsub_numpat)
        .summary("Returns how many patterns are listened to.")
        .since("2.8.0")
        .complexity("O(1)")
        .flags(&[table::PUBSUB, table::LOADING, table::STALE]),
    command("NUMSUB", pubsub_numsub)
        .summary("Returns how many listen to each channel.")
        .since("2.8.0")
        .complexity("O(N) for the NUMSUB subcommand, where N is the number of requested channels")
        .syntax("[channel [channel ...]]")
        .flags(&[table::PUBSUB, table::LOADING, table::STALE]),
    command("SHARDCHANNELS", pubsub_shardchannels)
        .summary("Returns the shard channels that somebody listens to.")
        .since("7.0.0")
        .complexity("O(N) where N is the number of active shard channels, and assuming constant time pattern matching (relatively short shard channels).")
        .syntax("[pattern]")
        .flags(&[table::PUBSUB, table::LOADING, table::STALE]),
    command("SHARDNUMSUB", pubsub_shardnumsub)
        .summary("Returns how many listen to each shard channel.")
        .since("7.0.0")
        .complexity("O(N) for the SHARDNUMSUB subcommand, where N is the number of requested shard channels")
        .syntax("[shardchannel [shardchannel ...]]")
        .flags(&[table::PUBSUB, table::LOADING, table::STALE]),
];

/// Says what a (un)subscription led to, as a push.
fn confirm(out: &mut Reply<'_>, kind: &[u8], name: Option<&[u8]>, count: usize) {
    out.push(3);
    out.bulk(kind);
    match name {
        Some(name) => out.bulk(name),
        None => out.null(),
    }
    out.int(count as i64);
}

/// Returns the count that confirmations of this scope carry.
fn count(cx: &Cx<'_>, scope: Scope) -> usize {
    cx.session
        .subscriptions
        .as_ref()
        .map_or(0, |s| if scope == Scope::Shard { s.shards.len() } else { s.count() })
}

fn listen(
    cx: &mut Cx<'_>,
    args: &mut Args<'_>,
    out: &mut Reply<'_>,
    scope: Scope,
    kind: &[u8],
) -> Result<()> {
    for name in args.rest() {
        cx.server.pubsub.subscribe(cx.session, scope, name);
        confirm(out, kind, Some(name), count(cx, scope));
    }
    Ok(())
}

fn unlisten(
    cx: &mut Cx<'_>,
    args: &mut Args<'_>,
    out: &mut Reply<'_>,
    scope: Scope,
    kind: &[u8],
) -> Result<()> {
    let names: Vec<Box<[u8]>> = match (&cx.session.subscriptions, args.is_empty()) {
        (_, false) => args.rest().map(Box::from).collect(),
        (None, true) => Vec::new(),
        (Some(own), true) => match scope {
            Scope::Channel => own.channels.iter().cloned().collect(),
            Scope::Pattern => own.patterns.iter().cloned().collect(),
            Scope::Shard => own.shards.iter().cloned().collect(),
        },
    };
    if names.is_empty() {
        confirm(out, kind, None, count(cx, scope));
    }
    for name in &names {
        cx.server.pubsub.unsubscribe(cx.session, scope, name);
        confirm(out, kind, Some(name), count(cx, scope));
    }
    Ok(())
}

/// Listens to channels.
fn subscribe(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    listen(cx, args, out, Scope::Channel, b"subscribe")
}

/// Listens to patterns.
fn psubscribe(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    listen(cx, args, out, Scope::Pattern, b"psubscribe")
}

/// Listens to shard channels.
fn ssubscribe(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    listen(cx, args, out, Scope::Shard, b"ssubscribe")
}

/// Stops listening to channels.
fn unsubscribe(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    unlisten(cx, args, out, Scope::Channel, b"unsubscribe")
}

/// Stops listening to patterns.
fn punsubscribe(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    unlisten(cx, args, out, Scope::Pattern, b"punsubscribe")
}

/// Stops listening to shard channels.
fn sunsubscribe(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    unlisten(cx, args, out, Scope::Shard, b"sunsubscribe")
}

/// Sends a message to a channel.
fn publish(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let (channel, message) = (args.next()?, args.next()?);
    let receivers = cx.server.pubsub.publish(&mut cx.server.sessions, channel, message);
    cx.propagate(&[b"PUBLISH", channel, message]);
    out.int(receivers as i64);
    Ok(())
}

/// Sends a message to a shard channel.
fn spublish(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let (channel, message) = (args.next()?, args.next()?);
    let receivers = cx.server.pubsub.publish_shard(&mut cx.server.sessions, channel, message);
    cx.propagate(&[b"SPUBLISH", channel, message]);
    out.int(receivers as i64);
    Ok(())
}

fn list_names(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>, scope: Scope) -> Result<()> {
    let pattern = args.peek();
    if args.left() > 1 {
        let name = String::from_utf8_lossy(args.request().arg(1)).into_owned();
        return Err(Error::from(format!(
            "ERR unknown subcommand or wrong number of arguments for '{name}'. Try PUBSUB HELP."
        )));
    }
    let names = cx.server.pubsub.of(scope).keys();
    let names: Vec<_> = names.filter(|name| pattern.is_none_or(|p| glob_match(p, name, false))).collect();
    out.array(names.len());
    for name in names {
        out.bulk(name);
    }
    Ok(())
}

fn list_counts(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>, scope: Scope) -> Result<()> {
    out.array(2 * args.left());
    for name in args.rest() {
        out.bulk(name);
        out.int(cx.server.pubsub.of(scope).get(name).map_or(0, |ids| ids.len() as i64));
    }
    Ok(())
}

/// Returns the channels that somebody listens to.
fn pubsub_channels(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    list_names(cx, args, out, Scope::Channel)
}

/// Returns the shard channels that somebody listens to.
fn pubsub_shardchannels(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    list_names(cx, args, out, Scope::Shard)
}

/// Returns how many listen to each channel.
fn pubsub_numsub(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    list_counts(cx, args, out, Scope::Channel)
}

/// Returns how many listen to each shard channel.
fn pubsub_shardnumsub(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    list_counts(cx, args, out, Scope::Shard)
}

/// Returns how many patterns are listened to.
fn pubsub_numpat(cx: &mut Cx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    out.int(cx.server.pubsub.patterns.len() as i64);
    Ok(())
}

/// Returns what the subcommands do.
fn pubsub_help(cx: &mut Cx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    super::help(
        cx,
        out,
        &[
            (
                "CHANNELS [<pattern>]",
                "Return the channels that somebody listens to, all or those that match.",
            ),
            ("NUMPAT", "Return how many patterns are listened to."),
            ("NUMSUB [<channel> ...]", "Return how many listen to each channel."),
            ("SHARDCHANNELS [<pattern>]", "Return the shard channels that somebody listens to."),
            ("SHARDNUMSUB [<shardchannel> ...]", "Return how many listen to each shard channel."),
        ],
    );
    Ok(())
}
