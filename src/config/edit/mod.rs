//! Changing a policy in the text of a configuration, and leaving the rest of the text as it is.
//!
//! ```text
//! text ── spots ──> tree whose nodes know where they begin and end
//!              └─> the lines of the policy, and the lists `policies` of its operations ── replaced ──> text
//!                                                            read again: nothing else differs
//! ```
//!
//! Comments, order and layout outside of the policy's own lines stay byte for byte. What is written
//! in a way that can't be changed line by line (`policies: {chat: …}` in braces) is refused and named.
//! Whether the result is a good configuration is for [`parse_as`](super::parse_as) to say.

mod render;
mod spots;

use std::collections::BTreeSet;
use std::ops::Range;

use self::render::{entry, list, name as rendered_name};
use self::spots::{Kind, Spot};
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
    /// There is no such policy.
    #[error("there is no policy of this name")]
    NoPolicy,
    /// There is no such operation.
    #[error("there is no operation {0}")]
    NoOperation(OperationName),
}

/// An operation by its method and path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OperationName {
    /// The method, in capitals.
    pub method: String,
    /// The path, as configured.
    pub path: String,
}

impl std::fmt::Display for OperationName {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} {}", self.method, self.path)
    }
}

/// The text of a policy, without the indentation that it has in the file; `None`: there is none.
///
/// # Errors
/// That the file is no YAML.
pub fn policy_text(text: &str, name: &str) -> Result<Option<String>, EditError> {
    let root = spots(text)?;
    let policy = root
        .field("policies")
        .and_then(|policies| policies.entry(name));
    Ok(policy.map(|(key, value)| {
        if value.line == key.line {
            return text[value.start..value.end].to_owned();
        }
        let from = line_end(text, key.end);
        render::dedented(&text[from..line_end(text, value.end)])
    }))
}

/// The text with a policy put in, new or in the place of the one of that name. `body` is its YAML
/// (or JSON); `operations` those that it shall be attached to, `None`: they stay as they are.
///
/// # Errors
/// Why it can't be put there.
pub fn put_policy(
    text: &str,
    name: &str,
    body: &str,
    operations: Option<&BTreeSet<OperationName>>,
) -> Result<String, EditError> {
    let body_tree = yaml::parse(body).map_err(EditError::Policy)?;
    let root = spots(text)?;
    let mut edits = vec![put(text, &root, name, body)?];
    if let Some(operations) = operations {
        attach(text, &root, name, operations, &mut edits)?;
    }
    let after = applied(text, edits);
    check(text, &after, name, Some(&body_tree))?;
    Ok(after)
}

/// The text without a policy, and without its name in the operations.
///
/// # Errors
/// That there is none, or why it can't be taken out.
pub fn delete_policy(text: &str, name: &str) -> Result<String, EditError> {
    let root = spots(text)?;
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
    check(text, &after, name, None)?;
    Ok(after)
}

type Edit = (Range<usize>, String);

fn spots(text: &str) -> Result<Spot, EditError> {
    // What is refused there (several documents, merge keys) need not be thought of here.
    yaml::parse(text).map_err(EditError::File)?;
    let root = spots::read(text).map_err(EditError::File)?;
    block(&root, "the whole file stands in braces")?;
    Ok(root)
}

fn block(spot: &Spot, what: &'static str) -> Result<(), EditError> {
    if spot.flow {
        return Err(EditError::Layout {
            line: spot.line,
            what,
        });
    }
    Ok(())
}

fn put(text: &str, root: &Spot, name: &str, body: &str) -> Result<Edit, EditError> {
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
    root: &Spot,
    name: &str,
    wanted: &BTreeSet<OperationName>,
    edits: &mut Vec<Edit>,
) -> Result<(), EditError> {
    let mut missing = wanted.clone();
    let items = match root.field("operations").map(|operations| &operations.kind) {
        Some(Kind::List(items)) => items.as_slice(),
        _ => &[],
    };
    for operation in items {
        let text_of = |field| operation.field(field).and_then(Spot::text);
        let Some(path) = text_of("path") else {
            continue;
        };
        let method = text_of("method").unwrap_or("POST");
        let place = OperationName {
            method: method.to_owned(),
            path: path.to_owned(),
        };
        let wants = missing.remove(&place) || wanted.contains(&place);
        edits.extend(attach_one(text, operation, name, wants)?);
    }
    match missing.pop_first() {
        Some(operation) => Err(EditError::NoOperation(operation)),
        None => Ok(()),
    }
}

fn attach_one(
    text: &str,
    operation: &Spot,
    name: &str,
    wants: bool,
) -> Result<Option<Edit>, EditError> {
    let policies = operation.entry("policies");
    let items = match policies.map(|(_, list)| &list.kind) {
        Some(Kind::List(items)) => items.as_slice(),
        Some(Kind::Alias) => {
            return Err(EditError::Layout {
                line: operation.line,
                what: "the operation's policies are an alias",
            });
        }
        _ => &[],
    };
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
    list_spot: &Spot,
    first: &Spot,
    name: &str,
    wants: bool,
    key: &Spot,
    items: &[Spot],
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
fn check(before: &str, after: &str, name: &str, body: Option<&Node<'_>>) -> Result<(), EditError> {
    let changed = EditError::Layout {
        line: 1,
        what: "the change would alter other parts of the file",
    };
    let new = yaml::parse(after).map_err(|_| EditError::Layout {
        line: 1,
        what: "the policy does not fit into the layout of the file",
    })?;
    let old = yaml::parse(before).map_err(EditError::File)?;
    let mut told = [String::new(), String::new()];
    for (text, node) in told.iter_mut().zip([&old, &new]) {
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
