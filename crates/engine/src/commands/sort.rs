//! SORT and SORT_RO: the elements of a list, set or sorted set in another order, or looked up elsewhere.

use std::cmp::Ordering;

use base::number::parse_f64;
use keyspace::keys::type_of;
use keyspace::zset::End;
use keyspace::{Class, Hash, Keys, Kind, List, Set, Stamp, Text, Type, View, ZSet};
use resp::decode::Request;
use structures::Item;

use crate::table::{self, Begin, Command, Find, KeyFlags, acl, at, command, does, key, spec};
use crate::{Args, Cx, Error, Reply, Result};

pub(super) const COMMANDS: &[Command] = &[
    command("SORT", sort)
        .summary("Returns or stores the sorted elements of a list, set or sorted set.")
        .since("1.0.0")
        .complexity("O(N+M*log(M)) where N is the number of elements in the list or set to sort, and M the number of returned elements. When the elements are not sorted, complexity is O(N).")
        .syntax("key [BY by-pattern] [LIMIT offset count] [GET get-pattern [GET get-pattern ...]] [ASC | DESC] [ALPHA] [STORE destination]")
        .flags(&[table::WRITE, table::DENYOOM])
        .acl(&[acl::SET, acl::SORTEDSET, acl::LIST, acl::DANGEROUS])
        .keys(&[
            at(1, does(&[key::RO, key::ACCESS])),
            spec(Begin::Unknown, Find::Unknown, does(&[key::RO, key::ACCESS])),
            spec(Begin::Unknown, Find::Unknown, does(&[key::OW, key::UPDATE])),
        ])
        .find_keys(find_keys),
    command("SORT_RO", sort_ro)
        .summary("Returns the sorted elements of a list, set or sorted set.")
        .since("7.0.0")
        .complexity("O(N+M*log(M)) where N is the number of elements in the list or set to sort, and M the number of returned elements. When the elements are not sorted, complexity is O(N).")
        .syntax("key [BY by-pattern] [LIMIT offset count] [GET get-pattern [GET get-pattern ...]] [ASC | DESC] [ALPHA]")
        .flags(&[table::READONLY])
        .acl(&[acl::SET, acl::SORTEDSET, acl::LIST, acl::DANGEROUS])
        .keys(&[
            at(1, does(&[key::RO, key::ACCESS])),
            spec(Begin::Unknown, Find::Unknown, does(&[key::RO, key::ACCESS])),
        ])
        .find_keys(find_read_keys),
];

const NOT_A_NUMBER: Error = Error::text("ERR One or more scores can't be converted into double");

/// A name to look up for each element, with a place for it: `weight_*`, `user_*->name`, or `#` for the element itself.
#[derive(Clone, Copy)]
enum Pattern<'a> {
    Element,
    Key {
        before: &'a [u8],
        after: &'a [u8],
        field: Option<&'a [u8]>,
    },
    /// Without a place for the element it names nothing.
    Constant,
}

impl<'a> Pattern<'a> {
    fn new(text: &'a [u8]) -> Pattern<'a> {
        if text == b"#" {
            return Pattern::Element;
        }
        let Some(star) = text.iter().position(|byte| *byte == b'*') else { return Pattern::Constant };
        let (before, rest) = (&text[..star], &text[star + 1..]);
        match rest.windows(2).position(|two| two == b"->") {
            // An arrow to nowhere is part of the key.
            Some(arrow) if arrow + 2 < rest.len() => {
                Pattern::Key { before, after: &rest[..arrow], field: Some(&rest[arrow + 2..]) }
            }
            _ => Pattern::Key { before, after: rest, field: None },
        }
    }

    /// Returns whether each element is looked up elsewhere.
    fn is_variable(self) -> bool {
        !matches!(self, Pattern::Constant)
    }

    /// Calls `f` with the text that the pattern names for `element`; `name` is room for the key's name.
    fn look_up<R>(
        self,
        keys: &mut Keys<'_>,
        element: &[u8],
        name: &mut Vec<u8>,
        f: impl FnOnce(Option<Item<'_>>) -> R,
    ) -> R {
        let (before, after, field) = match self {
            Pattern::Element => return f(Some(Item::Bytes(element))),
            Pattern::Constant => return f(None),
            Pattern::Key { before, after, field } => (before, after, field),
        };
        name.clear();
        for part in [before, element, after] {
            name.extend_from_slice(part);
        }
        let Some(entry) = keys.lookup(name) else { return f(None) };
        match field {
            Some(field) => match View::<Hash>::of(entry) {
                Ok(hash) => f(hash.get(field)),
                Err(_) => f(None),
            },
            None => f(match Text::of(entry) {
                Ok(Text::Int(n)) => Some(Item::Int(n)),
                Ok(Text::Bytes(bytes)) => Some(Item::Bytes(bytes)),
                Err(_) => None,
            }),
        }
    }
}

/// What the arguments ask for.
struct Options<'a> {
    by: Option<Pattern<'a>>,
    get: Vec<Pattern<'a>>,
    descending: bool,
    alpha: bool,
    offset: i64,
    count: i64,
    store: Option<&'a [u8]>,
}

impl<'a> Options<'a> {
    fn parse(args: &mut Args<'a>, may_store: bool) -> Result<Options<'a>> {
        let mut options = Options {
            by: None,
            get: Vec::new(),
            descending: false,
            alpha: false,
            offset: 0,
            count: -1,
            store: None,
        };
        while !args.is_empty() {
            if args.accept("ASC") {
                options.descending = false;
            } else if args.accept("DESC") {
                options.descending = true;
            } else if args.accept("ALPHA") {
                options.alpha = true;
            } else if args.left() > 2 && args.accept("LIMIT") {
                (options.offset, options.count) = (args.int()?, args.int()?);
            } else if may_store && args.left() > 1 && args.accept("STORE") {
                options.store = Some(args.key()?);
            } else if args.left() > 1 && args.accept("BY") {
                // `#` has no place for the element either: it asks for no order.
                let pattern = args.next()?;
                options.by = Some(Pattern::new(pattern)).map(|by| match by {
                    Pattern::Element => Pattern::Constant,
                    by => by,
                });
            } else if args.left() > 1 && args.accept("GET") {
                options.get.push(Pattern::new(args.next()?));
            } else {
                return Err(Error::Syntax);
            }
        }
        Ok(options)
    }

    /// Returns the places of a sorted sequence of `len` that are asked for.
    fn window(&self, len: usize) -> std::ops::Range<usize> {
        let start = usize::try_from(self.offset.max(0)).unwrap_or(len).min(len);
        let count = usize::try_from(self.count).unwrap_or(len);
        start..start.saturating_add(count).min(len)
    }
}

/// An element and what it is sorted by.
struct Element {
    text: Box<[u8]>,
    weight: Weight,
}

enum Weight {
    /// The element's own text.
    Own,
    Number(f64),
    Text(Option<Box<[u8]>>),
}

/// Sorts, and stores if asked to.
fn sort(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    run(cx, args, true, out)
}

/// Sorts without ever storing.
fn sort_ro(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    run(cx, args, false, out)
}

fn run(cx: &mut Cx<'_>, args: &mut Args<'_>, may_store: bool, out: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let mut options = Options::parse(args, may_store)?;
    let found = cx.keys.lookup(key).map(type_of);
    if matches!(found, Some(Type::String | Type::Hash)) {
        return Err(Error::WrongType);
    }
    let mut unsorted = options.by.is_some_and(|by| !by.is_variable());
    if unsorted && found == Some(Type::Set) && options.store.is_some() {
        // What is stored must not depend on the order of a hash table.
        (unsorted, options.alpha, options.by) = (false, true, None);
    }
    let mut elements = match found {
        Some(of) => elements(&cx.keys, key, of, unsorted.then_some(&options))?,
        None => Vec::new(),
    };
    if !unsorted {
        weigh(&mut cx.keys, &mut elements, &options)?;
        let order = |a: &Element, b: &Element| {
            let order = compare(a, b);
            if options.descending { order.reverse() } else { order }
        };
        let window = options.window(elements.len());
        if window.end < elements.len() {
            // What comes after the window need not be in order.
            elements.select_nth_unstable_by(window.end, order);
            elements.truncate(window.end);
        }
        elements.sort_unstable_by(order);
        elements.drain(..window.start);
    }
    match options.store {
        Some(destination) => store(cx, destination, &elements, &options.get, out),
        None => reply(&mut cx.keys, &elements, &options.get, out),
    }
    Ok(())
}

/// Returns the elements at `key`; those of a sequence that `window` asks for in the order it has, else all.
fn elements(keys: &Keys<'_>, key: &[u8], of: Type, window: Option<&Options<'_>>) -> Result<Vec<Element>> {
    fn view<'k, T: Kind>(keys: &'k Keys<'_>, key: &[u8]) -> Result<View<'k, T>> {
        Ok(keys.view::<T>(key)?.expect("found before"))
    }
    let mut elements = Vec::new();
    let mut add = |item: Item<'_>| elements.push(Element { text: item.to_vec().into(), weight: Weight::Own });
    match of {
        Type::List => {
            let list = view::<List>(keys, key)?;
            let len = list.len();
            match window.map(|options| (options.window(len), options.descending)) {
                None => list.each(0..len, add),
                Some((window, false)) => list.each(window, add),
                Some((window, true)) => list.each_back(len - window.end..len - window.start, add),
            }
        }
        Type::ZSet => {
            let zset = view::<ZSet>(keys, key)?;
            let len = zset.len();
            let (ranks, from) = match window.map(|options| (options.window(len), options.descending)) {
                None => (0..len, End::Lowest),
                Some((window, false)) => (window, End::Lowest),
                Some((window, true)) => (len - window.end..len - window.start, End::Highest),
            };
            zset.range(ranks, from).for_each(|(member, _)| add(member));
        }
        _ => {
            let set = view::<Set>(keys, key)?;
            set.iter().for_each(add);
            if let Some(options) = window {
                let window = options.window(elements.len());
                elements.truncate(window.end);
                elements.drain(..window.start);
            }
        }
    }
    Ok(elements)
}

/// Gives each element the weight that it is sorted by.
fn weigh(keys: &mut Keys<'_>, elements: &mut [Element], options: &Options<'_>) -> Result<()> {
    let mut name = Vec::new();
    let mut all_numbers = true;
    for element in elements {
        let Element { text, weight } = element;
        *weight = match options.by {
            None if options.alpha => Weight::Own,
            None => Weight::Number(number(text).unwrap_or_else(|| {
                all_numbers = false;
                0.0
            })),
            Some(by) => by.look_up(keys, text, &mut name, |found| {
                if options.alpha {
                    return Weight::Text(found.map(|item| item.to_vec().into()));
                }
                let weight = match found {
                    Some(Item::Bytes(bytes)) => number(bytes),
                    Some(Item::Int(n)) => Some(n as f64),
                    None => Some(0.0),
                };
                all_numbers &= weight.is_some();
                Weight::Number(weight.unwrap_or(0.0))
            }),
        };
    }
    if all_numbers { Ok(()) } else { Err(NOT_A_NUMBER) }
}

/// Returns the number that C's `strtod` reads, if it reads all of the text.
fn number(text: &[u8]) -> Option<f64> {
    let start = text.iter().position(|byte| !matches!(byte, b' ' | b'\t'..=b'\r')).unwrap_or(text.len());
    match &text[start..] {
        // Nothing at all is read as 0; space alone is left over.
        [] => text.is_empty().then_some(0.0),
        trimmed => parse_f64(trimmed).filter(|n| n.is_finite() || !trimmed.iter().any(u8::is_ascii_digit)),
    }
}

/// Orders two elements by weight; numbers that are equal by their elements, so that the order is the same everywhere.
fn compare(a: &Element, b: &Element) -> Ordering {
    match (&a.weight, &b.weight) {
        (Weight::Number(x), Weight::Number(y)) => {
            x.partial_cmp(y).unwrap_or(Ordering::Equal).then_with(|| a.text.cmp(&b.text))
        }
        (Weight::Text(x), Weight::Text(y)) => x.cmp(y),
        _ => a.text.cmp(&b.text),
    }
}

/// Writes the elements, or what is looked up for them.
fn reply(keys: &mut Keys<'_>, elements: &[Element], get: &[Pattern<'_>], out: &mut Reply<'_>) {
    out.array(elements.len() * get.len().max(1));
    let mut name = Vec::new();
    for element in elements {
        if get.is_empty() {
            out.bulk(&element.text);
        }
        for pattern in get {
            pattern.look_up(keys, &element.text, &mut name, |found| match found {
                Some(item) => super::reply_item(item, out),
                None => out.null(),
            });
        }
    }
}

/// Stores the elements, or what is looked up for them, as a list.
fn store(
    cx: &mut Cx<'_>,
    destination: &[u8],
    elements: &[Element],
    get: &[Pattern<'_>],
    out: &mut Reply<'_>,
) {
    let fill = super::lists::fill(cx);
    let mut list = List::new();
    let mut push = |item: Item<'_>| {
        list.reserve(fill, item.stored_size(), 1);
        list.push(keyspace::list::End::Right, item);
    };
    let mut name = Vec::new();
    for element in elements {
        if get.is_empty() {
            push(Item::from(&*element.text));
        }
        for pattern in get {
            // What is not found is stored as an empty string.
            pattern.look_up(&mut cx.keys, &element.text, &mut name, |found| {
                push(found.unwrap_or(Item::Bytes(b"")));
            });
        }
    }
    let len = list.len();
    if len > 0 {
        cx.keys.set_value(destination, list.wrap(), Stamp::Clear);
        cx.keys.changed(Class::List, "sortstore", destination);
        // Each stored element counts.
        cx.keys.space.recorder.dirty += len as u64 - 1;
    } else {
        cx.keys.delete(destination, "del", true);
    }
    out.int(len as i64);
}

/// Finds SORT's keys as far as they are named: the patterns name others that depend on the data.
fn find_keys(request: Request<'_>, found: &mut Vec<(usize, KeyFlags)>) {
    find_read_keys(request, found);
    let mut destination = None;
    let mut i = 2;
    while i < request.len() {
        let word = request.arg(i);
        let skip = [(&b"limit"[..], 2), (b"get", 1), (b"by", 1), (b"store", 1)]
            .into_iter()
            .find(|(name, _)| word.eq_ignore_ascii_case(name));
        if let Some((name, skip)) = skip {
            if name == b"store" && i + 1 < request.len() {
                // The last one counts, as for the command.
                destination = Some(i + 1);
            }
            i += skip;
        }
        i += 1;
    }
    found.extend(destination.map(|at| (at, does(&[key::OW, key::UPDATE]))));
}

fn find_read_keys(request: Request<'_>, found: &mut Vec<(usize, KeyFlags)>) {
    if request.len() > 1 {
        found.push((1, does(&[key::RO, key::ACCESS])));
    }
}
