//! What Prometheus is told: of every request, where it went and what became of it.

mod counting;
mod documents;
mod labels;
mod state;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::{Gateway, Reply, bodies};

const CHAT: &str = "/v1/chat/completions";

fn ask(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "Hello"}]})
}

fn ask_for_stream(model: &str) -> Value {
    let mut body = ask(model);
    body["stream"] = true.into();
    body
}

fn failure(status: u16) -> Reply {
    Reply::json(status, &bodies::openai_error("server_error", None, "No."))
}

fn text(gateway: &Gateway) -> String {
    let running = &gateway.running;
    running.gateway.metrics_text(&running.connections)
}

/// A scrape: every series with its number, but for the process's own.
#[derive(Debug, Default, PartialEq)]
struct Scrape(BTreeMap<String, f64>);

impl Scrape {
    fn of(gateway: &Gateway) -> Self {
        Self::read(&text(gateway))
    }

    fn read(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with(['#']));
        let lines = lines.filter(|line| !line.starts_with("process_"));
        let series = lines.map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            (series.to_owned(), value.parse().unwrap())
        });
        Self(series.collect())
    }

    /// The sum of the series of this name that have all these labels, as `label="value"`.
    fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        let series = self.0.iter().filter(|(series, _)| {
            let (found, rest) = series.split_once('{').unwrap_or((series, ""));
            found == name && labels.iter().all(|label| rest.contains(label))
        });
        series.map(|(_, value)| value).sum()
    }

    /// The series of this name whose number isn't zero, each as `value,value,… number`.
    fn told(&self, name: &str) -> Vec<String> {
        let series = self.0.iter().filter_map(|(series, number)| {
            let (found, labels) = series.split_once('{').unwrap_or((series, ""));
            if found != name || *number == 0.0 {
                return None;
            }
            let values = labels.trim_end_matches('}').split("\",");
            let values = values.filter_map(|label| label.split_once("=\""));
            let values: Vec<_> = values.map(|(_, value)| value.trim_matches('"')).collect();
            Some(format!("{} {number}", values.join(",")))
        });
        series.collect()
    }
}
