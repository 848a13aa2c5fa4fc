//! What is spoken where: cleartext, HTTP/2 with prior knowledge, TLS.

use std::net::SocketAddr;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, rustls};

use super::{CHAT, MODEL, Stage, question, raw};
use crate::support::{
    Authority, Certificate, Client, Gateway, KEY, NoAnswer, Reply, Setup, Upstream, tls, until,
    within,
};

/// A gateway that also listens with TLS.
struct Encrypted {
    authority: Authority,
    gateway: Gateway,
    upstream: Upstream,
    _folder: TempDir,
}

impl Encrypted {
    /// With `client_ca` only those who show a certificate of its authority may call.
    async fn start(client_ca: bool) -> Self {
        Self::limited(client_ca, "").await
    }

    async fn limited(client_ca: bool, limits: &str) -> Self {
        Self::of(Setup::new().limits(limits), client_ca).await
    }

    async fn of(setup: Setup, client_ca: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        let identity = authority.issue(Certificate::Valid);
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let certificate = file("tls.crt", &identity.certificate);
        let key = file("tls.key", &identity.key);
        let ca = file("ca.pem", &authority.pem());
        let client_ca = match client_ca {
            true => format!(", client_ca: {ca:?}"),
            false => String::new(),
        };
        let upstream = Upstream::start().await;
        upstream.always(Reply::chat(MODEL, "Hello"));
        let gateway = setup
            .listener(&format!(
                "{{address: 127.0.0.1:0, tls: {{certificate: {certificate:?}, private_key: {key:?}{client_ca}}}}}"
            ))
            .endpoint("openai", &upstream.url())
            .chain(&[(MODEL, "openai")], "")
            .start();
        Self {
            authority,
            gateway,
            upstream,
            _folder: folder,
        }
    }

    fn addr(&self) -> SocketAddr {
        self.gateway.running.addresses[1]
    }

    /// A client of each protocol, that shows a certificate of this kind.
    fn clients(&self, shows: Option<Certificate>) -> [Client; 2] {
        let identity = shows.map(|kind| self.authority.issue(kind));
        let ca = self.authority.pem();
        [
            Client::https(self.addr(), &ca, identity.as_ref()).key(KEY),
            Client::https_h2(self.addr(), &ca, identity.as_ref()).key(KEY),
        ]
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_tls_both_versions_are_spoken_by_alpn() {
    let encrypted = Encrypted::start(false).await;
    let versions = [http::Version::HTTP_11, http::Version::HTTP_2];
    for (client, version) in encrypted.clients(None).iter().zip(versions) {
        for _ in 0..3 {
            let answer = client.post(CHAT, question()).await;
            assert_eq!(answer.content(), "Hello");
            assert_eq!(answer.version, version);
        }
        assert_eq!(client.post(CHAT, "{}").await.status, 400);
        assert_eq!(client.connections(), 1);
    }
    assert_eq!(encrypted.upstream.count(), 6);
    // The cleartext listener is there as well.
    let answer = encrypted.gateway.client().post(CHAT, question()).await;
    assert_eq!(answer.content(), "Hello");
}

#[tokio::test(flavor = "multi_thread")]
async fn threads_that_share_their_work_serve_as_well() {
    let encrypted = Encrypted::of(Setup::new().work_stealing(), false).await;
    let [http1, http2] = encrypted.clients(None);
    let plain = encrypted.gateway.client();
    for client in [&http1, &http2, &plain] {
        for _ in 0..3 {
            assert_eq!(client.post(CHAT, question()).await.content(), "Hello");
        }
        assert_eq!(client.connections(), 1);
    }
    // What is under way when it ends is finished, with them too.
    encrypted
        .upstream
        .push(Reply::chat(MODEL, "At last").held("answer"));
    let asked = tokio::spawn(plain.post(CHAT, question()).into_future());
    encrypted.upstream.wait_gate("answer").await;
    encrypted.gateway.running.begin_stop();
    encrypted.upstream.open("answer");
    assert_eq!(asked.await.unwrap().content(), "At last");
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_1_2_and_1_3_are_spoken() {
    let encrypted = Encrypted::start(false).await;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let ca = encrypted.authority.pem();
        let config = tls::client_config_of(&[version], &ca, &["http/1.1"], None);
        let tcp = TcpStream::connect(encrypted.addr()).await.unwrap();
        let name = "localhost".try_into().unwrap();
        let mut connection = TlsConnector::from(config).connect(name, tcp).await.unwrap();
        let spoken = connection.get_ref().1.protocol_version();
        assert_eq!(spoken, Some(version.version));
        let request = "GET /v1/unknown HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        within("the answer", connection.read_to_string(&mut answer))
            .await
            .unwrap();
        assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_the_client_does_not_trust_ends_the_handshake() {
    let encrypted = Encrypted::start(false).await;
    let other = Authority::new().pem();
    let refused = Client::https(encrypted.addr(), &other, None)
        .try_connect()
        .await;
    assert!(matches!(refused, Err(NoAnswer::Tls(_))));
    let [client, _] = encrypted.clients(None);
    assert_eq!(client.post(CHAT, question()).await.status, 200);
}

/// What begins a handshake and doesn't end it: nothing, and the first bytes of a ClientHello.
const NO_HANDSHAKE: [&[u8]; 2] = [b"", b"\x16\x03\x01\x02\x00\x01"];

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_does_not_end_is_cut_in_time() {
    let encrypted = Encrypted::limited(false, "request_head_timeout: 300ms").await;
    for said in NO_HANDSHAKE {
        let mut connection = Client::new(encrypted.addr()).connect().await;
        connection.write(said).await;
        assert!(connection.read_to_end().await.is_empty());
    }
    let [client, _] = encrypted.clients(None);
    assert_eq!(client.post(CHAT, question()).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_counts_before_its_handshake() {
    let encrypted = Encrypted::limited(false, "connections: 1").await;
    let connections = encrypted.gateway.running.connections.clone();
    for (said, refused) in NO_HANDSHAKE.into_iter().zip(1..) {
        let mut connection = Client::new(encrypted.addr()).connect().await;
        connection.write(said).await;
        until("it is let in", || connections.open() == 1).await;
        let mut other = Client::new(encrypted.addr()).connect().await;
        assert!(other.read_to_end().await.is_empty());
        assert_eq!(connections.refused(), refused);
        drop(connection);
        until("it is let go", || connections.open() == 0).await;
    }
    let [client, _] = encrypted.clients(None);
    assert_eq!(client.post(CHAT, question()).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn cleartext_at_a_tls_port_reaches_nobody() {
    let encrypted = Encrypted::start(false).await;
    let mut connection = Client::new(encrypted.addr()).connect().await;
    connection.write(&super::raw_question(&[])).await;
    let said = connection.read_to_end().await;
    assert!(!said.starts_with(b"HTTP"), "{said:?}");
    assert_eq!(encrypted.upstream.connections(), 0);
}

/// Connections on which HTTP/2 was agreed on and something else is said: what comes back on each.
async fn agreed_on_http_2(encrypted: &Encrypted, said: &[&[u8]]) {
    let ca = encrypted.authority.pem();
    for said in said {
        let client = Client::https_offering(encrypted.addr(), &ca, &["h2"]);
        let mut connection = client.connect().await;
        connection.write(said).await;
        let heard = connection.read_to_end().await;
        assert!(!heard.starts_with(b"HTTP"), "{said:?}: {heard:?}");
    }
    let running = &encrypted.gateway.running;
    until("no open connections", || running.connections.open() == 0).await;
    assert_eq!(encrypted.upstream.connections(), 0);
    assert_eq!(encrypted.gateway.log(), [""; 0]);
    let [_, client] = encrypted.clients(None);
    assert_eq!(client.post(CHAT, question()).await.content(), "Hello");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_agrees_on_http_2_and_speaks_something_else_is_cut_at_once() {
    // The test's patience is shorter.
    let encrypted = Encrypted::limited(false, "request_head_timeout: 60s").await;
    let question = super::raw_question(&[]);
    let almost = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX";
    let unsettled = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x06\0\0\0\0\0";
    agreed_on_http_2(&encrypted, &[&question, &[0xff; 64], almost, unsettled]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_agrees_on_http_2_and_says_nothing_is_cut_in_time() {
    let encrypted = Encrypted::limited(false, "request_head_timeout: 300ms").await;
    agreed_on_http_2(&encrypted, &[b"", b"PRI * HTT"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_without_the_right_certificate_are_turned_away() {
    let encrypted = Encrypted::start(true).await;
    for client in encrypted.clients(Some(Certificate::Valid)) {
        assert_eq!(client.post(CHAT, question()).await.content(), "Hello");
    }
    assert_eq!(encrypted.upstream.count(), 2);
    let wrong = [
        None,
        Some(Certificate::Expired),
        Some(Certificate::SelfSigned),
        Some(Certificate::OtherAuthority),
    ];
    for shows in wrong {
        for client in encrypted.clients(shows) {
            let answer = client.post(CHAT, question()).try_send().await;
            assert!(answer.is_err(), "{shows:?}: {answer:?}");
        }
    }
    assert_eq!(encrypted.upstream.count(), 2);
    // A certificate is no key.
    let [client, _] = encrypted.clients(Some(Certificate::Valid));
    let mut unknown = client.connect().await;
    unknown
        .write(&raw(&format!("POST {CHAT} HTTP/1.1"), &["host: a"], ""))
        .await;
    assert_eq!(unknown.response().await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_h2c_listener_speaks_both_versions() {
    let stage = Stage::new().await;
    let http1 = Client::new(stage.h2c_addr()).key(KEY);
    let http2 = Client::h2c(stage.h2c_addr()).key(KEY);
    for _ in 0..3 {
        let answer = http1.post(CHAT, question()).await;
        assert_eq!(
            (answer.status, answer.version),
            (200, http::Version::HTTP_11)
        );
        let answer = http2.post(CHAT, question()).await;
        assert_eq!(
            (answer.status, answer.version),
            (200, http::Version::HTTP_2)
        );
    }
    assert_eq!(http1.connections() + http2.connections(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_h2c_listener_answers_the_shortest_request_at_once() {
    let stage = Stage::new().await;
    for request in [
        "GET / HTTP/1.0\r\n\r\n",
        "P / HTTP/1.0\r\n\r\n",
        "PR / HTTP/1.0\r\n\r\n",
    ] {
        // Shorter than the preface of HTTP/2, and the client waits.
        let answer = Client::new(stage.h2c_addr())
            .send_raw(request.as_bytes())
            .await;
        assert_eq!(answer.status, 401, "{answer:?}");
    }
    let answer = Client::new(stage.h2c_addr())
        .send_raw(b"PRINT / HTTP/1.1\r\nhost: a\r\n\r\n")
        .await;
    assert_eq!(answer.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn http_2_where_it_is_not_welcome_is_refused() {
    let stage = Stage::new().await;
    let refused = Client::h2c(stage.gateway.addr())
        .key(KEY)
        .post(CHAT, question());
    assert!(refused.try_send().await.is_err());
    // Nor by an upgrade of HTTP/1.1, which is not spoken anywhere (RFC 9113, section 3.1).
    for addr in [stage.gateway.addr(), stage.h2c_addr()] {
        let upgrade = [
            "connection: Upgrade, HTTP2-Settings",
            "upgrade: h2c",
            "http2-settings: AAMAAABkAAQAoAAAAAIAAAAA",
        ];
        let answer = Client::new(addr)
            .send_raw(&super::raw_question(&upgrade))
            .await;
        assert_eq!(
            (answer.status, answer.version),
            (200, http::Version::HTTP_11)
        );
        assert_eq!(stage.upstream.last_request().header("http2-settings"), None);
        assert_eq!(stage.upstream.last_request().header("upgrade"), None);
    }
    assert_eq!(stage.upstream.count(), 2);
}
