//! Some of the places in a list: the targets of a chain that one request has tried, or those of a
//! set that are not suspended.

/// A set of places. The first 64 need no allocation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Places {
    first: u64,
    /// As long as its last word that was ever needed; the last one is never 0, so that equal sets
    /// are equal.
    rest: Vec<u64>,
}

impl Places {
    /// Adds a place.
    pub fn insert(&mut self, index: usize) {
        let bit = 1 << (index % 64);
        match (index / 64).checked_sub(1) {
            None => self.first |= bit,
            Some(word) => {
                if self.rest.len() <= word {
                    self.rest.resize(word + 1, 0);
                }
                self.rest[word] |= bit;
            }
        }
    }

    /// Whether a place is in it.
    pub fn contains(&self, index: usize) -> bool {
        let word = match (index / 64).checked_sub(1) {
            None => self.first,
            Some(word) => self.rest.get(word).copied().unwrap_or(0),
        };
        word & (1 << (index % 64)) != 0
    }

    /// Whether there is none in it.
    pub fn is_empty(&self) -> bool {
        self.first == 0 && self.rest.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.words().map(|word| word.count_ones() as usize).sum()
    }

    /// The places in order.
    pub fn iter(&self) -> impl Iterator<Item = usize> {
        let ends = 64 * (1 + self.rest.len());
        (0..ends).filter(|&index| self.contains(index))
    }

    fn words(&self) -> impl Iterator<Item = u64> {
        std::iter::once(self.first).chain(self.rest.iter().copied())
    }
}

impl FromIterator<usize> for Places {
    fn from_iter<I: IntoIterator<Item = usize>>(indices: I) -> Self {
        let mut places = Self::default();
        indices.into_iter().for_each(|index| places.insert(index));
        places
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set(indices in prop::collection::vec(0..300usize, 0..20)) {
            let places: Places = indices.iter().copied().collect();
            let set: BTreeSet<usize> = indices.iter().copied().collect();
            prop_assert_eq!(places.is_empty(), set.is_empty());
            prop_assert_eq!(places.len(), set.len());
            for index in 0..400 {
                prop_assert_eq!(places.contains(index), set.contains(&index), "{}", index);
            }
            prop_assert!(places.iter().eq(set.iter().copied()));
            prop_assert_eq!(places, set.into_iter().rev().collect());
        }
    }
}
