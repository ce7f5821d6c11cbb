//! Reads FlexBuffers of any origin: nothing that stands in them leads outside of them, round in circles, or to more than
//! they seem to be.
//!
//! A value refers to others by how far before it they stand, so values can be shared, and a few bytes can stand for a
//! great many values; the reader of the `flexbuffers` package, version 25.12, also takes such references on trust. Nodes
//! of strangers answer in this form, so it is read here, within a budget.
//! Format: FlatBuffers' `flexbuffers` internals, <https://flatbuffers.dev/internals/>.

use serde_json::{Map, Value};

/// How deep values may stand in each other.
const DEPTH_MAX: u32 = 32;
/// How many values a message may have in all.
const VALUES_MAX: usize = 4_096;
/// How many bytes of text a message may have in all, as often as they are referred to.
const TEXT_MAX: usize = 64 << 10;

/// The value of a message; none if it has none, or too much.
pub(super) fn read(bytes: &[u8]) -> Option<Value> {
    // At the end: the root, what it is, and how many bytes wide.
    let width = usize::from(*bytes.last()?);
    let packed = *bytes.get(bytes.len().checked_sub(2)?)?;
    let at = bytes.len().checked_sub(2)?.checked_sub(width)?;
    Reader { bytes, values: VALUES_MAX, text: TEXT_MAX }.value(Place { at, width }, packed, 0)
}

/// Where a value, or the way to it, stands.
#[derive(Clone, Copy)]
struct Place {
    at: usize,
    /// In bytes: 1, 2, 4, or 8.
    width: usize,
}

/// The message, and what is left of the budget.
struct Reader<'a> {
    bytes: &'a [u8],
    values: usize,
    text: usize,
}

impl Reader<'_> {
    /// `packed` is what it is, and in its last two bits the width of what it refers to.
    fn value(&mut self, place: Place, packed: u8, depth: u32) -> Option<Value> {
        self.values = self.values.checked_sub(1)?;
        if depth > DEPTH_MAX {
            return None;
        }
        let far = || Some(Place { at: self.back(place)?, width: 1 << (packed & 3) });
        match packed >> 2 {
            0 => Some(Value::Null),
            1 => Some(self.int(place)?.into()),
            2 => Some(self.uint(place)?.into()),
            4 => self.key(self.back(place)?).map(Value::String),
            5 => self.string(far()?).map(Value::String),
            6 => Some(self.int(far()?)?.into()),
            7 => Some(self.uint(far()?)?.into()),
            9 => self.map(far()?, depth),
            10 => self.vector(far()?, depth),
            // Vectors whose values are all of one kind.
            kind @ 11..=15 => self.typed(far()?, self.length(far()?)?, (kind - 10) << 2, depth),
            kind @ 16..=24 => {
                let (kind, length) = ((kind - 16) % 3 + 1, usize::from((kind - 16) / 3 + 2));
                self.typed(far()?, length, kind << 2, depth)
            }
            25 => self.typed(Place { width: 1, ..far()? }, self.length(far()?)?, 2 << 2, depth),
            26 => Some((self.uint(place)? != 0).into()),
            36 => self.typed(far()?, self.length(far()?)?, 26 << 2, depth),
            // Fractions, which no message on the bus has, or nothing that is known.
            _ => None,
        }
    }

    fn map(&mut self, place: Place, depth: u32) -> Option<Value> {
        // Before the length stand the way to the keys, and their width.
        let field = |nth: usize| {
            Some(Place { at: place.at.checked_sub(place.width.checked_mul(nth)?)?, ..place })
        };
        let width = usize::try_from(self.uint(field(2)?)?).ok()?;
        let keys = Place { at: self.back(field(3)?)?, width };
        let length = self.length(place)?;
        let mut map = Map::new();
        for nth in 0..length {
            let key = self.key(self.back(nth_of(keys, nth)?)?)?;
            let value = self.element(place, length, nth, depth)?;
            map.insert(key, value);
        }
        Some(Value::Object(map))
    }

    fn vector(&mut self, place: Place, depth: u32) -> Option<Value> {
        let length = self.length(place)?;
        let values = (0..length).map(|nth| self.element(place, length, nth, depth));
        values.collect::<Option<Vec<_>>>().map(Value::Array)
    }

    /// One of some values, after which stands what each of them is.
    fn element(&mut self, place: Place, length: usize, nth: usize, depth: u32) -> Option<Value> {
        let packed = *self.bytes.get(nth_of(place, length)?.at.checked_add(nth)?)?;
        self.value(nth_of(place, nth)?, packed, depth + 1)
    }

    fn typed(&mut self, place: Place, length: usize, packed: u8, depth: u32) -> Option<Value> {
        let values = (0..length).map(|nth| self.value(nth_of(place, nth)?, packed, depth + 1));
        values.collect::<Option<Vec<_>>>().map(Value::Array)
    }

    /// A text whose length stands before it.
    fn string(&mut self, place: Place) -> Option<String> {
        let text = self.bytes.get(place.at..)?.get(..self.length(place)?)?;
        self.text(text)
    }

    /// A text that ends with a zero.
    fn key(&mut self, at: usize) -> Option<String> {
        let rest = self.bytes.get(at..)?;
        let text = rest.get(..rest.iter().position(|byte| *byte == 0)?)?;
        self.text(text)
    }

    fn text(&mut self, bytes: &[u8]) -> Option<String> {
        self.text = self.text.checked_sub(bytes.len())?;
        std::str::from_utf8(bytes).ok().map(str::to_owned)
    }

    /// How many values or bytes begin at a place.
    fn length(&self, place: Place) -> Option<usize> {
        let before = Place { at: place.at.checked_sub(place.width)?, ..place };
        let length = usize::try_from(self.uint(before)?).ok()?;
        (length <= self.bytes.len()).then_some(length)
    }

    /// Where what stands here leads.
    fn back(&self, place: Place) -> Option<usize> {
        place.at.checked_sub(usize::try_from(self.uint(place)?).ok()?)
    }

    fn uint(&self, place: Place) -> Option<u64> {
        let bytes = self.at(place)?;
        let mut whole = [0; 8];
        whole.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(u64::from_le_bytes(whole))
    }

    fn int(&self, place: Place) -> Option<i64> {
        let bits = u32::try_from(place.width).ok()?.checked_mul(8)?;
        let unused = 64_u32.checked_sub(bits)?;
        self.uint(place)?.cast_signed().checked_shl(unused)?.checked_shr(unused)
    }

    fn at(&self, place: Place) -> Option<&[u8]> {
        matches!(place.width, 1 | 2 | 4 | 8).then_some(())?;
        self.bytes.get(place.at..place.at.checked_add(place.width)?)
    }
}

fn nth_of(place: Place, nth: usize) -> Option<Place> {
    Some(Place { at: place.at.checked_add(place.width.checked_mul(nth)?)?, ..place })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::{
        collection::{btree_map, vec},
        prelude::*,
    };
    use serde::Serialize;
    use serde_json::{Value, json};

    use super::{DEPTH_MAX, VALUES_MAX, read};

    fn written(value: &impl Serialize) -> Vec<u8> {
        flexbuffers::to_vec(value).expect("maps of text are always FlexBuffers")
    }

    /// What a message may have. Numbers of `serde_json` write themselves as maps.
    #[derive(Clone, Debug, Serialize)]
    #[serde(untagged)]
    enum Any {
        Null,
        Bool(bool),
        Int(i64),
        UInt(u64),
        Text(String),
        List(Vec<Self>),
        Map(BTreeMap<String, Self>),
    }

    impl From<&Any> for Value {
        fn from(any: &Any) -> Self {
            match any {
                Any::Null => Self::Null,
                Any::Bool(value) => (*value).into(),
                Any::Int(value) => (*value).into(),
                Any::UInt(value) => (*value).into(),
                Any::Text(text) => text.as_str().into(),
                Any::List(values) => values.iter().map(Self::from).collect(),
                Any::Map(map) => {
                    map.iter().map(|(key, value)| (key.clone(), Self::from(value))).collect()
                }
            }
        }
    }

    fn any_value() -> impl Strategy<Value = Any> {
        let leaf = prop_oneof![
            Just(Any::Null),
            any::<bool>().prop_map(Any::Bool),
            any::<i64>().prop_map(Any::Int),
            any::<u64>().prop_map(Any::UInt),
            "[^\0]{0,300}".prop_map(Any::Text),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                vec(inner.clone(), 0..6).prop_map(Any::List),
                btree_map("[^\0]{0,9}", inner, 0..6).prop_map(Any::Map),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_the_library_writes_is_read(value in any_value()) {
            prop_assert_eq!(read(&written(&value)), Some(Value::from(&value)));
        }

        #[test]
        fn vectors_of_one_kind_are_read(
            ints in vec(any::<i32>(), 0..300),
            bools in vec(any::<bool>(), 0..9),
            texts in vec("[a-z]{0,300}", 0..9),
        ) {
            let all = (&ints, &bools, &texts);
            prop_assert_eq!(read(&written(&all)), Some(json!([ints, bools, texts])));
        }

        #[test]
        fn any_bytes_are_read_or_not(bytes in vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
        }

        #[test]
        fn what_was_changed_on_the_way_is_read_or_not(
            value in any_value(),
            changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        ) {
            let mut bytes = written(&value);
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            let _ = read(&bytes);
        }
    }

    #[test]
    fn what_is_too_much_is_not_read() {
        let deep = |depth| (0..depth).fold(Any::Null, |inner, _| Any::List(vec![inner]));
        assert!(read(&written(&deep(DEPTH_MAX))).is_some());
        assert_eq!(read(&written(&deep(DEPTH_MAX + 1))), None);
        assert!(read(&written(&vec![1; VALUES_MAX - 1])).is_some());
        assert_eq!(read(&written(&vec![1; VALUES_MAX])), None);
    }
}
