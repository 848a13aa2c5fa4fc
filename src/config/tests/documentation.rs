//! `docs/configuration.md` says what the code does, and the shipped configuration is right.

use super::super::read::Read as _;
use super::*;

const MANUAL: &str = include_str!("../../../docs/configuration.md");

/// A row of a table in the manual.
#[derive(Debug)]
struct Row {
    /// `endpoints.NAME.health_check.path`, or for Pingora's settings `server.threads`.
    path: String,
    values: &'static str,
    default: &'static str,
}

/// The rows below each heading that names a place of the file.
fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for section in MANUAL.split("\n## ") {
        let (heading, body) = section.split_once('\n').unwrap();
        let parent = match heading.trim_matches('`') {
            "The file" => String::new(),
            place => format!("{place}."),
        };
        let cells = body.lines().filter_map(|line| {
            let cells: Vec<_> = line
                .strip_prefix("| `")?
                .split('|')
                .map(str::trim)
                .collect();
            let [name, _, values, default, ""] = cells[..] else {
                panic!("{line}")
            };
            Some((name.trim_end_matches('`'), values, default))
        });
        rows.extend(cells.map(|(name, values, default)| {
            let path = format!("{parent}{name}");
            Row {
                path,
                values,
                default,
            }
        }));
    }
    rows
}

/// The place of a documented field in the smallest configuration.
fn place(path: &str) -> String {
    path.replace("endpoints.NAME", "endpoints.openai")
        .replace("policies.NAME", "policies.chat")
        .replace(".target.", ".target[0].")
        .replace("[]", "[0]")
}

/// The smallest configuration with room for a field: its parent, and what the field needs.
fn room_for(place: &str) -> Json {
    let mut json = smallest();
    if place.contains(".backends") {
        set(
            &mut json,
            "endpoints.openai",
            json!({"backends": [{"url": "http://h.example"}]}),
        );
    }
    if place.ends_with(".discover_interval") {
        set(&mut json, "endpoints.openai.discover", json!("dns"));
    }
    if place.ends_with(".queue_timeout") {
        set(&mut json, "endpoints.openai.max_concurrent", json!(8));
    }
    if place.contains(".target") {
        let target = json!([{"model": "gpt-4o", "endpoint": "openai"}]);
        set(&mut json, "policies.chat.production.target", target);
    }
    if place.starts_with("shared_state.redis.") {
        let redis = json!({"redis": {"url": "redis://h.example"}});
        set(&mut json, "shared_state", redis);
    }
    if place.starts_with("observability.otlp.") {
        let otlp = json!({"endpoint": "http://127.0.0.1:4318"});
        set(&mut json, "observability", json!({"otlp": otlp}));
    }
    if place == "authentication" {
        let key = json!({"name": "n", "environment": "sandbox", "sha256": "a".repeat(64)});
        set(&mut json, "keys", json!([key]));
        set(&mut json, "environment", Json::Null);
        set(&mut json, "authentication", Json::Null);
    }
    let parent = place.rsplit_once('.').map_or("", |(parent, _)| parent);
    if !parent.is_empty() && json.pointer(&pointer(parent)).is_none() {
        set(&mut json, parent, json!({}));
    }
    json
}

fn pointer(place: &str) -> String {
    format!("/{}", place.replace(['.', '['], "/").replace(']', ""))
}

#[test]
fn the_manual_names_every_field_and_no_other() {
    let mut known = Vec::new();
    File::describe("", &mut known);
    let server = serde_json::to_value(accepted(&[]).server).unwrap();
    known.extend(
        server
            .as_object()
            .unwrap()
            .keys()
            .map(|name| format!("server.{name}")),
    );
    // These have the fields of what the manual shows in their stead.
    let shown_elsewhere = |path: &String| {
        path.starts_with("policies.NAME.sandbox.") || path.contains(".fallbacks[].")
    };
    known.retain(|path| !shown_elsewhere(path));
    let leaf = |path: &String| path.trim_end_matches("[]").to_owned();
    let known: Vec<_> = known.iter().map(leaf).collect();

    let rows = rows();
    let documented: Vec<&str> = rows.iter().map(|row| &*row.path).collect();
    for path in &known {
        assert!(documented.contains(&&**path), "{path} is not in the manual");
    }
    for path in &documented {
        let below = |known: &String| {
            known
                .strip_prefix(path)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        let elsewhere = *path == "policies.NAME.sandbox" || path.ends_with(".fallbacks");
        assert!(elsewhere || known.iter().any(below), "{path} is no field");
    }
}

#[test]
fn the_manuals_defaults_are_the_codes() {
    let mut checked = 0;
    for Row { path, default, .. } in rows() {
        let Some(default) = default
            .strip_prefix('`')
            .and_then(|rest| rest.split('`').next())
        else {
            continue;
        };
        let place = place(&path);
        let without = room_for(&place);
        let mut with = without.clone();
        let value = serde_json::from_str(default).unwrap_or_else(|_| json!(default));
        set(&mut with, &place, value);
        let shown = |json: &Json| {
            format!(
                "{:?}",
                read(&json.to_string()).map_err(|error| panic!("{path}: {error}"))
            )
        };
        assert_eq!(shown(&without), shown(&with), "{path}");
        checked += 1;
    }
    assert!(checked > 50, "{checked}");
}

/// What an error lists behind its colon, or its range, stands in the manual's row.
#[test]
fn the_manuals_values_are_the_codes() {
    let (mut ranges, mut words) = (0, 0);
    for Row { path, values, .. } in rows() {
        let place = place(&path);
        for absurd in [json!(u64::MAX), json!(0), json!("?!")] {
            let mut json = room_for(&place);
            set(&mut json, &place, absurd);
            let Err(ConfigErrors(errors)) = read(&json.to_string()) else {
                continue;
            };
            let Some(error) = errors.iter().find(|error| error.path == place) else {
                continue;
            };
            if let Some(range) = error.message.strip_prefix("must be from ") {
                let range = range.split(", not").next().unwrap();
                assert!(values.contains(range), "{path}: {values} for {range}");
                ranges += 1;
            }
            let names = ["endpoints are: ", "policies are: "];
            if error.message.starts_with("`?!` is unknown")
                && !names.iter().any(|names| error.message.contains(names))
                && let Some((_, choices)) = error.message.split_once(" are: ")
            {
                for choice in choices
                    .split(", ")
                    .filter(|choice| !choice.starts_with("a file"))
                {
                    assert!(
                        values.contains(&format!("`{choice}`")),
                        "{path}: {values} for {choice}"
                    );
                }
                words += 1;
            }
        }
    }
    assert!(ranges > 30 && words > 10, "{ranges} {words}");
}

#[test]
fn the_manuals_example_is_right() {
    let example = MANUAL.split("```yaml\n").nth(1).unwrap();
    let example = example.split("```").next().unwrap();
    assert_eq!(read(example).unwrap().warnings, Vec::<String>::new());
}

#[test]
fn the_shipped_configuration_is_right_on_a_fresh_machine() {
    let text = include_str!("../../../conf/standin.yaml");
    let configuration = parse(text, &|_| None).unwrap();
    assert_eq!(configuration.warnings, Vec::<String>::new());
    assert_eq!(configuration.snapshot.policies.len(), 2);

    // What stands there as a comment is right as well, given the secrets.
    let keys = text.replace(
        "#   api_key: {env: OPENAI_API_KEY}",
        "    api_key: {env: KEY}",
    );
    let all: String = keys
        .split_once("# limits:")
        .map(|(before, after)| {
            let after = after.replace("\n# ", "\n");
            format!("{before}limits:{after}")
        })
        .unwrap();
    let configuration = read(&all).unwrap();
    assert_eq!(
        configuration.snapshot.limits,
        crate::policy::Limits::default()
    );
    assert_eq!(configuration.server.threads, 4);
    assert!(
        !configuration.snapshot.endpoints[0]
            .credential
            .keys()
            .is_empty()
    );
}
