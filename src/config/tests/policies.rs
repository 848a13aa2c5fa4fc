//! What a policy says arrives as it is meant.

use super::*;

#[test]
fn the_match_defaults_to_each_environments_own_target() {
    let target = |model: &str| json!({"target": {"model": model, "endpoint": "openai"}});
    let weighted = json!({"target": [
        {"model": "a", "endpoint": "openai", "weight": 3},
        {"model": "b", "endpoint": "openai"},
    ]});
    let Configuration { snapshot, .. } = accepted(&[
        ("policies.chat.production", weighted),
        ("policies.chat.sandbox", target("c")),
        ("policies.other.match", json!(["x-*", "y", "*"])),
        ("policies.other.production", target("d")),
        ("operations[0].policies[1]", json!("other")),
    ]);
    let operation = &snapshot.operations[0];
    let find = |environment, model| {
        let policy = snapshot.route(operation, environment, model)?;
        Some(policy.name.to_string())
    };
    for (environment, model, policy) in [
        (Environment::Production, "a", Some("chat")),
        (Environment::Production, "b", Some("chat")),
        (Environment::Production, "c", Some("other")),
        (Environment::Production, "d", Some("other")),
        (Environment::Sandbox, "a", None),
        (Environment::Sandbox, "c", Some("chat")),
        (Environment::Sandbox, "x-1", None),
    ] {
        assert_eq!(
            find(environment, model).as_deref(),
            policy,
            "{environment} {model}"
        );
    }
    let chain = snapshot.policies[0].chains.production.as_ref().unwrap();
    let weights: Vec<_> = chain.target.iter().map(|target| target.weight).collect();
    assert_eq!(weights, [3, 1]);
}

/// WSO2's policies: a list for each environment, an empty one for none, and every model of the
/// operation that no other policy matches.
#[test]
fn round_robin_is_a_list() {
    let target = |model: &str, weight: Option<u32>| {
        let mut target = json!({"model": model, "endpoint": "openai"});
        if let Some(weight) = weight {
            target["weight"] = json!(weight);
        }
        target
    };
    for (kind, weights, expected) in [
        ("round_robin", [None, None], [1, 1]),
        ("weighted_round_robin", [Some(80), None], [80, 1]),
    ] {
        let list = json!([target("a", weights[0]), target("b", weights[1])]);
        let Configuration {
            snapshot, warnings, ..
        } = accepted(&[
            ("policies.chat.type", json!(kind)),
            ("policies.chat.production", list),
            ("policies.chat.sandbox", json!([])),
            ("policies.chat.suspend_duration", json!(5)),
            ("policies.other.production.target", target("a", None)),
            ("operations[0].policies[1]", json!("other")),
        ]);
        assert_eq!(warnings, Vec::<String>::new());
        let policy = &snapshot.policies[0];
        assert_eq!(policy.balance, TargetBalance::Weighted);
        assert!(policy.chains.sandbox.is_none());
        let chain = policy.chains.production.as_ref().unwrap();
        assert!(chain.fallbacks.is_empty());
        let weights: Vec<_> = chain.target.iter().map(|target| target.weight).collect();
        assert_eq!(weights, expected);
        for (model, name) in [("a", "other"), ("b", "chat"), ("anything", "chat")] {
            let operation = &snapshot.operations[0];
            let found = snapshot.route(operation, Environment::Production, model);
            assert_eq!(&*found.unwrap().name, name, "{model}");
        }
    }
}

#[test]
fn how_the_choice_falls() {
    let set = json!([{"model": "a", "endpoint": "openai"}, {"model": "b", "endpoint": "openai"}]);
    for (balance, header, expected) in [
        (json!(null), json!(null), TargetBalance::Weighted),
        (json!("weighted"), json!(null), TargetBalance::Weighted),
        (json!("latency"), json!(null), TargetBalance::Latency),
        (
            json!("sticky"),
            json!(null),
            TargetBalance::Sticky { header: None },
        ),
        (
            json!("sticky"),
            json!("X-Session-Id"),
            TargetBalance::Sticky {
                header: Some("x-session-id".parse().unwrap()),
            },
        ),
    ] {
        let Configuration {
            snapshot, warnings, ..
        } = accepted(&[
            ("policies.chat.production.target", set.clone()),
            ("policies.chat.balance", balance),
            ("policies.chat.sticky_header", header),
        ]);
        assert_eq!(snapshot.policies[0].balance, expected);
        assert_eq!(warnings, Vec::<String>::new());
    }
}

#[test]
fn of_two_patterns_of_one_length_the_first_in_the_file_decides() {
    let chain = json!({"target": {"model": "m", "endpoint": "openai"}});
    for _ in 0..16 {
        let Configuration { snapshot, .. } = accepted(&[
            ("policies.chat.match", json!(["gpt-*"])),
            ("policies.other.match", json!(["*mini"])),
            ("policies.other.production", chain.clone()),
            ("operations[0].policies", json!(["chat", "other"])),
        ]);
        let found = snapshot.route(&snapshot.operations[0], Environment::Production, "gpt-mini");
        assert_eq!(found.unwrap().id, PolicyId(0));
    }
}

#[test]
fn targets_of_one_environment_endpoint_and_model_share_a_pair() {
    let target = |model: &str, endpoint: &str| json!({"model": model, "endpoint": endpoint});
    let Configuration { snapshot, .. } = accepted(&[
        (
            "endpoints.mistral",
            json!({"provider": "mistral", "url": "https://api.mistral.ai"}),
        ),
        (
            "policies.chat.production.fallbacks",
            json!([target("m", "mistral")]),
        ),
        ("policies.other.production.target", target("m", "mistral")),
        (
            "policies.other.production.fallbacks",
            json!([target("gpt-4o", "openai"), target("m", "openai")]),
        ),
        ("policies.other.sandbox.target", target("m", "mistral")),
        ("operations[0].policies", json!(["chat", "other"])),
    ]);
    let pairs = |policy: usize, environment| -> Vec<PairId> {
        let chain = snapshot.policies[policy]
            .chains
            .get(environment)
            .as_ref()
            .unwrap();
        chain.targets().map(|target| target.pair).collect()
    };
    assert_eq!(pairs(0, Environment::Production), [PairId(0), PairId(1)]);
    assert_eq!(
        pairs(1, Environment::Production),
        [PairId(1), PairId(0), PairId(2)]
    );
    assert_eq!(pairs(1, Environment::Sandbox), [PairId(3)]);
    let shown: Vec<_> = snapshot
        .pairs
        .iter()
        .map(|pair| format!("{} {} {}", pair.environment, pair.endpoint, pair.model))
        .collect();
    assert_eq!(
        shown,
        [
            "production openai gpt-4o",
            "production mistral m",
            "production openai m",
            "sandbox mistral m"
        ]
    );
}

#[test]
fn every_field_of_a_policy_arrives() {
    let Configuration { snapshot, .. } = accepted(&[
        ("policies.chat.type", json!("failover")),
        ("policies.chat.request_timeout", json!(20)),
        ("policies.chat.suspend_duration", json!("60")),
        ("policies.chat.overall_timeout", json!("2m")),
        ("policies.chat.first_token_timeout", json!("5s")),
        ("policies.chat.stream_idle_timeout", json!("7s")),
        ("policies.chat.retries", json!(2)),
        (
            "policies.chat.retry_backoff",
            json!({"base": "1s", "max": "3s"}),
        ),
        ("policies.chat.max_suspend_duration", json!("1h")),
        (
            "policies.chat.failover_on.statuses",
            json!({"add": [400], "remove": [409, 425]}),
        ),
        (
            "policies.chat.failover_on.error_codes",
            json!({"add": ["busy", 1500], "remove": ["x"]}),
        ),
        ("policies.chat.stream_rescue", json!("off")),
        ("policies.chat.when_all_suspended", json!("try_soonest")),
    ]);
    let policy = &snapshot.policies[0];
    assert_eq!(policy.request_timeout, Duration::from_secs(20));
    assert_eq!(policy.suspend_duration, Duration::from_secs(60));
    assert_eq!(policy.overall_timeout, Some(Duration::from_secs(120)));
    assert_eq!(policy.first_token_timeout, Duration::from_secs(5));
    assert_eq!(policy.stream_idle_timeout, Duration::from_secs(7));
    assert_eq!(policy.retries, 2);
    assert_eq!(policy.max_retry_after, Duration::from_secs(5));
    assert_eq!(
        (policy.retry_backoff.base, policy.retry_backoff.max),
        (Duration::from_secs(1), Duration::from_secs(3))
    );
    assert_eq!(policy.max_suspend_duration, Duration::from_secs(3600));
    let changes = &policy.failover_on;
    assert!(
        changes.add_statuses.iter().eq(&[400]) && changes.remove_statuses.iter().eq(&[409, 425])
    );
    assert!(
        changes.add_error_codes.iter().eq(["1500", "busy"])
            && changes.remove_error_codes.iter().eq(["x"])
    );
    assert_eq!(policy.stream_rescue, StreamRescue::Off);
    assert_eq!(policy.when_all_suspended, WhenAllSuspended::TrySoonest);

    let Configuration { snapshot, .. } = accepted(&[
        ("policies.chat.retries", json!(1)),
        ("policies.chat.max_retry_after", json!("9s")),
        ("policies.chat.request_timeout", json!("1m")),
        ("policies.chat.retry_backoff.base", json!("5s")),
    ]);
    let policy = &snapshot.policies[0];
    assert_eq!(policy.max_retry_after, Duration::from_secs(9));
    assert_eq!(policy.first_token_timeout, Duration::from_secs(60));
    assert_eq!(
        (policy.retry_backoff.base, policy.retry_backoff.max),
        (Duration::from_secs(5), Duration::from_secs(5))
    );
}
