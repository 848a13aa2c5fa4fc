//! Certificates made for one test: good ones, and each kind of bad one.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tokio_rustls::rustls;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// What is right or wrong with a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certificate {
    /// Of the authority, for `localhost` and 127.0.0.1.
    Valid,
    /// Of the authority, but its time is over.
    Expired,
    /// Of the authority, for `elsewhere.example`.
    OtherHost,
    /// Of nobody.
    SelfSigned,
    /// Of another authority with the same name.
    OtherAuthority,
}

/// A certificate and its private key, both PEM.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

/// A certificate authority.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    /// A new one, trusted by nobody yet.
    pub fn new() -> Self {
        let mut params = CertificateParams::new([]).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        name(&mut params, "Test authority");
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("an authority"))
    }

    /// Its certificate, PEM: what a peer must trust.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A new certificate, good for servers and clients.
    pub fn issue(&self, kind: Certificate) -> Identity {
        let names = match kind {
            Certificate::OtherHost => vec!["elsewhere.example".to_owned()],
            _ => vec!["localhost".to_owned(), "127.0.0.1".to_owned()],
        };
        let mut params = CertificateParams::new(names).expect("names");
        name(&mut params, "Test peer");
        if kind == Certificate::Expired {
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2020, 1, 31);
        }
        let key = KeyPair::generate().expect("a key");
        let certificate = match kind {
            Certificate::SelfSigned => params.self_signed(&key),
            Certificate::OtherAuthority => params.signed_by(&key, &Self::new().0),
            _ => params.signed_by(&key, &self.0),
        };
        Identity {
            certificate: certificate.expect("a certificate").pem(),
            key: key.serialize_pem(),
        }
    }
}

fn name(params: &mut CertificateParams, name: &str) {
    params.distinguished_name.push(DnType::CommonName, name);
}

impl Identity {
    fn parts(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let certificate = CertificateDer::from_pem_slice(self.certificate.as_bytes());
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes());
        (vec![certificate.expect("PEM")], key.expect("PEM"))
    }
}

/// A server that shows `identity`, offers `alpn`, and with `client_ca` asks for a certificate.
pub fn server_config(
    identity: &Identity,
    alpn: &[&str],
    client_ca: Option<&str>,
) -> Arc<ServerConfig> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("protocol versions");
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(pem) => builder.with_client_cert_verifier(
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots(pem)), provider())
                .build()
                .expect("a verifier"),
        ),
    };
    let (chain, key) = identity.parts();
    let mut config = builder.with_single_cert(chain, key).expect("an identity");
    config.alpn_protocols = protocols(alpn);
    Arc::new(config)
}

/// A client that trusts `ca` (PEM), offers `alpn`, and shows `identity` where it is asked for one.
pub fn client_config(ca: &str, alpn: &[&str], identity: Option<&Identity>) -> Arc<ClientConfig> {
    client_config_of(rustls::DEFAULT_VERSIONS, ca, alpn, identity)
}

/// The same, for these versions of TLS.
pub fn client_config_of(
    versions: &[&'static rustls::SupportedProtocolVersion],
    ca: &str,
    alpn: &[&str],
    identity: Option<&Identity>,
) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .expect("protocol versions")
        .with_root_certificates(roots(ca));
    let mut config = match identity.map(Identity::parts) {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => builder
            .with_client_auth_cert(chain, key)
            .expect("an identity"),
    };
    config.alpn_protocols = protocols(alpn);
    Arc::new(config)
}

/// Named, because a process-wide default exists only where somebody has installed one.
fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn roots(pem: &str) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots.add(certificate.expect("PEM")).expect("a root");
    }
    roots
}

fn protocols(alpn: &[&str]) -> Vec<Vec<u8>> {
    alpn.iter().map(|name| name.as_bytes().to_vec()).collect()
}
