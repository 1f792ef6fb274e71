//! Who waits for whom, and which of them wait in a circle.

use std::collections::{BTreeMap, BTreeSet};

/// One owner that waits for a key which another holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    pub waiter: Box<[u8]>,
    pub key: Box<[u8]>,
    pub holder: Box<[u8]>,
}

/// Returns circles among the edges, each as the owners in the order in which they wait for each other.
///
/// Whoever is in a deadlock stands in one of them or waits for one; not every circle that shares owners with another is
/// told.
pub fn cycles(edges: &[Edge]) -> Vec<Vec<&[u8]>> {
    let mut next: BTreeMap<&[u8], BTreeSet<&[u8]>> = BTreeMap::new();
    for edge in edges {
        next.entry(&edge.waiter).or_default().insert(&edge.holder);
    }
    let (mut found, mut done) = (Vec::new(), BTreeSet::new());
    for start in next.keys() {
        // The way from `start` to where we are, with what is still to be looked at behind each step.
        let mut way: Vec<(&[u8], Vec<&[u8]>)> = Vec::new();
        let mut steps: BTreeMap<&[u8], usize> = BTreeMap::new();
        let mut here = Some(*start);
        loop {
            if let Some(owner) = here.take() {
                if let Some(at) = steps.get(owner) {
                    found.push(way[*at..].iter().map(|(step, _)| *step).collect());
                } else if !done.contains(owner) {
                    let ahead = next.get(owner).map(|owners| owners.iter().rev().copied().collect());
                    steps.insert(owner, way.len());
                    way.push((owner, ahead.unwrap_or_default()));
                }
            }
            let Some((owner, ahead)) = way.last_mut() else { break };
            here = ahead.pop();
            if here.is_none() {
                steps.remove(*owner);
                done.insert(*owner);
                way.pop();
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(edges: &[(&str, &str)]) -> Vec<String> {
        let bytes = |text: &str| text.as_bytes().into();
        let edges: Vec<_> = edges
            .iter()
            .map(|(waiter, holder)| Edge { waiter: bytes(waiter), key: bytes("k"), holder: bytes(holder) })
            .collect();
        let name = |owner: &[u8]| String::from_utf8_lossy(owner).into_owned();
        cycles(&edges).iter().map(|cycle| cycle.iter().map(|owner| name(owner)).collect()).collect()
    }

    #[test]
    fn circles_are_told_and_nothing_else() {
        assert!(found(&[]).is_empty());
        assert!(found(&[("a", "b"), ("b", "c"), ("a", "c"), ("d", "a")]).is_empty());
        assert_eq!(found(&[("a", "b"), ("b", "a")]), ["ab"]);
        assert_eq!(found(&[("z", "a"), ("a", "b"), ("b", "c"), ("c", "a")]), ["abc"]);
        assert_eq!(found(&[("a", "b"), ("b", "a"), ("c", "d"), ("d", "c"), ("d", "a")]), ["ab", "cd"]);
        assert_eq!(found(&[("a", "a")]), ["a"]);
    }

    #[test]
    fn a_long_row_is_no_long_work() {
        let names: Vec<_> = (0..2000).map(|n| format!("{n:05}")).collect();
        let row: Vec<_> = names.windows(2).map(|pair| (pair[0].as_str(), pair[1].as_str())).collect();
        assert!(found(&row).is_empty());
    }
}
