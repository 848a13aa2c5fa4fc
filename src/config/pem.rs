//! Certificates and private keys, tried before anything starts.
//!
//! The TLS library meets a wrong file with a panic at the start of a listener, or with a failure at
//! every handshake; here it is one line of `standin check`.

use rustls::RootCertStore;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

/// The largest file of certificates that is read; the bundle of a whole system has about 250 KB.
pub(super) const MAX_BYTES: usize = 4 << 20;

/// The certificates of authorities, at least one.
///
/// # Errors
/// What is wrong with the file, to be put behind its name.
pub(super) fn check_authorities(pem: &[u8]) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        roots
            .add(certificate)
            .map_err(|error| format!("holds a certificate that can't be used: {error}"))?;
    }
    Ok(())
}

/// A chain of certificates, at least one.
///
/// # Errors
/// What is wrong with the file, to be put behind its name.
pub(super) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("is no valid PEM: {error}"))?;
    if certificates.is_empty() {
        return Err("holds no certificate (PEM: -----BEGIN CERTIFICATE-----)".into());
    }
    Ok(certificates)
}

/// A private key that belongs to the first certificate of a chain.
///
/// # Errors
/// What is wrong with the key's file, to be put behind its name.
pub(super) fn check_private_key(
    pem: &[u8],
    chain: Vec<CertificateDer<'static>>,
) -> Result<(), String> {
    let key = PrivateKeyDer::from_pem_slice(pem).map_err(|_| {
        "holds no private key without a passphrase (PEM: -----BEGIN PRIVATE KEY-----)".to_owned()
    })?;
    match CertifiedKey::from_der(chain, key, &cryptography()) {
        Ok(_) => Ok(()),
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err("holds the key of another certificate".into())
        }
        Err(error) => Err(format!("can't be used with its certificate: {error}")),
    }
}

/// The cryptography that Pingora's rustls uses.
fn cryptography() -> CryptoProvider {
    ring::default_provider()
}
