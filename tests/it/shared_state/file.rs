//! In a file.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use standin::gateway::suspension::Standing;

use super::{resume, served_by, setup, standing, until_healthy, upstream};
use crate::support::until;

/// How many suspensions this program has written there.
fn entries(path: &Path) -> usize {
    let text = fs::read(path).unwrap_or_default();
    let state: Value = serde_json::from_slice(&text).unwrap_or_default();
    if state["version"] != 1 {
        return 0;
    }
    let lasts = |entry: &&Value| entry["until"].as_u64() > Some(1);
    let entries = state["suspensions"].as_array();
    entries.map_or(0, |entries| entries.iter().filter(lasts).count())
}

async fn written(path: &Path, count: usize) {
    let reached = || path.exists() && entries(path) == count;
    until("the written file", reached).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn suspensions_outlive_a_restart() {
    let upstream = upstream().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    let fields = format!("state_file: {path:?}");
    let start = || setup(&upstream, &fields, "60s").start();
    let gateway = start();
    served_by(&gateway, "second").await;
    written(&path, 1).await;
    drop(gateway);

    let gateway = start();
    assert!(standing(&gateway).is_suspended());
    served_by(&gateway, "second").await;
    assert_eq!(
        upstream.count_for("first"),
        1,
        "it is passed by from the start"
    );
    resume(&gateway);
    written(&path, 0).await;
    drop(gateway);
    until_healthy(&start()).await;
    let files = fs::read_dir(folder.path()).unwrap();
    assert_eq!(files.count(), 1, "no half of a file stays behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_an_empty_start() {
    let upstream = upstream().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    let entry = |until: u64| {
        json!({"environment": "production", "endpoint": "openai", "model": "first",
               "until": until, "reason": "500"})
    };
    let past = json!({"version": 1, "suspensions": [entry(1)]});
    let later = json!({"version": 2, "suspensions": [entry(u64::MAX)]});
    let endless = json!({"version": 1, "suspensions": [entry(u64::MAX)]});
    for text in [
        "",
        "{",
        "[1]",
        &past.to_string(),
        &later.to_string(),
        &endless.to_string()[..40],
    ] {
        fs::write(&path, text).unwrap();
        let fields = format!("state_file: {path:?}");
        let gateway = setup(&upstream, &fields, "60s").start();
        assert_eq!(standing(&gateway), Standing::Healthy, "{text}");
        served_by(&gateway, "second").await;
        written(&path, 1).await;
    }
}
