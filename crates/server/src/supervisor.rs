//! Telling systemd or upstart how the start goes.

use std::env;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use config::Supervised;

use crate::text::reason;
use crate::{log, process};

/// Returns who supervises the process, after greeting them; nobody if the one asked for is not there.
pub(crate) fn greet(wish: Supervised) -> Supervised {
    let upstart = env::var_os("UPSTART_JOB").is_some();
    let systemd = env::var_os("NOTIFY_SOCKET").is_some();
    match wish {
        Supervised::Upstart | Supervised::Auto if upstart => {
            log::notice("supervised by upstart, will stop to signal readiness.");
            process::raise_stop();
            Supervised::Upstart
        }
        Supervised::Systemd | Supervised::Auto if systemd => {
            if !tell("STATUS=Redstart is starting...\n") {
                return Supervised::No;
            }
            log::notice(
                "Supervised by systemd. Please make sure you set appropriate values for TimeoutStartSec and \
                 TimeoutStopSec in your service unit.",
            );
            Supervised::Systemd
        }
        Supervised::Upstart => {
            log::warning("upstart supervision requested, but UPSTART_JOB not found!");
            Supervised::No
        }
        Supervised::Systemd => {
            log::warning("systemd supervision error: NOTIFY_SOCKET not found!");
            Supervised::No
        }
        Supervised::Auto | Supervised::No => Supervised::No,
    }
}

/// Tells systemd something; returns whether that worked.
pub(crate) fn tell(what: &str) -> bool {
    let Some(name) = env::var_os("NOTIFY_SOCKET") else { return false };
    let sent = (|| {
        let socket = UnixDatagram::unbound()?;
        // A leading @ stands for the zero byte of a name outside the file system.
        let address = match name.as_encoded_bytes().strip_prefix(b"@") {
            Some(hidden) => SocketAddr::from_abstract_name(hidden)?,
            None => SocketAddr::from_pathname(&name)?,
        };
        socket.send_to_addr(what.as_bytes(), &address)
    })();
    if let Err(error) = &sent {
        log::warning(&format!("systemd supervision error: sd_notify: {}", reason(error)));
    }
    sent.is_ok()
}
