//! A policy as it stands in its form: what the file says, or what somebody has typed so far.
//!
//! ```text
//! the file ── Written ──┐                          ┌── the page, again
//!                       ├── Form ── act (add, …) ──┤
//! what was sent ────────┘                          └── Written ── an edit of the file
//! ```
//!
//! Nothing is judged here: what is wrong is for the resolver of the configuration to say, by the
//! path of the field.

use std::collections::BTreeSet;

use super::super::sent::Sent;
use super::inputs::{ADVANCED, Input, MATCH, TIMES};
use crate::config::edit::{OperationName, Written};
use crate::policy::Environment;

/// A policy that is being written.
pub(super) struct Form {
    pub(super) name: String,
    pub(super) body: Body,
    /// Where it is attached: the names of the operations that are chosen.
    pub(super) attached: BTreeSet<String>,
}

/// How it is written.
pub(super) enum Body {
    /// In the inputs of the form.
    Inputs(Box<Inputs>),
    /// As its text in the file.
    Yaml(String),
}

/// What stands in the inputs.
pub(super) struct Inputs {
    pub(super) matches: Input,
    pub(super) sections: Vec<Section>,
    pub(super) times: Vec<Input>,
    pub(super) advanced: Vec<Input>,
    /// The word of the file, where it says one.
    kind: Option<String>,
}

/// Production or sandbox.
pub(super) struct Section {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    /// Whether it is part of the policy.
    pub(super) on: bool,
    pub(super) target: Row,
    pub(super) fallbacks: Vec<Row>,
}

/// A target.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    pub(super) model: String,
    pub(super) endpoint: String,
    pub(super) prefill: String,
}

/// Something done to the fallbacks of a section.
#[derive(Debug, PartialEq, Eq)]
enum Act {
    Add,
    Delete(usize),
    Move(usize, usize),
    /// It stands there already.
    Moved(usize),
}

/// What to tell about it, and where to go on.
pub(super) struct Done {
    pub(super) said: String,
    pub(super) focus: String,
}

impl Form {
    /// An empty one: production is on.
    pub(super) fn new(attached: BTreeSet<String>) -> Self {
        Self {
            name: String::new(),
            body: Body::Inputs(Box::new(Inputs::of(&Written::Nothing))),
            attached,
        }
    }

    /// With what was sent.
    pub(super) fn sent(sent: &Sent) -> Self {
        let field = |name: &str| sent.first(name).map(str::to_owned);
        let body = match field("yaml") {
            Some(yaml) => Body::Yaml(yaml.replace("\r\n", "\n")),
            None => Body::Inputs(Box::new(Inputs::sent(sent))),
        };
        Self {
            name: field("name").unwrap_or_default().trim().to_owned(),
            body,
            attached: sent.all("operations").map(str::to_owned).collect(),
        }
    }

    /// The policy for the file: its fields, or its text.
    pub(super) fn text(&self) -> String {
        match &self.body {
            Body::Inputs(inputs) => inputs.written().to_string(),
            Body::Yaml(text) => text.clone(),
        }
    }

    /// The operations that it shall be attached to.
    pub(super) fn operations(&self, known: &[OperationName]) -> BTreeSet<OperationName> {
        let chosen = known
            .iter()
            .filter(|name| self.attached.contains(&name.to_string()));
        chosen.cloned().collect()
    }

    /// Does what a button of a section asks for: `production.add`, `sandbox.delete.0`,
    /// `production.up.1`, `production.down.0`; or tells that a fallback was dragged: `production.moved.1`, to its place.
    /// `None`: it is no such button.
    pub(super) fn act(&mut self, asked: &str) -> Option<Done> {
        let Body::Inputs(inputs) = &mut self.body else {
            return None;
        };
        let (name, asked) = asked.split_once('.')?;
        let mut sections = inputs.sections.iter_mut();
        let section = sections.find(|section| section.name == name)?;
        section.act(&act(asked)?)
    }
}

fn act(asked: &str) -> Option<Act> {
    let mut words = asked.split('.');
    let word = words.next()?;
    let mut number = || words.next().and_then(|number| number.parse().ok());
    Some(match word {
        "add" => Act::Add,
        "delete" => Act::Delete(number()?),
        "up" => {
            let from: usize = number()?;
            Act::Move(from, from.checked_sub(1)?)
        }
        "down" => {
            let from: usize = number()?;
            Act::Move(from, from + 1)
        }
        "moved" => Act::Moved(number()?),
        _ => return None,
    })
}

impl Section {
    fn act(&mut self, act: &Act) -> Option<Done> {
        let (name, count) = (self.name, self.fallbacks.len());
        match *act {
            Act::Add => {
                self.fallbacks.push(Row::default());
                Some(Done {
                    said: format!("Fallback {} of {} was added", count + 1, self.title),
                    focus: id(&format!("{name}.fallbacks[{count}].model")),
                })
            }
            Act::Delete(index) if index < count => {
                let gone = self.fallbacks.remove(index);
                let next = match count - 1 {
                    0 => id(&format!("{name}.add")),
                    left => id(&format!("{name}.fallbacks[{}].delete", index.min(left - 1))),
                };
                Some(Done {
                    said: format!("Fallback {} {} was deleted", index + 1, gone.model),
                    focus: next,
                })
            }
            Act::Moved(at) if at < count => Some(Done {
                said: format!(
                    "{} is fallback {} of {count} now",
                    self.fallbacks[at].model,
                    at + 1
                ),
                focus: id(&format!("{name}.fallbacks[{at}].model")),
            }),
            Act::Move(from, to) if from < count && to < count => {
                let row = self.fallbacks.remove(from);
                let said = format!("{} is fallback {} of {count} now", row.model, to + 1);
                self.fallbacks.insert(to, row);
                let way = if to == 0 || (to > from && to + 1 < count) {
                    "down"
                } else {
                    "up"
                };
                Some(Done {
                    said,
                    focus: id(&format!("{name}.fallbacks[{to}].{way}")),
                })
            }
            _ => None,
        }
    }

    fn of(environment: Environment, policy: &Written) -> Self {
        let written = policy.get(environment.name());
        let fallbacks = match written.and_then(|chain| chain.get("fallbacks")) {
            Some(Written::List(items)) => items.iter().map(Row::of).collect(),
            _ => Vec::new(),
        };
        let target = written.and_then(|chain| chain.get("target"));
        Self {
            on: match policy {
                Written::Nothing => environment == Environment::Production,
                _ => written.is_some(),
            },
            target: target.map(Row::of).unwrap_or_default(),
            fallbacks,
            ..Self::empty(environment)
        }
    }

    fn sent(environment: Environment, sent: &Sent) -> Self {
        let name = environment.name();
        let rows = |part: &str| {
            let column = |field: &str| {
                sent.all(&format!("{name}.{part}.{field}"))
                    .map(str::to_owned)
            };
            let columns = column("model").zip(column("endpoint"));
            let mut prefills = sent
                .all(&format!("{name}.{part}.prefill"))
                .map(str::to_owned);
            let row = |(model, endpoint): (String, String)| Row {
                model: model.trim().to_owned(),
                endpoint,
                prefill: prefills.next().unwrap_or_default(),
            };
            columns.map(row).collect::<Vec<_>>()
        };
        Self {
            on: sent.first(&format!("{name}.on")).is_some(),
            target: rows("target").into_iter().next().unwrap_or_default(),
            fallbacks: rows("fallbacks"),
            ..Self::empty(environment)
        }
    }

    fn empty(environment: Environment) -> Self {
        let title = match environment {
            Environment::Production => "Production",
            Environment::Sandbox => "Sandbox",
        };
        Self {
            name: environment.name(),
            title,
            on: false,
            target: Row::default(),
            fallbacks: Vec::new(),
        }
    }

    fn written(&self) -> Written {
        let fallbacks = self.fallbacks.iter().map(Row::written).collect();
        Written::Fields(vec![
            ("target".to_owned(), self.target.written()),
            ("fallbacks".to_owned(), Written::List(fallbacks)),
        ])
    }
}

impl Row {
    fn of(written: &Written) -> Self {
        let text = |name| {
            written
                .get(name)
                .and_then(Written::text)
                .unwrap_or_default()
        };
        Self {
            model: text("model").to_owned(),
            endpoint: text("endpoint").to_owned(),
            prefill: text("prefill").to_owned(),
        }
    }

    fn written(&self) -> Written {
        let fields = [
            ("model", &self.model),
            ("endpoint", &self.endpoint),
            ("prefill", &self.prefill),
        ];
        let typed = fields.into_iter().filter(|(_, text)| !text.is_empty());
        let field = |(name, text): (&str, &String)| (name.to_owned(), Written::Text(text.clone()));
        Written::Fields(typed.map(field).collect())
    }
}

impl Inputs {
    /// With what a policy has.
    pub(super) fn of(policy: &Written) -> Self {
        let inputs =
            |known: &'static [_]| known.iter().map(|known| Input::of(known, policy)).collect();
        let section = |environment| Section::of(environment, policy);
        Self {
            matches: Input::of(&MATCH, policy),
            sections: Environment::ALL.into_iter().map(section).collect(),
            times: inputs(&TIMES),
            advanced: inputs(&ADVANCED),
            kind: match policy {
                Written::Nothing => Some("failover".to_owned()),
                _ => policy
                    .get("type")
                    .and_then(Written::text)
                    .map(str::to_owned),
            },
        }
    }

    /// With what a policy has, if there is an input for everything in it.
    pub(super) fn of_all(policy: &Written) -> Option<Self> {
        let inputs = Self::of(policy);
        let is_failover = inputs.kind.as_deref().is_none_or(|kind| kind == "failover");
        (is_failover && is_shown(policy)).then_some(inputs)
    }

    fn sent(sent: &Sent) -> Self {
        let field = |name: &str| sent.first(name).map(str::to_owned);
        let inputs = |known: &'static [_]| {
            known
                .iter()
                .map(|known| Input::typed(known, field))
                .collect()
        };
        let section = |environment| Section::sent(environment, sent);
        Self {
            matches: Input::typed(&MATCH, field),
            sections: Environment::ALL.into_iter().map(section).collect(),
            times: inputs(&TIMES),
            advanced: inputs(&ADVANCED),
            kind: field("type").filter(|kind| !kind.is_empty()),
        }
    }

    /// The word of the file for what kind of policy it is, where it says one.
    pub(super) fn kind(&self) -> &str {
        self.kind.as_deref().unwrap_or_default()
    }

    /// Whether something is typed in the advanced part, so that it should be seen.
    pub(super) fn has_advanced(&self) -> bool {
        let of_prefill = |row: &Row| !row.prefill.is_empty();
        let mut sections = self.sections.iter();
        self.advanced.iter().any(|input| input.written().is_some())
            || sections.any(|section| section.fallbacks.iter().any(of_prefill))
    }

    fn written(&self) -> Written {
        let mut policy = Vec::new();
        if let Some(kind) = &self.kind {
            policy.push(("type".to_owned(), Written::Text(kind.clone())));
        }
        put(&mut policy, &self.matches);
        for section in self.sections.iter().filter(|section| section.on) {
            policy.push((section.name.to_owned(), section.written()));
        }
        for input in self.times.iter().chain(&self.advanced) {
            put(&mut policy, input);
        }
        Written::Fields(policy)
    }
}

/// Puts what an input says under its path.
fn put(policy: &mut Vec<(String, Written)>, input: &Input) {
    let Some(written) = input.written() else {
        return;
    };
    let mut fields = policy;
    let mut steps = input.known.path.split('.').peekable();
    while let Some(step) = steps.next() {
        if steps.peek().is_none() {
            fields.push((step.to_owned(), written));
            return;
        }
        let place = fields.iter().position(|(name, _)| name == step);
        let place = place.unwrap_or_else(|| {
            fields.push((step.to_owned(), Written::Fields(Vec::new())));
            fields.len() - 1
        });
        let Written::Fields(inner) = &mut fields[place].1 else {
            return;
        };
        fields = inner;
    }
}

/// Whether the form has an input for everything that a policy says.
fn is_shown(policy: &Written) -> bool {
    let Written::Fields(fields) = policy else {
        return *policy == Written::Nothing;
    };
    let known = || [&MATCH].into_iter().chain(&TIMES).chain(&ADVANCED);
    fields.iter().all(|(name, value)| match name.as_str() {
        "type" => true,
        "production" | "sandbox" => is_chain(value),
        _ => leaves(name, value)
            .iter()
            .all(|path| known().any(|known| known.path == *path)),
    })
}

fn is_chain(written: &Written) -> bool {
    let Written::Fields(fields) = written else {
        return false;
    };
    let is_target = |target: &Written| match target {
        Written::Fields(fields) => fields.iter().all(|(name, value)| {
            ["model", "endpoint", "prefill"].contains(&&**name) && value.text().is_some()
        }),
        _ => false,
    };
    fields.iter().all(|(name, value)| match (&**name, value) {
        ("target", target) => is_target(target),
        ("fallbacks", Written::List(items)) => items.iter().all(is_target),
        ("fallbacks", Written::Nothing) => true,
        _ => false,
    })
}

/// The paths at which single values or lists stand.
fn leaves(path: &str, written: &Written) -> Vec<String> {
    match written {
        Written::Fields(fields) => {
            let inner = |(name, value): &(String, _)| leaves(&format!("{path}.{name}"), value);
            fields.iter().flat_map(inner).collect()
        }
        _ => vec![path.to_owned()],
    }
}

/// The id of the element for a path.
pub(super) fn id(path: &str) -> String {
    let words = path.split(|char: char| !char.is_ascii_alphanumeric());
    let words = words.filter(|word| !word.is_empty());
    words.fold("f".to_owned(), |id, word| id + "-" + word)
}
