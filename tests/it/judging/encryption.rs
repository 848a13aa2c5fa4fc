//! TLS towards endpoints.

use tempfile::TempDir;

use super::{FALLBACK_SAYS, SUSPENDING, Stage};
use crate::support::{Certificate, Reply, Upstream};

/// Files of one test, for the configuration to name.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Writes a file; its path.
    fn file(&self, name: &str, content: &str) -> String {
        let path = self.0.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// The authority that an upstream's certificate is of; its path.
    fn ca_of(&self, upstream: &Upstream) -> String {
        self.file("ca.pem", &upstream.ca_pem())
    }
}

/// A stage whose target is `upstream` by the name `host`.
async fn stage(upstream: Upstream, host: &str, endpoint: &str) -> Stage {
    upstream.always(Reply::chat("first", FALLBACK_SAYS));
    let url = upstream.url_of(host);
    Stage::at(upstream, &url, endpoint, SUSPENDING).await
}

/// The handshake succeeds, and the next one is not needed.
async fn assert_trusted(stage: &Stage) {
    for round in 1..=2 {
        let answer = stage.ask().await;
        assert_eq!(answer.header("x-standin-failover"), None, "{answer:?}");
        assert_eq!(answer.header("x-standin-endpoint"), Some("target"));
        assert_eq!(stage.counts(), (round, 0));
    }
    assert_eq!(stage.target.connections(), 1);
}

/// No request leaves, and the pair is suspended.
async fn assert_distrusted(stage: &Stage) {
    stage.assert_fault_after(0, stage.ask().await, "tls").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_of_its_own_is_trusted() {
    for host in ["localhost", "127.0.0.1"] {
        for (fields, version) in [
            ("", http::Version::HTTP_2),
            ("http_version: auto", http::Version::HTTP_2),
            ("http_version: 2", http::Version::HTTP_2),
            ("http_version: 1.1", http::Version::HTTP_11),
        ] {
            let files = Files::new();
            let upstream = Upstream::tls(Certificate::Valid).await;
            let endpoint = format!("tls: {{ca: {:?}}}\n{fields}", files.ca_of(&upstream));
            let stage = stage(upstream, host, &endpoint).await;
            assert_trusted(&stage).await;
            let received = stage.target.last_request();
            assert_eq!(received.version, version, "{fields}");
            let sni = (host == "localhost").then_some("localhost");
            assert_eq!(received.sni.as_deref(), sni, "an address is no server name");
            let authority = format!("{host}:{}", stage.target.port());
            assert_eq!(received.authority, Some(authority));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn alpn_decides_what_is_spoken() {
    for fields in ["", "http_version: 2"] {
        let files = Files::new();
        let upstream = Upstream::tls_http1(Certificate::Valid).await;
        let endpoint = format!("tls: {{ca: {:?}}}\n{fields}", files.ca_of(&upstream));
        let stage = stage(upstream, "localhost", &endpoint).await;
        if fields.is_empty() {
            assert_trusted(&stage).await;
            let version = stage.target.last_request().version;
            assert_eq!(version, http::Version::HTTP_11);
        } else {
            // Who asks for HTTP/2 alone gets it or nothing.
            assert_distrusted(&stage).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_proves_nothing_fails_over() {
    for certificate in [
        Certificate::Expired,
        Certificate::OtherHost,
        Certificate::SelfSigned,
        Certificate::OtherAuthority,
    ] {
        for version in ["1.1", "2", "auto"] {
            let files = Files::new();
            let upstream = Upstream::tls(certificate).await;
            let ca = files.ca_of(&upstream);
            let endpoint = format!("http_version: {version}\ntls: {{ca: {ca:?}}}");
            let stage = stage(upstream, "localhost", &endpoint).await;
            assert_distrusted(&stage).await;
            stage.target.wait_failed_handshake().await;
        }
    }
    // Nor is an authority trusted that nobody has named.
    let upstream = Upstream::tls(Certificate::Valid).await;
    assert_distrusted(&stage(upstream, "localhost", "").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_no_proof_gets_none() {
    for certificate in [
        Certificate::Valid,
        Certificate::Expired,
        Certificate::OtherHost,
        Certificate::SelfSigned,
        Certificate::OtherAuthority,
    ] {
        let upstream = Upstream::tls(certificate).await;
        let stage = stage(upstream, "localhost", "tls: {verify: false}").await;
        assert_trusted(&stage).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_name_of_its_own_is_asked_for_and_proved() {
    let files = Files::new();
    let upstream = Upstream::tls(Certificate::OtherHost).await;
    let ca = files.ca_of(&upstream);
    let endpoint = format!("tls: {{ca: {ca:?}, sni: elsewhere.example}}");
    let elsewhere = stage(upstream, "127.0.0.1", &endpoint).await;
    assert_trusted(&elsewhere).await;
    let received = elsewhere.target.last_request();
    assert_eq!(received.sni.as_deref(), Some("elsewhere.example"));

    let upstream = Upstream::tls(Certificate::Valid).await;
    let ca = files.ca_of(&upstream);
    let endpoint = format!("tls: {{ca: {ca:?}, sni: elsewhere.example}}");
    assert_distrusted(&stage(upstream, "localhost", &endpoint).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_is_shown_to_who_asks() {
    for version in ["1.1", "2"] {
        let files = Files::new();
        let upstream = Upstream::mutual_tls().await;
        let identity = upstream.client_identity();
        let ca = files.ca_of(&upstream);
        let certificate = files.file("client.pem", &identity.certificate);
        let key = files.file("client.key", &identity.key);
        let endpoint = format!(
            "http_version: {version}\ntls: {{ca: {ca:?}, client_certificate: {certificate:?}, client_key: {key:?}}}"
        );
        let stage = stage(upstream, "localhost", &endpoint).await;
        assert_trusted(&stage).await;
        assert!(stage.target.last_request().client_certificate);
    }
}

/// In TLS 1.3 the server says so when the client has done with the handshake, and has sent its
/// request; in HTTP/2 the connection may be gone before that.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_client_certificate_fails_over() {
    for (version, reasons) in [("1.1", &["tls"][..]), ("2", &["tls", "closed"])] {
        let files = Files::new();
        let upstream = Upstream::mutual_tls().await;
        let ca = files.ca_of(&upstream);
        let endpoint = format!("http_version: {version}\ntls: {{ca: {ca:?}}}");
        let stage = stage(upstream, "localhost", &endpoint).await;
        let answer = stage.ask().await;
        let failover = answer.header("x-standin-failover").unwrap();
        let reason = failover.strip_prefix("target/first=").unwrap().to_owned();
        assert!(reasons.contains(&&*reason), "{version}: {reason}");
        stage.assert_fault_after(0, answer, &reason).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_tls_fails_over() {
    let upstream = Upstream::start().await;
    upstream.always(Reply::raw("HTTP/1.1 400 Bad Request\r\n\r\n").on_connect());
    let url = format!("https://127.0.0.1:{}", upstream.port());
    let stage = Stage::at(upstream, &url, "", SUSPENDING).await;
    assert_distrusted(&stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_is_cut_fails_over() {
    for reply in [Reply::close_before_reading(), Reply::reset_before_reading()] {
        let upstream = Upstream::tls(Certificate::Valid).await;
        let stage = stage(upstream, "127.0.0.1", "").await;
        stage.target.always(reply);
        let answer = stage.ask().await;
        // A reset may come before the handshake begins.
        let failover = answer.header("x-standin-failover").unwrap();
        assert!(
            ["target/first=tls", "target/first=reset"].contains(&failover),
            "{failover}"
        );
        Stage::assert_fallback(&answer, 2, Some(failover));
        Stage::assert_fallback(&stage.ask().await, 1, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_tls_that_is_not_asked_for_fails_over() {
    let upstream = Upstream::tls(Certificate::Valid).await;
    let url = format!("http://localhost:{}", upstream.port());
    let stage = Stage::at(upstream, &url, "", SUSPENDING).await;
    let answer = stage.ask().await;
    // What it answers to cleartext is an alert, or nothing.
    let failover = answer.header("x-standin-failover").unwrap();
    let known = ["malformed", "closed", "reset"].map(|reason| format!("target/first={reason}"));
    assert!(known.iter().any(|known| known == failover), "{failover}");
    Stage::assert_fallback(&answer, 2, Some(failover));
    Stage::assert_fallback(&stage.ask().await, 1, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooled_tls_connection_that_died_is_no_attempt() {
    for version in ["1.1", "2"] {
        let files = Files::new();
        let upstream = Upstream::tls(Certificate::Valid).await;
        let ca = files.ca_of(&upstream);
        let endpoint = format!("http_version: {version}\ntls: {{ca: {ca:?}}}");
        let stage = stage(upstream, "localhost", &endpoint).await;
        assert_trusted(&stage).await;
        stage.target.close_idle().await;
        assert_eq!(stage.ask().await.header("x-standin-attempts"), Some("1"));
        stage.target.reset_idle().await;
        assert_eq!(stage.ask().await.header("x-standin-attempts"), Some("1"));
        for reply in [Reply::close_if_reused(), Reply::reset_if_reused()] {
            stage.target.push(reply);
            let answer = stage.ask().await;
            assert_eq!(answer.header("x-standin-attempts"), Some("1"), "{answer:?}");
        }
        assert_eq!(stage.fallback.count(), 0);
        assert_eq!(stage.target.connections(), 5);
    }
}
