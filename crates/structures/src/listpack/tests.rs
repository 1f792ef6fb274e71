//! Tests of the listpack: against a model, against bytes of Redis, and on malformed bytes.

use base::rng::Rng;

use super::*;

fn from_hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn texts(pack: &Listpack) -> Vec<Vec<u8>> {
    pack.iter().map(Item::to_vec).collect()
}

/// Checks everything that reads `pack` against `model`.
fn check(pack: &Listpack, model: &[Vec<u8>]) {
    assert_eq!(texts(pack), model);
    assert_eq!(pack.len(), model.len());
    assert_eq!(pack.is_empty(), model.is_empty());
    assert_eq!(pack.byte_len(), 7 + pack.iter().map(Item::stored_size).sum::<usize>());
    let mut backwards: Vec<_> = pack.iter().rev().map(Item::to_vec).collect();
    backwards.reverse();
    assert_eq!(backwards, model);
    assert_eq!(Listpack::from_bytes(pack.as_bytes()).as_ref(), Some(pack));
    assert_eq!(pack.front().map(Item::to_vec).as_ref(), model.first());
    assert_eq!(pack.back().map(Item::to_vec).as_ref(), model.last());
}

/// Returns an element of any encoding; small ones are the most likely.
fn random_text(rng: &mut Rng) -> Vec<u8> {
    match rng.below(8) {
        0..=2 => (rng.next_u64() as i64 >> rng.below(64)).to_string().into_bytes(),
        3 => (rng.below(300) as i64 - 150).to_string().into_bytes(),
        4 => vec![b'a' + rng.below(26) as u8; rng.below(200) as usize],
        5 if rng.below(20) == 0 => vec![b'z'; [63, 64, 125, 126, 4095, 4096, 16380][rng.below(7) as usize]],
        _ => (0..rng.below(20)).map(|_| rng.next_u64() as u8).collect(),
    }
}

/// What `redis-server` 7.0.15 dumps for a hash of these fields and values.
#[test]
fn integers_are_stored_as_redis_stores_them() {
    let integers = [
        0,
        1,
        127,
        128,
        4095,
        4096,
        -1,
        -4096,
        -4097,
        32767,
        32768,
        -32768,
        -32769,
        8388607,
        8388608,
        -8388608,
        -8388609,
        2147483647,
        2147483648,
        -2147483648,
        -2147483649,
        i64::MAX,
        i64::MIN,
    ];
    let expected = from_hex(concat!(
        "630100002e000001827630030101827631037f01847631323705c08002847631323805cfff0285763430393506f1001003857634",
        "30393606dfff0283762d3104d0000286762d3430393607f1ffef0386762d3430393707f1ff7f038676333237363707f200800004",
        "8676333237363807f100800387762d333237363808f2ff7fff0487762d333237363908f2ffff7f0488763833383836303709f300",
        "0080000588763833383836303809f20000800489762d383338383630380af3ffff7fff0589762d383338383630390af3ffffff7f",
        "058b76323134373438333634370cf40000008000000000098b76323134373438333634380cf300000080058c762d323134373438",
        "333634380df4ffffff7fffffffff098c762d323134373438333634390df4ffffffffffffff7f0994763932323333373230333638",
        "353437373538303715f400000000000000800995762d3932323333373230333638353437373538303816ff",
    ));
    let mut pack = Listpack::new();
    for value in integers {
        pack.push_back(value.to_string().as_bytes());
        pack.push_back(format!("v{value}").as_bytes());
    }
    assert_eq!(pack.as_bytes(), expected);

    let mut pack = Listpack::new();
    for value in integers.into_iter().rev() {
        pack.push_front(format!("v{value}").as_bytes());
        pack.push_front(value);
    }
    assert_eq!(pack.as_bytes(), expected);
    assert_eq!(pack.pairs().map(|(value, _)| value).collect::<Vec<_>>(), integers.map(Item::Int));
}

#[test]
fn texts_that_almost_are_integers_stay_texts() {
    let expected = from_hex(concat!(
        "510000000a0080018220310382303103822b3103822d3003812d02933932323333373230333638353437373538303814942d3932",
        "32333337323033363835343737353830391583312e30048331653304ff",
    ));
    let texts: [&str; 10] =
        ["", " 1", "01", "+1", "-0", "-", "9223372036854775808", "-9223372036854775809", "1.0", "1e3"];
    let pack: Listpack = texts.iter().map(|text| text.as_bytes()).collect();
    assert_eq!(pack.as_bytes(), expected);
    assert!(pack.iter().zip(texts).all(|(item, text)| item == Item::Bytes(text.as_bytes())));
}

#[test]
fn long_texts_are_stored_as_redis_stores_them() {
    // A hash of "f" and so many times "x": its length, its first fifteen bytes and its last eight.
    let cases = [
        (63, 75, "4b0000000200816602bf7878787878", "78787878787840ff"),
        (64, 77, "4d0000000200816602e04078787878", "78787878787842ff"),
        (125, 138, "8a0000000200816602e07d78787878", "7878787878787fff"),
        (126, 140, "8c0000000200816602e07e78787878", "78787878780180ff"),
        (127, 141, "8d0000000200816602e07f78787878", "78787878780181ff"),
        (4095, 4109, "0d1000000200816602efff78787878", "78787878782081ff"),
        (4096, 4113, "111000000200816602f00010000078", "78787878782085ff"),
        (16377, 16394, "0a4000000200816602f0f93f000078", "78787878787ffeff"),
        (16378, 16396, "0c4000000200816602f0fa3f000078", "7878787800ffffff"),
        (16379, 16397, "0d4000000200816602f0fb3f000078", "78787878018080ff"),
        (2097145, 2097163, "0b0020000200816602f0f9ff1f0078", "787878787ffffeff"),
        (2097146, 2097165, "0d0020000200816602f0faff1f0078", "78787800ffffffff"),
        (2097147, 2097166, "0e0020000200816602f0fbff1f0078", "78787801808080ff"),
    ];
    for (count, len, head, tail) in cases {
        let text = vec![b'x'; count];
        let pack: Listpack = [&b"f"[..], &text].into_iter().collect();
        let bytes = pack.as_bytes();
        assert_eq!(bytes.len(), len, "{count}");
        assert_eq!((&bytes[..15], &bytes[len - 8..]), (&from_hex(head)[..], &from_hex(tail)[..]), "{count}");
        check(&pack, &[b"f".to_vec(), text]);
    }
}

#[test]
fn a_sorted_set_of_redis_reads_as_pairs() {
    let bytes = from_hex(
        "320000000a00836c6f7704842d696e66050701dffd02836f6e6504010181620283322e350483626967048531652b323006ff",
    );
    let pack = Listpack::from_bytes(&bytes).unwrap();
    let pairs: Vec<_> = pack.pairs().map(|(member, score)| (member.to_vec(), score.to_vec())).collect();
    let expected = [("low", "-inf"), ("7", "-3"), ("one", "1"), ("b", "2.5"), ("big", "1e+20")];
    assert_eq!(
        pairs,
        expected.map(|(member, score)| (member.as_bytes().to_vec(), score.as_bytes().to_vec()))
    );
    assert_eq!(pack.pairs().nth(2), Some((Item::Bytes(b"one"), Item::Int(1))));
    assert_eq!(pack.pairs().next_back(), Some((Item::Bytes(b"big"), Item::Bytes(b"1e+20"))));
}

#[test]
fn finding_a_field_passes_over_values() {
    let pack: Listpack = ["a", "b", "b", "7", "7", "a", "07", ""].into_iter().map(str::as_bytes).collect();
    let index = |pos: Pos| (0..8).position(|index| pack.seek(index) == Some(pos)).unwrap();
    assert_eq!(pack.find(b"b", 0).map(index), Some(1));
    assert_eq!(pack.find(b"b", 1).map(index), Some(2));
    assert_eq!(pack.find(b"7", 1).map(index), Some(4));
    assert_eq!(pack.find(b"07", 1).map(index), Some(6));
    assert_eq!(pack.find(b"a", 1).map(index), Some(0));
    assert_eq!(pack.find_from(pack.seek(2).unwrap(), b"a", 1), None);
    assert_eq!(pack.find(b"", 1), None);
    assert_eq!(pack.find(b"", 0).map(index), Some(7));
    assert_eq!(Listpack::new().find(b"a", 0), None);
}

#[test]
fn behaves_as_a_vec_of_texts() {
    let mut rng = Rng::seeded(1);
    for _ in 0..40 {
        let (mut pack, mut model) = (Listpack::new(), Vec::<Vec<u8>>::new());
        for _ in 0..400 {
            let text = random_text(&mut rng);
            let index = rng.below(model.len() as u64 + 1) as usize;
            let pos = pack.seek(index as isize);
            assert_eq!(pos.is_some(), index < model.len());
            match (rng.below(14), pos) {
                (0..=2, _) => {
                    pack.push_back(&text);
                    model.push(text);
                }
                (3..=4, _) => {
                    pack.push_front(&text);
                    model.insert(0, text);
                }
                (5, Some(pos)) => {
                    assert_eq!(pack.insert_before(pos, &text), pos);
                    model.insert(index, text);
                }
                (6, Some(pos)) => {
                    let new = pack.insert_after(pos, &text);
                    assert!(pack.at(new).is(&text));
                    model.insert(index + 1, text);
                }
                (7, _) => {
                    pack.insert(index, &text);
                    model.insert(index, text);
                }
                (8, Some(pos)) => {
                    pack.replace(pos, &text);
                    model[index] = text;
                }
                (9, Some(pos)) => {
                    let next = pack.remove(pos);
                    model.remove(index);
                    assert_eq!(next.map(|pos| pack.at(pos).to_vec()).as_ref(), model.get(index));
                }
                (10, Some(pos)) => {
                    let count = rng.below(4) as usize;
                    let removed = pack.remove_range(pos, count);
                    assert_eq!(removed, count.min(model.len() - index));
                    model.drain(index..index + removed);
                }
                (11, _) => {
                    let popped = pack.pop_front(|item| item.to_vec());
                    assert_eq!(popped, (!model.is_empty()).then(|| model.remove(0)));
                }
                (12, _) => assert_eq!(pack.pop_back(|item| item.to_vec()), model.pop()),
                (13, Some(pos)) if rng.below(4) == 0 => {
                    let rest = pack.split_off(pos);
                    let rest_model = model.split_off(index);
                    check(&rest, &rest_model);
                    if rng.below(2) == 0 {
                        pack.append(&rest);
                        model.extend(rest_model);
                    } else {
                        pack.prepend(&rest);
                        model.splice(0..0, rest_model);
                    }
                }
                _ => pack.shrink_to_fit(),
            }
            check(&pack, &model);
            let index = rng.below(model.len() as u64 + 2) as isize;
            let item = |index| pack.get(index).map(Item::to_vec);
            assert_eq!(item(index).as_ref(), model.get(index as usize));
            assert_eq!(item(-1 - index).as_ref(), model.iter().rev().nth(index as usize));
            let text = model.get(index as usize).cloned().unwrap_or_else(|| random_text(&mut rng));
            let found = pack.find(&text, 0);
            assert_eq!(found, model.iter().position(|t| *t == text).and_then(|i| pack.seek(i as isize)));
            if let Some(pos) = found {
                assert!(pack.iter_from(pos).next().unwrap().is(&text));
                assert!(pack.iter_through(pos).next_back().unwrap().is(&text));
                assert_eq!(pack.iter_through(pos).count() + pack.iter_from(pos).count(), model.len() + 1);
            }
        }
        pack.retain(|item| item.to_int().is_none());
        model.retain(|text| parse_i64(text).is_none());
        check(&pack, &model);
    }
}

#[test]
fn a_bulky_listpack_is_counted_beyond_its_header() {
    let mut pack = Listpack::new();
    for value in 0..70_000i64 {
        pack.push_back(value);
        assert!(value % 5000 != 0 || pack.len() as i64 == value + 1);
    }
    assert_eq!(pack.as_bytes()[4..6], [0xff, 0xff]);
    assert_eq!(pack.len(), 70_000);
    assert_eq!(pack.get(-3), Some(Item::Int(69_997)));
    assert_eq!(pack.get(65_535), Some(Item::Int(65_535)));
    assert_eq!(Listpack::from_bytes(pack.as_bytes()).unwrap().len(), 70_000);
    assert_eq!(pack.remove_indexes(10, 69_000), 69_000);
    assert_eq!(pack.len(), 1000);
    let rest = pack.split_off(pack.seek(400).unwrap());
    assert_eq!((pack.len(), rest.len()), (400, 600));
    pack.clear();
    assert_eq!(pack.as_bytes(), EMPTY);
}

#[test]
fn malformed_bytes_are_refused_and_never_panic() {
    for bytes in [&b""[..], b"\x07", b"\x07\0\0\0\0\0", b"\x08\0\0\0\0\0\xff", b"\x07\0\0\0\x01\0\xff"] {
        assert_eq!(Listpack::from_bytes(bytes), None, "{bytes:?}");
    }
    assert!(Listpack::from_bytes(&EMPTY).is_some());
    // A claim of four gigabytes of text.
    let mut huge = vec![14, 0, 0, 0, 1, 0, 0xf0, 0xff, 0xff, 0xff, 0xff, 1, 1, 0xff];
    assert_eq!(Listpack::from_bytes(&huge), None);
    huge[6] = 0xf5;
    assert_eq!(Listpack::from_bytes(&huge), None);

    let mut rng = Rng::seeded(3);
    let mut accepted = 0;
    for _ in 0..20_000 {
        let mut pack: Listpack =
            (0..rng.below(8)).map(|_| random_text(&mut rng)).collect::<Vec<_>>().iter().collect();
        pack.shrink_to_fit();
        let mut bytes = pack.as_bytes().to_vec();
        for _ in 0..=rng.below(3) {
            let at = rng.below(bytes.len() as u64) as usize;
            bytes[at] = rng.next_u64() as u8;
        }
        let Some(mut pack) = Listpack::from_bytes(&bytes) else { continue };
        accepted += 1;
        // What is accepted can be used like any other.
        let model = texts(&pack);
        check(&Listpack::from_iter(&model), &model);
        assert_eq!(pack.iter().rev().count(), model.len());
        while pack.pop_back(|_| ()).is_some() {}
        assert!(pack.is_empty());
    }
    assert!(accepted > 100, "{accepted}");
}

#[test]
fn a_raw_word_comes_back_whole() {
    let raw = Listpack::from_iter([b"a", b"b"]).into_raw();
    // SAFETY: taken back once.
    let pack = unsafe { Listpack::from_raw(raw) };
    check(&pack, &[b"a".to_vec(), b"b".to_vec()]);
    assert_eq!(size_of::<Option<Listpack>>(), 8);
}
