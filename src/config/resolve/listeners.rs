//! `listeners`: where callers connect.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::super::file::{self, File};
use super::super::pem;
use super::super::place::Place;
use super::super::read::{Field, Written, items};
use super::super::sources::Sources;
use super::super::{Listener, ListenerTls};
use super::check::required;

pub(super) const ADDRESS: &str = "an address is IP:PORT, such as 0.0.0.0:8080 or [::1]:8080";

/// The listeners, at least one.
pub(super) fn listeners(file: &File<'_>, sources: &Sources<'_>, root: Place<'_>) -> Vec<Listener> {
    let place = root.field("listeners");
    let what = "at least one: [{address: 0.0.0.0:8080}]";
    if let Some(written) = required(&file.listeners, place, 1, what)
        && written.value.is_empty()
    {
        place.error(written.line, format!("is empty; {what}"));
    }
    let mut lines: HashMap<SocketAddr, usize> = HashMap::new();
    let mut listeners = Vec::new();
    for (index, written) in items(&file.listeners) {
        let place = place.item(index);
        let Some(listener) = listener(written, place, sources) else {
            continue;
        };
        // Port 0 is a port of its own for each listener.
        if let Some(first) = lines.insert(listener.address, written.line)
            && listener.address.port() != 0
        {
            let message = format!("is the address of the listener on line {first} already");
            place.field("address").error(written.line, message);
        }
        listeners.push(listener);
    }
    listeners
}

fn listener(
    written: &Written<file::Listener<'_>>,
    place: Place<'_>,
    sources: &Sources<'_>,
) -> Option<Listener> {
    let tls = tls(&written.value.tls, place.field("tls"), sources);
    let h2c = written.value.h2c.value() == Some(&true);
    if h2c && let Some(tls) = written.value.tls.given() {
        let message =
            "is for cleartext; with `tls`, HTTP/2 is offered by ALPN: leave one of them out";
        place.field("h2c").error(tls.line, message);
    }
    let at = place.field("address");
    let address = required(&written.value.address, at, written.line, ADDRESS)?;
    match address.value.parse() {
        Ok(address) => Some(Listener { address, h2c, tls }),
        Err(_) => {
            let message = format!("`{}` is no address; {ADDRESS}", address.value);
            at.error(address.line, message);
            None
        }
    }
}

pub(super) fn tls(
    field: &Field<file::ListenerTls<'_>>,
    place: Place<'_>,
    sources: &Sources<'_>,
) -> Option<ListenerTls> {
    let written = field.given()?;
    let tls = &written.value;
    authorities(&tls.client_ca, place.field("client_ca"), sources);
    let client_ca = tls.client_ca.value().map(|path| sources.path(path));
    let what = "the path of a PEM file";
    let certificate_at = place.field("certificate");
    let key_at = place.field("private_key");
    let certificate = required(&tls.certificate, certificate_at, written.line, what);
    let private_key = required(&tls.private_key, key_at, written.line, what);
    let (certificate, private_key) = (certificate?, private_key?);

    let chain = sources.bytes(certificate.value, pem::MAX_BYTES);
    let chain = chain.and_then(|pem| pem::certificates(&pem));
    let chain = of_file(chain, certificate, certificate_at);
    let key = sources.bytes(private_key.value, pem::MAX_BYTES);
    if let Some(key) = of_file(key, private_key, key_at) {
        let checked = pem::check_private_key(&key, chain?);
        of_file(checked, private_key, key_at);
    }
    Some(ListenerTls {
        certificate: sources.path(certificate.value),
        private_key: sources.path(private_key.value),
        client_ca,
    })
}

/// The certificates (PEM) of authorities, where a file of them is given.
pub(super) fn authorities(
    field: &Field<&str>,
    place: Place<'_>,
    sources: &Sources<'_>,
) -> Option<Vec<u8>> {
    let path = field.given()?;
    let pem = sources.bytes(path.value, pem::MAX_BYTES);
    let checked = pem.and_then(|pem| pem::check_authorities(&pem).map(|()| pem));
    of_file(checked, path, place)
}

/// What a file gave; why it gave nothing goes to the report.
pub(super) fn of_file<T>(
    result: Result<T, String>,
    path: &Written<&str>,
    place: Place<'_>,
) -> Option<T> {
    result
        .map_err(|reason| place.error(path.line, format!("{} {reason}", path.value)))
        .ok()
}
