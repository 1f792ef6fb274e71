//! Strings as arrays of bits, and of integers of any width.

use base::number::parse_i64;
use keyspace::{Class, Stamp, Text, Value};
use resp::decode::Request;
use structures::bitmap::{
    self, Operation,
    field::{Field, Overflow},
};

use crate::table::{self, Command, KeyFlags, acl, at, command, does, key, range};
use crate::{Args, Cx, Error, Reply, Result};

pub(super) const COMMANDS: &[Command] = &[
    command("BITCOUNT", bitcount)
        .summary("Returns how many bits of a string are set.")
        .since("2.6.0")
        .complexity("O(N)")
        .syntax("key [start [end [BYTE | BIT]]]")
        .flags(&[table::READONLY])
        .acl(&[acl::BITMAP])
        .keys(&[at(1, does(&[key::RO, key::ACCESS]))]),
    command("BITFIELD", bitfield)
        .summary("Reads and changes integers of any width inside a string.")
        .since("3.2.0")
        .complexity("O(1) for each subcommand specified")
        .syntax("key [GET encoding offset | [OVERFLOW <WRAP | SAT | FAIL>] <SET encoding offset value | INCRBY encoding offset increment>]")
        .flags(&[table::WRITE, table::DENYOOM])
        .acl(&[acl::BITMAP])
        .keys(&[at(1, does(&[key::RW, key::UPDATE, key::ACCESS, key::VARIABLE_FLAGS]))])
        .find_keys(bitfield_keys),
    command("BITFIELD_RO", bitfield_ro)
        .summary("Reads integers of any width inside a string.")
        .since("6.0.0")
        .complexity("O(1) for each subcommand specified")
        .syntax("key [GET encoding offset [GET encoding offset ...]]")
        .flags(&[table::READONLY, table::FAST])
        .acl(&[acl::BITMAP])
        .keys(&[at(1, does(&[key::RO, key::ACCESS]))]),
    command("BITOP", bitop)
        .summary("Combines strings bit by bit and stores the result.")
        .since("2.6.0")
        .complexity("O(N)")
        .syntax("<AND | OR | XOR | NOT> destkey key [key ...]")
        .flags(&[table::WRITE, table::DENYOOM])
        .acl(&[acl::BITMAP])
        .keys(&[at(2, does(&[key::OW, key::UPDATE])), range(3, -1, 1, 0, does(&[key::RO, key::ACCESS]))]),
    command("BITPOS", bitpos)
        .summary("Returns where the first bit of a value stands in a string.")
        .since("2.8.7")
        .complexity("O(N)")
        .syntax("key bit [start [end [BYTE | BIT]]]")
        .flags(&[table::READONLY])
        .acl(&[acl::BITMAP])
        .keys(&[at(1, does(&[key::RO, key::ACCESS]))]),
    command("GETBIT", getbit)
        .summary("Returns one bit of a string.")
        .since("2.2.0")
        .complexity("O(1)")
        .syntax("key offset")
        .flags(&[table::READONLY, table::FAST])
        .acl(&[acl::BITMAP])
        .keys(&[at(1, does(&[key::RO, key::ACCESS]))]),
    command("SETBIT", setbit)
        .summary("Sets or clears one bit of a string and returns what it was.")
        .since("2.2.0")
        .complexity("O(1)")
        .syntax("key offset value")
        .flags(&[table::WRITE, table::DENYOOM])
        .acl(&[acl::BITMAP])
        .keys(&[at(1, does(&[key::RW, key::ACCESS, key::UPDATE]))]),
];

const BAD_OFFSET: Error = Error::text("ERR bit offset is not an integer or out of range");

/// Returns a bit's offset; the string that holds it must not exceed `proto-max-bulk-len`.
///
/// Where `width` is given, `#n` means the n-th integer of that many bits.
fn offset(cx: &Cx<'_>, text: &[u8], width: Option<u64>) -> Result<u64> {
    let (text, factor) = match (text, width) {
        ([b'#', digits @ ..], Some(width)) => (digits, width),
        _ => (text, 1),
    };
    let offset = parse_i64(text).and_then(|n| u64::try_from(n).ok()).and_then(|n| n.checked_mul(factor));
    offset.filter(|bit| bit >> 3 < cx.server.config.proto_max_bulk_len).ok_or(BAD_OFFSET)
}

/// Sets or clears a bit.
fn setbit(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let (key, at) = (args.key()?, args.next()?);
    let at = offset(cx, at, None)?;
    let on = match parse_i64(args.next()?) {
        Some(0) => false,
        Some(1) => true,
        _ => return Err(Error::text("ERR bit is not an integer or out of range")),
    };
    let mut text = cx.keys.edit_text(key)?;
    let end = (at >> 3) as usize + 1;
    let (before, grown) = text.grow(|buf| {
        let grown = buf.len() < end;
        if grown {
            buf.zero_extend(end);
        }
        (bitmap::set_bit(buf.as_mut_slice(), at, on), grown)
    });
    if grown || before != on {
        text.changed("setbit");
    }
    out.int(i64::from(before));
    Ok(())
}

/// Returns a bit; those behind the string's end are 0.
fn getbit(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let (key, at) = (args.key()?, args.next()?);
    let at = offset(cx, at, None)?;
    let on = cx.keys.text(key)?.is_some_and(|text| text.with(|bytes| bitmap::get_bit(bytes, at)));
    out.int(i64::from(on));
    Ok(())
}

/// A part of a string that BITCOUNT and BITPOS look at.
struct Part {
    start: i64,
    /// `None`: to the end, and BITPOS may find a 0 behind it.
    end: Option<i64>,
    in_bits: bool,
}

impl Part {
    /// Returns the first and the last bit (included) for a string of `len` bytes; `None` when nothing is left.
    fn bits(&self, len: usize) -> Option<(u64, u64)> {
        let total = if self.in_bits { len as i64 * 8 } else { len as i64 };
        let (mut start, mut end) = (self.start, self.end.unwrap_or(-1));
        if start < 0 && end < 0 && start > end {
            return None;
        }
        start = if start < 0 { (total.saturating_add(start)).max(0) } else { start };
        end = if end < 0 { (total.saturating_add(end)).max(0) } else { end }.min(total - 1);
        if start > end {
            return None;
        }
        let (start, end) = (start as u64, end as u64);
        Some(if self.in_bits { (start, end) } else { (start * 8, end * 8 + 7) })
    }
}

/// Returns whether the next arguments count bits (`BIT`) or bytes (`BYTE`, or nothing).
fn unit(args: &mut Args<'_>) -> Result<bool> {
    let in_bits = args.accept("BIT");
    if !in_bits && !args.is_empty() && !args.accept("BYTE") {
        return Err(Error::Syntax);
    }
    args.end()?;
    Ok(in_bits)
}

/// Returns how many bits are set.
fn bitcount(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    // As in Redis, a missing key or one of the wrong type is answered before the rest is looked at.
    let Some(text) = cx.keys.text(key)? else {
        out.int(0);
        return Ok(());
    };
    let mut part = Part { start: 0, end: None, in_bits: false };
    if args.left() == 1 {
        return Err(Error::Syntax);
    }
    if !args.is_empty() {
        let (start, end) = (args.int()?, args.int()?);
        part = Part { start, end: Some(end), in_bits: unit(args)? };
    }
    let count = text.with(|bytes| match part.bits(bytes.len()) {
        Some((first, last)) => bitmap::count_ones_between(bytes, first, last),
        None => 0,
    });
    out.int(count as i64);
    Ok(())
}

/// Returns where the first 1 or 0 stands.
fn bitpos(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let on = match args.int()? {
        0 => false,
        1 => true,
        _ => return Err(Error::text("ERR The bit argument must be 1 or 0.")),
    };
    let Some(text) = cx.keys.text(key)? else {
        // An endless row of zeros.
        out.int(if on { -1 } else { 0 });
        return Ok(());
    };
    let mut part = Part { start: 0, end: None, in_bits: false };
    if !args.is_empty() {
        part.start = args.int()?;
    }
    if !args.is_empty() {
        part.end = Some(args.int()?);
        part.in_bits = unit(args)?;
    }
    let found = text.with(|bytes| {
        let (first, last) = part.bits(bytes.len())?;
        let found = bitmap::find_bit(bytes, on, first, last);
        // Without an end the string counts as padded with zeros.
        found.or((!on && part.end.is_none()).then_some(bytes.len() as u64 * 8))
    });
    out.int(found.map_or(-1, |at| at as i64));
    Ok(())
}

/// Combines strings bit by bit; shorter ones count as padded with zeros.
fn bitop(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let name = args.next()?;
    let operations: [(&[u8], Operation); 4] = [
        (b"and", Operation::And),
        (b"or", Operation::Or),
        (b"xor", Operation::Xor),
        (b"not", Operation::Not),
    ];
    let operation =
        operations.iter().find(|(word, _)| name.eq_ignore_ascii_case(word)).ok_or(Error::Syntax)?.1;
    let destination = args.key()?;
    if matches!(operation, Operation::Not) && args.left() != 1 {
        return Err(Error::text("ERR BITOP NOT must be called with a single source key."));
    }
    for source in args.rest() {
        cx.keys.refresh(source);
    }
    // Integers have no bytes of their own to borrow.
    let digits: Vec<_> = args
        .rest()
        .map(|source| match cx.keys.live(source).map(Text::of).transpose()? {
            Some(Text::Int(n)) => Ok(Some(base::number::IntText::new(n))),
            _ => Ok(None),
        })
        .collect::<Result<_>>()?;
    let mut sources: Vec<&[u8]> = Vec::with_capacity(args.left());
    for (source, digits) in args.rest().zip(&digits) {
        sources.push(match (digits, cx.keys.live(source).map(Text::of).transpose()?) {
            (Some(digits), _) => digits.as_bytes(),
            (None, Some(Text::Bytes(bytes))) => bytes,
            (None, _) => b"",
        });
    }
    let result = bitmap::combine(operation, &sources);
    let len = result.len();
    if len > 0 {
        cx.keys.set_value(destination, Value::Text(result), Stamp::Clear);
        cx.keys.changed(Class::String, "set", destination);
    } else {
        let lazy = cx.server.config.lazyfree_lazy_server_del;
        cx.keys.delete(destination, "del", lazy);
    }
    out.int(len as i64);
    Ok(())
}

/// One step of BITFIELD.
#[derive(Clone, Copy)]
struct Step {
    field: Field,
    at: u64,
    action: Action,
}

#[derive(Clone, Copy)]
enum Action {
    Get,
    Set(i64, Overflow),
    Add(i64, Overflow),
}

/// Tells what BITFIELD does to its key: without SET and INCRBY it only reads.
fn bitfield_keys(request: Request<'_>, found: &mut Vec<(usize, KeyFlags)>) {
    let mut words = request.iter().skip(2);
    let mut reads = true;
    while let Some(word) = words.next() {
        let more = match word.to_ascii_lowercase().as_slice() {
            b"get" => 2,
            b"overflow" => 1,
            // What is not understood may write as well.
            _ => {
                reads = false;
                break;
            }
        };
        reads &= words.len() >= more;
        words.by_ref().take(more).for_each(drop);
    }
    let flags = match reads {
        true => does(&[key::RO, key::ACCESS]),
        false => does(&[key::RW, key::ACCESS, key::UPDATE]),
    };
    found.push((1, flags));
}

/// Reads and changes integers inside a string.
fn bitfield(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let steps = steps(cx, args)?;
    run_steps(cx, key, &steps, out)
}

/// Reads integers inside a string.
fn bitfield_ro(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let steps = steps(cx, args)?;
    if steps.iter().any(|step| !matches!(step.action, Action::Get)) {
        return Err(Error::text("ERR BITFIELD_RO only supports the GET subcommand"));
    }
    run_steps(cx, key, &steps, out)
}

fn steps(cx: &Cx<'_>, args: &mut Args<'_>) -> Result<Vec<Step>> {
    let (mut steps, mut overflow) = (Vec::new(), Overflow::Wrap);
    while !args.is_empty() {
        let more = args.left() - 1;
        if more >= 2 && args.accept("GET") {
            let (field, at) = place(cx, args)?;
            steps.push(Step { field, at, action: Action::Get });
        } else if more >= 3 && args.accept("SET") {
            let (field, at) = place(cx, args)?;
            steps.push(Step { field, at, action: Action::Set(args.int()?, overflow) });
        } else if more >= 3 && args.accept("INCRBY") {
            let (field, at) = place(cx, args)?;
            steps.push(Step { field, at, action: Action::Add(args.int()?, overflow) });
        } else if more >= 1 && args.accept("OVERFLOW") {
            overflow = if args.accept("WRAP") {
                Overflow::Wrap
            } else if args.accept("SAT") {
                Overflow::Saturate
            } else if args.accept("FAIL") {
                Overflow::Fail
            } else {
                return Err(Error::text("ERR Invalid OVERFLOW type specified"));
            };
        } else {
            return Err(Error::Syntax);
        }
    }
    Ok(steps)
}

/// Returns an integer's type and where it begins.
fn place(cx: &Cx<'_>, args: &mut Args<'_>) -> Result<(Field, u64)> {
    const BAD_TYPE: Error = Error::text(
        "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.",
    );
    let (signed, digits) = match args.next()? {
        [b'i', digits @ ..] => (true, digits),
        [b'u', digits @ ..] => (false, digits),
        _ => return Err(BAD_TYPE),
    };
    let bits = parse_i64(digits).and_then(|n| u8::try_from(n).ok()).ok_or(BAD_TYPE)?;
    let field = Field::new(signed, bits).ok_or(BAD_TYPE)?;
    let at = offset(cx, args.next()?, Some(field.bits()))?;
    Ok((field, at))
}

fn run_steps(cx: &mut Cx<'_>, key: &[u8], steps: &[Step], out: &mut Reply<'_>) -> Result<()> {
    let end = steps
        .iter()
        .filter(|step| !matches!(step.action, Action::Get))
        .map(|step| ((step.at + step.field.bits() - 1) >> 3) as usize + 1)
        .max();
    let Some(end) = end else {
        let text = cx.keys.text(key)?;
        out.array(steps.len());
        for step in steps {
            out.int(text.map_or(0, |text| text.with(|bytes| step.field.get(bytes, step.at))));
        }
        return Ok(());
    };
    let mut text = cx.keys.edit_text(key)?;
    out.array(steps.len());
    let changes = text.grow(|buf| {
        let mut changes = u64::from(buf.len() < end);
        if buf.len() < end {
            buf.zero_extend(end);
        }
        for Step { field, at, action } in steps {
            let before = field.get(buf.as_slice(), *at);
            let (after, reply) = match *action {
                Action::Get => {
                    out.int(before);
                    continue;
                }
                Action::Set(value, overflow) => (field.fit(value, overflow), before),
                Action::Add(by, overflow) => {
                    let after = field.add(before, by, overflow);
                    (after, after.unwrap_or(0))
                }
            };
            match after {
                None => out.null(),
                Some(after) => {
                    field.set(buf.as_mut_slice(), *at, after);
                    changes += u64::from(before != after);
                    out.int(reply);
                }
            }
        }
        changes
    });
    if changes > 0 {
        text.changed("setbit");
        text.count(changes - 1);
    }
    Ok(())
}
