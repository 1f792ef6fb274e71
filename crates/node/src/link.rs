//! One connection as the node sees it: bytes that are not a whole request yet, and who is at the other end.

use engine::session::SessionId as LinkId;
use resp::decode::Decoder;

/// Who is at the other end of a link, as CLIENT LIST shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    pub addr: String,
    pub local_addr: String,
    pub fd: i32,
    pub unix_socket: bool,
}

/// Where the bytes that arrived on a link lie in the driver's buffer.
#[derive(Clone, Copy, Debug)]
pub struct Input {
    pub link: LinkId,
    pub start: usize,
    pub end: usize,
}

/// Why a link's requests wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stall {
    No,
    /// Its last command waits for a key.
    Blocked,
    /// Its next command waits for the end of a pause.
    Paused,
}

/// The input side of one link.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) decoder: Decoder,
    /// The bytes of a request that is not complete, or of requests that wait.
    pub(crate) input: Vec<u8>,
    pub(crate) stall: Stall,
    /// How much of the piece at hand was sent, where the link is a replica's that is being sent one.
    pub(crate) piece: Option<usize>,
}

impl Link {
    pub(crate) fn new() -> Link {
        Link { decoder: Decoder::new(), input: Vec::new(), stall: Stall::No, piece: None }
    }

    /// Adds bytes that arrived to those that are kept.
    ///
    /// The room doubles, so that a claim about what will come is not believed, but never beyond what the argument on its
    /// way takes if the claim is true: a large value is not held in twice the memory.
    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        let needed = self.input.len() + bytes.len();
        let wanted = self.decoder.wanted();
        if needed > self.input.capacity() && wanted >= needed {
            let room = (self.input.capacity() * 2).clamp(needed, wanted);
            self.input.reserve_exact(room - self.input.len());
        }
        self.input.extend_from_slice(bytes);
    }
}
