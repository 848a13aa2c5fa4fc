//! Changes of policies that last: in the file, in use, and taken back.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use super::{CHAT, problem};
use crate::support::{Client, Gateway, Reply, Response, Setup, Upstream};

async fn start() -> (Gateway, Upstream) {
    let upstream = Upstream::start().await;
    upstream.answer_with(|received| Reply::chat(&received.model().unwrap(), "Hello"));
    let gateway = Setup::new()
        .endpoint("openai", &upstream.url())
        .chain(&[("gpt-4o", "openai")], "suspend_duration: 1h   # an hour")
        .admin()
        .start_from_file();
    (gateway, upstream)
}

/// The tag of the file as it is.
async fn tag(admin: &Client) -> String {
    let revisions = admin.get("/api/v1/revisions").await;
    revisions.header("etag").unwrap().to_owned()
}

async fn change(admin: &Client, method: &str, path: &str, tag: &str, body: &Value) -> Response {
    let request = admin.request(method, path).header("if-match", tag);
    request
        .header("content-type", "application/json")
        .body(body.to_string().into_bytes())
        .await
}

fn policy(model: &str) -> Value {
    json!({"policy": {"production": {"target": {"model": model, "endpoint": "openai"}}}})
}

async fn status(gateway: &Gateway, model: &str) -> u16 {
    let question = json!({"model": model, "messages": []});
    gateway.client().post(CHAT, question).await.status
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_is_created_changed_and_deleted() {
    let (gateway, _upstream) = start().await;
    let admin = gateway.admin();
    let before = gateway.conf_text();
    fs::set_permissions(gateway.conf(), fs::Permissions::from_mode(0o640)).unwrap();

    let mut new = policy("gpt-5");
    new["name"] = "fresh".into();
    new["operations"] = json!([{"path": CHAT}]);
    let created = change(&admin, "POST", "/api/v1/policies", &tag(&admin).await, &new).await;
    assert_eq!(created.status, 200, "{}", created.text());
    let diff = created.json()["diff"].as_str().unwrap().to_owned();
    for line in [
        "-    policies: [chat]",
        "+    policies: [chat, fresh]",
        "+  fresh:",
    ] {
        assert!(diff.lines().any(|other| other == line), "{line} in {diff}");
    }
    assert_eq!(status(&gateway, "gpt-5").await, 200);
    let text = gateway.conf_text();
    assert!(text.contains("suspend_duration: 1h   # an hour"), "{text}");
    let mode = fs::metadata(gateway.conf()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);

    let shown = admin.get("/api/v1/policies/fresh").await;
    assert_eq!(shown.header("etag"), created.header("etag"));
    assert_eq!(
        shown.json()["operations"],
        json!([{"method": "POST", "path": CHAT}])
    );
    let yaml = "# By an operator.\nproduction:\n  target: {model: gpt-6, endpoint: openai}\n";
    let body = json!({"yaml": yaml});
    let tag_seen = shown.header("etag").unwrap();
    let put = change(&admin, "PUT", "/api/v1/policies/fresh", tag_seen, &body).await;
    assert_eq!(put.status, 200, "{}", put.text());
    assert_eq!(
        admin.get("/api/v1/policies/fresh").await.json()["yaml"],
        yaml
    );
    assert_eq!(
        (
            status(&gateway, "gpt-5").await,
            status(&gateway, "gpt-6").await
        ),
        (404, 200)
    );

    let gone = change(
        &admin,
        "DELETE",
        "/api/v1/policies/fresh",
        &tag(&admin).await,
        &json!({}),
    )
    .await;
    assert_eq!(gone.status, 200, "{}", gone.text());
    assert_eq!(status(&gateway, "gpt-6").await, 404);
    assert_eq!(gateway.conf_text(), before, "as if nothing had been");
    problem(&admin.get("/api/v1/policies/fresh").await, 404, "not_found");
    let again = change(&admin, "DELETE", "/api/v1/policies/fresh", "*", &json!({})).await;
    problem(&again, 404, "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_revision_is_kept_and_can_be_gone_back_to() {
    let (gateway, _upstream) = start().await;
    let admin = gateway.admin();
    let original = gateway.conf_text();
    for model in ["gpt-5", "gpt-6"] {
        let put = change(&admin, "PUT", "/api/v1/policies/chat", "*", &policy(model)).await;
        assert_eq!(put.status, 200, "{}", put.text());
    }
    let revisions = admin.get("/api/v1/revisions").await.json();
    let told: Vec<_> = revisions
        .as_array()
        .unwrap()
        .iter()
        .map(|revision| {
            (
                revision["number"].as_u64().unwrap(),
                revision["by"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(told, [(3, "ops"), (2, "ops"), (1, "by hand")]);
    assert_eq!(revisions[0]["what"], "policy chat was written");
    assert_eq!(admin.get("/api/v1/revisions/1").await.text(), original);
    problem(&admin.get("/api/v1/revisions/9").await, 404, "not_found");

    let dry = change(
        &admin,
        "POST",
        "/api/v1/revisions/1/restore?dry_run=true",
        "*",
        &json!({}),
    )
    .await;
    assert!(dry.json()["diff"].as_str().unwrap().contains("# an hour"));
    assert_eq!(status(&gateway, "gpt-6").await, 200);
    let restored = change(
        &admin,
        "POST",
        "/api/v1/revisions/1/restore",
        &tag(&admin).await,
        &json!({}),
    )
    .await;
    assert_eq!(
        (restored.status, &restored.json()["revision"]),
        (200, &json!(4))
    );
    assert_eq!(gateway.conf_text(), original);
    assert_eq!(
        (
            status(&gateway, "gpt-4o").await,
            status(&gateway, "gpt-6").await
        ),
        (200, 404)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_changed_meanwhile_is_never_overwritten() {
    let (gateway, _upstream) = start().await;
    let admin = gateway.admin();
    let seen = tag(&admin).await;
    let unsaid = admin
        .request("PUT", "/api/v1/policies/chat")
        .header("content-type", "application/json");
    let unsaid = unsaid.body(policy("gpt-5").to_string().into_bytes()).await;
    problem(&unsaid, 428, "if_match_needed");

    // Two editors: the second has not seen the first's.
    let first = change(
        &admin,
        "PUT",
        "/api/v1/policies/chat",
        &seen,
        &policy("gpt-5"),
    )
    .await;
    assert_eq!(first.status, 200, "{}", first.text());
    let second = change(
        &admin,
        "PUT",
        "/api/v1/policies/chat",
        &seen,
        &policy("gpt-6"),
    )
    .await;
    let told = problem(&second, 409, "changed_since");
    let current = first.header("etag").unwrap();
    assert_eq!(second.header("etag"), Some(current));
    assert_eq!(told["revision"], current.trim_matches('"'));

    // A change by hand is one that nobody here has seen.
    gateway.change_conf("model: gpt-5", "model: gpt-7");
    let over = change(
        &admin,
        "PUT",
        "/api/v1/policies/chat",
        current,
        &policy("gpt-6"),
    )
    .await;
    problem(&over, 409, "changed_since");
    assert!(gateway.conf_text().contains("model: gpt-7"));
    let seen = change(
        &admin,
        "PUT",
        "/api/v1/policies/chat",
        &tag(&admin).await,
        &policy("gpt-6"),
    )
    .await;
    assert_eq!(seen.status, 200, "{}", seen.text());
    let by_hand = admin.get("/api/v1/revisions").await.json();
    assert_eq!(by_hand[1]["by"], "by hand", "{by_hand}");

    let mut taken = policy("gpt-8");
    taken["name"] = "chat".into();
    let taken = change(&admin, "POST", "/api/v1/policies", "*", &taken).await;
    problem(&taken, 409, "name_taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_refused_and_nothing_changes() {
    let (gateway, _upstream) = start().await;
    let admin = gateway.admin();
    let before = gateway.conf_text();
    let mut wrong = policy("gpt-5");
    wrong["policy"]["production"]["target"]["endpoint"] = "nowhere".into();
    let refused = change(&admin, "PUT", "/api/v1/policies/chat", "*", &wrong).await;
    let told = problem(&refused, 422, "invalid_configuration");
    assert_eq!(
        told["errors"][0]["path"],
        "policies.chat.production.target.endpoint"
    );

    let mut nowhere = policy("gpt-5");
    nowhere["operations"] = json!([{"path": "/nowhere"}]);
    let refused = change(&admin, "PUT", "/api/v1/policies/chat", "*", &nowhere).await;
    problem(&refused, 422, "unprocessable");
    let dry = change(
        &admin,
        "PUT",
        "/api/v1/policies/chat?dry_run=true",
        "*",
        &policy("gpt-5"),
    )
    .await;
    assert_eq!((dry.status, &dry.json()["revision"]), (200, &Value::Null));
    assert!(dry.json()["diff"].as_str().unwrap().contains("gpt-5"));
    assert_eq!(gateway.conf_text(), before);
    assert_eq!(status(&gateway, "gpt-4o").await, 200);
    assert_eq!(admin.get("/api/v1/revisions").await.json(), json!([]));
    assert_eq!(
        admin.get("/api/v1/reload").await.json()["last"],
        Value::Null
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_cant_be_written_is_said_and_harms_nothing() {
    let (gateway, _upstream) = start().await;
    let admin = gateway.admin();
    let before = gateway.conf_text();
    // Whoever the tests run as: a file can't be a folder.
    fs::write(gateway.conf().with_file_name("revisions"), "").unwrap();
    let refused = change(
        &admin,
        "PUT",
        "/api/v1/policies/chat",
        "*",
        &policy("gpt-5"),
    )
    .await;
    let told = problem(&refused, 500, "not_writable");
    assert!(
        told["detail"].as_str().unwrap().contains("revisions"),
        "{told}"
    );
    assert_eq!(gateway.conf_text(), before);
    assert_eq!(status(&gateway, "gpt-4o").await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_file_there_is_nothing_to_change() {
    let gateway = Setup::new()
        .endpoint("openai", "http://127.0.0.1:9")
        .chain(&[("gpt-4o", "openai")], "")
        .admin()
        .start();
    let admin = gateway.admin();
    let refused = change(
        &admin,
        "PUT",
        "/api/v1/policies/chat",
        "*",
        &policy("gpt-5"),
    )
    .await;
    problem(&refused, 409, "no_file");
}

/// `preset: openai` in the file is a place of its own: what is shown of it can be sent back.
#[tokio::test(flavor = "multi_thread")]
async fn a_policy_is_attached_to_a_preset() {
    let upstream = Upstream::start().await;
    upstream.answer_with(|received| Reply::chat(&received.model().unwrap(), "Hello"));
    let gateway = Setup::new()
        .endpoint("openai", &upstream.url())
        .other_policy(
            "chat",
            "production:\n  target: {model: gpt-4o, endpoint: openai}",
        )
        .preset("openai", "policies: [chat]")
        .admin()
        .start_from_file();
    let admin = gateway.admin();
    let mut new = policy("gpt-5");
    new["name"] = "fresh".into();
    new["operations"] = json!([{"preset": "openai"}]);
    let created = change(&admin, "POST", "/api/v1/policies", "*", &new).await;
    assert_eq!(created.status, 200, "{}", created.text());
    assert_eq!(status(&gateway, "gpt-5").await, 200);

    let shown = admin.get("/api/v1/policies/fresh").await.json();
    assert_eq!(shown["operations"], json!([{"preset": "openai"}]));
    let mut back = policy("gpt-6");
    back["operations"] = shown["operations"].clone();
    let put = change(&admin, "PUT", "/api/v1/policies/fresh", "*", &back).await;
    assert_eq!(put.status, 200, "{}", put.text());
    assert_eq!(status(&gateway, "gpt-6").await, 200);

    back["operations"] = json!([{"preset": "gemini"}]);
    let nowhere = change(&admin, "PUT", "/api/v1/policies/fresh", "*", &back).await;
    assert_eq!(nowhere.status, 422, "{}", nowhere.text());
    back["operations"] = json!([]);
    let put = change(&admin, "PUT", "/api/v1/policies/fresh", "*", &back).await;
    assert_eq!(put.status, 200, "{}", put.text());
    assert_eq!(status(&gateway, "gpt-6").await, 404);
}
