//! The sockets that clients connect to.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use config::Values;
use mio::net::{TcpListener, UnixListener};
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, Socket, Type};

use crate::log;
use crate::text::reason;

/// The tokens of listeners lie beyond those of connections, which are session ids.
const FIRST_TOKEN: usize = 1 << 40;
const UNIX_TOKEN: usize = FIRST_TOKEN - 1;

/// What a token stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Tcp(usize),
    Unix,
}

/// Returns the listener that a token stands for.
pub(crate) fn place(token: Token) -> Option<Place> {
    match token.0 {
        UNIX_TOKEN => Some(Place::Unix),
        token if token >= FIRST_TOKEN => Some(Place::Tcp(token - FIRST_TOKEN)),
        _ => None,
    }
}

/// All sockets listened on.
#[derive(Debug)]
pub(crate) struct Listeners {
    registry: Registry,
    pub(crate) tcp: Vec<TcpListener>,
    pub(crate) unix: Option<UnixListener>,
    unix_path: Option<PathBuf>,
    /// What `tcp` is bound to, to go back to when a change fails.
    bound: (Vec<String>, u16),
    backlog: i32,
    mark: u32,
}

impl Listeners {
    /// Listens as the configuration says; the reason for a failure is in the log already, except the returned line.
    pub(crate) fn open(values: &Values, registry: Registry) -> Result<Listeners, String> {
        let mut listeners = Listeners {
            registry,
            tcp: Vec::new(),
            unix: None,
            unix_path: None,
            bound: (Vec::new(), 0),
            backlog: values.tcp_backlog.min(i32::MAX as u32) as i32,
            mark: values.socket_mark_id,
        };
        if values.port != 0 {
            listeners
                .bind(&values.bind, values.port)
                .map_err(|()| format!("Failed listening on port {} (tcp), aborting.", values.port))?;
        }
        if !values.unixsocket.is_empty() {
            // Absolute, as CONFIG SET dir may come between making and removing it.
            let path = Path::new(std::ffi::OsStr::from_bytes(&values.unixsocket));
            let path = &std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
            listeners.open_unix(path, values.unixsocketperm).map_err(|error| {
                let path = path.display();
                log::warning(&format!("Failed opening Unix socket: bind: {path}: {}", reason(&error)));
                "Failed listening on unix socket, aborting.".to_owned()
            })?;
        }
        listeners.check_backlog();
        if listeners.tcp.is_empty() && listeners.unix.is_none() {
            return Err("Configured to not listen anywhere, exiting.".to_owned());
        }
        Ok(listeners)
    }

    /// Moves the TCP listeners to other addresses, or leaves them where they are when that fails.
    pub(crate) fn rebind(&mut self, addresses: &[String], port: u16) -> Result<(), ()> {
        let (old_addresses, old_port) = self.bound.clone();
        if port == old_port && addresses == old_addresses {
            return Ok(());
        }
        // The old sockets go first: a wildcard address cannot be bound beside them.
        self.tcp.clear();
        let result = if port == 0 {
            self.bound = (addresses.to_vec(), 0);
            Ok(())
        } else {
            self.bind(addresses, port)
        };
        if result.is_err() && old_port != 0 {
            let _ = self.bind(&old_addresses, old_port);
        }
        result
    }

    /// Stops listening, and removes the Unix socket's name.
    pub(crate) fn close(&mut self) {
        self.tcp.clear();
        self.unix = None;
        if let Some(path) = self.unix_path.take() {
            log::notice("Removing the unix socket file.");
            let _ = std::fs::remove_file(path);
        }
    }

    fn bind(&mut self, addresses: &[String], port: u16) -> Result<(), ()> {
        let mut sockets = Vec::new();
        for address in addresses {
            let optional = address.starts_with('-');
            let host = address.strip_prefix('-').unwrap_or(address);
            match self.listen(host, port, FIRST_TOKEN + sockets.len()) {
                Ok(socket) => sockets.push(socket),
                Err(error) => {
                    log::warning(&format!(
                        "Warning: Could not create server TCP listening socket {host}:{port}: bind: {}",
                        reason(&error)
                    ));
                    let absent = optional && error.kind() == ErrorKind::AddrNotAvailable;
                    let unknown = [
                        libc::ENOPROTOOPT,
                        libc::EPROTONOSUPPORT,
                        libc::ESOCKTNOSUPPORT,
                        libc::EPFNOSUPPORT,
                        libc::EAFNOSUPPORT,
                    ];
                    if !absent && !error.raw_os_error().is_some_and(|code| unknown.contains(&code)) {
                        return Err(());
                    }
                }
            }
        }
        self.tcp = sockets;
        self.bound = (addresses.to_vec(), port);
        Ok(())
    }

    /// Warns where the system keeps fewer connections waiting than `tcp-backlog` says.
    fn check_backlog(&self) {
        let limit = std::fs::read_to_string("/proc/sys/net/core/somaxconn");
        if let Some(limit) = limit.ok().and_then(|text| text.trim().parse::<i32>().ok())
            && limit < self.backlog
        {
            log::warning(&format!(
                "WARNING: The TCP backlog setting of {} cannot be enforced because /proc/sys/net/core/somaxconn is set \
                 to the lower value of {limit}.",
                self.backlog
            ));
        }
    }

    fn listen(&self, host: &str, port: u16, token: usize) -> io::Result<TcpListener> {
        let address = resolve(host, port)?;
        let domain = Domain::for_address(address);
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        if domain == Domain::IPV6 {
            socket.set_only_v6(true)?;
        }
        socket.set_reuse_address(true)?;
        if self.mark > 0 {
            socket.set_mark(self.mark)?;
        }
        socket.bind(&address.into())?;
        socket.listen(self.backlog)?;
        socket.set_nonblocking(true)?;
        let mut listener = TcpListener::from_std(socket.into());
        self.registry.register(&mut listener, Token(token), Interest::READABLE)?;
        Ok(listener)
    }

    fn open_unix(&mut self, path: &Path, permissions: u32) -> io::Result<()> {
        // A name left over from a run before would be in the way; a live server's is taken over, as Redis does.
        let _ = std::fs::remove_file(path);
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&socket2::SockAddr::unix(path)?)?;
        if permissions != 0 {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(permissions))?;
        }
        socket.listen(self.backlog)?;
        socket.set_nonblocking(true)?;
        let mut listener = UnixListener::from_std(socket.into());
        self.registry.register(&mut listener, Token(UNIX_TOKEN), Interest::READABLE)?;
        self.unix = Some(listener);
        self.unix_path = Some(path.to_owned());
        Ok(())
    }
}

/// Returns the address that a word of `bind` means.
fn resolve(host: &str, port: u16) -> io::Result<SocketAddr> {
    let v6 = host.contains(':');
    let host = match host {
        "*" => "0.0.0.0",
        "::*" => "::",
        host => host,
    };
    (host, port)
        .to_socket_addrs()?
        .find(|address| address.is_ipv6() == v6)
        .ok_or_else(|| io::Error::other("Name or service not known"))
}
