//! CLIENT KILL: which connections are meant, and their end.

use base::number::parse_i64;

use crate::session::{Closing, Session, SessionId};
use crate::{Args, Cx, Error, Reply, Result};

use super::client::{self, ClientType};
use super::connection::DEFAULT_USER;

/// What a connection must be to be closed; whatever is `None` does not matter.
struct Filter<'a> {
    address: Option<&'a [u8]>,
    local_address: Option<&'a [u8]>,
    client_type: Option<ClientType>,
    id: Option<u64>,
    /// Seconds that the connection must have lasted.
    age: Option<u64>,
    skip_me: bool,
}

impl<'a> Filter<'a> {
    /// Reads the filters of the newer form, each a word and a value.
    fn parse(args: &mut Args<'a>) -> Result<Filter<'a>> {
        let mut filter = Filter {
            address: None,
            local_address: None,
            client_type: None,
            id: None,
            age: None,
            skip_me: true,
        };
        while let Ok(word) = args.next() {
            let value = args.next()?;
            match word.to_ascii_lowercase().as_slice() {
                b"id" => match parse_i64(value) {
                    Some(id) if id > 0 => filter.id = Some(id as u64),
                    _ => return Err(Error::text("ERR client-id should be greater than 0")),
                },
                b"maxage" => match parse_i64(value) {
                    Some(age) if age > 0 => filter.age = Some(age as u64),
                    Some(_) => return Err(Error::text("ERR maxage should be greater than 0")),
                    None => return Err(Error::text("ERR maxage is not an integer or out of range")),
                },
                b"type" => filter.client_type = Some(ClientType::parse(value)?),
                b"addr" => filter.address = Some(value),
                b"laddr" => filter.local_address = Some(value),
                b"user" if value == DEFAULT_USER.as_bytes() => {}
                b"user" => {
                    let name = String::from_utf8_lossy(value);
                    return Err(Error::from(format!("ERR No such user '{name}'")));
                }
                b"skipme" if value.eq_ignore_ascii_case(b"yes") => filter.skip_me = true,
                b"skipme" if value.eq_ignore_ascii_case(b"no") => filter.skip_me = false,
                _ => return Err(Error::Syntax),
            }
        }
        Ok(filter)
    }

    fn covers(&self, cx: &Cx<'_>, session: &Session) -> bool {
        let age = cx.now.instant.saturating_since(session.created).as_secs();
        self.address.is_none_or(|address| address == session.addr.as_bytes())
            && self.local_address.is_none_or(|address| address == session.local_addr.as_bytes())
            && self.client_type.is_none_or(|wanted| wanted.covers(session))
            && self.id.is_none_or(|id| id == session.client_id)
            && self.age.is_none_or(|least| age >= least)
            && !(self.skip_me && session.id == cx.session.id)
    }
}

/// Closes connections; the caller's own is closed after the reply.
pub(super) fn kill(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let old_form = args.left() == 1;
    let filter = if old_form {
        let address = Some(args.next()?);
        Filter { address, local_address: None, client_type: None, id: None, age: None, skip_me: false }
    } else {
        Filter::parse(args)?
    };
    let meant: Vec<SessionId> = client::everyone(cx)
        .into_iter()
        .filter(|session| filter.covers(cx, session))
        .map(|session| session.id)
        .collect();
    for id in &meant {
        if *id == cx.session.id {
            cx.session.close(Closing::AfterReply);
        } else {
            cx.server.kill(*id);
        }
    }
    match (old_form, meant.len()) {
        (true, 0) => return Err(Error::text("ERR No such client")),
        (true, _) => out.ok(),
        (false, count) => out.int(count as i64),
    }
    Ok(())
}
