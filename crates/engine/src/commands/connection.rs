//! PING, ECHO, AUTH, HELLO, SELECT, RESET, QUIT: who speaks on a link, and in which protocol.

use base::number::parse_i64;
use base::version::REDIS_VERSION;

use crate::session::{Closing, ReplyMode};
use crate::table::{self, Command, acl, command, container};
use crate::{Args, Cx, Error, Protocol, Reply, Result, Server, Session};

use super::client;

pub(super) const COMMANDS: &[Command] = &[
    command("AUTH", auth)
        .summary("Proves who the client is with a password.")
        .since("1.0.0")
        .complexity("O(N) where N is the number of passwords defined for the user")
        .syntax("[username] password")
        .flags(&[
            table::NOSCRIPT,
            table::LOADING,
            table::STALE,
            table::FAST,
            table::NO_AUTH,
            table::ALLOW_BUSY,
        ])
        .acl(&[acl::CONNECTION]),
    container("CLIENT", client::COMMANDS)
        .summary("Tells of connections and changes how they behave.")
        .since("2.4.0")
        .complexity("Depends on subcommand."),
    command("ECHO", echo)
        .summary("Returns the message.")
        .since("1.0.0")
        .complexity("O(1)")
        .syntax("message")
        .flags(&[table::LOADING, table::STALE, table::FAST])
        .acl(&[acl::CONNECTION]),
    command("HELLO", hello)
        .summary("Chooses the protocol, and describes the server.")
        .since("6.0.0")
        .complexity("O(1)")
        .syntax("[protover [AUTH username password] [SETNAME clientname]]")
        .flags(&[
            table::NOSCRIPT,
            table::LOADING,
            table::STALE,
            table::FAST,
            table::NO_AUTH,
            table::ALLOW_BUSY,
        ])
        .acl(&[acl::CONNECTION]),
    command("PING", ping)
        .summary("Answers, so that the client knows the server is there.")
        .since("1.0.0")
        .complexity("O(1)")
        .syntax("[message]")
        .flags(&[table::FAST])
        .acl(&[acl::CONNECTION])
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"]),
    command("QUIT", quit)
        .summary("Closes the connection.")
        .since("1.0.0")
        .complexity("O(1)")
        .arity(-1)
        .flags(&[
            table::ALLOW_BUSY,
            table::NOSCRIPT,
            table::LOADING,
            table::STALE,
            table::FAST,
            table::NO_AUTH,
        ])
        .acl(&[acl::CONNECTION]),
    command("RESET", reset)
        .summary("Puts the connection back to where it began.")
        .since("6.2.0")
        .complexity("O(1)")
        .flags(&[
            table::NOSCRIPT,
            table::LOADING,
            table::STALE,
            table::FAST,
            table::NO_AUTH,
            table::ALLOW_BUSY,
        ])
        .acl(&[acl::CONNECTION]),
    command("SELECT", select)
        .summary("Changes to another database.")
        .since("1.0.0")
        .complexity("O(1)")
        .syntax("index")
        .flags(&[table::LOADING, table::STALE, table::FAST])
        .acl(&[acl::CONNECTION]),
];

/// The only user there is.
pub(crate) const DEFAULT_USER: &str = "default";

const WRONG_PASSWORD: Error = Error::text("WRONGPASS invalid username-password pair or user is disabled.");

/// Answers, with the message if there is one.
fn ping(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let message = args.peek();
    if args.left() > 1 {
        return Err(Error::Arity("ping".into()));
    }
    // A RESP2 subscriber only understands messages.
    if cx.session.protocol == Protocol::Resp2 && cx.session.subscribed() {
        out.array(2);
        out.bulk(b"pong");
        out.bulk(message.unwrap_or_default());
        return Ok(());
    }
    match message {
        None => out.pong(),
        Some(message) => out.bulk(message),
    }
    Ok(())
}

/// Returns the message.
fn echo(_: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    out.bulk(args.next()?);
    Ok(())
}

/// Authenticates the session.
fn auth(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let first = args.next()?;
    let second = args.next().ok();
    args.end()?;
    let (user, password) = match second {
        Some(password) => (first, password),
        None if !cx.server.requires_password() => {
            return Err(Error::text(
                "ERR AUTH <password> called without any password configured for the default user. \
                 Are you sure your configuration is correct?",
            ));
        }
        None => (DEFAULT_USER.as_bytes(), first),
    };
    authenticate(cx.server, cx.session, user, password)?;
    out.ok();
    Ok(())
}

/// Lets the session in if the password is the user's; one that was in already stays in anyway.
fn authenticate(server: &mut Server, session: &mut Session, user: &[u8], password: &[u8]) -> Result<()> {
    let open = !server.requires_password();
    if user != DEFAULT_USER.as_bytes() || !(open || same(password, &server.config.requirepass)) {
        server.stats.denied_logins += 1;
        return Err(WRONG_PASSWORD);
    }
    session.authenticated = true;
    Ok(())
}

/// Compares a guess with a secret in a time that says nothing about how much of it is right.
fn same(guess: &[u8], secret: &[u8]) -> bool {
    let mut difference = guess.len() ^ secret.len();
    for (i, byte) in guess.iter().enumerate() {
        let other = secret.get(i).copied().unwrap_or_default();
        difference |= usize::from(byte ^ other);
    }
    difference == 0
}

/// Chooses the protocol, authenticates and names the session, and describes the server.
fn hello(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let protocol = match args.next() {
        Err(_) => None,
        Ok(version) => match parse_i64(version) {
            Some(2) => Some(Protocol::Resp2),
            Some(3) => Some(Protocol::Resp3),
            Some(_) => return Err(Error::text("NOPROTO unsupported protocol version")),
            None => return Err(Error::text("ERR Protocol version is not an integer or out of range")),
        },
    };
    let (mut credentials, mut name) = (None, None);
    while let Ok(option) = args.next() {
        if option.eq_ignore_ascii_case(b"AUTH") && args.left() >= 2 {
            credentials = Some((args.next()?, args.next()?));
        } else if option.eq_ignore_ascii_case(b"SETNAME") && args.left() >= 1 {
            name = Some(client::valid_name(args.next()?)?);
        } else {
            let option = String::from_utf8_lossy(option);
            return Err(Error::from(format!("ERR Syntax error in HELLO option '{option}'")));
        }
    }
    if let Some((user, password)) = credentials {
        authenticate(cx.server, cx.session, user, password)?;
    }
    if cx.server.requires_password() && !cx.session.authenticated {
        return Err(Error::text(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH \
             <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the \
             same time",
        ));
    }
    if let Some(name) = name {
        cx.session.name = name.into();
    }
    if let Some(protocol) = protocol {
        cx.session.protocol = protocol;
        out.protocol = protocol;
    }
    out.map(7);
    out.bulk(b"server");
    out.bulk(b"redis");
    out.bulk(b"version");
    out.bulk(REDIS_VERSION.as_bytes());
    out.bulk(b"proto");
    out.int(version_number(cx.session.protocol));
    out.bulk(b"id");
    out.int(cx.session.client_id as i64);
    out.bulk(b"mode");
    out.bulk(b"standalone");
    out.bulk(b"role");
    out.bulk(b"master");
    out.bulk(b"modules");
    out.array(0);
    Ok(())
}

/// Returns the number by which clients call a protocol.
pub(crate) fn version_number(protocol: Protocol) -> i64 {
    match protocol {
        Protocol::Resp2 => 2,
        Protocol::Resp3 => 3,
    }
}

/// Changes to another database.
fn select(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let index = args.int()?;
    if i32::try_from(index).is_err() {
        return Err(Error::text("ERR value is out of range, value must between -2147483648 and 2147483647"));
    }
    cx.session.db = super::database(cx, index)?;
    out.ok();
    Ok(())
}

/// Puts the session back to where it began, as if it had just connected.
fn reset(cx: &mut Cx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    cx.server.discard(cx.session);
    cx.server.leave(cx.session);
    let session = &mut *cx.session;
    session.monitor = false;
    session.db = 0;
    session.name = Box::default();
    session.protocol = Protocol::Resp2;
    session.reply_mode = ReplyMode::On;
    session.no_evict = false;
    session.no_touch = false;
    session.authenticated = !cx.server.requires_password();
    out.protocol = Protocol::Resp2;
    out.simple("RESET");
    Ok(())
}

/// Closes the connection after the reply.
fn quit(cx: &mut Cx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    cx.session.close(Closing::AfterReply);
    out.ok();
    Ok(())
}
