//! Where in the configuration something stands: `policies.chat.production.fallbacks[1].endpoint`,
//! and so the one to tell what is wrong there.

use std::fmt;

use super::error::Report;

/// A path, kept as the steps of those who are reading: it costs nothing until it is shown.
#[derive(Clone, Copy)]
pub(super) struct Place<'p> {
    report: &'p Report,
    parent: Option<&'p Place<'p>>,
    step: Step<'p>,
}

#[derive(Clone, Copy)]
enum Step<'p> {
    Root,
    Field(&'p str),
    Item(usize),
}

impl<'p> Place<'p> {
    /// The whole file; what is wrong anywhere in it goes to `report`.
    pub(super) const fn root(report: &'p Report) -> Self {
        Self {
            report,
            parent: None,
            step: Step::Root,
        }
    }

    /// A field of what stands here.
    pub(super) const fn field(&'p self, name: &'p str) -> Self {
        Self {
            report: self.report,
            parent: Some(self),
            step: Step::Field(name),
        }
    }

    /// An item of the list that stands here, counted from 0.
    pub(super) const fn item(&'p self, index: usize) -> Self {
        Self {
            report: self.report,
            parent: Some(self),
            step: Step::Item(index),
        }
    }

    /// Notes a mistake. Nothing is configured while there is one.
    pub(super) fn error(&self, line: usize, message: impl Into<String>) {
        self.report.error(self.to_string(), line, message.into());
    }

    /// Notes what is allowed and probably not meant.
    pub(super) fn warning(&self, line: usize, message: impl Into<String>) {
        self.report.warning(self.to_string(), line, message.into());
    }

    /// What may have been meant by `word`, as the end of a message.
    pub(super) fn remedy(&self, word: &str, plural: &str, names: &[&str]) -> String {
        self.report.remedy(word, plural, names)
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
        let report = Report::default();
        let root = Place::root(&report);
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
