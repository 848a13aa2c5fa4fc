//! The OpenAPI document, held against what is served.

use std::collections::BTreeSet;

use serde_json::Value;

use super::problem;
use crate::support::Setup;

fn setup() -> Setup {
    Setup::new()
        .endpoint("openai", "http://127.0.0.1:9")
        .chain(&[("gpt-4o", "openai")], "")
        .admin()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_is_documented_and_every_documented_one_is_there() {
    let gateway = setup().start();
    let admin = gateway.admin();
    let document = admin.get("/api/v1/openapi.json").await.json();
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() >= 3, "{paths:?}");
    for (path, methods) in paths {
        let path = path.replace(['{', '}'], "");
        // A method that nobody has tells which there are.
        let refused = admin.request("TRACE", &path).await;
        problem(&refused, 405, "method_not_allowed");
        let allowed: BTreeSet<_> = refused.header("allow").unwrap().split(',').collect();
        let allowed: BTreeSet<_> = allowed.into_iter().filter(|&name| name != "HEAD").collect();
        let documented: Vec<_> = methods
            .as_object()
            .unwrap()
            .keys()
            .map(|name| name.to_uppercase())
            .collect();
        let documented: BTreeSet<_> = documented.iter().map(String::as_str).collect();
        assert_eq!(allowed, documented, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_is_whole() {
    let gateway = setup().start();
    let document = gateway.admin().get("/api/v1/openapi.json").await.json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    let security = &document["components"]["securitySchemes"]["token"];
    assert_eq!(
        (&security["type"], &security["scheme"]),
        (&"http".into(), &"bearer".into())
    );

    let mut ids = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let place = format!("{method} {path}");
            let told = operation["summary"]
                .as_str()
                .or(operation["description"].as_str());
            assert!(
                told.is_some_and(|text| text.len() > 10),
                "{place} isn't described"
            );
            assert!(
                ids.insert(operation["operationId"].as_str().unwrap()),
                "{place}: its id is taken"
            );
            assert!(
                !operation["responses"].as_object().unwrap().is_empty(),
                "{place}"
            );
            let parameters = operation["parameters"].as_array();
            let named: BTreeSet<_> = parameters
                .into_iter()
                .flatten()
                .filter(|parameter| parameter["in"] == "path")
                .map(|parameter| parameter["name"].as_str().unwrap())
                .collect();
            let wanted: BTreeSet<_> = path
                .split('{')
                .skip(1)
                .map(|rest| rest.split('}').next().unwrap())
                .collect();
            assert_eq!(named, wanted, "{place}");
        }
    }
    let references = references(&document);
    assert!(!references.is_empty());
    for reference in references {
        let place = reference.strip_prefix('#').unwrap();
        assert!(
            document.pointer(place).is_some(),
            "{reference} leads nowhere"
        );
    }
}

/// Every `$ref` below.
fn references(value: &Value) -> Vec<&str> {
    match value {
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(name, value)| match (name.as_str(), value) {
                ("$ref", Value::String(reference)) => vec![reference.as_str()],
                _ => references(value),
            })
            .collect(),
        Value::Array(items) => items.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}

/// The manual's examples ask for what there is.
#[tokio::test(flavor = "multi_thread")]
async fn the_manual_names_only_routes_that_are_there_and_all_of_them() {
    const MANUAL: &str = include_str!("../../../docs/admin-api.md");
    let gateway = setup().start();
    let document = gateway.admin().get("/api/v1/openapi.json").await.json();
    let paths: Vec<&String> = document["paths"].as_object().unwrap().keys().collect();
    let mut named = BTreeSet::new();
    for (at, _) in MANUAL.match_indices("/api/v1/") {
        let end = |c: char| c.is_whitespace() || "`?\"".contains(c);
        let path = MANUAL[at..].split(end).next().unwrap();
        let same = |known: &&&String| {
            let (known, path) = (known.split('/'), path.split('/'));
            known.clone().count() == path.clone().count()
                && known.zip(path).all(|(a, b)| a == b || a.starts_with('{'))
        };
        // The written-out one comes first: `/pairs/suspend`, not `/pairs/{name}`.
        let known = paths.iter().find(same);
        named.insert(known.unwrap_or_else(|| panic!("{path} is in the manual alone")));
    }
    let missing: Vec<_> = paths.iter().filter(|path| !named.contains(path)).collect();
    assert!(missing.is_empty(), "not in the manual: {missing:?}");
}
