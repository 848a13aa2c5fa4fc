//! What changes in a text, and that nothing else does.

use super::*;

/// A file as people write them.
const FILE: &str = "\
# The shop's gateway.
listeners:
  - address: 127.0.0.1:8080   # behind the balancer

operations:
  - method: POST
    path: /v1/chat/completions
    policies: [chat, small]   # the order says nothing
  - path: /v1/embeddings
    policies:
      - embed        # alone
      - small
  - path: /v1/responses

policies:
  # For the shop.
  chat:
    match: [gpt-4o]   # and its relatives
    production:
      target: {model: gpt-4o, endpoint: openai}

  # Cheap.
  small:
    production: {target: {model: mini, endpoint: openai}}
  \"embed\":
    production:
      target: {model: e, endpoint: openai}
    # kept for later

# The end.
observability: {}
";

fn name(method: &str, path: &str) -> OperationName {
    OperationName::One {
        method: method.into(),
        path: path.into(),
    }
}

/// The lines that went and came.
fn changed(before: &str, after: &str) -> String {
    let diff = similar::TextDiff::from_lines(before, after);
    let changes = diff.iter_all_changes();
    changes
        .filter(|change| change.tag() != similar::ChangeTag::Equal)
        .map(|change| format!("{}{}", change.tag(), change.value()))
        .collect()
}

#[test]
fn a_policy_is_replaced_and_the_rest_stays() {
    let body = "# Anew.\nproduction:\n  target: {model: gpt-5, endpoint: openai}   # newer\n";
    let after = put_policy(FILE, "chat", body, None).unwrap();
    assert_eq!(
        changed(FILE, &after),
        "\
-    match: [gpt-4o]   # and its relatives
+    # Anew.
     production:
-      target: {model: gpt-4o, endpoint: openai}
+      target: {model: gpt-5, endpoint: openai}   # newer
"
        .replace("     production:\n", "")
    );
    let written = policy_text(&after, "chat").unwrap().unwrap();
    assert_eq!(written.yaml, body);
    assert_eq!(written.operations, [name("POST", "/v1/chat/completions")]);
}

#[test]
fn json_is_written_on_lines() {
    let body = r#"{"match":["gpt-5","a: b"],"production":{"target":{"model":"gpt-5","endpoint":"openai"},"fallbacks":[{"model":"m","endpoint":"mistral"}]},"request_timeout":"30s","retries":2}"#;
    let after = put_policy(FILE, "fresh", body, None).unwrap();
    assert_eq!(
        changed(FILE, &after),
        "\
+  fresh:
+    match: [gpt-5, \"a: b\"]
+    production:
+      target: {model: gpt-5, endpoint: openai}
+      fallbacks:
+        - {model: m, endpoint: mistral}
+    request_timeout: \"30s\"
+    retries: 2
"
    );
    assert!(after.contains("# kept for later\n\n# The end.") || after.contains("retries: 2\n"));
}

#[test]
fn operations_take_a_policy_and_let_it_go() {
    let body = "production: {target: {model: x, endpoint: openai}}";
    let wanted = [
        name("POST", "/v1/embeddings"),
        name("POST", "/v1/responses"),
    ]
    .into();
    let after = put_policy(FILE, "fresh", body, Some(&wanted)).unwrap();
    assert_eq!(
        changed(FILE, &after),
        "\
+      - fresh
+    policies: [fresh]
+  fresh:
+    production: {target: {model: x, endpoint: openai}}
"
    );
    let back = put_policy(&after, "fresh", body, Some(&BTreeSet::new())).unwrap();
    assert_eq!(
        changed(&after, &back),
        "-      - fresh\n-    policies: [fresh]\n+    policies: []\n"
    );
    let nowhere = [name("GET", "/v1/models")].into();
    assert_eq!(
        put_policy(FILE, "fresh", body, Some(&nowhere)),
        Err(EditError::NoOperation(name("GET", "/v1/models")))
    );
}

#[test]
fn a_policy_is_deleted_with_its_name_in_the_operations() {
    let after = delete_policy(FILE, "small").unwrap();
    assert_eq!(
        changed(FILE, &after),
        "\
-    policies: [chat, small]   # the order says nothing
+    policies: [chat]   # the order says nothing
-      - small
-  small:
-    production: {target: {model: mini, endpoint: openai}}
"
    );
    assert_eq!(delete_policy(&after, "small"), Err(EditError::NoPolicy));
    assert_eq!(policy_text(&after, "small"), Ok(None));
    let last = "policies:\n  a:\n    x: 1\n# end\n";
    assert_eq!(delete_policy(last, "a").unwrap(), "policies:\n# end\n");
}

#[test]
fn a_policy_is_attached_to_the_operations_of_a_preset() {
    let file = "\
operations:
  - {preset: openai, policies: [chat]}
  - preset: gemini
  - path: /v1/x
    policies: [chat]
policies:
  chat: {x: 1}
";
    let preset = |name: &str| OperationName::Preset(name.to_owned());
    let wanted = [preset("gemini"), preset("openai")].into();
    let after = put_policy(file, "fresh", "x: 2", Some(&wanted)).unwrap();
    assert_eq!(
        changed(file, &after),
        "\
-  - {preset: openai, policies: [chat]}
+  - {preset: openai, policies: [chat, fresh]}
+    policies: [fresh]
+  fresh:
+    x: 2
"
    );
    let written = policy_text(&after, "fresh").unwrap().unwrap();
    assert_eq!(written.operations, [preset("openai"), preset("gemini")]);
    let again = put_policy(&after, "fresh", "x: 2", Some(&wanted));
    assert_eq!(again, Ok(after));
    let nowhere = [preset("bedrock")].into();
    assert_eq!(
        put_policy(file, "chat", "x: 1", Some(&nowhere))
            .unwrap_err()
            .to_string(),
        "there is no operation with preset: bedrock"
    );
}

#[test]
fn a_file_without_policies_gets_them() {
    for (before, after) in [
        ("a: 1", "a: 1\npolicies:\n  p:\n    x: 1\n"),
        ("a: 1\n", "a: 1\npolicies:\n  p:\n    x: 1\n"),
        ("policies:\nb: 1\n", "policies:\n  p:\n    x: 1\nb: 1\n"),
        (
            "policies: {} # none\nb: 1\n",
            "policies:\n  p:\n    x: 1\nb: 1\n",
        ),
        (
            "policies:\n    q: {x: 2}",
            "policies:\n    q: {x: 2}\n    p:\n      x: 1\n",
        ),
    ] {
        assert_eq!(put_policy(before, "p", "x: 1", None).as_deref(), Ok(after));
    }
    let quoted = put_policy("a: 1\n", "true", "x: 1", None).unwrap();
    assert!(quoted.contains("  \"true\":\n"), "{quoted}");
}

#[test]
fn what_would_change_something_else_is_refused() {
    for (file, body) in [
        ("policies: {a: {x: 1}}", "x: 2"),
        ("{policies: {a: {x: 1}}}", "x: 2"),
        // A body that tries to get out of its place.
        ("policies:\n  a: {x: 1}\n", "x: 2\n--- \ny: 1"),
        ("policies:\n  a: &it {x: 1}\n  b: *it\n", "x: 2"),
    ] {
        let refused = put_policy(file, "a", body, None);
        assert!(refused.is_err(), "{file}: {refused:?}");
    }
    let broken = put_policy("a: [", "a", "x: 1", None);
    assert!(matches!(broken, Err(EditError::File(_))), "{broken:?}");
    let broken = put_policy("a: 1", "a", "x: [", None);
    assert!(matches!(broken, Err(EditError::Policy(_))), "{broken:?}");
}

#[test]
fn spots_are_right_where_lines_and_characters_are_odd() {
    let file = "# ümläut 😀\r\npolicies:\r\n  \"ä\": {x: \"ü😀\"} # ö\r\n  b:\r\n    y: |\r\n      line\r\n      line\r\nend: 1\r\n";
    let after = put_policy(file, "b", "z: 1", None).unwrap();
    assert!(after.contains("  \"ä\": {x: \"ü😀\"} # ö\r\n"), "{after:?}");
    assert!(after.ends_with("    z: 1\nend: 1\r\n"), "{after:?}");
}

/// A policy as people comment it.
const COMMENTED: &str = "\
operations:
  - path: /v1/chat/completions
    policies: [chat]
policies:
  # For the shop.
  chat:
    # Who comes here.
    match: [gpt-4o]   # and its relatives
    production:
      target: {model: gpt-4o, endpoint: openai}   # best
      fallbacks:
        # dear
        - {model: large, endpoint: mistral}
        - {model: small, endpoint: mistral}   # cheap
    request_timeout: 30   # seconds
    retries: 2
# The end.
";

fn merged(fields: &str) -> String {
    changed(
        COMMENTED,
        &put_policy(COMMENTED, "chat", fields, None).unwrap(),
    )
}

const CHAIN: &str =
    "fallbacks: [{model: large, endpoint: mistral}, {model: small, endpoint: mistral}]";

#[test]
fn fields_change_in_their_places_and_keep_their_comments() {
    let policy = |target: &str, chain: &str, rest: &str| {
        format!(
            "{{match: [gpt-4o], production: {{target: {{model: {target}, endpoint: openai}}, {chain}}}, {rest}}}"
        )
    };
    let same = policy("gpt-4o", CHAIN, "request_timeout: 30, retries: 2");
    assert_eq!(merged(&same), "");
    let other = policy("gpt-5", CHAIN, "request_timeout: 20s, retries: 2");
    assert_eq!(
        merged(&other),
        "-      target: {model: gpt-4o, endpoint: openai}   # best
+      target: {model: gpt-5, endpoint: openai}   # best
-    request_timeout: 30   # seconds
+    request_timeout: 20s   # seconds
"
    );
    let without = policy("gpt-4o", CHAIN, "request_timeout: 30, suspend_duration: 5s");
    assert_eq!(
        merged(&without),
        "-    retries: 2\n+    suspend_duration: 5s\n"
    );
}

#[test]
fn items_keep_their_comments_wherever_they_go() {
    let chain = |items: &str| {
        format!(
            "{{match: [gpt-4o], production: {{target: {{model: gpt-4o, endpoint: openai}}, fallbacks: [{items}]}}, request_timeout: 30, retries: 2}}"
        )
    };
    let (large, small) = (
        "{model: large, endpoint: mistral}",
        "{model: small, endpoint: mistral}",
    );
    let swapped = merged(&chain(&format!("{small}, {large}")));
    assert_eq!(
        swapped,
        "+        - {model: small, endpoint: mistral}   # cheap
-        - {model: small, endpoint: mistral}   # cheap
"
    );
    let third = "{model: tiny, endpoint: openai}";
    let added = merged(&chain(&format!("{large}, {third}, {small}")));
    assert_eq!(added, "+        - {model: tiny, endpoint: openai}\n");
    let replaced = merged(&chain(&format!("{third}, {small}")));
    assert_eq!(
        replaced,
        "-        - {model: large, endpoint: mistral}\n+        - {model: tiny, endpoint: openai}\n"
    );
    assert_eq!(
        merged(&chain(large)),
        "-        - {model: small, endpoint: mistral}   # cheap\n"
    );
    assert!(merged(&chain("")).contains("+      fallbacks: []\n"));
}

#[test]
fn what_is_written_is_read_and_written_again() {
    let fields = policy_fields(COMMENTED, "chat").unwrap().unwrap();
    assert_eq!(
        put_policy(COMMENTED, "chat", &fields.to_string(), None).unwrap(),
        COMMENTED
    );
    assert_eq!(fields_of(&fields.to_string()).unwrap(), fields);
    assert_eq!(policy_fields(COMMENTED, "other").unwrap(), None);
    let file = "operations:\n  - preset: openai\n    policies: [a]\n  - {path: /x, method: GET}\n";
    let names = operation_names(file).unwrap();
    let names: Vec<_> = names.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["with preset: openai", "GET /x"]);
}
