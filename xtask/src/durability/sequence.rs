//! The writes of one client, and the state that they lead to.
//!
//! Write number n follows from n: a string, a field, two strings in a transaction, or an element of a list. Each leaves
//! its number behind, so the state tells after which write it was taken, and whether anything before it is missing.

use std::collections::BTreeMap;

use super::clients::Connection;

/// A request's words.
pub(super) type Request = Vec<Vec<u8>>;

/// What one client has written up to one of its writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    client: u64,
    /// The last write that it holds.
    number: u64,
    strings: BTreeMap<u64, Vec<u8>>,
    fields: BTreeMap<u64, u64>,
    pair: [u64; 2],
    list: Vec<u64>,
}

/// Strings and fields of one client.
const SLOTS: u64 = 32;

/// After so many writes the list begins anew.
const LIST_WRITES: u64 = 400;

enum Write {
    String { slot: u64, value: Vec<u8> },
    Field { slot: u64 },
    Pair,
    Element { first: bool },
}

impl Write {
    fn of(number: u64) -> Write {
        let slot = number / 4 % SLOTS;
        match number % 4 {
            0 => {
                // Most are short; some do not fit one page.
                let length = if number.is_multiple_of(97) { 20_000 } else { number.wrapping_mul(7919) % 200 };
                let mut value = number.to_string().into_bytes();
                value.push(b':');
                value.resize(value.len() + length as usize, b'x');
                Write::String { slot, value }
            }
            1 => Write::Field { slot },
            2 => Write::Pair,
            _ => Write::Element { first: number % LIST_WRITES == 3 },
        }
    }
}

/// Returns the requests that make up write `number` of a client: one, or a transaction.
pub(super) fn requests(client: u64, number: u64) -> Vec<Request> {
    let words = |text: String| text.split(' ').map(|word| word.as_bytes().to_vec()).collect::<Request>();
    match Write::of(number) {
        Write::String { slot, value } => {
            let mut request = words(format!("SET {client}:s{slot}"));
            request.push(value);
            vec![request]
        }
        Write::Field { slot } => vec![words(format!("HSET {client}:h f{slot} {number}"))],
        Write::Pair => vec![
            words("MULTI".into()),
            words(format!("SET {client}:a {number}")),
            words(format!("SET {client}:b {number}")),
            words("EXEC".into()),
        ],
        Write::Element { first: false } => vec![words(format!("RPUSH {client}:l {number}"))],
        Write::Element { first: true } => vec![
            words("MULTI".into()),
            words(format!("DEL {client}:l")),
            words(format!("RPUSH {client}:l {number}")),
            words("EXEC".into()),
        ],
    }
}

impl State {
    /// Returns the state before a client's first write.
    pub(super) fn new(client: u64) -> State {
        State { client, ..State::default() }
    }

    /// Returns the number of the last write that it holds.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Takes in the next write.
    pub(super) fn advance(&mut self) {
        self.number += 1;
        let number = self.number;
        match Write::of(number) {
            Write::String { slot, value } => {
                self.strings.insert(slot, value);
            }
            Write::Field { slot } => {
                self.fields.insert(slot, number);
            }
            Write::Pair => self.pair = [number; 2],
            Write::Element { first } => {
                if first {
                    self.list.clear();
                }
                self.list.push(number);
            }
        }
    }

    /// Asks a server for the state of a client. Its number is that of the latest write found, whatever else is missing.
    pub(super) fn read(connection: &mut Connection, client: u64) -> Result<State, String> {
        let number = |bytes: &[u8]| -> Result<u64, String> {
            let digits = bytes.split(|&byte| byte == b':').next().unwrap_or_default();
            let text = String::from_utf8_lossy(digits);
            text.parse().map_err(|_| format!("client {client} never wrote {text:?}"))
        };
        let mut state = State::new(client);
        let mut latest = 0;
        for slot in 0..SLOTS {
            if let Some(value) = connection.ask(&["GET", &format!("{client}:s{slot}")])?.pop() {
                latest = latest.max(number(&value)?);
                state.strings.insert(slot, value);
            }
        }
        let fields = connection.ask(&["HGETALL", &format!("{client}:h")])?;
        for pair in fields.chunks_exact(2) {
            let written = number(&pair[1])?;
            latest = latest.max(written);
            state.fields.insert(number(&pair[0][1..])?, written);
        }
        for (place, name) in state.pair.iter_mut().zip(["a", "b"]) {
            if let Some(value) = connection.ask(&["GET", &format!("{client}:{name}")])?.pop() {
                *place = number(&value)?;
                latest = latest.max(*place);
            }
        }
        for value in connection.ask(&["LRANGE", &format!("{client}:l"), "0", "-1"])? {
            state.list.push(number(&value)?);
        }
        latest = latest.max(state.list.last().copied().unwrap_or(0));
        state.number = latest;
        Ok(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_write_leaves_its_number() {
        let mut state = State::new(1);
        for number in 1..2000 {
            let before = state.clone();
            state.advance();
            assert_eq!(state.number(), number);
            let mut without = before;
            without.number = number;
            assert_ne!(state, without);
            assert!(!requests(1, number).is_empty());
        }
    }
}
