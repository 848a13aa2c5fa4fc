//! What nobody may read anywhere: the callers' keys, the endpoints' keys, the prompts.

use std::fs;

use serde_json::json;

use super::{CHAT, Folder, MODEL, Process, setup};
use crate::support::{Client, KEY, Reply, Upstream, bodies, secret};

const PROMPT: &str = "the prompt that nobody may read";
const ANSWER: &str = "the answer that nobody may read";
const WRONG_KEY: &str = "sk-a-key-that-nobody-has";

/// Everything that a process says and writes while its traffic goes well and badly, up to its end.
#[tokio::test(flavor = "multi_thread")]
async fn keys_and_prompts_are_told_to_nobody() {
    let upstream = Upstream::start().await;
    upstream.push(Reply::chat(MODEL, ANSWER));
    // Providers echo keys, and prompts.
    let echo = format!("Incorrect API key provided: {}. {PROMPT}", secret("openai"));
    let error = bodies::openai_error("invalid_request_error", Some("invalid_api_key"), &echo);
    upstream.push(Reply::json(401, &error));
    upstream.push(Reply::json(400, &error));
    upstream.push(Reply::raw(format!("no HTTP: {}", secret("openai"))));
    upstream
        .push(Reply::chat_stream(MODEL, &[ANSWER]).cut_body_at(300, crate::support::Step::Reset));
    let folder = Folder::new();
    folder.write(&setup(&upstream.url()));
    let mut process = Process::run(&folder);
    let client = process.client().await;
    let question = json!({"model": MODEL, "messages": [{"role": "user", "content": PROMPT}]});
    let mut streaming = question.clone();
    streaming["stream"] = true.into();
    for _ in 0..4 {
        client.post(CHAT, question.clone()).await;
    }
    client.post(CHAT, streaming).await;
    let stranger = Client::new(process.address().await).key(WRONG_KEY);
    assert_eq!(stranger.post(CHAT, question.clone()).await.status, 401);
    // What is no request at all, with everything in it.
    let broken =
        format!("POST {CHAT} HTTP/1.1\r\nauthorization: Bearer {KEY}\r\nx: a\x01\r\n\r\n{PROMPT}");
    assert_eq!(stranger.send_raw(broken.as_bytes()).await.status, 400);
    let cut = format!("{{\"model\": \"{MODEL}\", \"messages\": \"{PROMPT}");
    assert_eq!(client.post(CHAT, &*cut).await.status, 400);
    // A configuration with a secret where none belongs.
    let text = fs::read_to_string(folder.conf()).unwrap();
    let inline = text.replace("{env: openai}", &secret("openai"));
    fs::write(folder.conf(), inline).unwrap();
    process.signal("HUP");
    process.says("not reloaded").await;
    process.signal("TERM");
    assert_eq!(process.exit_code().await, 0);

    let log = fs::read_to_string(folder.access_log()).unwrap();
    assert_eq!(log.lines().count(), 9, "{log}");
    let everything = [process.stdout(), process.stderr(), log].concat();
    let key = secret("openai");
    for forbidden in [KEY, &key, WRONG_KEY, PROMPT, ANSWER] {
        assert!(
            !everything.contains(forbidden),
            "{forbidden:?} in {everything}"
        );
    }
}
