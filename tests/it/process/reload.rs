//! SIGHUP: the configuration is read again, and the access log opened again.

use std::fs;

use super::{CHAT, Folder, MODEL, Process, lines_of, question, setup, streaming_question};
use crate::support::{Client, KEY, Reply, Setup, Step, Upstream, until};

const RELOADED: &str = "the configuration was reloaded";
const NOT_RELOADED: &str = "the configuration was not reloaded";

/// [`setup`] with a policy for another model.
fn with_another(url: &str) -> Setup {
    let another = "production: {target: {model: gpt-5, endpoint: openai}}";
    setup(url).policy("another", another)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_policy_works_and_what_is_in_flight_is_not_disturbed() {
    let upstream = Upstream::start().await;
    upstream.on_model("gpt-5", Reply::chat("gpt-5", "Hello"));
    let stream = Reply::chat_stream(MODEL, &["Hel", "lo"]).before_write(2, Step::Gate("rest"));
    upstream.on_model(MODEL, stream);
    let folder = Folder::new();
    folder.write(&setup(&upstream.url()));
    let mut process = Process::run(&folder);
    let client = process.client().await;
    assert_eq!(client.post(CHAT, question("gpt-5")).await.status, 404);
    let streaming = Client::new(process.address().await).key(KEY);
    let mut stream = streaming.open(CHAT, streaming_question()).await;
    assert!(stream.next_event().await.is_some());

    folder.write(&with_another(&upstream.url()));
    process.signal("HUP");
    process.says(RELOADED).await;
    let answer = client.post(CHAT, question("gpt-5")).await;
    assert_eq!(answer.content(), "Hello");
    assert_eq!(client.connections(), 1, "a connection outlives a reload");
    upstream.open("rest");
    assert!(stream.rest().await.complete);
    process.signal("TERM");
    assert_eq!(process.exit_code().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_keeps_the_old_one_and_says_so() {
    let upstream = Upstream::start().await;
    upstream.always(Reply::chat(MODEL, "Hello"));
    let folder = Folder::new();
    folder.write(&setup(&upstream.url()));
    let mut process = Process::run(&folder);
    let client = process.client().await;

    let broken = [("type: failover", "type: failovr")];
    folder.write_changed(&with_another(&upstream.url()), &broken);
    process.signal("HUP");
    process.says(NOT_RELOADED).await;
    process.says("policies.chat.type").await;
    assert_eq!(client.post(CHAT, question(MODEL)).await.status, 200);
    assert_eq!(client.post(CHAT, question("gpt-5")).await.status, 404);

    fs::remove_file(folder.conf()).unwrap();
    process.signal("HUP");
    process.says("can't be read").await;
    assert_eq!(client.post(CHAT, question(MODEL)).await.status, 200);

    folder.write(&with_another(&upstream.url()));
    process.signal("HUP");
    process.says(RELOADED).await;
    assert_eq!(client.post(CHAT, question("gpt-5")).await.status, 200);
    process.signal("TERM");
    assert_eq!(process.exit_code().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_is_refused_from_then_on() {
    let upstream = Upstream::start().await;
    upstream.always(Reply::chat(MODEL, "Hello"));
    let folder = Folder::new();
    folder.write(&setup(&upstream.url()));
    let mut process = Process::run(&folder);
    let client = process.client().await;
    assert_eq!(client.post(CHAT, question(MODEL)).await.status, 200);

    let text = fs::read_to_string(folder.conf()).unwrap();
    let others: Vec<&str> = text
        .lines()
        .filter(|line| !line.contains("name: shop,"))
        .collect();
    assert_eq!(others.len() + 1, text.lines().count());
    fs::write(folder.conf(), others.join("\n")).unwrap();
    process.signal("HUP");
    process.says(RELOADED).await;
    assert_eq!(client.post(CHAT, question(MODEL)).await.status, 401);
    process.signal("TERM");
    assert_eq!(process.exit_code().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_access_log_goes_on_in_a_new_file_after_a_rename() {
    let folder = Folder::new();
    folder.write(&setup("http://127.0.0.1:9"));
    let mut process = Process::run(&folder);
    let client = process.client().await;
    assert_eq!(client.get("/v1/first").await.status, 404);
    until("lines in the log", || folder.lines().len() == 2).await;

    let old = folder.path("access.log.1");
    fs::rename(folder.access_log(), &old).unwrap();
    assert_eq!(client.get("/v1/second").await.status, 404);
    until("a line in the renamed log", || lines_of(&old).len() == 3).await;
    process.signal("HUP");
    process.says(RELOADED).await;
    assert_eq!(client.get("/v1/third").await.status, 404);
    process.signal("TERM");
    assert_eq!(process.exit_code().await, 0);

    let paths = |lines: Vec<serde_json::Value>| -> Vec<String> {
        let path = |line: &serde_json::Value| line["path"].as_str().unwrap().to_owned();
        lines.iter().map(path).collect()
    };
    let expected = ["/v1/unknown", "/v1/first", "/v1/second"];
    assert_eq!(paths(lines_of(&old)), expected);
    assert_eq!(paths(folder.lines()), ["/v1/third"]);
}
