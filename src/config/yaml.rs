//! The text of a configuration as a tree whose every node knows its line.
//!
//! Only what YAML says is decided here, nothing of what the fields mean. A file that is no YAML
//! has one error, since nothing after it can be trusted; everything else is reported by those who
//! read the tree, all errors together.
//!
//! An alias (`*name`) stands for a copy of the node that its anchor (`&name`) marks, so that a
//! list of fallbacks can be written once. The copies are counted: a small file can't unfold into
//! a large tree. Merge keys (`<<`), tags and several documents in one file are refused, since a
//! field that comes from somewhere else has no line of its own.

use std::borrow::Cow;
use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle, ScanError, Span};

use super::error::ConfigError;

/// How deep collections may be nested; the deepest field of the format is at nine.
const DEPTH: usize = 32;

/// How many nodes all aliases of a file may copy together.
const COPIES: usize = 1_000_000;

/// A value and the line on which it begins, counted from 1.
#[derive(Clone, Debug)]
pub(super) struct Node<'t> {
    pub(super) line: usize,
    pub(super) value: Value<'t>,
}

#[derive(Clone, Debug)]
pub(super) enum Value<'t> {
    /// Nothing, `null` or `~`.
    Null,
    /// Text, a number, a truth value: which of them is for the field to say.
    Scalar {
        text: Cow<'t, str>,
        /// Without quotes, so that it may be meant as a number or a truth value.
        plain: bool,
    },
    /// In the order of the file.
    List(Vec<Node<'t>>),
    /// In the order of the file, a key that is written twice twice.
    Map(Vec<(Key<'t>, Node<'t>)>),
}

#[derive(Clone, Debug)]
pub(super) struct Key<'t> {
    pub(super) line: usize,
    pub(super) name: Cow<'t, str>,
}

impl Value<'_> {
    /// What it is, to tell the user that something else is expected.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Scalar { .. } => "a single value",
            Self::List(_) => "a list",
            Self::Map(_) => "fields",
        }
    }
}

/// The tree of `text`; nothing at all is [`Value::Null`].
///
/// # Errors
/// Where the text is no YAML, or uses a part of YAML that is refused here.
pub(super) fn parse(text: &str) -> Result<Node<'_>, ConfigError> {
    let mut tree = Tree::default();
    for event in Parser::new_from_str_with_options(text, options()) {
        let (event, span) = event.map_err(|error| scan_error(&error))?;
        tree.take(event, &span)?;
    }
    Ok(tree.root.unwrap_or(Node {
        line: 1,
        value: Value::Null,
    }))
}

fn options() -> granit_parser::Options {
    granit_parser::options! {
        flow_nesting_limit: DEPTH,
        block_nesting_limit: DEPTH,
    }
}

fn scan_error(error: &ScanError) -> ConfigError {
    let (line, column) = (error.marker().line(), error.marker().col() + 1);
    ConfigError {
        path: String::new(),
        line,
        message: format!("no valid YAML at column {column}: {}", error.info()),
    }
}

/// The tree as far as it has been read.
#[derive(Default)]
struct Tree<'t> {
    root: Option<Node<'t>>,
    /// The collections that are not closed yet, outermost first.
    open: Vec<Open<'t>>,
    anchors: HashMap<usize, Node<'t>>,
    copies: usize,
}

/// A collection that is not closed yet.
struct Open<'t> {
    anchor: usize,
    node: Node<'t>,
    /// In a map: the key whose value comes next.
    key: Option<Key<'t>>,
}

impl<'t> Tree<'t> {
    fn take(&mut self, event: Event<'t>, span: &Span) -> Result<(), ConfigError> {
        let line = span.start.line();
        if let Some(tag) = event.tag() {
            return refuse(
                line,
                format!("the tag `{tag}` is not used here; leave it out"),
            );
        }
        match event {
            Event::DocumentStart(..) if self.root.is_some() => refuse(
                line,
                "a second document begins here; a configuration is one document".into(),
            ),
            Event::Scalar(text, style, anchor, _) => {
                let plain = matches!(style, ScalarStyle::Plain);
                let value = scalar(text, plain);
                self.place(anchor, Node { line, value })
            }
            Event::SequenceStart(_, anchor, _) => self.open(anchor, line, Value::List(Vec::new())),
            Event::MappingStart(_, anchor, _) => self.open(anchor, line, Value::Map(Vec::new())),
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open { anchor, node, .. }) => self.place(anchor, node),
                None => Ok(()),
            },
            Event::Alias(anchor) => {
                let node = self.copy(anchor, line)?;
                self.place(0, node)
            }
            _ => Ok(()),
        }
    }

    fn open(&mut self, anchor: usize, line: usize, value: Value<'t>) -> Result<(), ConfigError> {
        let awaits_key = matches!(
            self.open.last(),
            Some(Open {
                key: None,
                node: Node {
                    value: Value::Map(_),
                    ..
                },
                ..
            })
        );
        if awaits_key {
            return refuse(line, "a field's name must be text".into());
        }
        let node = Node { line, value };
        self.open.push(Open {
            anchor,
            node,
            key: None,
        });
        Ok(())
    }

    /// Puts a whole node where it belongs.
    fn place(&mut self, anchor: usize, node: Node<'t>) -> Result<(), ConfigError> {
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(Open {
            node: parent, key, ..
        }) = self.open.last_mut()
        else {
            self.root = Some(node);
            return Ok(());
        };
        match (&mut parent.value, key.take()) {
            (Value::List(items), _) => items.push(node),
            (Value::Map(fields), Some(key)) => fields.push((key, node)),
            (_, _) => *key = Some(as_key(node)?),
        }
        Ok(())
    }

    /// What an alias stands for.
    fn copy(&mut self, anchor: usize, line: usize) -> Result<Node<'t>, ConfigError> {
        let Some(node) = self.anchors.get(&anchor) else {
            return refuse(line, "an alias inside of what it stands for".into());
        };
        match measure(
            node,
            DEPTH.saturating_sub(self.open.len()),
            COPIES - self.copies,
        ) {
            Some(nodes) => self.copies += nodes,
            None => return refuse(line, "the aliases of this file unfold into too much".into()),
        }
        Ok(node.clone())
    }
}

fn refuse<T>(line: usize, message: String) -> Result<T, ConfigError> {
    let path = String::new();
    Err(ConfigError {
        path,
        line,
        message,
    })
}

/// A plain scalar that says nothing is nothing.
fn scalar(text: Cow<'_, str>, plain: bool) -> Value<'_> {
    match (plain, &*text) {
        (true, "" | "~" | "null" | "Null" | "NULL") => Value::Null,
        _ => Value::Scalar { text, plain },
    }
}

fn as_key(node: Node<'_>) -> Result<Key<'_>, ConfigError> {
    let line = node.line;
    match node.value {
        Value::Scalar { text, plain: true } if text == "<<" => refuse(
            line,
            "merge keys (`<<`) are not used here; write the fields out, or use an alias for a whole value".into(),
        ),
        Value::Scalar { text: name, .. } => Ok(Key { line, name }),
        _ => refuse(line, "a field's name must be text".into()),
    }
}

/// How many nodes there are, if they are at most `budget` and nested at most `depth` deep.
fn measure(node: &Node<'_>, depth: usize, budget: usize) -> Option<usize> {
    let mut nodes = 1;
    let mut add = |child: &Node<'_>| -> Option<()> {
        nodes += measure(child, depth.checked_sub(1)?, budget.checked_sub(nodes)?)?;
        Some(())
    };
    match &node.value {
        Value::Null | Value::Scalar { .. } => {}
        Value::List(items) => items.iter().try_for_each(&mut add)?,
        Value::Map(fields) => fields.iter().try_for_each(|(_, node)| add(node))?,
    }
    (nodes <= budget).then_some(nodes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tree in one line, each value with its line number.
    fn shown(node: &Node<'_>) -> String {
        let line = node.line;
        match &node.value {
            Value::Null => format!("{line}:null"),
            Value::Scalar { text, plain: true } => format!("{line}:{text}"),
            Value::Scalar { text, plain: false } => format!("{line}:{text:?}"),
            Value::List(items) => {
                let items: Vec<_> = items.iter().map(shown).collect();
                format!("{line}:[{}]", items.join(" "))
            }
            Value::Map(fields) => {
                let field = |(key, node): &(Key<'_>, Node<'_>)| {
                    format!("{}:{}={}", key.line, key.name, shown(node))
                };
                let fields: Vec<_> = fields.iter().map(field).collect();
                format!("{line}:{{{}}}", fields.join(" "))
            }
        }
    }

    #[test]
    fn nodes_know_their_lines() {
        let text = "a: 1\nb:\n  - x\n  - 'null'\n  - ~\nc: {d: null,\n  e: \"2\"}\nf:\n";
        assert_eq!(
            shown(&parse(text).unwrap()),
            "1:{1:a=1:1 2:b=3:[3:x 4:\"null\" 5:null] 6:c=6:{6:d=6:null 7:e=7:\"2\"} 8:f=8:null}"
        );
        assert_eq!(shown(&parse("").unwrap()), "1:null");
        assert_eq!(shown(&parse("# only a comment\n").unwrap()), "1:null");
    }

    #[test]
    fn an_alias_is_a_copy_with_the_lines_of_its_anchor() {
        let text = "usual: &usual\n  - {model: m}\nhere: *usual\n&k key: *k\n";
        assert_eq!(
            shown(&parse(text).unwrap()),
            "1:{1:usual=2:[2:{2:model=2:m}] 3:here=2:[2:{2:model=2:m}] 4:key=4:key}"
        );
    }

    #[test]
    fn what_is_refused_says_where_and_why() {
        let deep = format!("{}{}", "[".repeat(40), "]".repeat(40));
        let laughs = "a: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned()
            + &('b'..='h')
                .map(|name| {
                    let before = char::from(name as u8 - 1);
                    format!(
                        "{name}: &{name} [{}]\n",
                        vec![format!("*{before}"); 10].join(", ")
                    )
                })
                .collect::<String>();
        for (text, line, message) in [
            (
                "a: 1\nb: [1,\n",
                2,
                "no valid YAML at column 4: unclosed bracket '['",
            ),
            (
                "a: b: c",
                1,
                "no valid YAML at column 5: mapping values are not allowed in this context",
            ),
            (
                "a: *x",
                1,
                "no valid YAML at column 4: while parsing node, found unknown anchor",
            ),
            ("a: &x [*x]", 1, "an alias inside of what it stands for"),
            (
                "a: 1\n---\nb: 1",
                2,
                "a second document begins here; a configuration is one document",
            ),
            (
                "a: 1\nb: !env X",
                2,
                "the tag `!env` is not used here; leave it out",
            ),
            ("? [a]\n: 1", 1, "a field's name must be text"),
            ("~: 1", 1, "a field's name must be text"),
            (
                "a: &a {b: 1}\nc:\n  <<: *a\n",
                3,
                "merge keys (`<<`) are not used here; write the fields out, or use an alias for a whole value",
            ),
            (&laughs, 6, "the aliases of this file unfold into too much"),
            (
                &deep,
                1,
                "no valid YAML at column 33: recursion limit exceeded",
            ),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!((error.line, &*error.message), (line, message), "{text}");
            assert_eq!(error.path, "");
        }
    }
}
