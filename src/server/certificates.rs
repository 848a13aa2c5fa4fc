//! What the listeners show and ask of TLS, exchanged by a reload while they go on.
//!
//! A handshake takes the certificate that is current when it begins; a connection that stands is
//! not touched. Whether callers must show a certificate is settled when the listener starts; whose
//! signature it must bear is not. No names of authorities are sent to the caller, as those could
//! not be exchanged. A session that a caller resumes is not verified again.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use pingora_core::listeners::tls::TlsSettings;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;

use crate::config::ListenerTls;

/// The certificates of one listener.
#[derive(Clone)]
pub(super) struct Certificates {
    shown: Arc<Shown>,
    asked: Option<Arc<Asked>>,
}

/// What one reading of the files gave.
pub(super) struct Loaded {
    shown: Arc<CertifiedKey>,
    asked: Option<Arc<dyn ClientCertVerifier>>,
}

impl Loaded {
    /// Reads the files of a listener.
    ///
    /// # Errors
    /// What can't be used of them.
    pub(super) fn read(tls: &ListenerTls) -> Result<Self, String> {
        let chain: Vec<_> = CertificateDer::pem_file_iter(&tls.certificate)
            .and_then(Iterator::collect)
            .map_err(|error| failed(&tls.certificate, error))?;
        let key = PrivateKeyDer::from_pem_file(&tls.private_key)
            .map_err(|error| failed(&tls.private_key, error))?;
        let shown = CertifiedKey::from_der(chain, key, &ring::default_provider())
            .map_err(|error| failed(&tls.certificate, error))?;
        let asked = tls.client_ca.as_deref().map(client_verifier).transpose()?;
        Ok(Self {
            shown: Arc::new(shown),
            asked,
        })
    }
}

impl Certificates {
    pub(super) fn new(loaded: Loaded) -> Self {
        let asked = loaded
            .asked
            .map(|verifier| Arc::new(Asked(ArcSwap::from_pointee(verifier))));
        Self {
            shown: Arc::new(Shown(ArcSwap::new(loaded.shown))),
            asked,
        }
    }

    /// From now on handshakes are made with these.
    pub(super) fn exchange(&self, loaded: Loaded) {
        self.shown.0.store(loaded.shown);
        if let (Some(asked), Some(verifier)) = (&self.asked, loaded.asked) {
            asked.0.store(Arc::new(verifier));
        }
    }

    /// For a listener of Pingora's.
    pub(super) fn settings(&self) -> Result<TlsSettings, String> {
        let mut settings = TlsSettings::intermediate("", "").map_err(|error| error.to_string())?;
        settings.set_cert_resolver(self.shown.clone());
        if let Some(asked) = &self.asked {
            settings.set_client_cert_verifier(asked.clone());
        }
        Ok(settings)
    }
}

fn failed(path: &Path, error: impl fmt::Display) -> String {
    format!("{}: {error}", path.display())
}

/// Accepts callers that show a certificate signed by one in `ca`.
fn client_verifier(ca: &Path) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(ca).map_err(|error| failed(ca, error))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| failed(ca, error))?;
        roots.add(certificate).map_err(|error| failed(ca, error))?;
    }
    let provider = Arc::new(ring::default_provider());
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map(|verifier| verifier as Arc<dyn ClientCertVerifier>)
        .map_err(|error| failed(ca, error))
}

/// The certificate that is shown.
#[derive(Debug)]
struct Shown(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

/// What is asked of callers.
#[derive(Debug)]
struct Asked(ArcSwap<Arc<dyn ClientCertVerifier>>);

impl ClientCertVerifier for Asked {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verifier = self.0.load();
        verifier.verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.load().verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.load().verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.load().supported_verify_schemes()
    }
}
