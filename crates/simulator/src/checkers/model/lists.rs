//! Lists.

use std::collections::VecDeque;

use super::{Model, Said, clamp, error, int, is};
use crate::checkers::answer::Answer;

impl Model {
    pub(super) fn lists(&mut self, name: &str, args: &[&[u8]]) -> Option<Said> {
        if name == "LMPOP" {
            return Some(self.lmpop(args));
        }
        let [key, rest @ ..] = args else { return None };
        let length = |list: Option<&VecDeque<Vec<u8>>>| list.map_or(0, VecDeque::len);
        Some(match (name, rest) {
            ("LPUSH" | "RPUSH", elements) => self.push(key, elements, name == "LPUSH"),
            ("LPUSHX" | "RPUSHX", elements) => match self.list(key) {
                Ok(None) => Ok(Answer::Int(0)),
                Ok(Some(_)) => self.push(key, elements, name == "LPUSHX"),
                Err(error) => Err(error),
            },
            ("LPOP" | "RPOP", []) => self.pop(key, 1, name == "LPOP").map(|popped| match popped {
                Some(elements) => Answer::text(elements.first().map(Vec::as_slice)),
                None => Answer::Null,
            }),
            ("LPOP" | "RPOP", [count]) => {
                self.pop(key, int(count) as usize, name == "LPOP").map(|popped| match popped {
                    Some(elements) => Answer::texts(&elements),
                    None => Answer::NullArray,
                })
            }
            ("LLEN", []) => self.list(key).map(|list| Answer::Int(length(list) as i64)),
            ("LINDEX", [index]) => {
                let index = int(index);
                self.list(key).map(|list| {
                    let range = clamp(index, index, length(list));
                    Answer::text(list.filter(|_| !range.is_empty()).map(|list| list[range.start].as_slice()))
                })
            }
            ("LRANGE", [start, end]) => {
                let (start, end) = (int(start), int(end));
                self.list(key).map(|list| {
                    let range = clamp(start, end, length(list));
                    list.map_or(Answer::Array(Vec::new()), |list| Answer::texts(list.range(range)))
                })
            }
            ("LSET", [index, element]) => self.lset(key, int(index), element),
            ("LINSERT", [place, pivot, element]) => self.linsert(key, is(place, "BEFORE"), pivot, element),
            ("LREM", [count, element]) => self.lrem(key, int(count), element),
            ("LTRIM", [start, end]) => self.ltrim(key, int(start), int(end)),
            ("LPOS", [element]) => self.list(key).map(|list| {
                let found = list.and_then(|list| list.iter().position(|other| other == element));
                found.map_or(Answer::Null, |index| Answer::Int(index as i64))
            }),
            ("LMOVE", [destination, from, to]) => {
                self.move_element(key, destination, is(from, "LEFT"), is(to, "LEFT"))
            }
            ("RPOPLPUSH", [destination]) => self.move_element(key, destination, false, true),
            _ => return None,
        })
    }

    fn push(&mut self, key: &[u8], elements: &[&[u8]], left: bool) -> Said {
        let list = self.edit_list(key)?;
        for element in elements {
            put(list, element.to_vec(), left);
        }
        let length = list.len() as i64;
        self.changed(key);
        Ok(Answer::Int(length))
    }

    /// Removes up to `count` elements from one end; `None` if there is no list.
    fn pop(&mut self, key: &[u8], count: usize, left: bool) -> Result<Option<Vec<Vec<u8>>>, Answer> {
        if self.list(key)?.is_none() {
            return Ok(None);
        }
        let list = self.edit_list(key)?;
        let popped: Vec<Vec<u8>> = (0..count).map_while(|_| take(list, left)).collect();
        if !popped.is_empty() {
            self.changed(key);
        }
        Ok(Some(popped))
    }

    fn lset(&mut self, key: &[u8], index: i64, element: &[u8]) -> Said {
        let Some(list) = self.list(key)? else { return Err(error("ERR no such key")) };
        let range = clamp(index, index, list.len());
        if range.is_empty() {
            return Err(error("ERR index out of range"));
        }
        self.edit_list(key)?[range.start] = element.to_vec();
        self.changed(key);
        Ok(Answer::ok())
    }

    fn linsert(&mut self, key: &[u8], before: bool, pivot: &[u8], element: &[u8]) -> Said {
        let Some(list) = self.list(key)? else { return Ok(Answer::Int(0)) };
        let Some(index) = list.iter().position(|other| other == pivot) else { return Ok(Answer::Int(-1)) };
        let list = self.edit_list(key)?;
        list.insert(if before { index } else { index + 1 }, element.to_vec());
        let length = list.len() as i64;
        self.changed(key);
        Ok(Answer::Int(length))
    }

    fn lrem(&mut self, key: &[u8], count: i64, element: &[u8]) -> Said {
        if self.list(key)?.is_none() {
            return Ok(Answer::Int(0));
        }
        let list = self.edit_list(key)?;
        let mut places: Vec<usize> = (0..list.len()).filter(|index| list[*index] == element).collect();
        if count < 0 {
            places.reverse();
        }
        if count != 0 {
            places.truncate(count.unsigned_abs() as usize);
        }
        places.sort_unstable_by(|a, b| b.cmp(a));
        for place in &places {
            list.remove(*place);
        }
        if !places.is_empty() {
            self.changed(key);
        }
        Ok(Answer::Int(places.len() as i64))
    }

    fn ltrim(&mut self, key: &[u8], start: i64, end: i64) -> Said {
        if let Some(list) = self.list(key)? {
            let range = clamp(start, end, list.len());
            let kept = list.range(range).cloned().collect();
            *self.edit_list(key)? = kept;
            self.changed(key);
        }
        Ok(Answer::ok())
    }

    /// Moves one element between two lists, or the ends of one.
    pub(super) fn move_element(
        &mut self,
        source: &[u8],
        destination: &[u8],
        from_left: bool,
        to_left: bool,
    ) -> Said {
        if self.list(source)?.is_none() {
            return Ok(Answer::Null);
        }
        self.list(destination)?;
        let Some(element) = take(self.edit_list(source)?, from_left) else { return Ok(Answer::Null) };
        put(self.edit_list(destination)?, element.clone(), to_left);
        self.changed(source);
        self.changed(destination);
        Ok(Answer::Bulk(element))
    }

    /// Pops from the first of several lists that has elements: `[key, element]`.
    pub(super) fn pop_first(&mut self, keys: &[&[u8]], left: bool) -> Said {
        for key in keys {
            if let Some(elements) = self.pass_over(|model| model.pop(key, 1, left))? {
                return Ok(Answer::Array(vec![
                    Answer::Bulk(key.to_vec()),
                    Answer::Bulk(elements[0].clone()),
                ]));
            }
        }
        Ok(Answer::NullArray)
    }

    /// Executes `numkeys key… LEFT|RIGHT [COUNT count]`.
    pub(super) fn lmpop(&mut self, args: &[&[u8]]) -> Said {
        let numkeys = int(args[0]) as usize;
        let (keys, options) = args[1..].split_at(numkeys);
        let count = options.get(2).map_or(1, |count| int(count)) as usize;
        for key in keys {
            let left = is(options[0], "LEFT");
            if let Some(elements) = self.pass_over(|model| model.pop(key, count, left))? {
                return Ok(Answer::Array(vec![Answer::Bulk(key.to_vec()), Answer::texts(&elements)]));
            }
        }
        Ok(Answer::NullArray)
    }
}

fn put(list: &mut VecDeque<Vec<u8>>, element: Vec<u8>, left: bool) {
    if left { list.push_front(element) } else { list.push_back(element) }
}

fn take(list: &mut VecDeque<Vec<u8>>, left: bool) -> Option<Vec<u8>> {
    if left { list.pop_front() } else { list.pop_back() }
}
