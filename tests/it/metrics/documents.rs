//! What is written about the numbers, and what is shipped to look at them, is about those that there
//! are.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::{CHAT, ask, ask_for_stream, failure};
use crate::support::{Client, Reply, Setup, Upstream};

/// A scrape, over the admin listener, of a gateway that has told every number once.
async fn everything() -> String {
    let upstream = Upstream::start().await;
    upstream.on_model("m", failure(500));
    upstream.answer_with(|request| {
        if request.json()["stream"] == true {
            Reply::chat_stream("spare", &["Hello"])
        } else {
            Reply::chat("spare", "Hello")
        }
    });
    let spare = Upstream::start().await;
    let backends = format!(
        "backends: [{{url: {}}}, {{url: {}}}]",
        upstream.url(),
        spare.url()
    );
    let gateway = Setup::new()
        .endpoint_with("openai", &upstream.url(), "max_concurrent: 8")
        .bare_endpoint(
            "several",
            &format!("{backends}\napi_keys: [{{env: a}}, {{env: b}}]"),
        )
        .default_endpoint("several")
        .chain(
            &[("m", "openai"), ("spare", "openai")],
            "suspend_duration: 60",
        )
        .admin()
        .start();
    gateway.client().post(CHAT, ask("m")).await;
    gateway.client().post(CHAT, ask_for_stream("m")).await;
    gateway.wait_log(2).await;
    let scraper = Client::new(gateway.running.admin.unwrap());
    let scrape = scraper.get("/metrics").await;
    assert_eq!(scrape.status, 200);
    scrape.text().to_owned()
}

/// Each family with its type and its labels.
type Families = BTreeMap<String, (String, BTreeSet<String>)>;

fn families(text: &str) -> Families {
    let mut families = Families::new();
    let mut family = String::new();
    for line in text.lines() {
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            name.clone_into(&mut family);
            families.insert(family.clone(), (kind.to_owned(), BTreeSet::new()));
        } else if !line.starts_with('#') {
            let (series, _) = line.rsplit_once(' ').unwrap();
            let labels = series.split_once('{').map_or("", |(_, labels)| labels);
            let names = labels
                .split("\",")
                .filter_map(|label| label.split_once('='));
            let names = names.map(|(name, _)| name.to_owned());
            let known = &mut families.get_mut(&family).unwrap().1;
            known.extend(names.filter(|name| name != "le"));
        }
    }
    families
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    let path = repository().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_manual_has_every_metric_and_no_other() {
    let mut told = families(&everything().await);
    told.retain(|name, _| !name.starts_with("process_"));
    let manual = read("docs/observability.md");
    let mut written = Families::new();
    for row in manual.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let [_, name, kind, labels, _, ""] = cells[..] else {
            continue;
        };
        let labels = labels.split(", ").filter(|label| !label.is_empty());
        let labels = labels.map(|label| label.trim_matches('`').to_owned());
        let name = name.trim_matches('`').to_owned();
        written.insert(name, (kind.to_owned(), labels.collect()));
    }
    assert_eq!(told, written);
}

/// Every word of a text that could be a metric's name.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|char: char| !char.is_ascii_alphanumeric() && char != '_');
    let names = words.filter(|word| {
        ["standin_", "gen_ai_server_", "process_"]
            .iter()
            .any(|prefix| word.starts_with(prefix))
    });
    names.map(str::to_owned).collect()
}

fn assert_known(used: &BTreeSet<String>, families: &Families) {
    assert!(used.len() >= 5, "{used:?}");
    for name in used {
        let of_histogram = |suffix| name.strip_suffix(suffix);
        let family = ["_bucket", "_sum", "_count"]
            .into_iter()
            .find_map(of_histogram);
        let known = families.contains_key(name)
            || family.is_some_and(|family| {
                families
                    .get(family)
                    .is_some_and(|(kind, _)| kind == "histogram")
            });
        assert!(known, "there is no metric {name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dashboard_and_the_alerts_ask_for_metrics_that_there_are() {
    let families = families(&everything().await);
    let dashboard: Value = serde_json::from_str(&read("packaging/grafana/standin.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array());
    let asked: Vec<_> = targets
        .flatten()
        .map(|target| target["expr"].as_str().unwrap())
        .chain(
            dashboard["templating"]["list"]
                .as_array()
                .unwrap()
                .iter()
                .filter_map(|variable| variable["query"].as_str()),
        )
        .collect();
    let asked = names(&asked.join("\n"));
    assert_known(&asked, &families);
    let shown = families.keys().filter(|name| name.starts_with("standin_"));
    let shown: Vec<_> = shown
        .filter(|name| !asked.iter().any(|used| used.starts_with(*name)))
        .collect();
    assert!(shown.is_empty(), "not on the dashboard: {shown:?}");

    let rules = read("packaging/prometheus/standin.rules.yml");
    assert_known(&names(&rules), &families);
}

/// `promtool`, which `./test` installs.
fn promtool(arguments: &[&str], input: &str) {
    let mut child = Command::new("promtool")
        .args(arguments)
        .current_dir(repository().join("packaging/prometheus"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool: `./test` installs it, with Debian's package prometheus");
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let told = [output.stdout, output.stderr].concat();
    let told = String::from_utf8_lossy(&told);
    assert!(output.status.success(), "promtool {arguments:?}: {told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn promtool_has_nothing_to_say_about_a_scrape() {
    promtool(&["check", "metrics"], &everything().await);
}

#[test]
fn promtool_accepts_the_alerts_and_their_tests_pass() {
    promtool(&["check", "rules", "standin.rules.yml"], "");
    promtool(&["test", "rules", "standin.rules.test.yml"], "");
}

/// What the dashboard asks is written in Prometheus's language: as rules it can be checked.
#[test]
fn promtool_accepts_what_the_dashboard_asks() {
    let dashboard: Value = serde_json::from_str(&read("packaging/grafana/standin.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array());
    let mut rules = Vec::new();
    for target in targets.flatten() {
        let expression = target["expr"].as_str().unwrap();
        let expression = expression
            .replace("$__rate_interval", "5m")
            .replace('$', "");
        let record = format!("panel:{}", rules.len());
        rules.push(serde_json::json!({"record": record, "expr": expression}));
    }
    assert!(rules.len() > 20);
    let folder = tempfile::tempdir().unwrap();
    let file: PathBuf = folder.path().join("dashboard.yml");
    let groups = serde_json::json!({"groups": [{"name": "dashboard", "rules": rules}]});
    std::fs::write(&file, groups.to_string()).unwrap();
    promtool(&["check", "rules", file.to_str().unwrap()], "");
}
