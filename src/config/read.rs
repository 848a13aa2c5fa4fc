//! From the tree of a file to its shapes: which fields there are and what kind of value each has.
//!
//! A shape is a struct whose every field is a [`Field`]: absent, given, or refused. Refused means
//! that its error is reported already, so that whoever comes later doesn't call it missing. Nothing
//! is required here and nothing has a default: that is for [`resolve`](super::resolve) to say.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use super::place::Place;
use super::units::{parse_duration, parse_size, show_size};
use super::yaml::{Key, Node, Value};

/// Something that can stand in a configuration file.
pub(super) trait Read<'n>: Sized {
    /// Reads it; what is wrong with it goes to the report.
    fn read(node: &'n Node<'n>, place: Place<'_>) -> Option<Self>;

    /// Collects the path of every field below `path`, to hold the documentation to it.
    #[cfg(test)]
    fn describe(path: &str, paths: &mut Vec<String>) {
        paths.push(path.to_owned());
    }
}

/// A value and its line.
#[derive(Debug)]
pub(super) struct Written<T> {
    pub(super) line: usize,
    pub(super) value: T,
}

/// What was found at a field.
#[derive(Debug)]
pub(super) enum Field<T> {
    /// Nothing, or `null`.
    Absent,
    /// Something wrong, which is reported already.
    Refused,
    Given(Written<T>),
}

impl<T> Field<T> {
    pub(super) const fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    pub(super) const fn given(&self) -> Option<&Written<T>> {
        match self {
            Self::Given(written) => Some(written),
            Self::Absent | Self::Refused => None,
        }
    }

    pub(super) fn value(&self) -> Option<&T> {
        self.given().map(|written| &written.value)
    }
}

/// A list; an item that is refused keeps its place, so that the others keep their number.
pub(super) type List<T> = Vec<Option<Written<T>>>;

/// The items that were not refused, each with its number.
pub(super) fn items<T>(list: &Field<List<T>>) -> impl Iterator<Item = (usize, &Written<T>)> {
    let list = list.value().map_or(&[][..], Vec::as_slice);
    list.iter()
        .enumerate()
        .filter_map(|(index, item)| Some((index, item.as_ref()?)))
}

/// Things by the name that the user gives them, in the order of the file.
pub(super) type Named<'n, T> = Vec<Entry<'n, T>>;

/// A name and what it stands for.
#[derive(Debug)]
pub(super) struct Entry<'n, T> {
    pub(super) name: &'n str,
    pub(super) line: usize,
    /// `None`: refused. The name stands all the same, so that those who use it aren't refused too.
    pub(super) body: Option<Written<T>>,
}

/// The entries of a field, none where it is absent.
pub(super) fn entries<'f, 'n, T>(named: &'f Field<Named<'n, T>>) -> &'f [Entry<'n, T>] {
    named.value().map_or(&[], Vec::as_slice)
}

/// A size in bytes.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub(super) struct Size(pub(super) usize);

impl fmt::Display for Size {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&show_size(self.0))
    }
}

/// Declares a shape: a struct of [`Field`]s that is read from the fields of the same names.
macro_rules! shape {
    ($(#[$meta:meta])* struct $shape:ident$(<$n:lifetime>)? {
        $($(#[$field_meta:meta])* $field:ident $(as $name:literal)?: $type:ty,)*
    }) => {
        $(#[$meta])*
        #[derive(Debug)]
        pub(super) struct $shape$(<$n>)? {
            $($(#[$field_meta])* pub(super) $field: Field<$type>,)*
        }

        impl<'n> Read<'n> for $shape$(<$n>)? {
            fn read(node: &'n Node<'n>, place: Place<'_>) -> Option<Self> {
                const NAMES: &[&str] = &[$(shape!(@name $field $($name)?)),*];
                let fields = fields(node, place)?;
                known(fields, NAMES, place);
                Some(Self {
                    $($field: field(fields, shape!(@name $field $($name)?), place),)*
                })
            }

            #[cfg(test)]
            fn describe(path: &str, paths: &mut Vec<String>) {
                let dot = if path.is_empty() { "" } else { "." };
                $(
                    let name = shape!(@name $field $($name)?);
                    <$type as Read<'_>>::describe(&format!("{path}{dot}{name}"), paths);
                )*
            }
        }
    };
    (@name $field:ident) => { stringify!($field) };
    (@name $field:ident $name:literal) => { $name };
}
pub(super) use shape;

type Fields<'n> = &'n [(Key<'n>, Node<'n>)];

/// What stands in a map; nothing at all is a map without fields.
pub(super) fn fields<'n>(node: &'n Node<'n>, place: Place<'_>) -> Option<Fields<'n>> {
    match &node.value {
        Value::Map(fields) => Some(fields),
        Value::Null => Some(&[]),
        other => {
            let message = format!("must be fields (`name: value`), not {}", other.kind());
            place.error(node.line, message);
            None
        }
    }
}

/// Reports the fields that nobody knows, and those that are written twice.
pub(super) fn known(fields: Fields<'_>, names: &[&str], place: Place<'_>) {
    for (index, (key, _)) in fields.iter().enumerate() {
        let earlier = fields[..index]
            .iter()
            .find(|(other, _)| other.name == key.name);
        if let Some((first, _)) = earlier {
            written_twice(first.line, key, place);
        } else if !names.contains(&&*key.name) {
            let remedy = place.remedy(&key.name, "the fields here", names);
            let message = format!("there is no such field; {remedy}");
            place.field(&key.name).error(key.line, message);
        }
    }
}

fn written_twice(first: usize, key: &Key<'_>, place: Place<'_>) {
    let message = format!("is written twice, first on line {first}; keep one of them");
    place.field(&key.name).error(key.line, message);
}

/// The field of a name.
pub(super) fn field<'n, T: Read<'n>>(fields: Fields<'n>, name: &str, place: Place<'_>) -> Field<T> {
    let Some((key, node)) = fields.iter().find(|(key, _)| key.name == name) else {
        return Field::Absent;
    };
    if matches!(node.value, Value::Null) {
        return Field::Absent;
    }
    match T::read(node, place.field(name)) {
        Some(value) => Field::Given(Written {
            line: key.line,
            value,
        }),
        None => Field::Refused,
    }
}

impl<'n, T: Read<'n>> Read<'n> for List<T> {
    fn read(node: &'n Node<'n>, place: Place<'_>) -> Option<Self> {
        let Value::List(items) = &node.value else {
            let message = format!("must be a list, not {}", node.value.kind());
            place.error(node.line, message);
            return None;
        };
        let read = |(index, item): (usize, &'n Node<'n>)| {
            let value = T::read(item, place.item(index))?;
            Some(Written {
                line: item.line,
                value,
            })
        };
        Some(items.iter().enumerate().map(read).collect())
    }

    #[cfg(test)]
    fn describe(path: &str, paths: &mut Vec<String>) {
        T::describe(&format!("{path}[]"), paths);
    }
}

impl<'n, T: Read<'n>> Read<'n> for Named<'n, T> {
    fn read(node: &'n Node<'n>, place: Place<'_>) -> Option<Self> {
        let fields = fields(node, place)?;
        let mut lines = HashMap::with_capacity(fields.len());
        let mut entries = Vec::with_capacity(fields.len());
        for (key, node) in fields {
            if let Some(first) = lines.insert(&*key.name, key.line) {
                written_twice(first, key, place);
                continue;
            }
            let line = key.line;
            let value = T::read(node, place.field(&key.name));
            let body = value.map(|value| Written { line, value });
            entries.push(Entry {
                name: &key.name,
                line,
                body,
            });
        }
        Some(entries)
    }

    #[cfg(test)]
    fn describe(path: &str, paths: &mut Vec<String>) {
        T::describe(&format!("{path}.NAME"), paths);
    }
}

impl<'n> Read<'n> for &'n Node<'n> {
    fn read(node: &'n Node<'n>, _: Place<'_>) -> Option<Self> {
        Some(node)
    }
}

impl<'n> Read<'n> for &'n str {
    fn read(node: &'n Node<'n>, place: Place<'_>) -> Option<Self> {
        match &node.value {
            Value::Scalar { text, .. } => Some(text),
            other => {
                place.error(node.line, format!("must be text, not {}", other.kind()));
                None
            }
        }
    }
}

impl<'n> Read<'n> for bool {
    fn read(node: &'n Node<'n>, place: Place<'_>) -> Option<Self> {
        let parse = |text: &str| text.parse().ok();
        scalar(node, place, "true or false", parse)
    }
}

impl<'n> Read<'n> for u64 {
    fn read(node: &'n Node<'n>, place: Place<'_>) -> Option<Self> {
        let parse = |text: &str| text.parse().ok();
        scalar(node, place, "a whole number", parse)
    }
}

impl<'n> Read<'n> for f64 {
    fn read(node: &'n Node<'n>, place: Place<'_>) -> Option<Self> {
        let parse = |text: &str| text.parse().ok();
        scalar(node, place, "a number such as 0.1", parse)
    }
}

impl<'n> Read<'n> for Duration {
    fn read(node: &'n Node<'n>, place: Place<'_>) -> Option<Self> {
        let what = "a duration such as 30s, 250ms, 2m or 1h (a bare whole number means seconds)";
        scalar(node, place, what, parse_duration)
    }
}

impl<'n> Read<'n> for Size {
    fn read(node: &'n Node<'n>, place: Place<'_>) -> Option<Self> {
        let what = "a size such as 64KiB, 32MiB or 1GiB (a bare whole number means bytes)";
        scalar(node, place, what, |text| parse_size(text).map(Size))
    }
}

fn scalar<T>(
    node: &Node<'_>,
    place: Place<'_>,
    what: &str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Option<T> {
    let value = match &node.value {
        Value::Scalar { text, .. } => parse(text),
        _ => None,
    };
    if value.is_none() {
        let found = match &node.value {
            Value::Scalar { text, .. } => format!("`{text}`"),
            other => other.kind().to_owned(),
        };
        place.error(node.line, format!("must be {what}, not {found}"));
    }
    value
}
