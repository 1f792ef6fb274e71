//! A virtual network: bytes arrive late, in other pieces than they were sent in, but in order and all of them.

use std::collections::VecDeque;
use std::time::Duration;

use base::rng::Rng;
use base::time::Instant;
use node::Peer;

/// Returns what a server sees of a client that connects to it.
pub fn peer(client: usize) -> Peer {
    Peer {
        addr: format!("10.0.0.{client}:40000"),
        local_addr: "10.0.0.100:6379".into(),
        fd: 8 + client as i32,
        unix_socket: false,
    }
}

/// One direction of a connection.
#[derive(Debug, Default)]
pub struct Pipe {
    pieces: VecDeque<(Instant, Vec<u8>)>,
    /// When the last piece arrives: nothing overtakes it.
    last: Instant,
}

impl Pipe {
    /// Sends bytes: they are cut into pieces, each with a latency of its own.
    pub fn send(&mut self, now: Instant, bytes: &[u8], rng: &mut Rng) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let length = piece_length(rest.len(), rng);
            let (piece, later) = rest.split_at(length);
            let at = (now + latency(rng)).max(self.last);
            self.last = at;
            self.pieces.push_back((at, piece.to_vec()));
            rest = later;
        }
    }

    /// Returns when something arrives next.
    pub fn next(&self) -> Option<Instant> {
        self.pieces.front().map(|(at, _)| *at)
    }

    /// Takes what has arrived, pieces that arrived meanwhile joined.
    pub fn take(&mut self, now: Instant) -> Vec<u8> {
        let mut arrived = Vec::new();
        while let Some((_, piece)) = self.pieces.pop_front_if(|(at, _)| *at <= now) {
            arrived.extend(piece);
        }
        arrived
    }

    /// Returns whether nothing is on its way.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Drops what is on its way, as a broken connection does.
    pub fn cut(&mut self) {
        self.pieces.clear();
    }
}

fn piece_length(length: usize, rng: &mut Rng) -> usize {
    match rng.below(10) {
        0 => 1,
        1 => 1 + rng.below(length.min(8) as u64) as usize,
        2 | 3 => 1 + rng.below(length as u64) as usize,
        _ => length,
    }
}

fn latency(rng: &mut Rng) -> Duration {
    Duration::from_micros(match rng.below(20) {
        0 => 20_000 + rng.below(20_000),
        1..5 => 1_000 + rng.below(2_000),
        _ => 20 + rng.below(300),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_arrives_in_order() {
        let mut rng = Rng::seeded(1);
        let mut pipe = Pipe::default();
        let sent: Vec<u8> = (0..=255).cycle().take(5_000).collect();
        for (turn, chunk) in sent.chunks(100).enumerate() {
            pipe.send(Instant::from_micros(turn as u64 * 100_000), chunk, &mut rng);
        }
        let mut received = Vec::new();
        let mut turns = 0;
        while let Some(at) = pipe.next() {
            received.extend(pipe.take(at));
            turns += 1;
        }
        assert_eq!(received, sent);
        assert!(turns > 50, "bytes arrive in {turns} pieces only");
    }
}
