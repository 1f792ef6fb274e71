//! Guards through which commands read and change values.

use std::ops::{Deref, DerefMut};

use structures::dict::{Occupied, Slot};
use structures::{Buf, Payload, WordRef};

use crate::change::Class;
use crate::keys::{assign_text, new_text};
use crate::text::{INLINE_MAX, Text};
use crate::{Entry, Kind, Recorder, Value, WrongType};

/// A collection, borrowed for reading.
pub struct View<'a, T: Kind> {
    word: WordRef<'a, Value>,
    kind: std::marker::PhantomData<T>,
}

impl<'a, T: Kind> View<'a, T> {
    /// Returns the collection in `entry`, or `WrongType`.
    pub fn of(entry: &'a Entry) -> Result<View<'a, T>, WrongType> {
        match entry.payload() {
            Payload::Word(word) if T::of(&word).is_some() => {
                Ok(View { word, kind: std::marker::PhantomData })
            }
            _ => Err(WrongType),
        }
    }
}

impl<T: Kind> Deref for View<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        T::of(&self.word).expect("checked when the view was made")
    }
}

/// A collection taken out of its entry for change, put back (or deleted, when left empty) on drop.
///
/// Mutate it through `DerefMut`, then say what happened with [`Edit::changed`].
pub struct Edit<'a, T: Kind> {
    /// `Some` until drop.
    value: Option<T>,
    found: Option<Occupied<'a, Entry>>,
    recorder: &'a mut Recorder,
    db: usize,
    created: bool,
    changed: bool,
}

impl<'a, T: Kind> Edit<'a, T> {
    #[inline]
    pub(crate) fn open(
        mut found: Occupied<'a, Entry>,
        recorder: &'a mut Recorder,
        db: usize,
        created: bool,
    ) -> Result<Edit<'a, T>, WrongType> {
        // The entry holds plain bytes meanwhile: there is nothing to drop if the edit is forgotten.
        let Some(value) = found.get_mut().lend_word() else { return Err(WrongType) };
        if T::of(&value).is_none() {
            found.get_mut().put_word(value);
            return Err(WrongType);
        }
        Ok(Edit { value: T::unwrap(value), found: Some(found), recorder, db, created, changed: false })
    }

    /// Returns whether the key did not exist before this edit.
    pub fn created(&self) -> bool {
        self.created
    }

    /// Returns the key under edit.
    pub fn key(&self) -> &[u8] {
        self.found.as_ref().expect("held until drop").get().key()
    }

    /// Says that the collection changed by `event`; everything that follows a write follows from this.
    pub fn changed(&mut self, event: &'static str) {
        let key = self.found.as_ref().expect("held until drop").get().key();
        if self.created && !self.changed {
            self.recorder.created(self.db, key);
        }
        self.changed = true;
        self.recorder.changed(self.db, key, T::TYPE.class(), event);
    }

    /// Counts `more` further changes of the data set (Redis counts each element).
    pub fn count(&mut self, more: u64) {
        self.recorder.dirty += more;
    }

    /// Returns the value whole; the key goes, without an event, when the edit is dropped.
    pub fn take(&mut self) -> T {
        std::mem::replace(self.value.as_mut().expect("held until drop"), T::empty())
    }
}

impl<T: Kind> Deref for Edit<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.value.as_ref().expect("held until drop")
    }
}

impl<T: Kind> DerefMut for Edit<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value.as_mut().expect("held until drop")
    }
}

impl<T: Kind> Drop for Edit<'_, T> {
    #[inline]
    fn drop(&mut self) {
        let (Some(mut found), Some(value)) = (self.found.take(), self.value.take()) else { return };
        if value.is_empty() {
            let entry = found.remove();
            if self.changed {
                // Redis deletes the emptied key after the event that emptied it; the change is counted already.
                self.recorder.event(self.db, entry.key(), Class::Generic, "del");
            }
        } else {
            let mut value = value.wrap();
            self.recorder.retire(&mut value);
            found.get_mut().put_word(value);
        }
    }
}

/// A string at its key, there or not, open for change.
pub struct TextEdit<'a> {
    /// `None` only while a vacant slot is being filled.
    slot: Option<Slot<'a, Entry>>,
    recorder: &'a mut Recorder,
    db: usize,
    key: &'a [u8],
    age: u32,
}

impl<'a> TextEdit<'a> {
    pub(crate) fn open(
        slot: Slot<'a, Entry>,
        recorder: &'a mut Recorder,
        db: usize,
        key: &'a [u8],
        age: u32,
    ) -> Result<TextEdit<'a>, WrongType> {
        if let Slot::Occupied(found) = &slot {
            Text::of(found.get())?;
        }
        Ok(TextEdit { slot: Some(slot), recorder, db, key, age })
    }

    /// Returns the string as it stands, `None` if the key is missing.
    #[inline]
    pub fn text(&self) -> Option<Text<'_>> {
        match self.slot.as_ref()? {
            Slot::Occupied(found) => Text::of(found.get()).ok(),
            Slot::Vacant(_) => None,
        }
    }

    /// Stores an integer, keeping the expiry.
    #[inline]
    pub fn set_int(&mut self, n: i64) {
        if let Some(Slot::Occupied(found)) = &mut self.slot {
            let old = found.get_mut().set_word(Value::Int(n));
            if let Some(old) = old {
                self.recorder.discard(old);
            }
        } else {
            self.fill(Entry::with_word(self.key, Value::Int(n), None));
        }
    }

    /// Stores a string, keeping the expiry.
    pub fn set_bytes(&mut self, bytes: &[u8]) {
        if let Some(Slot::Occupied(found)) = &mut self.slot {
            let entry = found.get_mut();
            let at = entry.stamp();
            if let Some(old) = assign_text(entry, bytes, at) {
                self.recorder.discard(old);
            }
        } else {
            self.fill(new_text(self.key, bytes, None));
        }
    }

    /// Stores a short string as the bytes it is, keeping the expiry: digits are not turned into an integer.
    pub fn set_literal(&mut self, bytes: &[u8]) {
        if bytes.len() > INLINE_MAX {
            return self.set_bytes(bytes);
        }
        if let Some(Slot::Occupied(found)) = &mut self.slot {
            if let Some(old) = found.get_mut().set_bytes(bytes) {
                self.recorder.discard(old);
            }
        } else {
            self.fill(Entry::with_bytes(self.key, bytes, None));
        }
    }

    /// Opens the string's bytes as a growable buffer (encoding `raw` from then on), empty if the key was missing.
    pub fn grow<R>(&mut self, change: impl FnOnce(&mut Buf) -> R) -> R {
        if let Some(Slot::Vacant(_)) = self.slot {
            self.fill(Entry::with_word(self.key, Value::Text(Buf::new()), None));
        }
        let Some(Slot::Occupied(found)) = &mut self.slot else { unreachable!("filled above") };
        let entry = found.get_mut();
        if let Payload::Bytes(bytes) = entry.payload() {
            let buf = Buf::from(bytes);
            entry.set_word(Value::Text(buf));
        }
        let Some(value) = entry.set_word(Value::Int(0)) else { unreachable!("a word by now") };
        let mut buf = match value {
            Value::Text(buf) => buf,
            Value::Int(n) => Buf::from(base::number::IntText::new(n).as_bytes()),
            _ => unreachable!("checked when opened"),
        };
        let result = change(&mut buf);
        entry.set_word(Value::Text(buf));
        result
    }

    fn fill(&mut self, mut entry: Entry) {
        entry.set_age(self.age);
        let Some(Slot::Vacant(vacant)) = self.slot.take() else {
            unreachable!("only called on a vacant slot")
        };
        self.slot = Some(Slot::Occupied(vacant.insert(entry)));
        self.recorder.created(self.db, self.key);
    }

    /// Counts `more` further changes of the data set.
    pub fn count(&mut self, more: u64) {
        self.recorder.dirty += more;
    }

    /// Counts a change that raises no event (it concerns how the value is kept, not what it is).
    pub fn touched(&mut self) {
        self.recorder.dirty += 1;
    }

    /// Says that the string changed by `event`.
    #[inline]
    pub fn changed(&mut self, event: &'static str) {
        self.recorder.changed(self.db, self.key, Class::String, event);
    }
}
