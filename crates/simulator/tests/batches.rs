//! What a node does must not depend on how bytes reach it: in pieces, or many links' requests at once.

use base::rng::Rng;
use config::Config;
use engine::table::Table;
use node::{Input, LinkId, Node, Peer};
use simulator::{Clock, VirtualHost};

const LINKS: usize = 6;

/// Appends a request the way clients write it, or now and then another.
fn push(stream: &mut Vec<u8>, rng: &mut Rng, words: &[&[u8]]) {
    if rng.below(20) == 0 && words.iter().all(|word| !word.is_empty() && word.is_ascii()) {
        stream.extend_from_slice(&words.join(&b' '));
        stream.extend_from_slice(b"\r\n");
        return;
    }
    stream.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        stream.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        stream.extend_from_slice(word);
        stream.extend_from_slice(b"\r\n");
    }
}

fn stream(rng: &mut Rng) -> Vec<u8> {
    let mut stream = Vec::new();
    for _ in 0..rng.below(80) {
        let key = format!("key:{}", rng.below(12)).into_bytes();
        let value = vec![b'v'; [0, 3, 40, 998, 999, 1000, 5000][rng.below(7) as usize]];
        let words: &[&[u8]] = match rng.below(16) {
            0..3 => &[b"SET", &key, &value],
            3..6 => &[b"get", &key],
            6 => &[b"INCR", b"counter"],
            7 => &[b"PING"],
            8 => &[b"MULTI"],
            9 => &[b"EXEC"],
            10 => &[b"DEL", &key, b"list"],
            11 => &[b"RPUSH", b"list", &value],
            12 => &[b"LPOP", b"list"],
            13 => &[b"SELECT", [&b"0"[..], b"1"][rng.below(2) as usize]],
            14 => &[b"STRLEN", &key, b"too many"],
            _ => &[b"MSET", &key, &value, b"other", b"1"],
        };
        push(&mut stream, rng, words);
    }
    if rng.below(30) == 0 {
        stream.extend_from_slice(b"*2\r\n$3\r\nGET\r\n$-7\r\n");
    }
    stream
}

struct Run {
    node: Node,
    host: VirtualHost,
    clock: Clock,
    links: Vec<LinkId>,
}

impl Run {
    fn new() -> Run {
        let (host, clock) = (VirtualHost::default(), Clock::default());
        let mut config = Config::default();
        config.set_at_start(b"enable-debug-command", &[b"yes"]).unwrap();
        let mut node = Node::new(config, Table::standard(), 1, clock.now());
        let links = (0..LINKS).map(|_| node.open(clock.now(), Peer::default())).collect();
        Run { node, host, clock, links }
    }

    fn outcome(&mut self) -> Vec<Vec<u8>> {
        let mut outputs: Vec<Vec<u8>> =
            self.links.iter().map(|link| self.node.output(*link).to_vec()).collect();
        let observer = self.node.open(self.clock.now(), Peer::default());
        self.node.handle_input(self.clock.now(), &self.host, observer, b"DEBUG DIGEST\r\nDBSIZE\r\n");
        outputs.push(self.node.output(observer).to_vec());
        outputs
    }
}

#[test]
fn many_links_at_once_or_piece_by_piece_makes_no_difference() {
    for seed in 0..300 {
        let mut rng = Rng::seeded(seed);
        let (mut together, mut apart) = (Run::new(), Run::new());
        for _ in 0..4 {
            let streams: Vec<Vec<u8>> = (0..LINKS).map(|_| stream(&mut rng)).collect();

            // All that was said in this turn, in one buffer; a link's bytes may come as two inputs.
            let (mut buffer, mut inputs) = (Vec::new(), Vec::new());
            for (link, stream) in together.links.iter().zip(&streams) {
                let cut = rng.below(stream.len() as u64 + 1) as usize;
                for part in [&stream[..cut], &stream[cut..]] {
                    let start = buffer.len();
                    buffer.extend_from_slice(part);
                    inputs.push(Input { link: *link, start, end: buffer.len() });
                }
            }
            together.node.handle_inputs(together.clock.now(), &together.host, &buffer, &inputs);

            for (link, stream) in apart.links.clone().into_iter().zip(&streams) {
                let mut rest = stream.as_slice();
                while !rest.is_empty() {
                    let (piece, left) = rest.split_at(rest.len().min(1 + rng.below(200) as usize));
                    apart.node.handle_input(apart.clock.now(), &apart.host, link, piece);
                    rest = left;
                }
            }
        }
        for (link, (together, apart)) in together.outcome().iter().zip(apart.outcome()).enumerate() {
            let [together, apart] =
                [together, &apart].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
            assert!(together == apart, "seed {seed}, link {link}:\n{together}\n--- apart:\n{apart}");
        }
    }
}
