//! The inputs of a policy's form beside its targets: each is a field of the configuration, named by its path.

use crate::config::edit::Written;

/// What can be typed into an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A number and a unit.
    Duration,
    /// A number.
    Number,
    /// Names or numbers, with commas between them.
    List,
    /// One of these words; the first is the default.
    Choice(&'static [(&'static str, &'static str)]),
}

/// An input, before anything is typed.
#[derive(Debug)]
pub(super) struct Known {
    /// The field's path in the policy, which is the input's name.
    pub(super) path: &'static str,
    pub(super) kind: Kind,
    pub(super) label: &'static str,
    pub(super) hint: &'static str,
    /// What holds where nothing is typed.
    pub(super) default: &'static str,
}

const fn known(
    path: &'static str,
    kind: Kind,
    label: &'static str,
    default: &'static str,
    hint: &'static str,
) -> Known {
    Known {
        path,
        kind,
        label,
        hint,
        default,
    }
}

/// Which names lead to the policy.
pub(super) static MATCH: Known = known(
    "match",
    Kind::List,
    "Models that lead here",
    "the target's model",
    "Names that callers send, with commas between them; gpt-4o-* is a pattern, * the last resort.",
);

/// Those of the original.
pub(super) static TIMES: [Known; 2] = [
    known(
        "request_timeout",
        Kind::Duration,
        "Request Timeout",
        "30",
        "Of one attempt. Past it the next model is asked.",
    ),
    known(
        "suspend_duration",
        Kind::Duration,
        "Suspend Duration",
        "0",
        "How long a failed model is left out at its endpoint. 0: nothing is remembered.",
    ),
];

/// The rest.
pub(super) static ADVANCED: [Known; 14] = [
    known(
        "overall_timeout",
        Kind::Duration,
        "Overall timeout",
        "none",
        "Of all attempts and waits of one request together.",
    ),
    known(
        "first_token_timeout",
        Kind::Duration,
        "First token timeout",
        "the request timeout",
        "Of a stream: until its first event with content.",
    ),
    known(
        "stream_idle_timeout",
        Kind::Duration,
        "Stream idle timeout",
        "the request timeout",
        "Of a stream: between two events.",
    ),
    known(
        "max_suspend_duration",
        Kind::Duration,
        "Longest suspension",
        "10 minutes",
        "Where a provider asks for longer than the suspend duration.",
    ),
    known(
        "retries",
        Kind::Number,
        "Retries",
        "0",
        "Further tries at the same target after a transient failure.",
    ),
    known(
        "retry_backoff.base",
        Kind::Duration,
        "First pause before a retry",
        "200 ms",
        "It doubles with each.",
    ),
    known(
        "retry_backoff.max",
        Kind::Duration,
        "Longest pause before a retry",
        "2 s",
        "",
    ),
    known(
        "max_retry_after",
        Kind::Duration,
        "Longest Retry-After to wait for",
        "0, or 5 s with retries",
        "A 429 or 503 that asks for at most this is waited out at the same target.",
    ),
    known(
        "failover_on.statuses.add",
        Kind::List,
        "Also fail over on these statuses",
        "none",
        "HTTP statuses, such as 422.",
    ),
    known(
        "failover_on.statuses.remove",
        Kind::List,
        "Don't fail over on these statuses",
        "none",
        "HTTP statuses, such as 404.",
    ),
    known(
        "failover_on.error_codes.add",
        Kind::List,
        "Also fail over on these error codes",
        "none",
        "As the provider's error body has them.",
    ),
    known(
        "failover_on.error_codes.remove",
        Kind::List,
        "Don't fail over on these error codes",
        "none",
        "As the provider's error body has them.",
    ),
    known(
        "stream_rescue",
        Kind::Choice(&[
            ("continue", "continue it at the next target"),
            ("off", "end it with an error"),
        ]),
        "A stream that breaks midway",
        "",
        "",
    ),
    known(
        "when_all_suspended",
        Kind::Choice(&[
            ("reject", "answer 503 with Retry-After"),
            ("try_soonest", "try the one that ends soonest"),
        ]),
        "When all targets are suspended",
        "",
        "",
    ),
];

/// The units of a duration, as they are written, and their words.
pub(super) const UNITS: [(&str, &str); 4] = [
    ("ms", "ms"),
    ("s", "seconds"),
    ("m", "minutes"),
    ("h", "hours"),
];

/// An input with what is typed in it.
#[derive(Debug)]
pub(super) struct Input {
    pub(super) known: &'static Known,
    pub(super) text: String,
    /// Of a duration; empty where the number stands alone, which means seconds.
    pub(super) unit: String,
}

impl Input {
    /// With what a policy has there.
    pub(super) fn of(known: &'static Known, policy: &Written) -> Self {
        let mut steps = known.path.split('.');
        let written = steps.try_fold(policy, |written, step| written.get(step));
        let text = match written {
            Some(Written::Text(text)) => text.clone(),
            Some(Written::List(items)) => {
                let items: Vec<_> = items.iter().filter_map(Written::text).collect();
                items.join(", ")
            }
            _ => String::new(),
        };
        let (text, unit) = match known.kind {
            Kind::Duration => split(&text),
            _ => (text.as_str(), ""),
        };
        Self {
            known,
            text: text.to_owned(),
            unit: unit.to_owned(),
        }
    }

    /// With what was typed.
    pub(super) fn typed(known: &'static Known, field: impl Fn(&str) -> Option<String>) -> Self {
        Self {
            text: field(known.path).unwrap_or_default(),
            unit: field(&format!("{}.unit", known.path)).unwrap_or_default(),
            known,
        }
    }

    /// What it says for the configuration; `None`: the default.
    pub(super) fn written(&self) -> Option<Written> {
        let text = self.text.trim();
        if text.is_empty() {
            return None;
        }
        let text = |text: &str| Some(Written::Text(text.to_owned()));
        match self.known.kind {
            Kind::Duration => {
                let typed = self.text.trim();
                let is_number = typed.bytes().all(|byte| byte.is_ascii_digit());
                text(&if is_number {
                    format!("{typed}{}", self.unit)
                } else {
                    typed.to_owned()
                })
            }
            Kind::Number => text(self.text.trim()),
            Kind::Choice(words) => {
                let is_default = words.first().is_some_and(|(word, _)| *word == self.text);
                if is_default { None } else { text(&self.text) }
            }
            Kind::List => {
                let items = self.text.split(',').map(str::trim);
                let items = items.filter(|item| !item.is_empty());
                Some(Written::List(items.filter_map(text).collect()))
            }
        }
    }

    /// Whether the word of a choice is none of its words.
    pub(super) fn is_strange(&self) -> bool {
        match self.known.kind {
            Kind::Choice(words) => {
                !self.text.is_empty() && words.iter().all(|(word, _)| *word != self.text)
            }
            _ => false,
        }
    }

    /// The unit that is chosen, and the word for it.
    pub(super) fn units(&self) -> Vec<(String, &'static str, bool)> {
        let alone = self.unit.is_empty() && !self.text.is_empty();
        let unit = |(unit, words): &(&str, &'static str)| match *unit {
            "s" if alone => (String::new(), *words, true),
            unit => {
                let default = if self.unit.is_empty() {
                    "s"
                } else {
                    &*self.unit
                };
                (unit.to_owned(), *words, unit == default)
            }
        };
        UNITS.iter().map(unit).collect()
    }
}

/// The number and the unit of a duration; what is none stays as it is.
fn split(text: &str) -> (&str, &str) {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let is_unit = unit.is_empty() || UNITS.iter().any(|(name, _)| *name == unit);
    if is_unit { (number, unit) } else { (text, "s") }
}
