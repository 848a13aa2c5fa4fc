//! Who may see the console, and what a page of another site can't do.

use serde_json::json;

use super::{Browser, value_of};
use crate::support::{Authority, Certificate, Client, Gateway, Setup, TOKEN, digest_of};

fn setup() -> Setup {
    Setup::new().endpoint("openai", "http://127.0.0.1:9").chain(
        &[("gpt-4o", "openai"), ("gpt-5", "openai")],
        "suspend_duration: 90s",
    )
}

fn start() -> Gateway {
    setup().admin().start_from_file()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_opens_the_console_until_its_holder_signs_out() {
    let gateway = start();
    let mut browser = Browser::new(&gateway);
    let home = browser.get("/").await;
    assert_eq!(
        (home.status, home.header("location")),
        (303, Some("/console/policies"))
    );
    let unknown = browser.get("/console/policies?a=b&c").await;
    let sign_in = "/console/sign-in?next=%2Fconsole%2Fpolicies%3Fa%3Db%26c";
    assert_eq!(
        (unknown.status, unknown.header("location")),
        (303, Some(sign_in))
    );
    let page = browser.get(sign_in).await;
    assert_eq!(page.status, 200);
    assert_eq!(value_of(&page, "next"), "/console/policies?a=b&#38;c");

    let wrong = browser.sign_in("guessed").await;
    assert_eq!(wrong.status, 401);
    assert!(wrong.text().contains("role=\"alert\"") && wrong.header("set-cookie").is_none());
    let right = browser.sign_in(TOKEN).await;
    assert_eq!(
        (right.status, right.header("location")),
        (303, Some("/console/policies"))
    );
    let cookie = right.header("set-cookie").unwrap();
    for attribute in [
        "Path=/console",
        "HttpOnly",
        "SameSite=Strict",
        "Max-Age=43200",
    ] {
        assert!(
            cookie.split("; ").any(|other| other == attribute),
            "{cookie}"
        );
    }
    assert!(
        !cookie.contains("Secure"),
        "without TLS it would never come back: {cookie}"
    );

    let page = browser.get("/console/policies").await;
    for part in [
        "chat",
        "gpt-4o",
        "gpt-5",
        "90s",
        "POST /v1/chat/completions",
        "ops",
    ] {
        assert!(page.text().contains(part), "{part} in {}", page.text());
    }
    let nothing = browser.get("/console/nothing").await;
    assert_eq!(nothing.status, 404);

    let out = browser.send("/console/sign-out", &[]).await;
    assert_eq!(
        (out.status, out.header("location")),
        (303, Some("/console/sign-in"))
    );
    assert!(out.header("set-cookie").unwrap().contains("Max-Age=0"));
    assert_eq!(browser.get("/console/policies").await.status, 303);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_says_that_nothing_comes_from_elsewhere() {
    let gateway = start();
    let browser = Browser::signed_in(&gateway).await;
    let page = browser.get("/console/policies").await;
    let assets = page
        .text()
        .split('"')
        .filter(|part| part.starts_with("/console/assets/"));
    let mut paths: Vec<_> = assets.collect();
    assert!(paths.iter().any(|path| path.ends_with(".css")), "{paths:?}");
    paths.push("/console/policies");
    paths.push("/console/sign-in");
    paths.push("/console/assets/console-000000000000.css");
    for path in paths {
        let answer = browser.get(path).await;
        let header = |name| answer.header(name).unwrap_or_default();
        let policy = header("content-security-policy");
        assert!(
            policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'"),
            "{path}: {policy}"
        );
        assert!(
            !policy.contains("unsafe") && policy.contains("frame-ancestors 'none'"),
            "{policy}"
        );
        assert_eq!(header("x-content-type-options"), "nosniff", "{path}");
        let keep = header("cache-control");
        match (answer.status, path.starts_with("/console/assets/")) {
            (200, true) => assert_eq!(keep, "public, max-age=31536000, immutable", "{path}"),
            _ => assert_eq!(keep, "no-store", "{path}"),
        }
    }
    for inline in [
        "<script>",
        "<style",
        " style=",
        " onclick=",
        "http://",
        "https://",
    ] {
        assert!(!page.text().contains(inline), "{inline} in {}", page.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_tokens_are_tried_a_few_times_and_then_slowly() {
    let gateway = start();
    let mut browser = Browser::new(&gateway);
    for number in 1..5 {
        assert_eq!(browser.sign_in("guessed").await.status, 401, "{number}");
    }
    for token in ["guessed", TOKEN] {
        let refused = browser.sign_in(token).await;
        assert_eq!(refused.status, 429, "{token}");
        let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=10).contains(&wait), "{wait}");
        assert!(
            refused.text().contains(&format!("in {wait} seconds")),
            "{}",
            refused.text()
        );
        assert!(refused.header("set-cookie").is_none());
    }
    let api = gateway.admin().get("/api/v1/policies").await;
    assert_eq!(
        api.status, 200,
        "who holds a token is never shut out of the API"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_asked_for_by_a_page_of_the_console() {
    let gateway = start();
    let mut browser = Browser::signed_in(&gateway).await;
    let foreign = browser.foreign_form("/console/sign-out", &[]).await;
    assert_eq!(foreign.status, 403, "no origin");
    let other = browser.foreign_form("/console/sign-out", &[]);
    let other = other.header("origin", "https://evil.example").await;
    assert_eq!(other.status, 403, "another origin");
    let csrf = std::mem::take(&mut browser.csrf);
    let unsaid = browser.send("/console/sign-out", &[]).await;
    assert_eq!(unsaid.status, 403, "no token");
    let wrong = browser.send("/console/sign-out", &[("csrf", "0123")]).await;
    assert_eq!(wrong.status, 403, "a wrong token");
    assert!(!wrong.text().contains(&csrf));

    // htmx is given the right one: only a page of this origin reads its answers.
    let renewed = browser.form("/console/sign-out", &[]);
    let renewed = renewed.header("hx-request", "true").await;
    assert_eq!(renewed.status, 403);
    let trigger = json!({"csrf": csrf}).to_string();
    assert_eq!(renewed.header("hx-trigger"), Some(&*trigger));
    assert_eq!(renewed.header("hx-retarget"), Some("#notice"));

    assert_eq!(
        browser.get("/console/policies").await.status,
        200,
        "still signed in"
    );
    let by_header = browser.form("/console/sign-out", &[]);
    let by_header = by_header.header("x-csrf-token", &csrf).await;
    assert_eq!(by_header.status, 303);

    let ended = browser.form("/console/sign-out", &[]);
    let ended = ended.header("hx-request", "true").await;
    assert_eq!(ended.status, 401);
    assert!(
        ended.text().contains("Nothing that you typed is lost"),
        "{}",
        ended.text()
    );
    let from_elsewhere =
        Browser::new(&gateway).foreign_form("/console/sign-in", &[("token", TOKEN)]);
    assert_eq!(from_elsewhere.await.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_passes_the_gate() {
    let gateway = start();
    let conf = gateway.conf_text();
    let stranger = Browser::new(&gateway);
    let mut browser = Browser::signed_in(&gateway).await;
    browser.csrf.clear();
    for path in [
        "/console/policies/new",
        "/console/policy/chat",
        "/console/revisions/1",
        "/console/keys",
        "/console/keys/revoke",
        "/console/live/suspend",
        "/console/live/resume",
        "/console/try-out/send",
    ] {
        let first = stranger.send(path, &[("name", "evil")]).await;
        assert_eq!(first.status, 303, "{path}");
        assert_eq!(first.header("location"), Some("/console/sign-in"), "{path}");
        let unsaid = browser.send(path, &[("name", "evil")]).await;
        assert_eq!(unsaid.status, 403, "{path}: {}", unsaid.text());
    }
    assert_eq!(gateway.conf_text(), conf);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_with_its_token() {
    let gateway = start();
    let browser = Browser::signed_in(&gateway).await;
    gateway.change_conf(&digest_of(TOKEN), &digest_of("another"));
    assert_eq!(
        gateway
            .admin()
            .post("/api/v1/reload", json!({}))
            .await
            .status,
        200
    );
    assert_eq!(browser.get("/console/policies").await.status, 303);
    assert_eq!(Browser::new(&gateway).sign_in("another").await.status, 303);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_the_page_says_how_to_get_one() {
    let gateway = setup().admin_with("address: 127.0.0.1:0").start_from_file();
    let mut browser = Browser::new(&gateway);
    let page = browser.get("/console/sign-in").await;
    assert!(
        page.text().contains("standin key --admin --name ops"),
        "{}",
        page.text()
    );
    assert!(!page.text().contains("name=\"token\""));
    assert_eq!(browser.sign_in("").await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_tls_the_cookie_is_for_tls_alone() {
    let authority = Authority::new();
    let identity = authority.issue(Certificate::Valid);
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let certificate = file("tls.crt", &identity.certificate);
    let key = file("tls.key", &identity.key);
    let admin = format!(
        "address: 127.0.0.1:0\ntls: {{certificate: {certificate:?}, private_key: {key:?}}}\ntokens: [{{name: ops, sha256: {}}}]",
        digest_of(TOKEN)
    );
    let gateway = setup().admin_with(&admin).start_from_file();
    let mut browser = Browser::new(&gateway);
    browser.client = Client::https(browser.address, &authority.pem(), None);
    let right = browser.sign_in(TOKEN).await;
    assert_eq!(right.status, 303, "{}", right.text());
    let cookie = right.header("set-cookie").unwrap();
    assert!(
        cookie.split("; ").any(|attribute| attribute == "Secure"),
        "{cookie}"
    );
    assert_eq!(browser.get("/console/policies").await.status, 200);

    // A browser offers HTTP/2 first, which the admin listener doesn't speak.
    let both = Client::https_offering(browser.address, &authority.pem(), &["h2", "http/1.1"]);
    assert_eq!(both.get("/console/sign-in").await.status, 200);
}
