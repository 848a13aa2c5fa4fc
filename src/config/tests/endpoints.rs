//! What an endpoint says arrives as it is meant.

use super::*;

#[test]
fn every_field_of_an_endpoint_arrives() {
    let Configuration {
        snapshot, warnings, ..
    } = accepted(&[
        ("endpoints.gpus.provider", json!("custom")),
        (
            "endpoints.gpus.backends",
            json!([
                {"url": "http://10.0.0.11:8000/base/", "weight": 2},
                {"url": "https://[::1]:8443"},
            ]),
        ),
        ("endpoints.gpus.balance", json!("consistent")),
        ("endpoints.gpus.affinity_header", json!("X-Session")),
        (
            "endpoints.gpus.health_check",
            json!({"path": "/up", "status": 204, "body": "ready", "interval": 10, "unhealthy_after": 2, "slow_start": "1m"}),
        ),
        ("endpoints.openai.discover", json!("dns")),
        ("endpoints.openai.discover_interval", json!("1m")),
        (
            "endpoints.gpus.rewrite_path",
            json!({"from": "/v1/", "to": "/"}),
        ),
        ("endpoints.gpus.connect_timeout", json!("250ms")),
        ("endpoints.gpus.http_version", json!(1.1)),
        ("endpoints.gpus.max_concurrent", json!(8)),
        ("endpoints.gpus.queue_timeout", json!("3s")),
        (
            "endpoints.gpus.tls",
            json!({"sni": "GPUs.example", "verify": false}),
        ),
        ("endpoints.openai.api_key", json!({"env": "KEY"})),
        ("endpoints.openai.http_version", json!(2)),
        (
            "policies.chat.production.fallbacks",
            json!([{"model": "m", "endpoint": "gpus", "prefill": "vllm"}]),
        ),
    ]);
    let [gpus, openai] = &snapshot.endpoints[..] else {
        panic!("{:?}", snapshot.endpoints)
    };
    assert_eq!(gpus.provider, Provider::Custom);
    let [first, second] = &gpus.backends[..] else {
        panic!("{:?}", gpus.backends)
    };
    assert_eq!(
        (first.authority(), &*first.base_path, first.weight),
        ("10.0.0.11:8000".into(), "/base", 2)
    );
    assert_eq!(
        (second.authority(), second.scheme, second.weight),
        ("[::1]:8443".into(), Scheme::Https, 1)
    );
    assert_eq!(
        gpus.balance,
        Balance::Consistent {
            affinity_header: "x-session".into()
        }
    );
    let check = gpus.health_check.as_ref().unwrap();
    assert_eq!(
        (&*check.path, check.interval, check.timeout),
        ("/up", Duration::from_secs(10), Duration::from_secs(2))
    );
    assert_eq!((check.healthy_after, check.unhealthy_after), (1, 2));
    assert_eq!(
        (check.status, check.body.as_deref()),
        (Some(204), Some("ready"))
    );
    assert_eq!(check.slow_start, Duration::from_secs(60));
    assert_eq!(gpus.discover_interval, None);
    assert_eq!(openai.discover_interval, Some(Duration::from_secs(60)));
    let rewrite = gpus.rewrite_path.as_ref().unwrap();
    assert_eq!((rewrite.from(), rewrite.to()), ("/v1", ""));
    assert_eq!(gpus.connect_timeout, Duration::from_millis(250));
    assert_eq!(gpus.http_version, HttpVersion::Http1);
    let room = gpus.room.unwrap();
    assert_eq!(
        (room.max_concurrent, room.queue_timeout),
        (8, Duration::from_secs(3))
    );
    assert_eq!(openai.room, None);
    assert_eq!(
        (gpus.tls.sni.as_deref(), gpus.tls.verify),
        (Some("gpus.example"), false)
    );
    assert_eq!(openai.credential.keys()[0].expose(), SECRET);
    assert_eq!(openai.http_version, HttpVersion::Http2);
    let chain = snapshot.policies[0].chains.production.as_ref().unwrap();
    assert_eq!(chain.fallbacks[0].prefill, Prefill::Vllm);
    assert_eq!(
        warnings,
        [
            "line 1: endpoints.gpus.tls.verify: is off: whoever stands between here and the endpoint can read and change everything, its key too; set `ca` instead"
        ]
    );
}

#[test]
fn every_credential_arrives() {
    use crate::policy::{Credential, KeyPlace};

    let arrives = |fields: Json| {
        let mut fields = fields;
        fields["url"] = json!("https://h.example");
        let configuration = accepted(&[("endpoints.openai", fields)]);
        configuration.snapshot.endpoints[0].credential.clone()
    };
    let key = json!({"env": "KEY"});
    let token = http::HeaderName::from_static("x-token");
    for (fields, expected) in [
        (json!({}), KeyPlace::Bearer),
        (
            json!({"provider": "azure-openai", "credential": "bearer"}),
            KeyPlace::Bearer,
        ),
        (
            json!({"credential": {"header": "X-Token"}}),
            KeyPlace::Header(token),
        ),
        (
            json!({"credential": {"query": "key"}}),
            KeyPlace::Query("key".into()),
        ),
    ] {
        for field in ["api_key", "api_keys"] {
            let mut fields = fields.clone();
            fields[field] = match field {
                "api_key" => key.clone(),
                _ => json!([key]),
            };
            let credential = arrives(fields);
            assert_eq!(credential.place(), Some(&expected));
            assert_eq!(credential.keys()[0].expose(), SECRET);
        }
    }
    let passed = arrives(json!({"api_key": "passthrough"}));
    assert!(matches!(passed, Credential::Passthrough));
    assert!(matches!(arrives(json!({})), Credential::None));
}
