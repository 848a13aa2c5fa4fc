//! Who opens a connection.

use tokio::net::TcpListener;

use super::*;
use crate::policy::{Balance, Credential, EndpointId, Provider, UpstreamTls};

/// The way to an endpoint without TLS that listens here.
pub(in crate::gateway) fn to_listener(
    links: &Links,
    listener: &TcpListener,
    http_version: HttpVersion,
) -> Arc<Link> {
    let backend = Backend {
        scheme: Scheme::Http,
        host: "127.0.0.1".to_owned(),
        port: listener.local_addr().unwrap().port(),
        base_path: String::new(),
        weight: 1,
    };
    let endpoint = Endpoint {
        id: EndpointId(0),
        name: "here".into(),
        provider: Provider::Custom,
        backends: vec![backend.clone()],
        balance: Balance::default(),
        discover_interval: None,
        credential: Credential::None,
        rewrite_path: None,
        query: Vec::new(),
        connect_timeout: Duration::from_secs(5),
        http_version,
        tls: UpstreamTls::default(),
        health_check: None,
        room: None,
    };
    links.link(&endpoint, &backend, None).unwrap()
}

/// Whether a connection that is opened by these options is the system's own.
async fn is_plain(options: ConnectorOptions) -> bool {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let links = Links::new(options, 8);
    let link = to_listener(&links, &listener, HttpVersion::Http1);
    let (opened, accepted) = tokio::join!(link.connect(false), listener.accept());
    accepted.unwrap();
    match opened.unwrap() {
        Connection::Http1 { stream, .. } => stream.as_any().is::<PlainStream>(),
        Connection::Http2(_) => panic!("HTTP/2 was not asked for"),
    }
}

#[tokio::test]
async fn pingora_opens_where_its_configuration_says_how() {
    assert!(is_plain(ConnectorOptions::new(8)).await);
    let mut bound = ConnectorOptions::new(8);
    bound.bind_to_v4 = vec!["127.0.0.2:0".parse().unwrap()];
    assert!(!is_plain(bound).await);
    let mut offloaded = ConnectorOptions::new(8);
    offloaded.offload_threadpool = Some((1, 1));
    assert!(!is_plain(offloaded).await);
}
