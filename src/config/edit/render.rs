//! How what is put into a file is written.

use std::fmt::Write as _;

use super::spots::{self, Kind, Spot};

/// A policy under its name, indented by `column`. What was written on lines of its own stays as it
/// was written, with its comments; JSON, and YAML in braces, is written on lines.
pub(super) fn entry(name: &str, body: &str, column: usize) -> String {
    let mut text = format!("{:column$}{}:\n", "", self::name(name));
    let tree = spots::read(body);
    if tree.flow {
        fields(body, &tree, column + 2, &mut text);
        return text;
    }
    for line in dedented(body).lines() {
        let indent = if line.is_empty() { 0 } else { column + 2 };
        let _ = writeln!(text, "{:indent$}{line}", "");
    }
    text
}

/// Names on one line.
pub(super) fn list(names: &[&str]) -> String {
    let names: Vec<_> = names.iter().map(|other| name(other)).collect();
    format!("[{}]", names.join(", "))
}

/// A text as a scalar that nothing else can be read into.
pub(super) fn name(text: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
    let words = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let is_word = words.contains(&&*text.to_lowercase());
    let letter = text.as_bytes().first().is_some_and(u8::is_ascii_alphabetic);
    if letter && !is_word && text.bytes().all(bare) {
        text.to_owned()
    } else {
        serde_json::Value::from(text).to_string()
    }
}

/// A text without the indentation that all its lines share, and without empty lines around it.
pub(super) fn dedented(text: &str) -> String {
    let lines = || text.lines().filter(|line| !line.trim().is_empty());
    let indent = |line: &str| line.len() - line.trim_start_matches(' ').len();
    let shared = lines().map(indent).min().unwrap_or_default();
    let mut dedented = String::new();
    for line in text.trim_end().lines() {
        if dedented.is_empty() && line.trim().is_empty() {
            continue;
        }
        let _ = writeln!(dedented, "{}", line.get(shared..).unwrap_or_default());
    }
    dedented
}

/// The fields of a map, one a line.
fn fields(text: &str, map: &Spot<'_>, indent: usize, to: &mut String) {
    let Kind::Map(entries) = &map.kind else {
        return;
    };
    for (key, value) in entries {
        to.push_str(&field(text, (key, value), indent));
    }
}

/// A field, on a line or more.
pub(super) fn field(text: &str, (key, value): (&Spot<'_>, &Spot<'_>), indent: usize) -> String {
    let mut to = format!("{:indent$}{}:", "", scalar(text, key));
    match &value.kind {
        _ if fits_a_line(value) => {
            let _ = writeln!(to, " {}", inline(text, value));
        }
        Kind::List(items) => {
            to.push('\n');
            for item in items {
                let _ = writeln!(to, "{:indent$}  - {}", "", inline(text, item));
            }
        }
        _ => {
            to.push('\n');
            fields(text, value, indent + 2, &mut to);
        }
    }
    to
}

/// Whether a value is short enough for the line of its name.
pub(super) fn fits_a_line(value: &Spot<'_>) -> bool {
    match &value.kind {
        Kind::Map(inner) => {
            let simple = inner.iter().all(|(_, value)| is_scalar(value));
            simple && (inner.len() <= 1 || is_short(value))
        }
        Kind::List(items) => items.iter().all(|item| item.text().is_some()),
        Kind::Scalar { .. } | Kind::Alias => true,
    }
}

const fn is_scalar(spot: &Spot<'_>) -> bool {
    matches!(spot.kind, Kind::Scalar { .. })
}

/// A map of a few single values: a target.
fn is_short(spot: &Spot<'_>) -> bool {
    let Kind::Map(entries) = &spot.kind else {
        return false;
    };
    entries.len() <= 4 && entries.iter().all(|(_, value)| is_scalar(value))
}

/// A value on one line.
pub(super) fn inline(text: &str, spot: &Spot<'_>) -> String {
    match &spot.kind {
        Kind::Scalar { .. } | Kind::Alias => scalar(text, spot),
        Kind::List(items) => {
            let items: Vec<_> = items.iter().map(|item| inline(text, item)).collect();
            format!("[{}]", items.join(", "))
        }
        Kind::Map(entries) => {
            let field = |(key, value): &(Spot<'_>, Spot<'_>)| {
                format!("{}: {}", scalar(text, key), inline(text, value))
            };
            let entries: Vec<_> = entries.iter().map(field).collect();
            format!("{{{}}}", entries.join(", "))
        }
    }
}

/// A single value: in quotes where it was and needs them.
fn scalar(source: &str, spot: &Spot<'_>) -> String {
    match &spot.kind {
        Kind::Scalar { text, plain: false } => name(text),
        Kind::Scalar { plain: true, .. } | Kind::Alias => source[spot.start..spot.end].to_owned(),
        _ => String::new(),
    }
}
