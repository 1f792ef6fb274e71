//! Tests of the quicklist: against a model, against bytes of Redis, and on malformed bytes.

use base::rng::Rng;

use super::*;

/// Checks everything that reads `list` against `model`, and what the fields of `list` promise.
fn check(list: &Quicklist, model: &[Vec<u8>]) {
    assert!(list.iter().map(Item::to_vec).eq(model.iter().cloned()));
    assert!(list.iter().rev().map(Item::to_vec).eq(model.iter().rev().cloned()));
    assert_eq!(
        (list.len(), list.iter().len(), list.is_empty()),
        (model.len(), model.len(), model.is_empty())
    );
    assert_eq!(list.front().map(Item::to_vec).as_ref(), model.first());
    assert_eq!(list.back().map(Item::to_vec).as_ref(), model.last());
    assert_eq!(list.nodes.iter().map(Node::count).sum::<usize>(), list.len);
    for node in &list.nodes {
        if let Node::Packed { count, pack } = node {
            assert_eq!(pack.len(), *count as usize);
            assert!(*count == 1 || (*count > 0 && list.fill.allows(pack.byte_len(), *count as usize)));
        }
    }
}

fn random_text(rng: &mut Rng, large: bool) -> Vec<u8> {
    match rng.below(12) {
        0 if large => vec![b'L'; 8000 + rng.below(1000) as usize],
        1 if large => vec![b'M'; 2000 + rng.below(4000) as usize],
        2..=5 => rng.below(10).to_string().into_bytes(),
        6 => (rng.next_u64() as i64).to_string().into_bytes(),
        _ => vec![b'a' + rng.below(3) as u8; rng.below(80) as usize],
    }
}

#[test]
fn behaves_as_a_vec_of_texts() {
    let mut rng = Rng::seeded(1);
    for fill in [-1, -2, 0, 1, 2, 5, 128, -1, 3, 7] {
        let (mut list, mut model) = (Quicklist::new(Fill::new(fill)), Vec::<Vec<u8>>::new());
        let large = rng.below(2) == 0;
        for _ in 0..1200 {
            let text = random_text(&mut rng, large);
            let index = rng.below(model.len() as u64 + 1) as usize;
            match rng.below(40) {
                0..=9 => {
                    list.push_back(&text);
                    model.push(text);
                }
                10..=15 => {
                    list.push_front(&text);
                    model.insert(0, text);
                }
                16..=23 => {
                    list.insert(index, &text);
                    model.insert(index, text);
                }
                24..=28 => {
                    assert_eq!(list.replace(index, &text), index < model.len());
                    if let Some(old) = model.get_mut(index) {
                        *old = text;
                    }
                }
                29..=31 => {
                    let popped = list.pop_front(|item| item.to_vec());
                    assert_eq!(popped, (!model.is_empty()).then(|| model.remove(0)));
                }
                32..=34 => assert_eq!(list.pop_back(|item| item.to_vec()), model.pop()),
                35 => {
                    let count = rng.below(30) as usize;
                    let removed = list.remove_range(index, count);
                    assert_eq!(removed, count.min(model.len() - index));
                    model.drain(index..index + removed);
                }
                36 => {
                    let (most, from_back) = (rng.below(5) as usize, rng.below(2) == 0);
                    let mut places: Vec<_> = (0..model.len()).filter(|&i| model[i] == text).collect();
                    if from_back {
                        places.reverse();
                    }
                    places.truncate(most);
                    assert_eq!(list.remove_value(&text, most, from_back), places.len());
                    places.sort_unstable();
                    for place in places.into_iter().rev() {
                        model.remove(place);
                    }
                }
                37 => assert_eq!(list.position(&text), model.iter().position(|t| *t == text)),
                _ => {
                    let end = rng.below(model.len() as u64 + 3) as usize;
                    let range = if index < end { &model[index..end.min(model.len())] } else { &[] };
                    assert!(list.range(index, end).map(Item::to_vec).eq(range.iter().cloned()));
                    assert!(list.range(index, end).rev().map(Item::to_vec).eq(range.iter().rev().cloned()));
                    let mut both = list.range(index, end);
                    let (mut low, mut high) = (0, range.len());
                    while low < high {
                        if rng.below(2) == 0 {
                            assert!(both.next().unwrap().is(&range[low]));
                            low += 1;
                        } else {
                            high -= 1;
                            assert!(both.next_back().unwrap().is(&range[high]));
                        }
                    }
                    assert!(both.next().is_none() && both.next_back().is_none());
                }
            }
            let item = |index| list.get(index).map(Item::to_vec);
            assert_eq!(item(index as isize).as_ref(), model.get(index));
            assert_eq!(item(-1 - index as isize).as_ref(), model.iter().rev().nth(index));
            check(&list, &model);
        }
        assert_eq!(list.clone(), list);
    }
}

#[test]
fn a_long_list_of_short_texts_wastes_little() {
    for front in [false, true] {
        let mut list = Quicklist::new(Fill::new(-2));
        for number in 0..100_000 {
            let text = format!("{number:032x}");
            match front {
                true => list.push_front(text.as_bytes()),
                false => list.push_back(text.as_bytes()),
            }
        }
        let per_element = list.heap_size() as f64 / list.len() as f64;
        assert!(per_element < 34.5, "{per_element}");
        assert!(list.nodes.iter().all(|node| node.heap_size() == 8192));
    }
}

#[test]
fn large_elements_are_nodes_of_their_own() {
    let mut list = Quicklist::new(Fill::new(-2));
    let large = vec![b'x'; 9000];
    list.push_back(b"a");
    list.push_back(&large);
    list.push_back(b"b");
    list.push_front(&large);
    list.insert(2, &large);
    assert_eq!(list.nodes().filter(|node| matches!(node, NodeRef::Plain(text) if *text == large)).count(), 3);
    assert!(list.replace(2, b"7") && list.replace(1, &large));
    assert_eq!(list.get(2), Some(Item::Int(7)));
    assert_eq!(list.remove_value(&large, 10, true), 3);
    assert_eq!(list.node_count(), 1);
    assert_eq!(list.into_listpack(), Ok(Listpack::from_iter([b"7", b"b"])));
}

#[test]
fn nodes_can_be_put_together_from_parts() {
    let mut list = Quicklist::from_listpack(Listpack::from_iter([1, 2]), Fill::new(-2));
    assert!(list.as_listpack().is_some());
    list.push_plain(Buf::from(&b"three"[..]));
    list.push_pack(Listpack::new());
    list.push_pack(Listpack::from_iter([4]));
    assert_eq!((list.len(), list.node_count()), (4, 3));
    assert!(list.as_listpack().is_none());
    let list = list.into_listpack().unwrap_err();
    assert!(list.iter().map(Item::to_vec).eq([&b"1"[..], b"2", b"three", b"4"]));
}

#[test]
fn trimming_leaves_no_small_nodes_behind() {
    let mut list = Quicklist::new(Fill::new(-1));
    list.extend((0..20_000i64).collect::<Vec<_>>());
    assert_eq!(list.remove_range(10, 19_980), 19_980);
    assert_eq!(list.node_count(), 1);
    let expected: Vec<_> = (0..10).chain(19_990..20_000).map(Item::Int).collect();
    assert_eq!(list.iter().collect::<Vec<_>>(), expected);
}

#[test]
fn replacing_an_element_by_one_of_its_size_keeps_the_nodes() {
    let mut list = Quicklist::new(Fill::new(-2));
    let text = |number: usize| format!("{number:032x}").into_bytes();
    (0..2000).for_each(|number| list.push_back(&text(number)));
    let nodes = list.node_count();
    (0..2000).for_each(|number| assert!(list.replace(number, &text(number + 1))));
    assert_eq!(list.node_count(), nodes);
    assert!(list.iter().enumerate().all(|(number, item)| item.is(&text(number + 1))));
}
