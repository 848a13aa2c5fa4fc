//! The configuration file is watched: nobody needs to send a signal.

use std::fs;
use std::os::unix::fs::symlink;

use super::{CHAT, Folder, MODEL, Process, question};
use crate::support::{Reply, Setup, Upstream};

const RELOADED: &str = "the configuration was reloaded";

/// A gateway whose only policy is for `model`.
fn for_model(url: &str, model: &str) -> Setup {
    Setup::new()
        .endpoint("openai", url)
        .chain(&[(model, "openai")], "")
}

/// Waits until the process has told `count` times of a reload.
async fn reloaded(process: &Process, count: usize) {
    let mut stderr = process.stderr.clone();
    let told = stderr.wait_for(|text| text.matches(RELOADED).count() >= count);
    let told = crate::support::within(format!("{count} reloads"), told).await;
    assert!(told.is_ok(), "it ended with: {}", process.stderr());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_maps_exchange_of_a_link_is_noticed_and_an_error_changes_nothing() {
    let upstream = Upstream::start().await;
    upstream.always(Reply::chat("m", "Hello"));
    let folder = Folder::new();
    // As Kubernetes mounts a ConfigMap: the file is a link into a folder that is a link.
    let version = |number: u32, model: &str| {
        let name = format!("..version{number}");
        fs::create_dir(folder.path(&name)).unwrap();
        let text = for_model(&upstream.url(), model).yaml("off");
        fs::write(folder.path(&name).join("standin.yaml"), text).unwrap();
        symlink(&name, folder.path("..data.next")).unwrap();
        fs::rename(folder.path("..data.next"), folder.path("..data")).unwrap();
    };
    version(1, MODEL);
    symlink("..data/standin.yaml", folder.conf()).unwrap();
    let mut process = Process::run(&folder);
    let client = process.client().await;
    assert_eq!(client.post(CHAT, question(MODEL)).await.status, 200);

    version(2, "gpt-5");
    reloaded(&process, 1).await;
    assert_eq!(client.post(CHAT, question("gpt-5")).await.status, 200);
    assert_eq!(client.post(CHAT, question(MODEL)).await.status, 404);

    version(3, "");
    process.says("the configuration was not reloaded").await;
    assert_eq!(client.post(CHAT, question("gpt-5")).await.status, 200);
    assert_eq!(client.connections(), 1);
    process.signal("TERM");
    assert_eq!(process.exit_code().await, 0);
}
