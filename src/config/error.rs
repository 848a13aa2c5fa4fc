//! What is wrong with a configuration: all of it together, each with its place and the remedy.

use std::cell::RefCell;
use std::fmt;

/// One mistake in a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Where in the configuration: `policies.chat.production.fallbacks[1].endpoint`, lists counted
    /// from 0. Empty where the whole file is meant.
    pub path: String,
    /// On which line of the file, counted from 1; 0 where the file could not be read at all.
    pub line: usize,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(formatter, "line {}: ", self.line)?;
        }
        if !self.path.is_empty() {
            write!(formatter, "{}: ", self.path)?;
        }
        formatter.write_str(&self.message)
    }
}

/// All mistakes of a configuration, in the order of its lines; at least one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl From<ConfigError> for ConfigErrors {
    fn from(error: ConfigError) -> Self {
        Self(vec![error])
    }
}

/// Past so many errors no more remedies are looked for: the search takes time for each of them.
const REMEDIES: usize = 100;

/// Among more names than this none is looked for that may have been meant.
const CANDIDATES: usize = 1_000;

/// What has been found so far. Everybody who reads has it at hand, through a
/// [`Place`](super::place::Place).
#[derive(Debug, Default)]
pub(super) struct Report {
    errors: RefCell<Vec<ConfigError>>,
    warnings: RefCell<Vec<ConfigError>>,
}

impl Report {
    /// Notes a mistake. Nothing is configured while there is one.
    pub(super) fn error(&self, path: String, line: usize, message: String) {
        let error = ConfigError {
            path,
            line,
            message,
        };
        self.errors.borrow_mut().push(error);
    }

    /// Notes what is allowed and probably not meant.
    pub(super) fn warning(&self, path: String, line: usize, message: String) {
        let warning = ConfigError {
            path,
            line,
            message,
        };
        self.warnings.borrow_mut().push(warning);
    }

    /// What may have been meant by `word`, as the end of a message.
    pub(super) fn remedy(&self, word: &str, plural: &str, names: &[&str]) -> String {
        let meant = (self.errors.borrow().len() < REMEDIES)
            .then(|| closest(word, names))
            .flatten();
        match meant {
            Some(name) => format!("did you mean `{name}`?"),
            None => listed(plural, names),
        }
    }

    /// The errors in the order of the file.
    pub(super) fn into_errors(self) -> ConfigErrors {
        let mut errors = self.errors.into_inner();
        errors.sort_by_key(|error| error.line);
        ConfigErrors(errors)
    }

    /// The warnings in the order of the file.
    ///
    /// # Errors
    /// If there is an error.
    pub(super) fn finish(self) -> Result<Vec<String>, ConfigErrors> {
        if !self.errors.borrow().is_empty() {
            return Err(self.into_errors());
        }
        let mut warnings = self.warnings.into_inner();
        warnings.sort_by_key(|warning| warning.line);
        Ok(warnings.iter().map(ToString::to_string).collect())
    }
}

/// The name that differs least from `word`, if it is close enough to be a slip.
fn closest<'a>(word: &str, names: &[&'a str]) -> Option<&'a str> {
    let length = word.chars().count();
    if names.len() > CANDIDATES || length > 100 {
        return None;
    }
    let lower = word.to_lowercase();
    names
        .iter()
        .map(|name| {
            (
                strsim::damerau_levenshtein(&lower, &name.to_lowercase()),
                *name,
            )
        })
        .filter(|(distance, _)| *distance <= (length / 3).max(1))
        .min()
        .map(|(_, name)| name)
}

fn listed(plural: &str, names: &[&str]) -> String {
    const SHOWN: usize = 20;
    if names.is_empty() {
        return format!("there are no {plural}");
    }
    let shown = names[..names.len().min(SHOWN)].join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => format!("{plural} are: {shown}"),
        more => format!("{plural} are: {shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_told_from_another_word() {
        let names = ["request_timeout", "retries", "match", "openai"];
        for (word, meant) in [
            ("requst_timeout", Some("request_timeout")),
            ("request-timeout", Some("request_timeout")),
            ("Retries", Some("retries")),
            ("opanai", Some("openai")),
            ("mtach", Some("match")),
            ("mistral", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(closest(word, &names), meant, "{word}");
        }
    }

    #[test]
    fn where_no_name_is_close_all_are_told() {
        let report = Report::default();
        assert_eq!(
            report.remedy("x", "endpoints", &["openai", "mistral"]),
            "endpoints are: openai, mistral"
        );
        assert_eq!(
            report.remedy("x", "endpoints", &[]),
            "there are no endpoints"
        );
        let many: Vec<_> = (0..23).map(|number| format!("endpoint-{number}")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        assert!(
            report
                .remedy("x", "endpoints", &many)
                .ends_with("endpoint-19 and 3 more")
        );
    }

    #[test]
    fn an_error_reads_as_one_line() {
        let error = ConfigError {
            path: "policies.chat".into(),
            line: 7,
            message: "is wrong".into(),
        };
        let unread = ConfigError {
            path: String::new(),
            line: 0,
            message: "can't be read".into(),
        };
        assert_eq!(
            ConfigErrors(vec![error, unread]).to_string(),
            "line 7: policies.chat: is wrong\ncan't be read"
        );
    }
}
