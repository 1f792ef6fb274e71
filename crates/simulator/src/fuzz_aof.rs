//! What the fuzzers do with logs: `aof` with a file of one, `manifest` with the list of its files.

use std::convert::Infallible;

use aof::read::{Reader, Replay, Verdict};
use aof::{Batches, Check, Manifest, Mark};
use base::prepared::{Plan, Space, filler_at};
use resp::Request;

/// Any bytes end in a verdict that does not depend on how they arrive; of a damaged log a prefix of batches is left.
///
/// The first byte chooses: bytes as they are, or a log of commands with some of its bytes changed, cut, doubled or never
/// written, with filler behind it or without.
pub fn aof(data: &[u8]) {
    let Some((first, data)) = data.split_first() else { return };
    let step = usize::from(first >> 1) + 1;
    match first & 1 {
        0 => drop(read_both(data, step)),
        _ => mutated(data, step),
    }
}

/// A manifest that can be read says the same when it is written, and nothing can be read that has no meaning.
pub fn manifest(data: &[u8]) {
    let Ok(manifest) = Manifest::parse(data) else { return };
    assert!(manifest.increments.is_sorted_by(|a, b| a.seq < b.seq), "increments have an order");
    let text = manifest.print();
    if !text.is_empty() && text.split(|byte| *byte == b'\n').all(|line| line.len() < 1024) {
        assert_eq!(Manifest::parse(&text).as_ref(), Ok(&manifest), "what is written is what was read");
    }
    let increment = manifest.next_increment("log", 0);
    let base = manifest.next_base("log", true, 0);
    let next = manifest.with_increment(increment.clone()).with_base(base, Some(increment));
    assert_eq!((next.increments.len(), next.files().count()), (1, 2));
    assert_eq!(next.history.len(), manifest.files().count() + manifest.history.len());
}

/// Remembers what a log replays.
#[derive(Debug, Default, PartialEq, Eq)]
struct Replayed {
    requests: Vec<Vec<Vec<u8>>>,
    times: Vec<(i64, u64)>,
    /// Each with the number of requests before it.
    marks: Vec<(usize, Mark)>,
}

impl Replay for Replayed {
    type Error = Infallible;

    fn request(&mut self, request: Request<'_>, _: u64) -> Result<(), Infallible> {
        assert!(!request.is_empty(), "a request has a name");
        self.requests.push(request.iter().map(<[u8]>::to_vec).collect());
        Ok(())
    }

    fn timestamp(&mut self, unix_secs: i64, offset: u64) -> Result<(), Infallible> {
        self.times.push((unix_secs, offset));
        Ok(())
    }

    fn mark(&mut self, mark: Mark) {
        self.marks.push((self.requests.len(), mark));
    }
}

/// Reads a file, `step` bytes at a time.
fn read(data: &[u8], step: usize) -> (Replayed, Verdict) {
    let (mut reader, mut replayed) = (Reader::new(0), Replayed::default());
    let (mut start, mut end) = (0, 0);
    while end < data.len() {
        end = (end + step).min(data.len());
        let Ok(taken) = reader.read(&data[start..end], &mut replayed);
        start += taken;
        assert!(start <= end && reader.offset() == start as u64, "no more is taken than there is");
    }
    let verdict = reader.finish(&data[start..]);
    (replayed, verdict)
}

/// Reads a file whole and in pieces, and checks it; returns what it replays.
fn read_both(data: &[u8], step: usize) -> (Replayed, Verdict) {
    let whole = read(data, data.len().max(1));
    assert_eq!(whole, read(data, step), "a log depends on how its bytes arrive");
    let mut check = Check::new(0, None);
    let taken = check.read(data);
    let report = check.finish(&data[taken..]);
    assert_eq!((report.bytes, &report.verdict), (data.len() as u64, &whole.1));
    assert_eq!(report.requests(), whole.0.requests.len() as u64);
    let last = whole.0.marks.last().filter(|(requests, _)| *requests == whole.0.requests.len());
    assert_eq!(report.mark, last.map(|(_, mark)| *mark));
    if let Verdict::TornTail { offset, .. } = whole.1 {
        let (cut, verdict) = read(&data[..offset as usize], data.len());
        assert_eq!(
            (cut, verdict),
            (Replayed { times: kept(&whole.0, offset), ..again(&whole.0) }, Verdict::Complete)
        );
    }
    whole
}

/// Returns the times of a file that is cut at `offset`.
fn kept(replayed: &Replayed, offset: u64) -> Vec<(i64, u64)> {
    replayed.times.iter().copied().filter(|(_, at)| *at < offset).collect()
}

fn again(replayed: &Replayed) -> Replayed {
    Replayed { requests: replayed.requests.clone(), times: Vec::new(), marks: replayed.marks.clone() }
}

/// Writes a log, each of whose batches three bytes choose, and damages it as the last bytes say.
fn mutated(data: &[u8], step: usize) {
    let damage = data.len().min(6);
    let (plan, damage) = data.split_at(data.len() - damage);
    let (mut batches, mut counts, mut count, mut named) = (Batches::new(0), vec![0], 0, None);
    for choice in plan.chunks_exact(3).take(64) {
        let mut body = Vec::new();
        let units = usize::from(choice[0] & 3);
        for unit in 0..units {
            let value = vec![choice[2]; usize::from(choice[1]) * (unit + 1)];
            body.extend_from_slice(format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${}\r\n", value.len()).as_bytes());
            body.extend_from_slice(&value);
            body.extend_from_slice(b"\r\n");
        }
        let mark = Mark { offset: u64::from(choice[1]), database: 0, id: [b'0' + (choice[2] & 7); 40] };
        if choice[0] & 8 != 0 {
            body.extend_from_slice(&mark.line(named.as_ref()));
            named = Some(mark.id);
        }
        batches.seal();
        let synced = if choice[0] & 4 == 0 { batches.end() } else { batches.end() / 2 };
        batches.push(synced, &[&body]);
        count += units;
        counts.push(count);
    }
    let written = batches.take();
    let mut space = Space::new(written.len() as u64);
    let filler = match space.plan(if step & 1 == 0 { 0 } else { 100 }) {
        Plan::Fill(part) => space.filler(part),
        _ => Vec::new(),
    };
    let written = [written, filler].concat();
    let (original, verdict) = read(&written, step);
    assert_eq!((original.requests.len(), verdict), (count, Verdict::Complete));
    let mut bytes = written.clone();
    for change in damage.chunks_exact(3).filter(|_| !written.is_empty()) {
        let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % bytes.len().max(1);
        match change[2] >> 6 {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << (change[2] & 7),
            1 => bytes.truncate(at),
            2 => {
                let filled = change[2] & 1 == 1;
                let part = bytes.iter_mut().zip(0..).skip(at).take(usize::from(change[2] & 63) * 16);
                part.for_each(|(byte, at)| *byte = if filled { filler_at(at) } else { 0 });
            }
            _ => {
                let twice = bytes[at.min(bytes.len())..].iter().take(64).copied().collect::<Vec<_>>();
                bytes.splice(at.min(bytes.len())..at.min(bytes.len()), twice);
            }
        }
    }
    read_both(&bytes, step);
    // Whole commands behind the last batch are what redis-server would have appended, were they doubled or not: nothing but
    // the batches can be told from damage.
    let mut check = Check::new(0, None);
    let taken = check.read(&bytes);
    if let Some(appended) = check.finish(&bytes[taken..]).appended_at {
        bytes.truncate(appended as usize);
    }
    let (found, verdict) = read_both(&bytes, step);
    assert!(original.requests.starts_with(&found.requests), "a damaged log says something else");
    assert!(original.marks.starts_with(&found.marks), "a damaged log stands elsewhere");
    assert!(counts.contains(&found.requests.len()), "a batch was replayed in part");
    if verdict == Verdict::Complete {
        let mut check = Check::new(0, None);
        let taken = check.read(&bytes);
        if let Some(filler) = check.finish(&bytes[taken..]).filler_at {
            bytes.truncate(filler as usize);
        }
        assert!(written.starts_with(&bytes), "damage was not found");
    }
}

#[cfg(test)]
mod tests {
    use base::rng::Rng;

    use super::*;

    #[test]
    fn doubled_commands_at_the_end_are_taken_for_appended_ones() {
        // Found by the fuzzer.
        aof(&[0x01, 0x8d, 0x00, 0x01, 0x8d, 0x00, 0x23, 0x00, 0xf7, 0x01, 0x0a, 0xc8]);
    }

    #[test]
    fn half_an_annotation_behind_a_batch_waits_for_its_other_half() {
        // Found by the fuzzer.
        aof(&[0x01, 0x31, 0x2e, 0x00, 0x69, 0x06, 0x00, 0x00, 0xaa, 0xff, 0xff, 0xff, 0x06, 0x68, 0x68]);
    }

    #[test]
    fn damaged_logs_are_found() {
        let mut rng = Rng::seeded(7);
        for _ in 0..20_000 {
            let mut data: Vec<u8> = (0..1 + rng.below(40)).map(|_| rng.next_u64() as u8).collect();
            data[0] |= 1;
            aof(&data);
        }
    }
}
