//! In paths, queries and headers.

use bytes::Bytes;

use super::{ASKED, ASKED_IN_URL, FALLBACK, FALLBACK_IN_URL, Stage, odd};
use crate::support::Reply;

#[tokio::test(flavor = "multi_thread")]
async fn a_model_in_the_path_is_found_and_replaced() {
    for (template, rest) in [
        ("/v1beta/models/{model}:generateContent", "?alt=sse&x=%20+"),
        ("/model/{model}/converse", ""),
        (
            "/v1/projects/*/locations/*/publishers/*/models/{model}:rawPredict",
            "?",
        ),
        (
            "/openai/deployments/{model}/chat/completions",
            "?api-version=2024-10-21",
        ),
    ] {
        let stage = Stage::new(&format!("path: {template:?}"), "").await;
        let path = |model: &str| template.replace('*', "p-%201").replace("{model}", model) + rest;
        let body = Bytes::from_static(b"{\"contents\" : [ ]}");
        let request = stage.client().post(&path(ASKED_IN_URL), body.clone());
        let received = stage.fail_over(request).await;
        assert_eq!(received[0].target, path(ASKED_IN_URL));
        assert_eq!(received[1].target, path(FALLBACK_IN_URL));
        assert!(received.iter().all(|received| received.body == body));

        // Spelled otherwise it is the same model; for the first target it is spelled our way.
        let spelled = ASKED_IN_URL.replace("gpt", "%67p%74").replace("%3A", ":");
        let received = stage
            .fail_over(stage.client().post(&path(&spelled), body.clone()))
            .await;
        assert_eq!(received[0].target, path(ASKED_IN_URL));

        // Another model goes on as it came.
        let other = path("%6fther%2f+");
        let received = stage.pass(stage.client().post(&other, body.clone())).await;
        assert_eq!((received.target, received.body), (other, body.clone()));

        for broken in ["%ff", "a%2", "%zz"] {
            let request = stage.client().post(&path(broken), body.clone());
            stage.refused(request, 400, "invalid_model").await;
        }
        let request = stage.client().post(&path("a/b"), body.clone());
        stage.refused(request, 404, "unknown_operation").await;
        let request = stage.client().get(&path(ASKED_IN_URL));
        stage.refused(request, 405, "method_not_allowed").await;
    }
}

/// Azure's and other callers send the model in the body too.
#[tokio::test(flavor = "multi_thread")]
async fn where_the_body_names_a_model_too_it_is_replaced_there_as_well() {
    let stage = Stage::new("path: \"/d/{model}/chat/completions\"", "").await;
    let path = format!("/d/{ASKED_IN_URL}/chat/completions");
    for model in [ASKED, "another"] {
        let request = stage.client().post(&path, odd(&format!("{model:?}")));
        let received = stage.fail_over(request).await;
        assert_eq!(received[0].body, odd(&format!("{ASKED:?}")));
        assert_eq!(received[1].body, odd(&format!("{FALLBACK:?}")));
    }
    // Two readers could find two models in it, or none.
    for body in [r#"{"model": "a", "model": "b"}"#, r#"{"model": 1}"#, "{"] {
        stage
            .refused(stage.client().post(&path, body), 400, "invalid_body")
            .await;
    }
    // What is no JSON isn't read.
    let request = stage
        .client()
        .post(&path, "{")
        .header("content-type", "audio/wav");
    let received = stage.fail_over(request).await;
    assert!(received.iter().all(|received| received.body == "{"));
    let request = stage.client().request("POST", &path);
    let received = stage.fail_over(request).await;
    assert!(received.iter().all(|received| received.body.is_empty()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_in_the_query_is_found_and_replaced() {
    let stage = Stage::new("path: /v1/listen\nmodel_in: {query: model}", "").await;
    let path = |model: &str| format!("/v1/listen?a=%20+&&mod%65l={model}&models=1");
    let audio = Bytes::from_static(b"\x00RIFF");
    let post = |path: &str| {
        let request = stage.client().post(path, audio.clone());
        request.header("content-type", "audio/wav")
    };
    let received = stage.fail_over(post(&path(ASKED_IN_URL))).await;
    assert_eq!(received[0].target, path(ASKED_IN_URL));
    assert_eq!(received[1].target, path(FALLBACK_IN_URL));
    assert!(received.iter().all(|received| received.body == audio));
    let received = stage.pass(post(&path("oth+er"))).await;
    assert_eq!(received.target, path("oth+er"));
    stage
        .refused(post("/v1/listen?models=1"), 400, "missing_model")
        .await;
    stage
        .refused(post("/v1/listen"), 400, "missing_model")
        .await;
    stage
        .refused(post("/v1/listen?model=%ff"), 400, "invalid_model")
        .await;
    let twice = format!("/v1/listen?model={ASKED_IN_URL}&model={ASKED_IN_URL}");
    stage.refused(post(&twice), 400, "invalid_model").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_in_a_header_is_found_and_replaced() {
    let stage = Stage::new(
        "method: GET\npath: /v1/voices\nmodel_in: {header: X-Model}",
        "",
    )
    .await;
    let get = |model: &str| {
        stage
            .client()
            .get("/v1/voices?x=1")
            .header("x-model", model)
    };
    let received = stage.fail_over(get(ASKED)).await;
    assert_eq!(received[0].headers.all("x-model"), [ASKED]);
    assert_eq!(received[1].headers.all("x-model"), [FALLBACK]);
    assert!(received.iter().all(|received| received.method == "GET"));
    assert!(
        received
            .iter()
            .all(|received| received.target == "/v1/voices?x=1")
    );
    let received = stage.pass(get("other")).await;
    assert_eq!(received.headers.all("x-model"), ["other"]);
    let without = stage.client().get("/v1/voices");
    stage.refused(without, 400, "missing_model").await;
    let twice = get(ASKED).header("x-model", ASKED);
    stage.refused(twice, 400, "invalid_model").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_alone_says_the_length_that_its_upstream_says() {
    let operation = "method: HEAD\npath: /v1/voices\nmodel_in: {header: x-model}";
    let stage = Stage::new(operation, "").await;
    let head = Reply::status(200).header("content-length", "1234");
    stage.second.always(head);
    let client = stage.client();
    for _ in 0..2 {
        let request = client
            .request("HEAD", "/v1/voices")
            .header("x-model", ASKED);
        let answer = request.await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.headers.all("content-length"), ["1234"]);
        assert_eq!(answer.header("x-standin-attempts"), Some("2"));
        assert!(answer.body.is_empty() && answer.complete);
    }
    assert_eq!(client.connections(), 1, "the connection stays usable");
}

/// A caller of OpenAI's API, and an endpoint that is a deployment on Azure.
#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_has_the_model_elsewhere_than_the_operation() {
    let azure = "rewrite_path: {from: /v1, to: \"/openai/deployments/{model}\"}\nquery: {api-version: \"2024-10-21\", \"a b\": \"&\"}";
    let stage = Stage::new("path: /v1/embeddings", azure).await;
    let path = |model: &str, query: &str| {
        format!("/openai/deployments/{model}/embeddings?{query}api-version=2024-10-21&a%20b=%26")
    };
    let request = stage
        .client()
        .post("/v1/embeddings", odd(&format!("{ASKED:?}")));
    let received = stage.fail_over(request).await;
    assert_eq!(received[0].target, path(ASKED_IN_URL, ""));
    assert_eq!(received[1].target, path(FALLBACK_IN_URL, ""));
    assert_eq!(received[1].body, odd(&format!("{FALLBACK:?}")));

    // What the caller says of the same parameters is the endpoint's to say.
    let asked = "/v1/embeddings?api-version=1&t=%2F&api%2Dversion=2&a+b=c";
    let request = stage.client().post(asked, odd(&format!("{ASKED:?}")));
    let received = stage.fail_over(request).await;
    assert_eq!(received[1].target, path(FALLBACK_IN_URL, "t=%2F&"));

    // A model that no policy names is the deployment's name.
    let request = stage.client().post("/v1/embeddings", odd("\"m:1\""));
    let received = stage.pass(request).await;
    assert_eq!(received.target, path("m%3A1", ""));
    assert_eq!(received.body, odd("\"m:1\""));
}

/// The other way round: Azure's callers, and an endpoint that has the model in the body.
#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_s_callers_reach_an_endpoint_that_reads_the_body() {
    let operation = "path: \"/openai/deployments/{model}/chat/completions\"";
    let openai = "rewrite_path: {from: \"/openai/deployments/{model}\", to: /v1}";
    let stage = Stage::new(operation, openai).await;
    let path =
        format!("/openai/deployments/{ASKED_IN_URL}/chat/completions?api-version=2024-10-21");
    let request = stage.client().post(&path, odd(&format!("{ASKED:?}")));
    let received = stage.fail_over(request).await;
    let target = "/v1/chat/completions?api-version=2024-10-21";
    assert!(received.iter().all(|received| received.target == target));
    assert_eq!(received[1].body, odd(&format!("{FALLBACK:?}")));
}

/// An operation without policies is streamed through, unless the endpoint must know the model.
#[tokio::test(flavor = "multi_thread")]
async fn the_default_endpoint_has_the_model_in_its_path_too() {
    use crate::support::{Reply, Setup, Upstream};
    let upstream = Upstream::start().await;
    upstream.always(Reply::status(200));
    let azure =
        "provider: azure-openai\nrewrite_path: {from: /v1, to: \"/d/{model}\"}\nquery: {v: 1}";
    let gateway = Setup::new()
        .endpoint_with("azure", &upstream.url(), azure)
        .default_endpoint("azure")
        .operation("path: /v1/embeddings\ndefault_endpoint: {production: azure}")
        .operation(
            "method: GET\npath: \"/v1/models/{model}\"\ndefault_endpoint: {production: azure}",
        )
        .operation("path: /files\ndefault_endpoint: {production: azure}")
        .start();
    for (request, target) in [
        (
            gateway.client().post("/v1/embeddings", odd("\"m:1\"")),
            "/d/m%3A1/embeddings?v=1",
        ),
        (
            gateway.client().get("/v1/models/m%3a1?x"),
            "/d/m%3a1/models/m%3a1?x&v=1",
        ),
        (gateway.client().post("/files", "{}"), "/files?v=1"),
    ] {
        let answer = request.await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(upstream.last_request().target, target);
    }
    let without = gateway.client().post("/v1/embeddings", "{}").await;
    assert_eq!(without.json()["error"]["code"], "missing_model");
}
