//! Where in the configuration something stands: `policies.chat.production.fallbacks[1].endpoint`.

use std::fmt;

/// A path, kept as the steps of those who are reading: it costs nothing until it is shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'p> {
    parent: Option<&'p Place<'p>>,
    step: Step<'p>,
}

#[derive(Clone, Copy, Debug)]
enum Step<'p> {
    Root,
    Field(&'p str),
    Item(usize),
}

impl<'p> Place<'p> {
    pub(super) const ROOT: Place<'static> = Place {
        parent: None,
        step: Step::Root,
    };

    /// A field of what stands here.
    pub(super) const fn field(&'p self, name: &'p str) -> Self {
        Self {
            parent: Some(self),
            step: Step::Field(name),
        }
    }

    /// An item of the list that stands here, counted from 0.
    pub(super) const fn item(&'p self, index: usize) -> Self {
        Self {
            parent: Some(self),
            step: Step::Item(index),
        }
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(formatter)?;
        }
        match self.step {
            Step::Root => Ok(()),
            Step::Item(index) => write!(formatter, "[{index}]"),
            Step::Field(name) => {
                if self
                    .parent
                    .is_some_and(|parent| !matches!(parent.step, Step::Root))
                {
                    formatter.write_str(".")?;
                }
                let bare = |c: char| !c.is_control() && !c.is_whitespace();
                if !name.is_empty() && name.chars().all(bare) {
                    formatter.write_str(name)
                } else {
                    write!(formatter, "{name:?}")
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_read_as_a_path() {
        let root = Place::ROOT;
        let policies = root.field("policies");
        let chat = policies.field("gpt-4.1");
        let fallbacks = chat.field("fallbacks");
        let second = fallbacks.item(1);
        assert_eq!(root.to_string(), "");
        assert_eq!(
            second.field("endpoint").to_string(),
            "policies.gpt-4.1.fallbacks[1].endpoint"
        );
        assert_eq!(policies.field("a b").to_string(), "policies.\"a b\"");
        assert_eq!(policies.field("").to_string(), "policies.\"\"");
    }
}
