//! Where a server is, written as one address.
//!
//! ```text
//! redis://[[user:]password@]host[:port][/db]
//! ```

use super::options::{Complaint, Options, leading_int};

/// Sets in `options` what the address says.
pub(crate) fn apply(uri: &[u8], options: &mut Options) -> Result<(), Complaint> {
    let text = String::from_utf8_lossy(uri).into_owned();
    let rest = match text.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("redis") => rest,
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("rediss") => {
            return Err("rediss:// is not in this version: it has no TLS.".into());
        }
        _ => return Err("Invalid URI scheme".into()),
    };
    let rest = match rest.split_once('@') {
        Some((who, rest)) => {
            let password = match who.split_once(':') {
                Some((user, password)) => {
                    options.user = Some(percent_decode(user)?);
                    password
                }
                None => who,
            };
            options.password = Some(percent_decode(password)?);
            rest
        }
        None => rest,
    };
    if rest.is_empty() {
        return Ok(());
    }
    let (place, db) = rest.split_once('/').unwrap_or((rest, ""));
    if !place.is_empty() {
        let (host, port) = split_port(place);
        options.endpoint.host = host.to_string();
        if let Some(port) = port {
            options.endpoint.port = leading_int(port.as_bytes()) as i32;
        }
    }
    if !db.is_empty() {
        options.db = leading_int(db.as_bytes()) as i32;
    }
    Ok(())
}

/// Splits off a port; an IPv6 address stands in brackets, or its colons would be taken for one.
fn split_port(place: &str) -> (&str, Option<&str>) {
    if let Some((host, after)) = place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (host, after.strip_prefix(':'));
    }
    match place.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (place, None),
    }
}

fn percent_decode(text: &str) -> Result<Vec<u8>, Complaint> {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let [byte, after @ ..] = rest {
        if *byte != b'%' {
            out.push(*byte);
            rest = after;
            continue;
        }
        let [high, low, after @ ..] = after else { return Err("Incomplete URI encoding".into()) };
        match (char::from(*high).to_digit(16), char::from(*low).to_digit(16)) {
            (Some(high), Some(low)) => out.push((high << 4 | low) as u8),
            _ => return Err("Illegal character in URI encoding".into()),
        }
        rest = after;
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(uri: &str) -> Result<(String, i32, i32, Option<String>, Option<String>), Complaint> {
        let mut options = Options::new(false);
        apply(uri.as_bytes(), &mut options)?;
        let text = |bytes: Option<Vec<u8>>| bytes.map(|bytes| String::from_utf8(bytes).unwrap());
        Ok((
            options.endpoint.host,
            options.endpoint.port,
            options.db,
            text(options.user),
            text(options.password),
        ))
    }

    #[test]
    fn every_part_may_be_left_out() {
        let local = |port, db, user: Option<&str>, password: Option<&str>| {
            Ok(("127.0.0.1".to_string(), port, db, user.map(str::to_string), password.map(str::to_string)))
        };
        assert_eq!(parts("redis://"), local(6379, 0, None, None));
        assert_eq!(parts("REDIS://p%40ss@"), local(6379, 0, None, Some("p@ss")));
        assert_eq!(parts("redis://u:p@127.0.0.1:7000/5"), local(7000, 5, Some("u"), Some("p")));
        assert_eq!(parts("redis:///2"), local(6379, 2, None, None));
        assert_eq!(parts("redis://[::1]:7000").unwrap().0, "::1");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        assert_eq!(parts("http://x"), Err("Invalid URI scheme".into()));
        assert_eq!(parts("redis://a%4@x"), Err("Incomplete URI encoding".into()));
        assert_eq!(parts("redis://a%zz@x"), Err("Illegal character in URI encoding".into()));
        assert!(parts("rediss://x").is_err());
    }
}
