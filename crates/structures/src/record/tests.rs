//! Records through every shape, against a plain model, with each word's drops counted.

use std::sync::Arc;

use base::rng::Rng;

use super::*;

/// A word of two kinds: a number by itself, and a counted reference.
#[derive(Debug, Clone, PartialEq)]
enum Thing {
    Number(u64),
    Shared(Arc<Vec<u8>>),
}

// SAFETY: a number is its bits, a reference its address; both come back as they were given up, by their tag.
unsafe impl Word for Thing {
    fn split(self) -> (u8, u64) {
        match self {
            Thing::Number(number) => (1, number),
            Thing::Shared(shared) => (31, Arc::into_raw(shared).expose_provenance() as u64),
        }
    }

    unsafe fn join(tag: u8, bits: u64) -> Self {
        match tag {
            1 => Thing::Number(bits),
            // SAFETY: the address was given up with this tag.
            _ => Thing::Shared(unsafe { Arc::from_raw(std::ptr::with_exposed_provenance(bits as usize)) }),
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Value {
    Bytes(Vec<u8>),
    Word(Thing),
}

fn check(record: &Record<Thing>, key: &[u8], value: &Value, stamp: Option<i64>, flags: u8, age: u32) {
    assert_eq!(record.key(), key);
    assert_eq!(record.stamp(), stamp);
    assert_eq!((record.flags(), record.age()), (flags, age));
    assert_eq!(record.marked(), stamp.is_some());
    let payload_len = match (record.payload(), value) {
        (Payload::Bytes(found), Value::Bytes(bytes)) => {
            assert_eq!(found, bytes);
            bytes.len()
        }
        (Payload::Word(found), Value::Word(word)) => {
            assert_eq!(*found, *word);
            8
        }
        _ => panic!("bytes and word are told apart"),
    };
    assert_eq!(record.bytes().is_some(), matches!(value, Value::Bytes(_)));
    let long = if key.len() > 255 { 4 } else { 0 };
    let exact = 8 + if stamp.is_some() { 8 } else { 0 } + long + key.len() + payload_len;
    assert_eq!(record.heap_size(), exact.next_multiple_of(8));
}

#[test]
fn sizes_are_the_ones_promised() {
    let key = [b'k'; 16];
    assert_eq!(Record::<Thing>::with_bytes(&key, &[b'v'; 32], None).heap_size(), 56);
    assert_eq!(Record::<Thing>::with_bytes(&key, &[b'v'; 32], Some(1)).heap_size(), 64);
    assert_eq!(Record::with_word(&key, Thing::Number(1), None).heap_size(), 32);
    assert_eq!(size_of::<Option<Record<Thing>>>(), 8);
}

#[test]
fn every_change_of_shape_keeps_the_rest() {
    let shared = Arc::new(b"shared".to_vec());
    for key_len in [0, 1, 3, 7, 8, 9, 16, 17, 254, 255, 256, 257, 1000, 70_000] {
        let key: Vec<u8> = (0..key_len).map(|i| (i % 251) as u8).collect();
        let mut rng = Rng::seeded(key_len as u64);
        let mut value = Value::Bytes(b"first".to_vec());
        let (mut stamp, mut flags, mut age) = (None, 0, 0);
        let mut record = Record::with_bytes(&key, b"first", None);
        for _ in 0..3_000 {
            check(&record, &key, &value, stamp, flags, age);
            let limit = [1, 10, 60, 3_000][rng.below(4) as usize];
            let bytes = vec![rng.next_u64() as u8; rng.below(limit) as usize];
            let word = match rng.below(2) {
                0 => Thing::Number(rng.next_u64()),
                _ => Thing::Shared(shared.clone()),
            };
            let old_word = match &value {
                Value::Bytes(_) => None,
                Value::Word(word) => Some(word.clone()),
            };
            match rng.below(12) {
                0 | 1 => {
                    assert_eq!(record.set_bytes(&bytes), old_word);
                    value = Value::Bytes(bytes);
                }
                2 => {
                    assert_eq!(record.set_word(word.clone()), old_word);
                    value = Value::Word(word);
                }
                3 => {
                    stamp = (rng.below(2) == 0).then(|| rng.next_u64() as i64);
                    record.set_stamp(stamp);
                }
                4 => {
                    stamp = (rng.below(2) == 0).then(|| rng.next_u64() as i64);
                    assert_eq!(record.assign_bytes(&bytes, stamp), old_word);
                    value = Value::Bytes(bytes);
                }
                5 => {
                    stamp = (rng.below(2) == 0).then(|| rng.next_u64() as i64);
                    assert_eq!(record.assign_word(word.clone(), stamp), old_word);
                    value = Value::Word(word);
                }
                6 => {
                    flags = rng.below(64) as u8;
                    record.set_flags(flags);
                }
                7 => {
                    age = rng.below(1 << 24) as u32;
                    record.set_age(age);
                }
                8 => {
                    assert_eq!(record.take_word(), old_word);
                    if old_word.is_some() {
                        value = Value::Bytes(Vec::new());
                    }
                }
                9 => match (record.lend_word(), &mut value) {
                    (Some(lent), Value::Word(model)) => {
                        assert_eq!(lent, *model);
                        record.put_word(word.clone());
                        *model = word;
                    }
                    (None, Value::Bytes(_)) => (),
                    _ => panic!("bytes and word are told apart"),
                },
                10 => match (record.resize_bytes(bytes.len()), &mut value) {
                    (Some(found), Value::Bytes(model)) => {
                        model.resize(bytes.len(), 0);
                        assert_eq!(found, model);
                    }
                    (None, Value::Word(_)) => (),
                    _ => panic!("bytes and word are told apart"),
                },
                _ => match (record.bytes_mut(), &mut value) {
                    (Some(found), Value::Bytes(model)) => {
                        found.iter_mut().for_each(|byte| *byte ^= 0x55);
                        model.iter_mut().for_each(|byte| *byte ^= 0x55);
                    }
                    (None, Value::Word(_)) => (),
                    _ => panic!("bytes and word are told apart"),
                },
            }
        }
        drop((record, value));
        assert_eq!(Arc::strong_count(&shared), 1, "each word is dropped once");
    }
}

#[test]
fn values_are_inline_up_to_the_limit() {
    let bytes = vec![7; INLINE_MAX];
    let mut record = Record::<Thing>::with_bytes(b"key", &bytes, None);
    assert_eq!(record.bytes(), Some(&bytes[..]));
    record.set_bytes(b"");
    record.set_bytes(&bytes);
    assert_eq!(record.bytes(), Some(&bytes[..]));
}

#[test]
fn bytes_beyond_the_limit_are_refused_and_nothing_is_lost() {
    let shared = Arc::new(Vec::new());
    let mut record = Record::with_word(b"key", Thing::Shared(shared.clone()), Some(5));
    let refused = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        record.set_bytes(&vec![0; INLINE_MAX + 1]);
    }));
    assert!(refused.is_err());
    check(&record, b"key", &Value::Word(Thing::Shared(shared.clone())), Some(5), 0, 0);
    assert!(record.into_word().is_some());
    assert_eq!(Arc::strong_count(&shared), 1);
}

#[test]
fn a_change_within_the_rounded_size_stays_in_place() {
    let mut record = Record::<Thing>::with_bytes(b"0123456789abcdef", b"12345", None);
    let before = record.start;
    record.set_bytes(b"12345678");
    record.set_bytes(b"1");
    assert_eq!(record.start, before);
}

#[test]
fn a_lent_word_leaves_bytes_and_is_its_borrowers() {
    for key in [&b"k"[..], b"", b"1234567", b"12345678"] {
        let shared = Arc::new(Vec::new());
        let mut record = Record::with_word(key, Thing::Shared(shared.clone()), None);
        let lent = record.lend_word();
        assert_eq!(record.bytes().map(<[u8]>::len), Some(8));
        assert_eq!(record.lend_word(), None);
        drop(record);
        assert_eq!(Arc::strong_count(&shared), 2);
        drop(lent);
        assert_eq!(Arc::strong_count(&shared), 1);
    }
}

#[test]
#[should_panic(expected = "the place of a word is free")]
fn a_word_is_put_only_where_one_was() {
    Record::<Thing>::with_bytes(b"key", b"bytes", None).put_word(Thing::Shared(Arc::default()));
}
