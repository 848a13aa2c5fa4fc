//! Patterns by what a name must begin or end with to match them: of a hundred thousand a name is held to
//! the few that share one of its beginnings or ends. A pattern with a `*` at both sides shares the empty
//! one with every name.

use std::collections::{BTreeMap, HashMap};

use super::Pattern;

/// Finds the first of a list of patterns that matches a name.
#[derive(Clone, Debug, Default)]
pub(super) struct PatternIndex {
    beginnings: Vec<Edges>,
    ends: Vec<Edges>,
}

/// The patterns that say so many bytes of a name's beginning, or of its end.
#[derive(Clone, Debug)]
struct Edges {
    length: usize,
    /// The patterns' places in the list, by these bytes, in order.
    places: HashMap<Box<str>, Vec<usize>>,
}

impl PatternIndex {
    /// An index of a list.
    pub(super) fn new<'p>(patterns: impl IntoIterator<Item = &'p Pattern>) -> Self {
        let [mut beginnings, mut ends] = [const { BTreeMap::new() }; 2];
        for (place, pattern) in patterns.into_iter().enumerate() {
            let (beginning, end) = pattern.edges();
            let (edges, edge) = if beginning.len() >= end.len() {
                (&mut beginnings, beginning)
            } else {
                (&mut ends, end)
            };
            let places: &mut HashMap<Box<str>, Vec<usize>> = edges.entry(edge.len()).or_default();
            places.entry(edge.into()).or_default().push(place);
        }
        let edges = |(length, places)| Edges { length, places };
        Self {
            beginnings: beginnings.into_iter().map(edges).collect(),
            ends: ends.into_iter().map(edges).collect(),
        }
    }

    /// The first place whose pattern matches `name`; `matches` is asked for few of them.
    pub(super) fn first(&self, name: &str, matches: impl Fn(usize) -> bool) -> Option<usize> {
        let beginnings = self.beginnings.iter().filter_map(|edges| {
            let beginning = name.get(..edges.length)?;
            edges.places.get(beginning)
        });
        let ends = self.ends.iter().filter_map(|edges| {
            let end = name.get(name.len().checked_sub(edges.length)?..)?;
            edges.places.get(end)
        });
        beginnings.chain(ends).fold(None, |first, places| {
            let before = |&place: &usize| first.is_none_or(|first| place < first);
            let mut sooner = places.iter().copied().take_while(before);
            sooner.find(|&place| matches(place)).or(first)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_finds_what_looking_at_all_finds(
            patterns in prop::collection::vec("[aé]{0,2}\\*[abé*]{0,3}", 0..20),
            name in "[abé]{0,6}",
        ) {
            let patterns: Vec<_> = patterns.iter().filter_map(|text| Pattern::parse(text)).collect();
            let index = PatternIndex::new(&patterns);
            let matches = |place: usize| patterns[place].matches(&name);
            let expected = (0..patterns.len()).find(|&place| matches(place));
            prop_assert_eq!(index.first(&name, matches), expected);
        }
    }

    #[test]
    fn few_of_many_are_looked_at() {
        let text = |number| format!("model-{number:05}-*");
        let patterns: Vec<_> = (0..10_000)
            .filter_map(|number| Pattern::parse(&text(number)))
            .collect();
        let index = PatternIndex::new(&patterns);
        let asked = std::cell::Cell::new(0);
        let found = index.first("model-07890-latest", |place| {
            asked.set(asked.get() + 1);
            patterns[place].matches("model-07890-latest")
        });
        assert_eq!((found, asked.get()), (Some(7_890), 1));
    }
}
