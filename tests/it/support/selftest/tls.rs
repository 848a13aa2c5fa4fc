//! TLS: certificates, ALPN, client certificates.

use super::{CHAT, ask};
use crate::support::{Authority, Certificate, Client, NoAnswer, Reply, Step, Upstream};

#[tokio::test(flavor = "multi_thread")]
async fn alpn_decides_the_protocol() {
    let up = Upstream::tls(Certificate::Valid).await;
    up.always(Reply::chat("m", "x"));
    let http1 = Client::https(up.addr(), &up.ca_pem(), None);
    let http2 = Client::https_h2(up.addr(), &up.ca_pem(), None);
    for (client, version) in [
        (http1, http::Version::HTTP_11),
        (http2, http::Version::HTTP_2),
    ] {
        assert_eq!(client.post(CHAT, ask("m")).await.content(), "x");
        let received = up.last_request();
        assert_eq!(received.version, version);
        assert_eq!(received.sni.as_deref(), Some("localhost"));
        assert!(!received.client_certificate);
    }
    assert_eq!(up.url(), format!("https://127.0.0.1:{}", up.port()));
    assert_eq!(
        up.url_of("localhost"),
        format!("https://localhost:{}", up.port())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_http2_in_alpn_there_is_none() {
    let up = Upstream::tls_http1(Certificate::Valid).await;
    up.always(Reply::chat("m", "x"));
    let client = Client::https(up.addr(), &up.ca_pem(), None);
    assert_eq!(client.post(CHAT, ask("m")).await.content(), "x");
    let http2 = Client::https_h2(up.addr(), &up.ca_pem(), None);
    let failed = http2.get("/").try_send().await;
    assert!(matches!(failed, Err(NoAnswer::Tls(_))), "{failed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_certificate_is_refused_for_its_own_fault() {
    for (certificate, reason) in [
        (Certificate::Expired, "expired"),
        (Certificate::OtherHost, "not valid for name"),
        (Certificate::SelfSigned, "UnknownIssuer"),
        (Certificate::OtherAuthority, "BadSignature"),
    ] {
        let up = Upstream::tls(certificate).await;
        let client = Client::https(up.addr(), &up.ca_pem(), None);
        let Err(NoAnswer::Tls(error)) = client.get("/").try_send().await else {
            panic!("{certificate:?} was accepted")
        };
        assert!(
            error.to_string().contains(reason),
            "{certificate:?}: {error}"
        );
        up.wait_failed_handshake().await;
        assert_eq!((up.failed_handshakes(), up.count()), (1, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_is_demanded() {
    let up = Upstream::mutual_tls().await;
    up.always(Reply::status(200));
    let identity = up.client_identity();
    let known = Client::https(up.addr(), &up.ca_pem(), Some(&identity));
    assert_eq!(known.get("/").await.status, 200);
    assert!(up.last_request().client_certificate);

    let stranger = Authority::new().issue(Certificate::Valid);
    for identity in [None, Some(&stranger)] {
        let client = Client::https(up.addr(), &up.ca_pem(), identity);
        client.get("/").try_send().await.unwrap_err();
    }
    up.wait_failed_handshake().await;
    assert_eq!(up.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn breakage_under_tls() {
    let up = Upstream::tls(Certificate::Valid).await;
    let client = Client::https(up.addr(), &up.ca_pem(), None);
    up.push(Reply::close_before_reading());
    client.get("/").try_send().await.unwrap_err();
    up.push(Reply::chat("m", "x").cut_body_at(5, Step::Close));
    let closed = client.get("/").await;
    assert_eq!(
        (closed.body.len(), closed.complete, closed.reset),
        (5, false, false)
    );
    up.push(
        Reply::chat("m", "x")
            .cut_body_at(5, Step::Gate("read"))
            .then(Step::Reset),
    );
    let mut stream = client.get("/").open().await;
    stream.next_chunk().await.unwrap();
    up.open("read");
    assert!(stream.rest().await.reset);
    up.always(Reply::status(200));
    client.get("/").await;
    assert_eq!(up.close_idle().await, 1);
    client.wait_idle_closed().await;
}
