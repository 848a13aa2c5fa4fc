//! JSON with some members replaced, and every other value as it was written: numbers beyond a
//! double, the order of members, and members that nobody here knows.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The members of an object; their values are JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Object {
    members: Vec<(String, String)>,
}

impl Object {
    /// Reads an object; `None` where `text` is none.
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// The value of a member, as JSON; the last, where there are several, as most readers see it.
    pub fn get(&self, key: &str) -> Option<&str> {
        let mut members = self.members.iter().rev();
        members
            .find(|(name, _)| name == key)
            .map(|(_, value)| &**value)
    }

    /// The value of a member that is of this type.
    pub fn get_as<'a, T: Deserialize<'a>>(&'a self, key: &str) -> Option<T> {
        serde_json::from_str(self.get(key)?).ok()
    }

    /// Puts a value, which is JSON, in the member's place, or behind the others.
    pub fn set(&mut self, key: &str, value: impl Into<String>) {
        let place = self.members.iter().position(|(name, _)| name == key);
        self.remove(key);
        let place = place.unwrap_or(self.members.len());
        self.members.insert(place, (key.to_owned(), value.into()));
    }

    /// Takes a member away.
    pub fn remove(&mut self, key: &str) {
        self.members.retain(|(name, _)| name != key);
    }
}

impl fmt::Display for Object {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let members = self.members.iter();
        let members = members.map(|(name, value)| format!("{}:{value}", string(name)));
        write!(formatter, "{{{}}}", members.collect::<Vec<_>>().join(","))
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Object;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut members = Vec::new();
                while let Some((key, value)) = map.next_entry::<String, &RawValue>()? {
                    members.push((key, value.get().to_owned()));
                }
                Ok(Object { members })
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// The items of a list, as JSON; `None` where `text` is no list.
pub fn items(text: &str) -> Option<Vec<String>> {
    let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
    Some(
        items
            .into_iter()
            .map(|item| item.get().to_owned())
            .collect(),
    )
}

/// A list of items that are JSON.
pub fn list(items: &[String]) -> String {
    format!("[{}]", items.join(","))
}

/// A text as a JSON string.
pub fn string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_not_touched_stays_as_it_was_written() {
        let text =
            r#"{"seed":12345678901234567890123,"a":{ "b" : [1.10, 1e400] },"c\u0020":"\u00e9"}"#;
        let mut object = Object::parse(text).unwrap();
        assert_eq!(object.get("seed"), Some("12345678901234567890123"));
        assert_eq!(object.get_as::<String>("c "), Some("é".to_owned()));
        object.set("a", "true");
        object.set("new", string("line\n"));
        object.remove("c ");
        let expected = r#"{"seed":12345678901234567890123,"a":true,"new":"line\n"}"#;
        assert_eq!(object.to_string(), expected);
    }

    #[test]
    fn of_two_members_the_last_counts_and_both_are_replaced() {
        let mut object = Object::parse(r#"{"a":1,"b":2,"a":3}"#).unwrap();
        assert_eq!(object.get("a"), Some("3"));
        object.set("a", "4");
        assert_eq!(object.to_string(), r#"{"a":4,"b":2}"#);
    }

    #[test]
    fn what_is_no_object_or_list() {
        for text in ["", "null", "[]", "{", r#"{"a"}"#, "{}x"] {
            assert_eq!(Object::parse(text), None, "{text}");
        }
        for text in ["", "null", "{}", "[1", "[1]x"] {
            assert_eq!(items(text), None, "{text}");
        }
        assert_eq!(
            items("[1, {\"a\": 2}]"),
            Some(vec!["1".into(), "{\"a\": 2}".into()])
        );
    }

    proptest! {
        #[test]
        fn read_and_written_again_it_is_the_same(
            members in prop::collection::hash_map(any::<String>(), any::<(String, u64, bool)>(), 0..6),
        ) {
            let text = serde_json::to_string(&members).unwrap();
            prop_assert_eq!(Object::parse(&text).unwrap().to_string(), text);
        }
    }
}
