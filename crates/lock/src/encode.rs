//! Requests, written to where they are sent from: without being put together anywhere else first.

use redis::Cmd;

/// What can be sent to a server.
pub(crate) trait Pack {
    /// Appends the request.
    fn pack(&self, out: &mut Vec<u8>);
}

impl Pack for Cmd {
    fn pack(&self, out: &mut Vec<u8>) {
        self.write_packed_command(out);
    }
}

/// Appends the head of a request of so many words.
pub(crate) fn head(out: &mut Vec<u8>, words: u64) {
    length(out, b'*', words);
}

/// Appends a word.
pub(crate) fn word(out: &mut Vec<u8>, word: &[u8]) {
    length(out, b'$', word.len() as u64);
    out.extend_from_slice(word);
    out.extend_from_slice(b"\r\n");
}

/// Appends a number as a word.
pub(crate) fn number(out: &mut Vec<u8>, number: u64) {
    let mut room = [0; 20];
    word(out, digits(number, &mut room));
}

fn length(out: &mut Vec<u8>, kind: u8, length: u64) {
    let mut room = [0; 20];
    out.push(kind);
    out.extend_from_slice(digits(length, &mut room));
    out.extend_from_slice(b"\r\n");
}

/// Writes a number to the end of `room` and returns it.
pub(crate) fn digits(mut number: u64, room: &mut [u8; 20]) -> &[u8] {
    let mut at = room.len();
    // Most are lengths of words.
    if number < 10 {
        room[at - 1] = b'0' + number as u8;
        return &room[at - 1..];
    }
    loop {
        at -= 1;
        room[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return &room[at..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_written_as_others_write_them() {
        for number in [0, 7, 10, 30_000, u64::MAX] {
            let mut ours = b"before".to_vec();
            head(&mut ours, 3);
            word(&mut ours, b"LOCK.RELEASE");
            word(&mut ours, b"\r\n");
            super::number(&mut ours, number);
            let mut theirs = b"before".to_vec();
            redis::cmd("LOCK.RELEASE").arg("\r\n").arg(number).pack(&mut theirs);
            assert_eq!(ours, theirs);
        }
    }
}
