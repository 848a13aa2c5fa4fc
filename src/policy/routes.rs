//! Which policy a model name leads to.

use foldhash::{HashMap, HashMapExt as _};

use super::PolicyId;
use super::pattern_index::PatternIndex;

/// The policies of one operation in one environment, by the model name that callers send:
/// the exact name, then the longest matching pattern.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    /// What is in it the configuration says, not a caller: so its hash needs no guard against names that are
    /// made to collide.
    exact: HashMap<Box<str>, PolicyId>,
    /// Longest first.
    patterns: Vec<(Pattern, PolicyId)>,
    index: PatternIndex,
}

impl Routes {
    /// Collects routes. Where two have the same name or pattern the first is kept: the resolver
    /// refuses such a configuration before it comes here.
    pub fn new(
        exact: impl IntoIterator<Item = (Box<str>, PolicyId)>,
        patterns: impl IntoIterator<Item = (Pattern, PolicyId)>,
    ) -> Self {
        let mut names = HashMap::new();
        for (name, policy) in exact {
            names.entry(name).or_insert(policy);
        }
        let mut patterns: Vec<_> = patterns.into_iter().collect();
        patterns.sort_by_key(|(pattern, _)| std::cmp::Reverse(pattern.literal_len()));
        Self {
            exact: names,
            index: PatternIndex::new(patterns.iter().map(|(pattern, _)| pattern)),
            patterns,
        }
    }

    /// Every policy that some name leads to, one as often as there are ways to it.
    pub fn policies(&self) -> impl Iterator<Item = PolicyId> {
        let patterns = self.patterns.iter().map(|(_, policy)| *policy);
        self.exact.values().copied().chain(patterns)
    }

    /// The names that are written out, in no order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.exact.keys().map(|name| &**name)
    }

    /// The patterns with their policies, the longest first.
    pub fn patterns(&self) -> impl Iterator<Item = (&Pattern, PolicyId)> {
        self.patterns
            .iter()
            .map(|(pattern, policy)| (pattern, *policy))
    }

    /// Every name and pattern, with its policy.
    pub fn iter(&self) -> impl Iterator<Item = (&str, PolicyId)> {
        let exact = self.exact.iter().map(|(name, policy)| (&**name, *policy));
        let patterns = self.patterns.iter();
        exact.chain(patterns.map(|(pattern, policy)| (pattern.as_str(), *policy)))
    }

    /// The policy for the model name that a caller sent.
    pub fn find(&self, model: &str) -> Option<PolicyId> {
        self.matching(model).map(|(policy, _)| policy)
    }

    /// The same, with the pattern that matched; `None` beside the policy: the name itself did.
    pub fn matching(&self, model: &str) -> Option<(PolicyId, Option<&Pattern>)> {
        if let Some(policy) = self.exact.get(model) {
            return Some((*policy, None));
        }
        let matches = |place: usize| self.patterns[place].0.matches(model);
        let (pattern, policy) = &self.patterns[self.index.first(model, matches)?];
        Some((*policy, Some(pattern)))
    }
}

/// A model name with `*` in it, each standing for any characters, also none.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pattern(Box<str>);

impl Pattern {
    /// Reads a pattern; `None` where there is no `*` in the text: it is an exact name.
    pub fn parse(text: &str) -> Option<Self> {
        text.contains('*').then(|| Self(text.into()))
    }

    /// As it is written in the configuration.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// How many characters it names: of two that match, the one with more decides.
    pub fn literal_len(&self) -> usize {
        self.0.bytes().filter(|&byte| byte != b'*').count()
    }

    /// What every name that it stands for begins and ends with.
    pub(super) fn edges(&self) -> (&str, &str) {
        let beginning = self
            .0
            .split_once('*')
            .map_or("", |(beginning, _)| beginning);
        let end = self.0.rsplit_once('*').map_or("", |(_, end)| end);
        (beginning, end)
    }

    /// Whether it stands for `name`, in time linear in it for each `*`.
    pub fn matches(&self, name: &str) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = name.strip_prefix(first) else {
            return false;
        };
        let mut parts = parts.peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                return rest.ends_with(part);
            }
            match rest.find(part) {
                Some(at) => rest = &rest[at + part.len()..],
                None => return false,
            }
        }
        rest.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, name, expected) in [
            ("*", "", true),
            ("*", "gpt-4o", true),
            ("gpt-4o-*", "gpt-4o-mini", true),
            ("gpt-4o-*", "gpt-4o-", true),
            ("gpt-4o-*", "gpt-4o", false),
            ("*-latest", "mistral-small-latest", true),
            ("*-latest", "latest", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "acb", false),
            ("ab*ba", "aba", false),
        ] {
            let parsed = Pattern::parse(pattern).unwrap();
            assert_eq!(parsed.matches(name), expected, "{pattern} on {name}");
        }
        assert!(Pattern::parse("gpt-4o").is_none());
    }

    #[test]
    fn exact_before_longest_pattern_before_star() {
        let pattern = |text| Pattern::parse(text).unwrap();
        let routes = Routes::new(
            [("gpt-4o".into(), PolicyId(0))],
            [
                (pattern("*"), PolicyId(1)),
                (pattern("gpt-*"), PolicyId(2)),
                (pattern("gpt-4o-*"), PolicyId(3)),
            ],
        );
        assert_eq!(routes.find("gpt-4o"), Some(PolicyId(0)));
        assert_eq!(routes.find("gpt-4o-mini"), Some(PolicyId(3)));
        assert_eq!(routes.find("gpt-5"), Some(PolicyId(2)));
        assert_eq!(routes.find("claude"), Some(PolicyId(1)));
        assert_eq!(Routes::default().find("claude"), None);
    }
}
