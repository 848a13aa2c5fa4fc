//! Any text is read or refused, nobody sees a secret, and many policies are read quickly.

use std::fmt::Write as _;
use std::time::Instant;

use proptest::prelude::*;

use super::properties::check;
use super::*;

const SHIPPED: &str = include_str!("../../../conf/standin.yaml");

/// Pieces that mean something to YAML or to the format.
const PIECES: [&str; 32] = [
    ":",
    ": ",
    "- ",
    "\n",
    "\n  ",
    "\t",
    "[",
    "]",
    "{",
    "}",
    ",",
    "#",
    "'",
    "\"",
    "|",
    ">",
    "&a ",
    "*a",
    "!",
    "---\n",
    "<<: ",
    "~",
    "null",
    "0",
    "-1",
    "99999999999999999999",
    "1e9",
    "é",
    "\u{0}",
    "{env: KEY}",
    "match: [\"*\"]",
    "\u{feff}",
];

#[test]
fn the_fuzzers_seeds_are_read_or_refused() {
    for seed in crate::fuzz_seeds("configuration") {
        check(&String::from_utf8_lossy(&seed));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_mutated_configuration_is_read_or_refused(
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..40_usize, 0..PIECES.len()), 1..6),
    ) {
        let mut text: Vec<char> = SHIPPED.chars().collect();
        for (at, length, piece) in edits {
            let at = at.index(text.len() + 1);
            let end = (at + length).min(text.len());
            text.splice(at..end, PIECES[piece].chars());
        }
        let text: String = text.into_iter().collect();
        check(&text);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "[-a-z:{}\\[\\],\"'&*#!|> \n\t]{0,200}") {
        check(&text);
    }

    #[test]
    fn any_value_at_any_place_is_read_or_refused(
        path in prop::sample::select(vec![
            "server", "server.threads", "listeners", "listeners[0]", "listeners[0].tls", "limits",
            "keys[0]", "endpoints", "endpoints.openai", "endpoints.openai.url", "endpoints.openai.tls",
            "endpoints.openai.backends", "endpoints.openai.api_key", "operations[0]",
            "operations[0].policies", "policies.chat", "policies.chat.match",
            "policies.chat.production", "policies.chat.production.target",
            "policies.chat.production.fallbacks", "policies.chat.failover_on", "observability",
        ]),
        value in any_json(),
    ) {
        let _ = read(&with(&[(path, value)]));
    }

    /// Wherever people put a key by mistake, it is not shown.
    #[test]
    fn a_secret_in_the_wrong_place_is_not_shown(place in 0..10_usize) {
        let value = match place {
            0 => json!(SECRET),
            1 => json!({"env": SECRET}),
            2 => json!({"value": SECRET}),
            3 => json!({SECRET: Json::Null}),
            4 => json!({SECRET: "x"}),
            5 => json!([SECRET]),
            6 => json!({"env": {"x": SECRET}}),
            7 => json!({"env": "KEY", "file": SECRET}),
            _ => json!({"env": "KEY", "default": SECRET}),
        };
        let error = read(&with(&[("endpoints.openai.api_key", value)])).unwrap_err();
        prop_assert!(!error.to_string().contains(SECRET), "{error}");
        let debugged = format!("{error:?}");
        prop_assert!(!debugged.contains(SECRET), "{error}");
    }
}

fn any_json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        "\\PC{0,20}".prop_map(Json::from),
        prop::sample::select(vec![
            "openai",
            "chat",
            "30s",
            "https://x",
            "/v1",
            "*",
            "production"
        ])
        .prop_map(Json::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        let name = prop_oneof![
            prop::sample::select(vec![
                "url",
                "model",
                "endpoint",
                "weight",
                "target",
                "fallbacks",
                "match",
                "path",
                "env",
                "file",
                "address",
                "tls",
                "add",
                "remove",
                "policies",
                "production",
                "sandbox",
            ])
            .prop_map(str::to_owned),
            "[a-z]{0,6}",
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
            prop::collection::hash_map(name, inner, 0..4)
                .prop_map(|map| map.into_iter().collect::<serde_json::Map<_, _>>().into()),
        ]
    })
}

#[test]
fn a_configuration_does_not_show_its_secrets() {
    let configuration = accepted(&[("endpoints.openai.api_key", json!({"env": "KEY"}))]);
    let key = &configuration.snapshot.endpoints[0].credential.keys()[0];
    assert_eq!(key.expose(), SECRET);
    assert!(!format!("{configuration:?} {configuration:#?}").contains(SECRET));
    let digest = "0123456789abcdef".repeat(4);
    let key = json!({"name": "n", "environment": "sandbox", "sha256": digest});
    let configuration = accepted(&[("authentication", json!("keys")), ("keys", json!([key]))]);
    assert!(!format!("{configuration:?}").contains(&digest[..16]));
}

/// A file of `count` policies on one operation, each with two targets and a pattern.
fn many_policies(count: usize) -> String {
    let mut names = String::new();
    let mut policies = String::new();
    for number in 0..count {
        let _ = write!(names, "p{number}, ");
        let _ = write!(
            policies,
            "  p{number}:\n    type: failover\n    match: [model-{number}, \"model-{number}-*\"]\n    \
             production:\n      target: {{model: model-{number}, endpoint: openai}}\n      fallbacks:\n        \
             - {{model: mistral-large-latest, endpoint: mistral}}\n    request_timeout: 30s\n    \
             suspend_duration: 60\n"
        );
    }
    format!(
        "listeners: [{{address: 127.0.0.1:1}}]\nauthentication: none\nenvironment: production\n\
         endpoints:\n  openai: {{url: https://o.example}}\n  mistral: {{url: https://m.example}}\n\
         operations:\n  - path: /v1/chat/completions\n    policies: [{names}]\npolicies:\n{policies}"
    )
}

/// Ten times the policies take about ten times as long: a bound on growth holds on any machine, a
/// bound on time would not.
#[test]
fn reading_time_grows_with_the_file_and_not_with_its_square() {
    let time = |count| {
        let text = many_policies(count);
        let start = Instant::now();
        let configuration = read(&text).unwrap();
        assert_eq!(configuration.snapshot.policies.len(), count);
        assert_eq!(configuration.snapshot.pairs.len(), count + 1);
        start.elapsed()
    };
    let small = (0..3).map(|_| time(500)).min().unwrap();
    let large = (0..3).map(|_| time(5_000)).min().unwrap();
    assert!(large < small * 60, "{small:?} {large:?}");
}

/// Errors too: a file in which everything is wrong is refused as quickly.
#[test]
fn refusing_time_grows_with_the_file_and_not_with_its_square() {
    let time = |count| {
        let text = many_policies(count).replace("endpoint: openai", "endpoint: opanai");
        let text = text
            .replace("policies: [p", "policies: [x")
            .replace(", p", ", x");
        let start = Instant::now();
        let ConfigErrors(errors) = read(&text).unwrap_err();
        assert_eq!(errors.len(), 2 * count);
        start.elapsed()
    };
    let small = (0..3).map(|_| time(500)).min().unwrap();
    let large = (0..3).map(|_| time(5_000)).min().unwrap();
    assert!(large < small * 60, "{small:?} {large:?}");
}
