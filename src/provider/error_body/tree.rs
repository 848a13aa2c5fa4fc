//! What of an error's body may tell something, as a tree: its members may come in any order, and which
//! of them count depends on the others. What is text borrows from the body.
//!
//! `serde_json`'s own tree took 5,000 of a failover's 77,000 instructions for a body of 80 bytes: each
//! key and each text is copied, each object a B-tree. And it keeps all there is, where a body of a few
//! megabytes (an answer of success may tell of an error, too) may be a tree of hundreds.

use std::borrow::Cow;

use super::super::stream::json::{Json, Malformed};

/// Values that are kept; there are a dozen in the longest that is known. What comes behind them is
/// read past.
const MOST: usize = 1024;

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tree<'a> {
    /// Text.
    Text(Cow<'a, str>),
    /// A number, as it is written.
    Number(&'a str),
    /// A list.
    List(Vec<Self>),
    /// An object.
    Object(Object<'a>),
    /// Null, true, false, text that is none (half a surrogate pair), or what was read past.
    Other,
}

/// Those of an object's members that were asked for, in the order in which they are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Object<'a>(Vec<(Cow<'a, str>, Tree<'a>)>);

impl<'a> Tree<'a> {
    /// Reads a text that is one value; of objects those members whose key is wanted.
    ///
    /// # Errors
    /// It is no JSON.
    pub fn read(text: &'a str, is_wanted: fn(&str) -> bool) -> Result<Self, Malformed> {
        let mut reader = Reader {
            is_wanted,
            left: MOST,
        };
        let mut tree = Self::Other;
        Json::whole(text, |json| {
            tree = reader.value(json)?;
            Ok(())
        })?;
        Ok(tree)
    }

    /// Its text.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Its items.
    pub fn list(&self) -> Option<&[Self]> {
        match self {
            Self::List(items) => Some(items),
            _ => None,
        }
    }

    /// Its members.
    pub const fn object(&self) -> Option<&Object<'a>> {
        match self {
            Self::Object(object) => Some(object),
            _ => None,
        }
    }

    /// A member of it.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.object()?.get(key)
    }
}

impl<'a> Object<'a> {
    /// A member; the last of that name.
    pub fn get(&self, key: &str) -> Option<&Tree<'a>> {
        let mut members = self.0.iter().rev();
        members.find_map(|(name, value)| (name == key).then_some(value))
    }
}

struct Reader {
    is_wanted: fn(&str) -> bool,
    /// So many more values are kept.
    left: usize,
}

impl Reader {
    fn value<'a>(&mut self, json: &mut Json<'a>) -> Result<Tree<'a>, Malformed> {
        self.left -= 1; // who asks for another one has seen that there is room
        Ok(match json.next() {
            b'{' => Tree::Object(self.object(json)?),
            b'[' => Tree::List(self.list(json)?),
            b'"' => json.text()?.map_or(Tree::Other, Tree::Text),
            b'-' | b'0'..=b'9' => Tree::Number(json.written()?),
            _ => {
                json.skip()?;
                Tree::Other
            }
        })
    }

    fn object<'a>(&mut self, json: &mut Json<'a>) -> Result<Object<'a>, Malformed> {
        let mut members = Vec::new();
        json.members(|json, key| {
            if self.left == 0 || !(self.is_wanted)(&key) {
                return json.skip();
            }
            members.push((key, self.value(json)?));
            Ok(())
        })?;
        Ok(Object(members))
    }

    fn list<'a>(&mut self, json: &mut Json<'a>) -> Result<Vec<Tree<'a>>, Malformed> {
        let mut items = Vec::new();
        json.list(|json| {
            if self.left == 0 {
                return json.skip();
            }
            items.push(self.value(json)?);
            Ok(())
        })?;
        Ok(items)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::provider::stream::json::values::values;

    fn read(text: &str) -> Result<Tree<'_>, Malformed> {
        Tree::read(text, |key| !key.starts_with('-'))
    }

    /// The same to `serde_json`.
    fn to_serde(tree: &Tree<'_>) -> Value {
        match tree {
            Tree::Text(text) => Value::from(&**text),
            Tree::Number(number) => serde_json::from_str(number).unwrap(),
            Tree::List(items) => items.iter().map(to_serde).collect(),
            Tree::Object(Object(members)) => {
                let members = members.iter();
                members
                    .map(|(key, value)| (key.to_string(), to_serde(value)))
                    .collect()
            }
            Tree::Other => Value::Null,
        }
    }

    #[test]
    fn the_last_member_of_a_name_counts() {
        let tree = read(r#"{"a":1,"b":{"a":[2]},"a":"x"}"#).unwrap();
        assert_eq!(tree.get("a").and_then(Tree::text), Some("x"));
        let inner = tree.get("b").and_then(|inner| inner.get("a")?.list());
        assert_eq!(inner, Some(&[Tree::Number("2")][..]));
        assert_eq!(tree.get("c"), None);
    }

    #[test]
    fn what_is_no_text_is_absent_and_costs_nothing_else() {
        let tree = read(r#"{"a":"\ud800","b":"c"}"#).unwrap();
        assert_eq!(tree.get("a"), Some(&Tree::Other));
        assert_eq!(tree.get("b").and_then(Tree::text), Some("c"));
    }

    #[test]
    fn what_nobody_wants_is_read_past_but_has_to_be_json() {
        let tree = read(r#"{"-x":{"a":1},"b":{"-y":[{}],"c":2}}"#).unwrap();
        let b = Tree::Object(Object(vec![("c".into(), Tree::Number("2"))]));
        assert_eq!(tree, Tree::Object(Object(vec![("b".into(), b)])));
        assert_eq!(read(r#"{"-x":{"a"},"b":1}"#), Err(Malformed));
    }

    #[test]
    fn no_more_is_kept_than_there_is_room_for() {
        let wide = format!("[{}0]", "[],".repeat(1 << 20));
        let tree = read(&wide).unwrap();
        assert_eq!(
            tree.list().unwrap().len(),
            MOST - 1,
            "but for the list itself"
        );
        let late = format!(r#"{{"a":{wide},"b":"c"}}"#);
        assert_eq!(read(&late).unwrap().get("b"), None);
        let same = format!(r#"{{{}"b":"c"}}"#, r#""a":0,"#.repeat(1 << 20));
        let tree = read(&same).unwrap();
        let Object(members) = tree.object().unwrap();
        assert_eq!(members.len(), MOST - 1);
        let unwanted = format!(r#"{{"-a":{wide},"b":"c"}}"#);
        assert_eq!(
            read(&unwanted).unwrap().get("b").and_then(Tree::text),
            Some("c")
        );
    }

    #[test]
    fn as_deep_as_serde() {
        for (depth, expected) in [(127, true), (128, false)] {
            let text = "[".repeat(depth) + &"]".repeat(depth);
            assert_eq!(read(&text).is_ok(), expected, "{depth}");
            assert_eq!(
                serde_json::from_str::<Value>(&text).is_ok(),
                expected,
                "{depth}"
            );
        }
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in ["", "{", "{} {}", "[1,]", "\"a", "nul", "-", r#"{"a":}"#] {
            assert_eq!(read(text), Err(Malformed), "{text}");
        }
    }

    proptest! {
        #[test]
        fn it_is_what_serde_json_reads(value in values()) {
            for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
                let read = to_serde(&read(&text).unwrap());
                prop_assert_eq!(read, without_words(serde_json::from_str(&text).unwrap()));
            }
        }
    }

    /// Null for true and false, and without members that nobody wants.
    fn without_words(value: Value) -> Value {
        match value {
            Value::Bool(_) => Value::Null,
            Value::Array(items) => items.into_iter().map(without_words).collect(),
            Value::Object(members) => {
                let wanted = members.into_iter().filter(|(key, _)| !key.starts_with('-'));
                wanted
                    .map(|(key, value)| (key, without_words(value)))
                    .collect()
            }
            other => other,
        }
    }
}
