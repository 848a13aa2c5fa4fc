//! Changing a policy, or a caller's key, in the text of a configuration, and leaving the rest of the
//! text as it is.
//!
//! ```text
//! text ── spots ──> tree whose nodes know where they begin and end
//!              └─> the lines of the policy, and the lists `policies` of its operations ── replaced ──> text
//!                                                            read again: nothing else differs
//! ```
//!
//! Comments, order and layout outside of the policy's own lines stay byte for byte. Where the new
//! policy comes as fields and not as lines of its own (JSON), so do the comments of its fields that
//! stay. What is written
//! in a way that can't be changed line by line (`policies: {chat: …}` in braces) is refused and named.
//! Whether the result is a good configuration is for [`parse_as`](super::parse_as) to say.

mod keys;
mod merge;
mod render;
mod spots;
mod written;

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

pub use self::keys::{KeyName, add_key, remove_key};
use self::merge::Part;
use self::render::{entry, list, name as rendered_name};
use self::spots::{Kind, Spot};
pub use self::written::{Written, fields_of, operation_names, policy_fields};
use super::error::ConfigError;
use super::yaml::{self, Node, Value};

/// Why a text can't be changed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The file as it stands is no YAML.
    #[error("the file can't be changed as it is: {0}")]
    File(ConfigError),
    /// What is to be written is no YAML.
    #[error("the policy: {0}")]
    Policy(ConfigError),
    /// It is written in a way that can't be changed line by line.
    #[error("line {line}: {what}; write it on lines of its own, then it can be changed here")]
    Layout {
        /// Of the file.
        line: usize,
        /// What stands there.
        what: &'static str,
    },
    /// There is a policy of this name.
    #[error("there is a policy of this name already")]
    Taken,
    /// There is no such policy.
    #[error("there is no policy of this name")]
    NoPolicy,
    /// There is no such key.
    #[error("there is no key of this name in this environment")]
    NoKey,
    /// There is no such operation.
    #[error("there is no operation {0}")]
    NoOperation(OperationName),
}

/// What an item of `operations` is called.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OperationName {
    /// An operation that is written out.
    One {
        /// The method, in capitals.
        method: String,
        /// The path, as configured.
        path: String,
    },
    /// All operations of a preset.
    Preset(String),
}

impl fmt::Display for OperationName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One { method, path } => write!(formatter, "{method} {path}"),
            Self::Preset(preset) => write!(formatter, "with preset: {preset}"),
        }
    }
}

impl OperationName {
    /// None of an item that is an alias, or not right.
    fn of(operation: &Spot<'_>) -> Option<Self> {
        let text = |field| Some(operation.field(field)?.text()?.to_owned());
        if let Some(preset) = text("preset") {
            return Some(Self::Preset(preset));
        }
        Some(Self::One {
            method: text("method").unwrap_or_else(|| "POST".to_owned()),
            path: text("path")?,
        })
    }
}

/// A policy as it is written.
#[derive(Debug, PartialEq, Eq)]
pub struct PolicyText {
    /// Its text, without the indentation that it has in the file.
    pub yaml: String,
    /// The items of `operations` whose `policies` list it.
    pub operations: Vec<OperationName>,
}

/// How a policy is written; `None`: there is none.
///
/// # Errors
/// That the file is no YAML.
pub fn policy_text(text: &str, name: &str) -> Result<Option<PolicyText>, EditError> {
    let (_, root) = spots(text)?;
    let policies = root.field("policies");
    let Some((key, value)) = policies.and_then(|policies| policies.entry(name)) else {
        return Ok(None);
    };
    let yaml = if value.line == key.line {
        text[value.start..value.end].to_owned()
    } else {
        let from = line_end(text, key.end);
        render::dedented(&text[from..line_end(text, value.end)])
    };
    let lists_it = |operation: &&Spot<'_>| {
        let list = operation.field("policies").map_or(&[][..], Spot::items);
        list.iter().any(|item| item.text() == Some(name))
    };
    let operations = operations(&root).iter().filter(lists_it);
    Ok(Some(PolicyText {
        yaml,
        operations: operations.filter_map(OperationName::of).collect(),
    }))
}

/// The text with a policy put in the place of the one of that name, or, where there is none, as a
/// new one. `body` is its YAML (or JSON); `operations` those that it shall be attached to, `None`:
/// they stay as they are.
///
/// # Errors
/// Why it can't be put there.
pub fn put_policy(
    text: &str,
    name: &str,
    body: &str,
    operations: Option<&BTreeSet<OperationName>>,
) -> Result<String, EditError> {
    put_where(text, name, body, operations, |_| true)
}

/// The same for a policy that must not be there.
///
/// # Errors
/// That it is, or why it can't be put there.
pub fn add_policy(
    text: &str,
    name: &str,
    body: &str,
    operations: Option<&BTreeSet<OperationName>>,
) -> Result<String, EditError> {
    let is_new = |root: &Spot<'_>| {
        let policies = root.field("policies");
        policies.is_none_or(|policies| policies.entry(name).is_none())
    };
    put_where(text, name, body, operations, is_new)
}

fn put_where(
    text: &str,
    name: &str,
    body: &str,
    operations: Option<&BTreeSet<OperationName>>,
    may: impl FnOnce(&Spot<'_>) -> bool,
) -> Result<String, EditError> {
    let body_tree = yaml::parse(body).map_err(EditError::Policy)?;
    let (before, root) = spots(text)?;
    if !may(&root) {
        return Err(EditError::Taken);
    }
    let mut attached = Vec::new();
    if let Some(operations) = operations {
        attach(text, &root, name, operations, &mut attached)?;
    }
    if let Some(mut edits) = merged(text, &root, name, body) {
        edits.extend(attached.iter().cloned());
        let after = applied(text, edits);
        if check(&before, &after, name, Some(&body_tree)).is_ok() {
            return Ok(after);
        }
    }
    attached.push(put(text, &root, name, body)?);
    let after = applied(text, attached);
    check(&before, &after, name, Some(&body_tree))?;
    Ok(after)
}

/// The changes of single fields that make a policy what `body` says, where it comes as fields;
/// `None`: it is to be written as a whole.
fn merged(text: &str, root: &Spot<'_>, name: &str, body: &str) -> Option<Vec<Edit>> {
    let new = spots::read(body);
    let old = root.field("policies")?.field(name)?;
    let mut edits = Vec::new();
    if new.flow {
        let (old, new) = (
            Part { text, spot: old },
            Part {
                text: body,
                spot: &new,
            },
        );
        merge::fields(old, new, &mut edits)?;
        return Some(edits);
    }
    None
}

/// The text without a policy, and without its name in the operations.
///
/// # Errors
/// That there is none, or why it can't be taken out.
pub fn delete_policy(text: &str, name: &str) -> Result<String, EditError> {
    let (before, root) = spots(text)?;
    let policies = root.field("policies").ok_or(EditError::NoPolicy)?;
    let (key, value) = policies.entry(name).ok_or(EditError::NoPolicy)?;
    block(policies, "the policies stand in braces")?;
    let region = line_start(text, key.start)..line_end(text, value.end.max(key.end));
    let mut edits = vec![(region, String::new())];
    if let Kind::Map(entries) = &policies.kind
        && entries.len() == 1
    {
        // A key without anything under it would be null, which is the same as `{}` here.
        edits = vec![(
            line_start(text, key.start)..line_end(text, value.end),
            String::new(),
        )];
    }
    attach(text, &root, name, &BTreeSet::new(), &mut edits)?;
    let after = applied(text, edits);
    check(&before, &after, name, None)?;
    Ok(after)
}

type Edit = (Range<usize>, String);

/// What a text says, and where.
fn spots(text: &str) -> Result<(Node<'_>, Spot<'_>), EditError> {
    // What is refused there (several documents, merge keys) need not be thought of here.
    let tree = yaml::parse(text).map_err(EditError::File)?;
    let root = spots::read(text);
    block(&root, "the whole file stands in braces")?;
    Ok((tree, root))
}

fn block(spot: &Spot<'_>, what: &'static str) -> Result<(), EditError> {
    if spot.flow {
        return Err(EditError::Layout {
            line: spot.line,
            what,
        });
    }
    Ok(())
}

fn put(text: &str, root: &Spot<'_>, name: &str, body: &str) -> Result<Edit, EditError> {
    let Some((policies_key, policies)) = root.entry("policies") else {
        let newline = if text.is_empty() || text.ends_with('\n') {
            ""
        } else {
            "\n"
        };
        let new = format!("{newline}policies:\n{}", entry(name, body, 2));
        return Ok((text.len()..text.len(), new));
    };
    match &policies.kind {
        Kind::Map(entries) if !policies.flow && !entries.is_empty() => {
            let column = entries[0].0.column;
            if let Some((key, value)) = policies.entry(name) {
                let region = line_start(text, key.start)..line_end(text, value.end.max(key.end));
                return Ok((region, entry(name, body, column)));
            }
            let at = line_end(text, policies.end);
            Ok((at..at, on_new_line(text, at, &entry(name, body, column))))
        }
        Kind::Map(entries) if !entries.is_empty() => Err(EditError::Layout {
            line: policies.line,
            what: "the policies stand in braces",
        }),
        _ => {
            // `policies:` with nothing, or with `{}`.
            let region = policies_key.end..line_end(text, policies.end.max(policies_key.end));
            Ok((region, format!(":\n{}", entry(name, body, 2))))
        }
    }
}

/// Makes `name` stand in the lists of exactly these operations.
fn attach(
    text: &str,
    root: &Spot<'_>,
    name: &str,
    wanted: &BTreeSet<OperationName>,
    edits: &mut Vec<Edit>,
) -> Result<(), EditError> {
    let mut missing = wanted.clone();
    for operation in operations(root) {
        let Some(place) = OperationName::of(operation) else {
            continue;
        };
        let wants = missing.remove(&place) || wanted.contains(&place);
        edits.extend(attach_one(text, operation, name, wants)?);
    }
    match missing.pop_first() {
        Some(operation) => Err(EditError::NoOperation(operation)),
        None => Ok(()),
    }
}

fn operations<'s, 't>(root: &'s Spot<'t>) -> &'s [Spot<'t>] {
    root.field("operations").map_or(&[], Spot::items)
}

fn attach_one(
    text: &str,
    operation: &Spot<'_>,
    name: &str,
    wants: bool,
) -> Result<Option<Edit>, EditError> {
    let policies = operation.entry("policies");
    if let Some((_, list)) = policies
        && matches!(list.kind, Kind::Alias)
    {
        return Err(EditError::Layout {
            line: operation.line,
            what: "the operation's policies are an alias",
        });
    }
    let items = policies.map_or(&[][..], |(_, list)| list.items());
    let mut names: Vec<&str> = items.iter().filter_map(Spot::text).collect();
    if names.contains(&name) == wants {
        return Ok(None);
    }
    if wants {
        names.push(name);
    } else {
        names.retain(|other| *other != name);
    }
    if let Some((key, list_spot)) = policies {
        if list_spot.flow {
            return Ok(Some((list_spot.start..list_spot.end, list(&names))));
        }
        if let Some(first) = items.first() {
            return Ok(Some(attach_line(
                text, list_spot, first, name, wants, key, items,
            )));
        }
        // `policies:` with nothing.
        let region = key.end..line_content_end(text, key.end);
        return Ok(Some((region, format!(": {}", list(&names)))));
    }
    block(operation, "the operation stands in braces")?;
    let at = line_end(text, operation.end);
    let column = match &operation.kind {
        Kind::Map(entries) => entries.first().map_or(2, |(key, _)| key.column),
        _ => 2,
    };
    let line = format!("{:column$}policies: {}\n", "", list(&names));
    Ok(Some((at..at, on_new_line(text, at, &line))))
}

/// Adds or takes a line of a list that has a line for each item.
fn attach_line(
    text: &str,
    list_spot: &Spot<'_>,
    first: &Spot<'_>,
    name: &str,
    wants: bool,
    key: &Spot<'_>,
    items: &[Spot<'_>],
) -> Edit {
    if wants {
        let dash = line_start(text, first.start);
        let lead = &text[dash..first.start];
        let at = line_end(text, list_spot.end);
        let line = format!("{lead}{}\n", rendered_name(name));
        return (at..at, on_new_line(text, at, &line));
    }
    let item = items.iter().find(|item| item.text() == Some(name));
    match item {
        Some(item) if items.len() > 1 => (
            line_start(text, item.start)..line_end(text, item.end),
            String::new(),
        ),
        _ => (key.end..line_end(text, list_spot.end), ": []\n".to_owned()),
    }
}

/// A line to be inserted at `at`, which may be the end of a text without a line end.
fn on_new_line(text: &str, at: usize, line: &str) -> String {
    let newline = if at == 0 || text[..at].ends_with('\n') {
        ""
    } else {
        "\n"
    };
    format!("{newline}{line}")
}

fn applied(text: &str, mut edits: Vec<Edit>) -> String {
    edits.sort_by_key(|(region, _)| region.start);
    let mut after = text.to_owned();
    for (region, new) in edits.into_iter().rev() {
        after.replace_range(region, &new);
    }
    after
}

fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |newline| newline + 1)
}

/// Behind the line end of the line of `at`.
fn line_end(text: &str, at: usize) -> usize {
    text[at..]
        .find('\n')
        .map_or(text.len(), |newline| at + newline + 1)
}

fn line_content_end(text: &str, at: usize) -> usize {
    text[at..]
        .find('\n')
        .map_or(text.len(), |newline| at + newline)
}

/// Reads the result again: the policy is what was asked for, and nothing else has changed.
fn check(
    old: &Node<'_>,
    after: &str,
    name: &str,
    body: Option<&Node<'_>>,
) -> Result<(), EditError> {
    let changed = EditError::Layout {
        line: 1,
        what: "the change would alter other parts of the file",
    };
    let new = yaml::parse(after).map_err(|_| EditError::Layout {
        line: 1,
        what: "the policy does not fit into the layout of the file",
    })?;
    let mut told = [String::new(), String::new()];
    for (text, node) in told.iter_mut().zip([old, &new]) {
        others(node, name, text);
    }
    let policy = policy_of(&new, name);
    let mut shown = [String::new(), String::new()];
    for (text, node) in shown.iter_mut().zip([policy, body]) {
        if let Some(node) = node {
            tell(node, text);
        }
    }
    if told[0] != told[1] || shown[0] != shown[1] {
        return Err(changed);
    }
    Ok(())
}

fn policy_of<'n, 't>(root: &'n Node<'t>, name: &str) -> Option<&'n Node<'t>> {
    field(field(root, "policies")?, name)
}

fn field<'n, 't>(node: &'n Node<'t>, name: &str) -> Option<&'n Node<'t>> {
    let Value::Map(fields) = &node.value else {
        return None;
    };
    fields
        .iter()
        .find(|(key, _)| key.name == name)
        .map(|(_, node)| node)
}

/// Everything but the policy and the lists in which it may stand.
fn others(root: &Node<'_>, name: &str, text: &mut String) {
    let Value::Map(fields) = &root.value else {
        return;
    };
    for (key, node) in fields {
        match (&*key.name, &node.value) {
            ("policies", Value::Map(policies)) => {
                for (key, policy) in policies.iter().filter(|(key, _)| key.name != name) {
                    text.push_str(&key.name);
                    tell(policy, text);
                }
            }
            ("policies", _) => {}
            ("operations", Value::List(operations)) => {
                for operation in operations {
                    text.push('-');
                    let Value::Map(fields) = &operation.value else {
                        continue;
                    };
                    for (key, node) in fields.iter().filter(|(key, _)| key.name != "policies") {
                        text.push_str(&key.name);
                        tell(node, text);
                    }
                    names_but(field(operation, "policies"), name, text);
                }
            }
            _ => {
                text.push_str(&key.name);
                tell(node, text);
            }
        }
    }
}

fn names_but(list: Option<&Node<'_>>, name: &str, text: &mut String) {
    let Some(Value::List(items)) = list.map(|node| &node.value) else {
        return;
    };
    for item in items {
        let own = matches!(&item.value, Value::Scalar { text, .. } if text == name);
        if !own {
            tell(item, text);
        }
    }
}

/// A value without its lines, in a text that only the same value has.
fn tell(node: &Node<'_>, text: &mut String) {
    match &node.value {
        Value::Null => text.push('~'),
        Value::Scalar { text: scalar, .. } => text.push_str(&format!("{scalar:?}")),
        Value::List(items) => {
            text.push('[');
            for item in items {
                tell(item, text);
                text.push(',');
            }
            text.push(']');
        }
        Value::Map(fields) => {
            text.push('{');
            for (key, node) in fields {
                text.push_str(&format!("{:?}:", key.name));
                tell(node, text);
                text.push(',');
            }
            text.push('}');
        }
    }
}

#[cfg(test)]
mod tests;
