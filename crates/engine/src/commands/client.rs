//! CLIENT: what connections are called, who they are, and what is done about them.

use base::number::parse_i64;

use crate::client_line;
use crate::effect::Effect;
use crate::replication::link_of;
use crate::session::{Class, Closing, Origin, ReplyMode, Session};
use crate::table::{self, Command, acl, command};
use crate::{Args, Cx, Error, Reply, Result};

use super::client_kill;

pub(super) const COMMANDS: &[Command] = &[
    command("GETNAME", getname)
        .summary("Returns the connection's name.")
        .since("2.6.9")
        .complexity("O(1)")
        .flags(&[table::NOSCRIPT, table::LOADING, table::STALE])
        .acl(&[acl::CONNECTION]),
    command("HELP", help)
        .summary("Returns what the subcommands do.")
        .since("5.0.0")
        .complexity("O(1)")
        .flags(&[table::LOADING, table::STALE])
        .acl(&[acl::CONNECTION]),
    command("ID", id)
        .summary("Returns the connection's number, which no later connection gets again.")
        .since("5.0.0")
        .complexity("O(1)")
        .flags(&[table::NOSCRIPT, table::LOADING, table::STALE])
        .acl(&[acl::CONNECTION]),
    command("INFO", info)
        .summary("Describes the connection.")
        .since("6.2.0")
        .complexity("O(1)")
        .flags(&[table::NOSCRIPT, table::LOADING, table::STALE])
        .acl(&[acl::CONNECTION])
        .tips(&["nondeterministic_output"]),
    command("KILL", client_kill::kill)
        .summary("Closes connections.")
        .since("2.4.0")
        .complexity("O(N) where N is the number of client connections")
        .syntax("<ip:port | <[ID client-id] | [TYPE <NORMAL | MASTER | SLAVE | REPLICA | PUBSUB>] | [USER username] | [ADDR ip:port] | [LADDR ip:port] | [SKIPME <YES | NO>] | [MAXAGE maxage]>>")
        .arity(-3)
        .flags(&[table::ADMIN, table::NOSCRIPT, table::LOADING, table::STALE])
        .acl(&[acl::CONNECTION]),
    command("LIST", list)
        .summary("Describes connections, a line each.")
        .since("2.4.0")
        .complexity("O(N) where N is the number of client connections")
        .syntax("[TYPE <NORMAL | MASTER | REPLICA | PUBSUB>] [ID client-id [client-id ...]]")
        .flags(&[table::ADMIN, table::NOSCRIPT, table::LOADING, table::STALE])
        .acl(&[acl::CONNECTION])
        .tips(&["nondeterministic_output"]),
    command("NO-EVICT", no_evict)
        .summary("Protects the connection from being closed when clients hold too much memory.")
        .since("7.0.0")
        .complexity("O(1)")
        .syntax("<ON | OFF>")
        .flags(&[table::ADMIN, table::NOSCRIPT, table::LOADING, table::STALE])
        .acl(&[acl::CONNECTION]),
    command("NO-TOUCH", no_touch)
        .summary("Makes the connection's reads leave the age of keys as it is.")
        .since("7.2.0")
        .complexity("O(1)")
        .syntax("<ON | OFF>")
        .flags(&[table::NOSCRIPT, table::LOADING, table::STALE])
        .acl(&[acl::CONNECTION]),
    command("PAUSE", pause)
        .summary("Holds back commands for a while.")
        .since("3.0.0")
        .complexity("O(1)")
        .syntax("timeout [WRITE | ALL]")
        .flags(&[table::ADMIN, table::NOSCRIPT, table::LOADING, table::STALE])
        .acl(&[acl::CONNECTION]),
    command("REPLY", reply)
        .summary("Switches replies to the connection off and on.")
        .since("3.2.0")
        .complexity("O(1)")
        .syntax("<ON | OFF | SKIP>")
        .flags(&[table::NOSCRIPT, table::LOADING, table::STALE])
        .acl(&[acl::CONNECTION]),
    command("SETINFO", setinfo)
        .summary("Says which library the connection is made with.")
        .since("7.2.0")
        .complexity("O(1)")
        .syntax("<LIB-NAME libname | LIB-VER libver>")
        .flags(&[table::NOSCRIPT, table::LOADING, table::STALE])
        .acl(&[acl::CONNECTION])
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"]),
    command("SETNAME", setname)
        .summary("Names the connection.")
        .since("2.6.9")
        .complexity("O(1)")
        .syntax("connection-name")
        .flags(&[table::NOSCRIPT, table::LOADING, table::STALE])
        .acl(&[acl::CONNECTION])
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"]),
    command("UNBLOCK", unblock)
        .summary("Ends the wait of a client that a blocking command holds.")
        .since("5.0.0")
        .complexity("O(log N) where N is the number of client connections")
        .syntax("client-id [TIMEOUT | ERROR]")
        .flags(&[table::ADMIN, table::NOSCRIPT, table::LOADING, table::STALE])
        .acl(&[acl::CONNECTION]),
    command("UNPAUSE", unpause)
        .summary("Lets the commands go on that CLIENT PAUSE holds back.")
        .since("6.2.0")
        .complexity("O(N) Where N is the number of paused clients")
        .flags(&[table::ADMIN, table::NOSCRIPT, table::LOADING, table::STALE])
        .acl(&[acl::CONNECTION]),
];

/// Returns the connection's name.
fn getname(cx: &mut Cx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    if cx.session.name.is_empty() {
        out.null();
    } else {
        out.bulk(&cx.session.name);
    }
    Ok(())
}

/// Names the connection; an empty name takes the name away.
fn setname(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    cx.session.name = valid_name(args.next()?)?.into();
    out.ok();
    Ok(())
}

/// Returns the name if CLIENT LIST can show it.
pub(super) fn valid_name(name: &[u8]) -> Result<&[u8]> {
    match printable(name) {
        true => Ok(name),
        false => Err(Error::text("ERR Client names cannot contain spaces, newlines or special characters.")),
    }
}

/// Returns whether the text may stand in CLIENT LIST, whose fields are separated by spaces.
fn printable(text: &[u8]) -> bool {
    text.iter().all(|byte| (b'!'..=b'~').contains(byte))
}

/// Says which library the connection is made with.
fn setinfo(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let (attribute, value) = (args.next()?, args.next()?);
    let field = if attribute.eq_ignore_ascii_case(b"lib-name") {
        &mut cx.session.lib_name
    } else if attribute.eq_ignore_ascii_case(b"lib-ver") {
        &mut cx.session.lib_version
    } else {
        let attribute = String::from_utf8_lossy(attribute);
        return Err(Error::from(format!("ERR Unrecognized option '{attribute}'")));
    };
    if !printable(value) {
        let attribute = String::from_utf8_lossy(attribute);
        return Err(Error::from(format!(
            "ERR {attribute} cannot contain spaces, newlines or special characters."
        )));
    }
    *field = value.into();
    out.ok();
    Ok(())
}

/// Returns the connection's number.
fn id(cx: &mut Cx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    out.int(cx.session.client_id as i64);
    Ok(())
}

/// Describes the connection.
fn info(cx: &mut Cx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let mut text = Vec::new();
    client_line::push(&mut text, cx.session, cx.server.table, cx.now.instant);
    out.verbatim("txt", &text);
    Ok(())
}

/// Describes connections: all, those of a type, or those with the given numbers.
fn list(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let mut text = Vec::new();
    if args.left() == 2 && args.accept("TYPE") {
        let class = ClientType::parse(args.next()?)?;
        for session in everyone(cx).into_iter().filter(|session| class.covers(session)) {
            describe(cx, &mut text, session);
        }
    } else if args.left() > 1 && args.accept("ID") {
        let everyone = everyone(cx);
        for arg in args.rest() {
            let id = parse_i64(arg).ok_or(Error::text("ERR Invalid client ID"))?;
            if let Some(session) = everyone.iter().find(|session| session.client_id as i64 == id) {
                describe(cx, &mut text, session);
            }
        }
    } else {
        args.end()?;
        for session in everyone(cx) {
            describe(cx, &mut text, session);
        }
    }
    out.verbatim("txt", &text);
    Ok(())
}

/// Appends a session's line; what a replica has still to be sent counts as its output.
fn describe(cx: &Cx<'_>, text: &mut Vec<u8>, session: &Session) {
    let owed = match session.replica {
        true => cx.server.replication.primary.pending(link_of(session)),
        false => 0,
    };
    client_line::push_owed(text, session, cx.server.table, cx.now.instant, owed as usize);
}

/// Returns all sessions that are not being closed, oldest first, the executing one among them.
pub(super) fn everyone<'a>(cx: &'a Cx<'_>) -> Vec<&'a Session> {
    let mut all: Vec<&Session> =
        cx.server.sessions.iter().filter(|session| session.closing != Closing::Now).collect();
    all.push(cx.session);
    all.sort_unstable_by_key(|session| session.client_id);
    all
}

/// The types of client that CLIENT LIST and CLIENT KILL tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientType {
    Master,
    Of(Class),
}

impl ClientType {
    /// Returns the type with this name.
    pub(super) fn parse(name: &[u8]) -> Result<ClientType> {
        match name.to_ascii_lowercase().as_slice() {
            b"normal" => Ok(ClientType::Of(Class::Normal)),
            b"slave" | b"replica" => Ok(ClientType::Of(Class::Replica)),
            b"pubsub" => Ok(ClientType::Of(Class::PubSub)),
            b"master" => Ok(ClientType::Master),
            _ => {
                let name = String::from_utf8_lossy(name);
                Err(Error::from(format!("ERR Unknown client type '{name}'")))
            }
        }
    }

    /// Returns whether the session is of this type.
    pub(super) fn covers(self, session: &Session) -> bool {
        match self {
            ClientType::Master => session.origin == Origin::Master,
            ClientType::Of(class) => session.origin != Origin::Master && session.class() == class,
        }
    }
}

/// Switches replies off and on.
fn reply(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let session = &mut *cx.session;
    match args.next()?.to_ascii_lowercase().as_slice() {
        b"on" => {
            session.reply_mode = ReplyMode::On;
            out.ok();
        }
        b"off" => session.reply_mode = ReplyMode::Off,
        b"skip" if session.reply_mode != ReplyMode::Off => session.reply_mode = ReplyMode::SkipNext,
        b"skip" => {}
        _ => return Err(Error::Syntax),
    }
    Ok(())
}

/// Protects the connection from client eviction.
fn no_evict(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    cx.session.no_evict = on_or_off(args)?;
    out.ok();
    Ok(())
}

/// Makes the connection's reads leave the age of keys as it is.
fn no_touch(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    cx.session.no_touch = on_or_off(args)?;
    out.ok();
    Ok(())
}

fn on_or_off(args: &mut Args<'_>) -> Result<bool> {
    if args.accept("ON") {
        Ok(true)
    } else if args.accept("OFF") {
        Ok(false)
    } else {
        Err(Error::Syntax)
    }
}

/// Holds back commands for a while.
fn pause(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let timeout = args.next()?;
    let all = match args.peek() {
        _ if args.left() > 1 => return Err(super::unknown_form(cx)),
        None => true,
        Some(_) if args.accept("ALL") => true,
        Some(_) if args.accept("WRITE") => false,
        Some(_) => return Err(Error::text("ERR CLIENT PAUSE mode must be WRITE or ALL")),
    };
    let ms = parse_i64(timeout).ok_or(Error::text("ERR timeout is not an integer or out of range"))?;
    if ms < 0 {
        return Err(Error::text("ERR timeout is negative"));
    }
    if ms.checked_add(cx.now.unix_ms()).is_none() {
        return Err(Error::text("ERR timeout is out of range"));
    }
    let until = cx.now.instant + std::time::Duration::from_millis(ms as u64);
    cx.server.pause.start(until, all);
    // Deleting an expired key is a write too.
    cx.keys.space.keep_expired = true;
    out.ok();
    Ok(())
}

/// Lets everything go on.
fn unpause(cx: &mut Cx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    cx.server.pause.end();
    cx.keys.space.keep_expired = cx.server.keeps_expired();
    cx.server.effects.push(Effect::Resume);
    out.ok();
    Ok(())
}

/// Ends a client's wait as if its time were up, or with an error.
fn unblock(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let id = args.next()?;
    if args.left() > 1 {
        return Err(super::unknown_form(cx));
    }
    let error = match args.peek() {
        None => false,
        Some(_) if args.accept("TIMEOUT") => false,
        Some(_) if args.accept("ERROR") => true,
        Some(_) => return Err(Error::text("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")),
    };
    let id = parse_i64(id).ok_or(Error::NotInteger)?;
    let session = u64::try_from(id).ok().and_then(|id| cx.server.sessions.by_client_id(id));
    let unblocked = session.is_some_and(|session| match error {
        true => {
            cx.server.forsake(session);
            cx.server.unblock_with_error(session, "UNBLOCKED client unblocked via CLIENT UNBLOCK")
        }
        false => {
            cx.server.end_lock_wait(cx.keys.space, session, cx.now)
                || cx.server.unblock(session, crate::cx::on_timeout)
        }
    });
    out.int(i64::from(unblocked));
    Ok(())
}

/// Returns what the subcommands do.
fn help(cx: &mut Cx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    super::help(
        cx,
        out,
        &[
            ("GETNAME", "Return the name of this connection."),
            ("ID", "Return the number of this connection."),
            ("INFO", "Describe this connection."),
            ("KILL <ip:port>", "Close the connection that comes from an address."),
            (
                "KILL <option> <value> [<option> <value> [...]]",
                "Close the connections that fit all of ADDR <ip:port>, LADDR <ip:port>, ID <client-id>, \
                 TYPE (NORMAL|MASTER|REPLICA|PUBSUB), USER <username>, MAXAGE <seconds> and SKIPME (YES|NO).",
            ),
            (
                "LIST [TYPE (NORMAL|MASTER|REPLICA|PUBSUB) | ID <client-id> [...]]",
                "Describe connections, a line each.",
            ),
            ("NO-EVICT (ON|OFF)", "Protect this connection when clients hold too much memory."),
            ("NO-TOUCH (ON|OFF)", "Let reads on this connection leave the age of keys as it is."),
            ("PAUSE <timeout> [WRITE|ALL]", "Hold back writes, or all commands, for so many milliseconds."),
            ("REPLY (ON|OFF|SKIP)", "Switch replies to this connection on, off, or off for one command."),
            ("SETINFO (LIB-NAME|LIB-VER) <value>", "Say which library this connection is made with."),
            ("SETNAME <name>", "Name this connection."),
            ("UNBLOCK <client-id> [TIMEOUT|ERROR]", "End the wait of a client."),
            ("UNPAUSE", "Let the commands go on that PAUSE holds back."),
        ],
    );
    Ok(())
}
