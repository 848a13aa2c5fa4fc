//! A policy as it is written, for whoever shows its fields and writes them again.

use std::fmt;

use super::super::yaml::{Key, Node, Value};
use super::{EditError, OperationName, operations, policy_of, render, spots, yaml};
use crate::config::units::parse_duration;

/// What stands in a field, whatever it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// Nothing.
    Nothing,
    /// A text, a number, a truth value.
    Text(String),
    /// In its order.
    List(Vec<Self>),
    /// Names and what stands under them, in their order.
    Fields(Vec<(String, Self)>),
}

/// The fields of a policy; `None`: there is none of this name.
///
/// # Errors
/// That the file is no YAML.
pub fn policy_fields(text: &str, name: &str) -> Result<Option<Written>, EditError> {
    let root = yaml::parse(text).map_err(EditError::File)?;
    Ok(policy_of(&root, name).map(Written::from))
}

/// The fields of a policy that stands alone.
///
/// # Errors
/// That it is no YAML.
pub fn fields_of(policy: &str) -> Result<Written, EditError> {
    let node = yaml::parse(policy).map_err(EditError::Policy)?;
    Ok(Written::from(&node))
}

/// What the items of `operations` of a file are called, in its order.
///
/// # Errors
/// That the file is no YAML.
pub fn operation_names(text: &str) -> Result<Vec<OperationName>, EditError> {
    let (_, root) = spots(text)?;
    let names = operations(&root).iter().filter_map(OperationName::of);
    Ok(names.collect())
}

impl Written {
    /// What stands under a name.
    pub fn get(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Fields(fields) => Some(&fields.iter().find(|(other, _)| other == name)?.1),
            _ => None,
        }
    }

    /// A text.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl From<&Node<'_>> for Written {
    fn from(node: &Node<'_>) -> Self {
        match &node.value {
            Value::Null => Self::Nothing,
            Value::Scalar { text, .. } => Self::Text(text.to_string()),
            Value::List(items) => Self::List(items.iter().map(Self::from).collect()),
            Value::Map(fields) => {
                let field = |(key, node): &(Key<'_>, _)| (key.name.to_string(), Self::from(node));
                Self::Fields(fields.iter().map(field).collect())
            }
        }
    }
}

/// As YAML on one line, which [`put_policy`](super::put_policy) spreads over several.
impl fmt::Display for Written {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let joined = |parts: Vec<String>| parts.join(", ");
        match self {
            Self::Nothing => formatter.write_str("null"),
            Self::Text(text) if text == "true" || parse_duration(text).is_some() => {
                formatter.write_str(text)
            }
            Self::Text(text) => formatter.write_str(&render::name(text)),
            Self::List(items) => {
                let items = items.iter().map(ToString::to_string).collect();
                write!(formatter, "[{}]", joined(items))
            }
            Self::Fields(fields) => {
                let field =
                    |(name, value): &(String, Self)| format!("{}: {value}", render::name(name));
                write!(
                    formatter,
                    "{{{}}}",
                    joined(fields.iter().map(field).collect())
                )
            }
        }
    }
}
