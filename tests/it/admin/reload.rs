//! The configuration file put to use again, by the admin API and by its change.

use serde_json::{Value, json};

use super::{CHAT, problem};
use crate::support::{
    Authority, Certificate, Client, KEY, Reply, Setup, Step, TOKEN, Upstream, within,
};

/// Two models of one endpoint, each with a policy.
fn setup(url: &str) -> Setup {
    Setup::new()
        .endpoint("openai", url)
        .chain(&[("gpt-4o", "openai")], "suspend_duration: 1h")
        .admin()
}

fn question(model: &str) -> Value {
    json!({"model": model, "messages": []})
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_on_goes_on_over_a_reload() {
    let upstream = Upstream::start().await;
    upstream.on_model("gpt-5", Reply::chat("gpt-5", "Hello"));
    upstream.on_model("broken", Reply::status(500));
    let stream = Reply::chat_stream("gpt-4o", &["Hel", "lo"]).before_write(2, Step::Gate("rest"));
    upstream.on_model("gpt-4o", stream);
    let broken = "production: {target: {model: broken, endpoint: openai}}\nsuspend_duration: 1h";
    let gateway = setup(&upstream.url())
        .policy("broken", broken)
        .start_from_file();
    let (client, admin) = (gateway.client(), gateway.admin());
    let streaming = gateway.client();
    let mut streaming_question = question("gpt-4o");
    streaming_question["stream"] = true.into();
    let mut stream = streaming.open(CHAT, streaming_question).await;
    assert!(stream.next_event().await.is_some());
    assert_eq!(client.post(CHAT, question("broken")).await.status, 502);
    assert_eq!(client.post(CHAT, question("gpt-5")).await.status, 404);
    // One has the stream, the other is idle.
    assert_eq!(upstream.connections(), 2);

    gateway.change_conf("model: \"gpt-4o\"", "model: gpt-5");
    let told = admin.post("/api/v1/reload", "").await;
    assert_eq!(told.status, 200, "{}", told.text());
    let told = told.json();
    assert_eq!(
        (&told["by"], &told["operator"]),
        (&json!("operator"), &json!("ops"))
    );
    assert_eq!(
        (&told["applied"], &told["waiting"]),
        (&json!(true), &json!([]))
    );

    assert_eq!(
        client.post(CHAT, question("gpt-5")).await.content(),
        "Hello"
    );
    assert_eq!(client.post(CHAT, question("gpt-4o")).await.status, 404);
    assert_eq!(client.connections(), 1, "a client's connection stays");
    assert_eq!(upstream.connections(), 2, "the idle one is used again");
    assert_eq!(
        client.post(CHAT, question("broken")).await.status,
        503,
        "a suspension stays"
    );
    upstream.open("rest");
    assert!(stream.rest().await.complete, "a stream under way goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_changes_nothing_and_is_shown() {
    let upstream = Upstream::start().await;
    upstream.always(Reply::chat("gpt-4o", "Hello"));
    let gateway = setup(&upstream.url()).start_from_file();
    let (client, admin) = (gateway.client(), gateway.admin());
    let before = admin.get("/api/v1/reload").await.json();
    assert_eq!(before, json!({"applied": 0, "refused": 0, "last": null}));

    gateway.change_conf("suspend_duration", "suspend_durations");
    let refused = admin.post("/api/v1/reload", "").await;
    let problem = problem(&refused, 422, "invalid_configuration");
    let line = gateway
        .conf_text()
        .lines()
        .position(|line| line.contains("durations"));
    let expected = json!([{
        "path": "policies.chat.suspend_durations",
        "line": line.unwrap() + 1,
        "message": "there is no such field; did you mean `suspend_duration`?",
    }]);
    assert_eq!(problem["errors"], expected);
    let told = admin.get("/api/v1/reload").await.json();
    assert_eq!(told["applied"], 0);
    assert_eq!(told["last"]["errors"], expected);
    assert_eq!(told["last"]["applied"], false);
    assert_eq!(client.post(CHAT, question("gpt-4o")).await.status, 200);

    gateway.change_conf("suspend_durations", "suspend_duration");
    assert_eq!(admin.post("/api/v1/reload", "").await.status, 200);
    let told = admin.get("/api/v1/reload").await.json();
    assert_eq!(told["last"]["errors"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_the_next_start_is_named_and_the_rest_applies() {
    let upstream = Upstream::start().await;
    upstream.always(Reply::chat("gpt-5", "Hello"));
    let gateway = setup(&upstream.url()).start_from_file();
    gateway.change_conf("model: \"gpt-4o\"", "model: gpt-5");
    gateway.change_conf("server: {threads: 2", "server: {threads: 3");
    gateway.change_conf("  - address: 127.0.0.1:0", "  - address: 127.0.0.1:1");
    let told = gateway.admin().post("/api/v1/reload", "").await.json();
    assert_eq!(told["waiting"], json!(["server", "listeners"]));
    let answer = gateway.client().post(CHAT, question("gpt-5")).await;
    assert_eq!(answer.content(), "Hello");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_the_file_or_of_what_it_names_is_noticed() {
    let gateway = setup("http://127.0.0.1:9").start_from_file();
    let admin = gateway.admin();
    let mut reloads = gateway.running.reloads();
    let mut reloaded = async |count: u64| {
        let reached = reloads.wait_for(|reloads| reloads.applied >= count);
        within(format!("{count} reloads"), async {
            reached.await.map(drop)
        })
        .await
        .expect("the gateway runs");
        admin.get("/api/v1/reload").await.json()
    };
    gateway.change_conf("model: \"gpt-4o\"", "model: gpt-5");
    assert_eq!(reloaded(1).await["last"]["by"], "file");
    // As an editor does it.
    let next = gateway.conf().with_extension("next");
    std::fs::write(&next, gateway.conf_text().replace("gpt-5", "gpt-6")).unwrap();
    std::fs::rename(&next, gateway.conf()).unwrap();
    assert_eq!(reloaded(2).await["last"]["by"], "file");
    // A secret that is exchanged.
    std::fs::write(gateway.conf().with_file_name("openai.secret"), "another").unwrap();
    reloaded(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_taken_away_is_refused_from_then_on() {
    let gateway = setup("http://127.0.0.1:9").start_from_file();
    let admin = gateway.admin();
    gateway.change_conf("tokens: [{name: ops,", "tokens: [] # [{name: ops,");
    assert_eq!(admin.post("/api/v1/reload", "").await.status, 200);
    problem(&admin.post("/api/v1/reload", "").await, 401, "unauthorized");
    assert_eq!(admin.get("/healthz").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_is_validated_without_being_used() {
    let gateway = setup("http://127.0.0.1:9").start_from_file();
    let admin = gateway.admin();
    let text = gateway.conf_text();
    let valid = admin.post("/api/v1/validate", &*text).await;
    assert_eq!((valid.status, valid.json()), (200, json!({"warnings": []})));
    let unused = text.replace(
        "endpoints:\n",
        "endpoints:\n  spare: {url: http://127.0.0.1:9}\n",
    );
    let warned = admin.post("/api/v1/validate", &*unused).await.json();
    assert_eq!(warned["warnings"].as_array().unwrap().len(), 1, "{warned}");

    let wrong = text.replace("endpoint: openai", "endpoint: opnai");
    let refused = admin.post("/api/v1/validate", &*wrong).await;
    let problem = problem(&refused, 422, "invalid_configuration");
    assert_eq!(
        problem["errors"][0]["path"],
        "policies.chat.production.target.endpoint"
    );
    assert!(problem["errors"][0]["line"].is_u64());
    assert!(!problem.to_string().contains(TOKEN));
    assert_eq!(
        admin.get("/api/v1/reload").await.json()["last"],
        Value::Null
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_file_there_is_nothing_to_reload() {
    let gateway = setup("http://127.0.0.1:9").start();
    let refused = gateway.admin().post("/api/v1/reload", "").await;
    problem(&refused, 422, "invalid_configuration");
}

#[tokio::test(flavor = "multi_thread")]
async fn new_connections_are_shown_a_listeners_new_certificate() {
    let upstream = Upstream::start().await;
    upstream.always(Reply::chat("gpt-4o", "Hello"));
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let issue = || {
        let authority = Authority::new();
        let identity = authority.issue(Certificate::Valid);
        std::fs::write(path("crt"), &identity.certificate).unwrap();
        std::fs::write(path("key"), &identity.key).unwrap();
        std::fs::write(path("ca"), authority.pem()).unwrap();
        (authority.pem(), identity)
    };
    let (first, first_identity) = issue();
    let (crt, key, ca) = (path("crt"), path("key"), path("ca"));
    let gateway = setup(&upstream.url())
        .listener(&format!(
            "{{address: 127.0.0.1:0, tls: {{certificate: {crt:?}, private_key: {key:?}, client_ca: {ca:?}}}}}"
        ))
        .start_from_file();
    let address = gateway.running.addresses[1];
    let ask = async |client: &Client| client.post(CHAT, question("gpt-4o")).try_send().await;
    let old = Client::https(address, &first, Some(&first_identity)).key(KEY);
    assert_eq!(ask(&old).await.unwrap().status, 200);

    let (second, second_identity) = issue();
    assert_eq!(gateway.admin().post("/api/v1/reload", "").await.status, 200);
    let new = Client::https(address, &second, Some(&second_identity)).key(KEY);
    assert_eq!(ask(&new).await.unwrap().status, 200);
    let late = Client::https(address, &first, Some(&second_identity)).key(KEY);
    assert!(ask(&late).await.is_err(), "the old certificate is gone");
    let stranger = Client::https(address, &second, Some(&first_identity)).key(KEY);
    assert!(ask(&stranger).await.is_err(), "the old authority is gone");
    assert_eq!(ask(&old).await.unwrap().status, 200);
    assert_eq!(old.connections(), 1, "a connection that stands stays");

    std::fs::write(path("key"), "nothing").unwrap();
    let refused = gateway.admin().post("/api/v1/reload", "").await;
    problem(&refused, 422, "invalid_configuration");
    assert_eq!(ask(&new).await.unwrap().status, 200);
}
