//! What a name of the file stands for.

use std::collections::HashMap;

use super::super::file::File;
use super::super::place::Place;
use super::super::read::{Field, Named, Written, entries};
use super::check::unknown;

/// The endpoints and policies of a file by name, those that were refused too: who uses them is not
/// at fault.
pub(super) struct Names<'n> {
    endpoints: Table<'n>,
    policies: Table<'n>,
}

struct Table<'n> {
    /// In the order of the file.
    names: Vec<&'n str>,
    places: HashMap<&'n str, usize>,
    /// The whole field was refused, so that nothing is known about its names.
    refused: bool,
}

impl<'n> Names<'n> {
    pub(super) fn of(file: &File<'n>) -> Self {
        Self {
            endpoints: Table::new(&file.endpoints),
            policies: Table::new(&file.policies),
        }
    }

    /// The place of an endpoint in the file.
    pub(super) fn endpoint(&self, name: &Written<&str>, place: Place<'_>) -> Option<usize> {
        self.endpoints.find(name, place, "endpoints")
    }

    /// The place of a policy in the file.
    pub(super) fn policy(&self, name: &Written<&str>, place: Place<'_>) -> Option<usize> {
        self.policies.find(name, place, "policies")
    }
}

impl<'n> Table<'n> {
    fn new<T>(named: &Field<Named<'n, T>>) -> Self {
        let names: Vec<_> = entries(named).iter().map(|entry| entry.name).collect();
        let places = names.iter().enumerate().map(|(index, name)| (*name, index));
        Self {
            places: places.collect(),
            names,
            refused: matches!(named, Field::Refused),
        }
    }

    fn find(&self, name: &Written<&str>, place: Place<'_>, plural: &str) -> Option<usize> {
        let found = self.places.get(name.value).copied();
        if found.is_none() && !self.refused {
            unknown(name, place, &self.names, plural);
        }
        found
    }
}
