//! A caller's key, put into `keys` and taken from there.

use super::render::name as rendered_name;
use super::spots::{Kind, Spot};
use super::{EditError, applied, block, field, line_end, line_start, on_new_line, spots, tell};
use crate::config::yaml::{self, Node, Value};
use crate::policy::Environment;

/// A key by what it stands under: one name has one key in each environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyName {
    /// Who holds it.
    pub name: String,
    /// Where its calls belong.
    pub environment: Environment,
}

/// The text with one more key, of this SHA-256.
///
/// # Errors
/// Why it can't be put there.
pub fn add_key(text: &str, key: &KeyName, sha256: &str) -> Result<String, EditError> {
    let (_, root) = spots(text)?;
    let entry = format!(
        "- {{name: {}, environment: {}, sha256: {sha256}}}\n",
        rendered_name(&key.name),
        key.environment,
    );
    let edit = match root.entry("keys") {
        None => {
            let new = on_new_line(text, text.len(), &format!("keys:\n  {entry}"));
            (text.len()..text.len(), new)
        }
        Some((_, keys)) => match items(keys) {
            [] if !matches!(keys.kind, Kind::Map(_) | Kind::Alias) => {
                let (name, _) = root.entry("keys").unwrap_or((keys, keys));
                let region = name.end..line_end(text, keys.end.max(name.end));
                (region, format!(":\n  {entry}"))
            }
            [first, ..] => {
                block(keys, "the keys stand in brackets")?;
                let lead = &text[line_start(text, first.start)..first.start];
                let indent = lead.len() - lead.trim_start().len();
                let at = line_end(text, keys.end);
                let line = format!("{:indent$}{entry}", "");
                (at..at, on_new_line(text, at, &line))
            }
            [] => {
                return Err(EditError::Layout {
                    line: keys.line,
                    what: "the keys are no list",
                });
            }
        },
    };
    let after = applied(text, vec![edit]);
    check(text, &after, 1)?;
    Ok(after)
}

/// The text without a key.
///
/// # Errors
/// That there is none, or why it can't be taken out.
pub fn remove_key(text: &str, key: &KeyName) -> Result<String, EditError> {
    let (_, root) = spots(text)?;
    let (name, keys) = root.entry("keys").ok_or(EditError::NoKey)?;
    let is = |item: &&Spot<'_>| {
        let text_of = |field| item.field(field).and_then(Spot::text);
        text_of("name") == Some(&*key.name)
            && text_of("environment") == Some(key.environment.name())
    };
    let item = items(keys).iter().find(is).ok_or(EditError::NoKey)?;
    block(keys, "the keys stand in brackets")?;
    let edit = if items(keys).len() == 1 {
        (name.end..line_end(text, keys.end), ": []\n".to_owned())
    } else {
        let region = line_start(text, item.start)..line_end(text, item.end);
        (region, String::new())
    };
    let after = applied(text, vec![edit]);
    check(text, &after, -1)?;
    Ok(after)
}

fn items<'s, 't>(keys: &'s Spot<'t>) -> &'s [Spot<'t>] {
    match &keys.kind {
        Kind::List(items) => items,
        _ => &[],
    }
}

/// Reads the result again: the keys are as many more as they should be, all others are as they
/// were, and nothing else has changed.
fn check(before: &str, after: &str, more: isize) -> Result<(), EditError> {
    let changed = |_| EditError::Layout {
        line: 1,
        what: "the change would alter other parts of the file",
    };
    let (old, new) = (
        yaml::parse(before).map_err(EditError::File)?,
        yaml::parse(after).map_err(|_| changed(()))?,
    );
    let (mut old_keys, mut new_keys) = (keys(&old), keys(&new));
    let expected = old_keys.len().checked_add_signed(more);
    let (fewer, all) = if more > 0 {
        (&mut old_keys, &new_keys)
    } else {
        (&mut new_keys, &old_keys)
    };
    fewer.retain(|key| !all.contains(key));
    let alike = fewer.is_empty() && Some(keys(&new).len()) == expected;
    if alike && others(&old) == others(&new) {
        Ok(())
    } else {
        Err(changed(()))
    }
}

fn keys(root: &Node<'_>) -> Vec<String> {
    let Some(Value::List(items)) = field(root, "keys").map(|node| &node.value) else {
        return Vec::new();
    };
    items.iter().map(told).collect()
}

fn others(root: &Node<'_>) -> String {
    let mut text = String::new();
    if let Value::Map(fields) = &root.value {
        for (key, node) in fields.iter().filter(|(key, _)| key.name != "keys") {
            text.push_str(&key.name);
            tell(node, &mut text);
        }
    }
    text
}

fn told(node: &Node<'_>) -> String {
    let mut text = String::new();
    tell(node, &mut text);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str, environment: Environment) -> KeyName {
        KeyName {
            name: name.to_owned(),
            environment,
        }
    }

    fn web() -> KeyName {
        key("web", Environment::Sandbox)
    }

    #[test]
    fn a_key_is_added_where_the_others_stand() {
        let line = "{name: web, environment: sandbox, sha256: ab}";
        for (before, after) in [
            ("a: 1\n", format!("a: 1\nkeys:\n  - {line}\n")),
            ("a: 1", format!("a: 1\nkeys:\n  - {line}\n")),
            ("keys:\na: 1\n", format!("keys:\n  - {line}\na: 1\n")),
            ("keys: []\na: 1\n", format!("keys:\n  - {line}\na: 1\n")),
            (
                "keys:   # who may call\n- {name: x}   # the first\n# of a\na: 1\n",
                format!(
                    "keys:   # who may call\n- {{name: x}}   # the first\n- {line}\n# of a\na: 1\n"
                ),
            ),
            (
                "keys:\n    - name: x\n      sha256: cd\n",
                format!("keys:\n    - name: x\n      sha256: cd\n    - {line}\n"),
            ),
        ] {
            assert_eq!(add_key(before, &web(), "ab").unwrap(), after, "{before}");
        }
    }

    #[test]
    fn a_key_is_taken_out_and_nothing_else() {
        let sandbox = "  - {name: web, environment: sandbox, sha256: ab}\n";
        let production =
            "  - name: web   # the shop\n    environment: production\n    sha256: cd\n";
        let text = format!("keys:\n{sandbox}{production}a: 1\n");
        let without = |key: &KeyName| remove_key(&text, key).unwrap();
        assert_eq!(without(&web()), format!("keys:\n{production}a: 1\n"));
        let shop = key("web", Environment::Production);
        assert_eq!(without(&shop), format!("keys:\n{sandbox}a: 1\n"));
        let last = format!("keys:\n{sandbox}a: 1\n");
        assert_eq!(remove_key(&last, &web()).unwrap(), "keys: []\na: 1\n");
        for nothing in ["a: 1\n", &last] {
            assert_eq!(remove_key(nothing, &shop), Err(EditError::NoKey));
        }
    }

    #[test]
    fn a_name_can_be_nothing_but_a_name() {
        for name in ["a: b", "}, x: {", "\n- y", "null", "\"", "#"] {
            let text = "keys:\n  - {name: x, environment: sandbox, sha256: cd}\n";
            let key = key(name, Environment::Production);
            let added = add_key(text, &key, "ab").unwrap();
            assert_eq!(remove_key(&added, &key).unwrap(), text, "{name}");
        }
    }

    #[test]
    fn keys_in_brackets_are_left_alone() {
        let text = "keys: [{name: web, environment: sandbox, sha256: ab}]\n";
        for done in [add_key(text, &web(), "cd"), remove_key(text, &web())] {
            assert!(
                matches!(done, Err(EditError::Layout { line: 1, .. })),
                "{done:?}"
            );
        }
    }
}
