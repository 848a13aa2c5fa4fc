//! `server`: Pingora's own settings, handed over as they are.
//!
//! Every field of `ServerConf` is accepted, also those of a later Pingora: the names and the types
//! are asked of its own (de)serialisation. Pingora ignores fields that it does not know; here they
//! are refused. A few values that Pingora takes and then never serves with are refused too.

use std::ops::RangeInclusive;

use pingora_core::server::configuration::ServerConf;
use serde_json::{Map, Value as Json};

use super::super::place::Place;
use super::super::read::{Written, fields, known};
use super::super::yaml::{Key, Node, Value};

/// What Pingora would take without complaint and stand still with, or run out of memory.
const RANGES: [(&str, RangeInclusive<u64>); 4] = [
    ("threads", 1..=1_024),
    ("listener_tasks_per_fd", 1..=1_024),
    ("max_retries", 1..=1_000),
    ("upstream_keepalive_pool_size", 0..=1_000_000),
];

/// The settings for Pingora: its own defaults but for those of [`defaults`].
pub(super) fn server(written: Option<&Written<&Node<'_>>>, place: Place<'_>) -> ServerConf {
    let Ok(Json::Object(mut settings)) = serde_json::to_value(defaults()) else {
        return defaults();
    };
    let Some(written) = written else {
        return defaults();
    };
    let fields = fields(written.value, place).unwrap_or_default();
    let names: Vec<String> = settings.keys().cloned().collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    known(fields, &names, place);
    for (key, node) in fields {
        let name = &*key.name;
        if !names.contains(&name) || matches!(node.value, Value::Null) && name != NULLABLE {
            continue;
        }
        match setting(name, node) {
            Ok(value) => _ = settings.insert(name.to_owned(), value),
            Err(message) => place.field(name).error(key.line, message),
        }
    }
    finish(settings, written.line, place)
}

/// The one field whose `null` differs from its absence.
const NULLABLE: &str = "fast_timeout_to_tokio_threshold_seconds";

/// Where this product's defaults differ from Pingora's.
fn defaults() -> ServerConf {
    ServerConf {
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        work_stealing: false,
        // Pingora's own timer wakes a thread a hundred times a second, also when nothing happens; of less than a
        // second it is used all the same.
        fast_timeout_to_tokio_threshold_seconds: Some(0),
        upstream_keepalive_pool_size: 512,
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(30),
        pid_file: "/tmp/standin.pid".into(),
        upgrade_sock: "/tmp/standin_upgrade.sock".into(),
        ..ServerConf::default()
    }
}

/// One field's value, if Pingora takes it.
fn setting(name: &str, node: &Node<'_>) -> Result<Json, String> {
    let value = json(node);
    let range = RANGES.iter().find(|(limited, _)| *limited == name);
    if let (Some((_, range)), Some(number)) = (range, value.as_u64())
        && !range.contains(&number)
    {
        let (least, most) = (range.start(), range.end());
        return Err(format!("must be from {least} to {most}, not {number}"));
    }
    let alone = Map::from_iter([(name.to_owned(), value.clone())]);
    match serde_json::from_value::<ServerConf>(Json::Object(alone)) {
        Ok(_) => Ok(value),
        Err(error) => Err(format!("is not what Pingora takes here: {error}")),
    }
}

/// A value as YAML's core schema reads it.
fn json(node: &Node<'_>) -> Json {
    match &node.value {
        Value::Null => Json::Null,
        Value::Scalar { text, plain: true } => match &**text {
            "true" => Json::Bool(true),
            "false" => Json::Bool(false),
            text => number(text).unwrap_or_else(|| Json::String(text.to_owned())),
        },
        Value::Scalar { text, .. } => Json::String(text.clone().into_owned()),
        Value::List(items) => Json::Array(items.iter().map(json).collect()),
        Value::Map(fields) => {
            let field =
                |(key, node): &(Key<'_>, Node<'_>)| (key.name.clone().into_owned(), json(node));
            Json::Object(fields.iter().map(field).collect())
        }
    }
}

fn number(text: &str) -> Option<Json> {
    let whole = text.parse::<u64>().map(Json::from);
    whole.or_else(|_| text.parse::<i64>().map(Json::from)).ok()
}

/// All fields together, with Pingora's own check of them.
fn finish(settings: Map<String, Json>, line: usize, place: Place<'_>) -> ServerConf {
    let checked = serde_json::from_value(Json::Object(settings))
        .map_err(|error| error.to_string())
        .and_then(|conf: ServerConf| conf.validate().map_err(|error| explanation(&error)));
    checked.unwrap_or_else(|message| {
        place.error(line, format!("is not what Pingora takes: {message}"));
        defaults()
    })
}

/// What Pingora says is wrong, without its error's type.
fn explanation(error: &pingora_core::Error) -> String {
    match &error.context {
        Some(context) => context.as_str().to_owned(),
        None => error.to_string(),
    }
}
