//! Backends that are found by DNS.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use standin::gateway::Resolver;
use tokio::sync::watch;

use super::{CHAT, ask, counts, question, setup, upstreams};
use crate::support::{Certificate, Gateway, Reply, Upstream, until, within};

/// Name servers that say what a test wants.
#[derive(Default)]
struct Zone {
    names: Mutex<HashMap<String, Vec<IpAddr>>>,
    asked: watch::Sender<usize>,
}

impl Zone {
    fn set(&self, name: &str, addresses: &[&Upstream]) {
        let addresses = addresses.iter().map(|upstream| upstream.addr().ip());
        let mut names = self.names.lock().unwrap();
        names.insert(name.to_owned(), addresses.collect());
    }

    /// From now on there is no answer about it.
    fn fail(&self, name: &str) {
        self.names.lock().unwrap().remove(name);
    }

    async fn wait_asked(&self, more: usize) {
        let mut asked = self.asked.subscribe();
        let goal = *asked.borrow() + more;
        let reached = asked.wait_for(|&asked| asked >= goal);
        let _ = within("names to be asked for", reached).await;
    }
}

#[async_trait]
impl Resolver for Zone {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        self.asked.send_modify(|asked| *asked += 1);
        let found = self.names.lock().unwrap().get(host).cloned();
        found.ok_or_else(|| io::Error::other("no such host"))
    }
}

/// The gateway's backends, until they are these.
async fn wait_backends(gateway: &Gateway, upstreams: &[&Upstream]) {
    let mut expected: Vec<_> = upstreams
        .iter()
        .map(|upstream| upstream.addr().to_string())
        .collect();
    expected.sort();
    let found = || {
        let backends = gateway.running.gateway.backends();
        let mut found: Vec<_> = backends
            .iter()
            .map(|report| report.backend.to_string())
            .collect();
        found.sort();
        found == expected
    };
    until(format!("the backends {expected:?}"), found).await;
}

/// Three upstreams on the same port of different addresses.
async fn beside() -> [Upstream; 3] {
    let [a] = upstreams().await;
    let all = [Upstream::beside(&a, 2).await, Upstream::beside(&a, 3).await];
    for upstream in &all {
        upstream.always(Reply::chat("m", "Claude Monet."));
    }
    let [b, c] = all;
    [a, b, c]
}

fn fields(port: u16) -> String {
    format!("url: http://gpus.internal:{port}\ndiscover: dns\ndiscover_interval: 100ms\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_address_of_a_name_is_a_backend() {
    let [a, b, c] = beside().await;
    let zone = Arc::new(Zone::default());
    zone.set("gpus.internal", &[&b, &a]);
    let gateway = setup(&fields(a.port()), "").start_with(zone.clone());
    wait_backends(&gateway, &[&a, &b]).await;
    ask(&gateway.client(), 10).await;
    assert_eq!(counts(&[&a, &b]), [5, 5]);
    let host = format!("gpus.internal:{}", a.port());
    assert_eq!(
        b.last_request().header("host"),
        Some(&*host),
        "the name, not the address"
    );
    assert_eq!(gateway.client().get("/v1/models").await.status, 200);

    // One comes, one goes.
    zone.set("gpus.internal", &[&c, &b]);
    wait_backends(&gateway, &[&b, &c]).await;
    let before = counts(&[&a, &b, &c]);
    ask(&gateway.client(), 10).await;
    assert_eq!(counts(&[&a, &b, &c]), [before[0], before[1] + 5, 5]);
    let lines = gateway.wait_log(21).await;
    let named = |line: &serde_json::Value| line["attempts"][0]["backend"] == c.addr().to_string();
    assert_eq!(lines.iter().filter(|line| named(line)).count(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_answer_the_last_addresses_stay() {
    let [a, b, _] = beside().await;
    let zone = Arc::new(Zone::default());
    zone.set("gpus.internal", &[&a, &b]);
    let gateway = setup(&fields(a.port()), "").start_with(zone.clone());
    wait_backends(&gateway, &[&a, &b]).await;
    zone.fail("gpus.internal");
    zone.wait_asked(2).await;
    ask(&gateway.client(), 10).await;
    zone.set("gpus.internal", &[]);
    zone.wait_asked(2).await;
    ask(&gateway.client(), 10).await;
    assert_eq!(counts(&[&a, &b]), [10, 10]);
    zone.set("gpus.internal", &[&b]);
    wait_backends(&gateway, &[&b]).await;
    // What an address was is nobody's business outside.
    let refused = Reply::json(
        401,
        &serde_json::json!({"error": {"message": format!("no access at {}", b.addr())}}),
    );
    b.always(refused);
    let answer = gateway.client().post(CHAT, question()).await;
    assert!(
        answer.status == 502 && !answer.text().contains("127.0.0.3"),
        "{answer:?}"
    );
    assert!(!answer.text().contains(&b.addr().to_string()), "{answer:?}");
}

/// Checks follow who is there, and know each by its address.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_discovered_is_checked() {
    let [a, b, c] = beside().await;
    let zone = Arc::new(Zone::default());
    zone.set("gpus.internal", &[&a, &b]);
    let check =
        "health_check: {interval: 100ms, timeout: 80ms, unhealthy_after: 1, slow_start: 0s}";
    let gateway = setup(&(fields(a.port()) + check), "").start_with(zone.clone());
    wait_backends(&gateway, &[&a, &b]).await;
    a.on_path("/health", Reply::status(500));
    super::wait_healthy(&gateway, &a, false).await;
    zone.set("gpus.internal", &[&a, &b, &c]);
    wait_backends(&gateway, &[&a, &b, &c]).await;
    assert!(
        !super::report(&gateway, &a).healthy,
        "the newcomer changes nothing for it"
    );
    c.wait_for_requests(2).await;
    ask(&gateway.client(), 10).await;
    assert_eq!(counts(&[&a, &b, &c]), [0, 5, 5]);
    zone.set("gpus.internal", &[&a, &b]);
    wait_backends(&gateway, &[&a, &b]).await;
    let after = c.count();
    b.wait_for_requests(b.count() + 3).await;
    assert!(
        c.count() <= after + 1,
        "one that is gone is no longer checked"
    );
}

/// The real resolver, and TLS with the name.
#[tokio::test(flavor = "multi_thread")]
async fn localhost_is_found_by_the_system() {
    let folder = tempfile::tempdir().unwrap();
    let upstream = Upstream::tls(Certificate::Valid).await;
    upstream.always(Reply::chat("m", "Claude Monet."));
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, upstream.ca_pem()).unwrap();
    let fields = format!(
        "url: {}\ndiscover: dns\ntls: {{ca: {ca:?}}}",
        upstream.url_of("localhost")
    );
    let gateway = setup(&fields, "").start();
    let name = upstream.addr().to_string();
    let is_found = || {
        let backends = gateway.running.gateway.backends();
        backends.iter().any(|report| *report.backend == *name)
    };
    until("the address to be found", is_found).await;
    // There may be ::1 too, where nobody listens: the attempt goes on to the other.
    ask(&gateway.client(), 8).await;
    assert_eq!(upstream.count(), 8);
    assert_eq!(upstream.last_request().sni.as_deref(), Some("localhost"));
}
