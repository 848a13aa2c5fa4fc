//! What nobody may read anywhere: the callers' keys, the endpoints' keys, the prompts.

use std::fs;
use std::net::SocketAddr;

use serde_json::json;

use super::{CHAT, Folder, MODEL, Process, admin_address, setup};
use crate::support::{Client, KEY, Reply, TOKEN, Upstream, bodies, secret};

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
    let collector = Upstream::start().await;
    collector.always(Reply::json(200, &json!({})));
    let otlp = format!("endpoint: {:?}, sample_ratio: 1", collector.url());
    let folder = Folder::new();
    folder.write(&setup(&upstream.url()).admin().otlp(&otlp));
    let mut process = Process::run(&folder);
    let client = process.client().await;
    let question = json!({"model": MODEL, "messages": [{"role": "user", "content": PROMPT}]});
    let mut streaming = question.clone();
    streaming["stream"] = true.into();
    let mut answers = Vec::new();
    for _ in 0..4 {
        answers.push(client.post(CHAT, question.clone()).await);
    }
    answers.push(client.post(CHAT, streaming).await);
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
    let shown = shown_to_operators(admin_address(&process).await).await;
    process.signal("TERM");
    assert_eq!(process.exit_code().await, 0);

    let log = fs::read_to_string(folder.access_log()).unwrap();
    assert_eq!(log.lines().count(), 9, "{log}");
    let traces = collector.requests().into_iter();
    let traces: Vec<String> = traces.map(|received| received.json().to_string()).collect();
    assert!(traces.concat().contains("gen_ai."), "{traces:?}");
    let everything = [
        process.stdout(),
        process.stderr(),
        log,
        shown,
        traces.concat(),
    ]
    .concat();
    let key = secret("openai");
    for forbidden in [KEY, &key, WRONG_KEY, PROMPT, ANSWER] {
        assert!(
            !everything.contains(forbidden),
            "{forbidden:?} in {everything}"
        );
    }
    for answer in &answers {
        let told = format!("{answer:?}");
        assert!(!told.contains(&key) && !told.contains(KEY), "{told}");
    }
}

/// What the admin listener tells of a process.
async fn shown_to_operators(admin: SocketAddr) -> String {
    let operator = Client::new(admin).key(TOKEN);
    let mut shown = String::new();
    for path in [
        "/metrics",
        "/api/v1/endpoints",
        "/api/v1/backends",
        "/api/v1/pairs",
        "/api/v1/policies",
        "/api/v1/requests",
        "/api/v1/reload",
        "/api/v1/revisions",
        "/api/v1/explain?model=gpt-4o&environment=production",
    ] {
        let answer = operator.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        shown += answer.text();
    }
    shown
}
