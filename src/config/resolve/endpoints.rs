//! `endpoints`: where models are served.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::super::file;
use super::super::pem;
use super::super::place::Place;
use super::super::read::{Entry, Field, Written, items};
use super::super::sources::Sources;
use super::address;
use super::check::{
    TIMEOUT, WAIT, WEIGHT, choice, choice_or, duration, header_name, is_url_path, required,
    small_number,
};
use super::credential::credential;
use super::listeners::{authorities, of_file};
use super::url;
use crate::policy::{
    Backend, Balance, Endpoint, EndpointId, HealthCheck, HttpVersion, Provider, Room, Scheme,
    Secret, UpstreamTls,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

const DISCOVER_INTERVAL: Duration = Duration::from_secs(30);

const MAX_CONCURRENT: RangeInclusive<u64> = 1..=1_000_000;

const QUEUE_TIMEOUT: Duration = Duration::from_secs(1);

const SLOW_START: Duration = Duration::from_secs(30);

/// An endpoint by its entry; `None` where something about it is wrong.
pub(super) fn endpoint(
    id: EndpointId,
    entry: &Entry<'_, file::Endpoint<'_>>,
    place: Place<'_>,
    sources: &Sources<'_>,
) -> Option<Endpoint> {
    if !is_name(entry.name) {
        let message =
            "an endpoint's name is made of letters, digits, `-`, `_` and `.`, at most 64 of them";
        place.error(entry.line, message);
    }
    let body = entry.body.as_ref()?;
    let endpoint = &body.value;
    let provider = provider(&endpoint.provider, place.field("provider"));
    let backends = backends(body, place);
    let (credential, key) = credential(body, provider, place, sources);
    let tls = tls(&endpoint.tls, &backends, place.field("tls"), sources);
    if let Some((field, line)) = key {
        warn_of_cleartext(&backends, line, place.field(field));
    }
    let at = place.field("http_version");
    let versions = [
        ("auto", HttpVersion::Auto),
        ("1.1", HttpVersion::Http1),
        ("2", HttpVersion::Http2),
    ];
    Some(Endpoint {
        id,
        name: Arc::from(entry.name),
        http_version: choice_or(
            &endpoint.http_version,
            at,
            &versions,
            "HTTP versions",
            HttpVersion::Auto,
        ),
        balance: balance(body, place),
        discover_interval: discover_interval(endpoint, &backends, place),
        rewrite_path: address::rewrite_path(&endpoint.rewrite_path, place.field("rewrite_path")),
        query: address::query(&endpoint.query, &credential, place.field("query")),
        credential,
        connect_timeout: duration(
            &endpoint.connect_timeout,
            place.field("connect_timeout"),
            &TIMEOUT,
        )
        .unwrap_or(CONNECT_TIMEOUT),
        health_check: health_check(&endpoint.health_check, place.field("health_check")),
        room: room(endpoint, place),
        tls,
        provider: provider?,
        backends,
    })
}

/// How many requests it has at once.
fn room(endpoint: &file::Endpoint<'_>, place: Place<'_>) -> Option<Room> {
    let at = place.field("queue_timeout");
    let queue_timeout = duration(&endpoint.queue_timeout, at, &WAIT);
    if let Some(written) = endpoint.queue_timeout.given()
        && endpoint.max_concurrent.is_absent()
    {
        at.error(
            written.line,
            "has no effect without `max_concurrent`; leave it out",
        );
    }
    let at = place.field("max_concurrent");
    let max_concurrent = small_number(&endpoint.max_concurrent, at, &MAX_CONCURRENT)?;
    Some(Room {
        max_concurrent: max_concurrent.try_into().ok()?,
        queue_timeout: queue_timeout.unwrap_or(QUEUE_TIMEOUT),
    })
}

/// It stands in a header of every answer and in the path of errors.
fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=64).contains(&name.len()) && name.bytes().all(allowed)
}

fn provider(field: &Field<&str>, place: Place<'_>) -> Option<Provider> {
    let Some(word) = field.given() else {
        return Some(Provider::OpenAi);
    };
    choice(word, place, &Provider::NAMES, "providers")
}

/// The addresses: one `url`, or `backends` with weights.
fn backends(body: &Written<file::Endpoint<'_>>, place: Place<'_>) -> Vec<Backend> {
    let (endpoint, line) = (&body.value, body.line);
    let at = place.field("backends");
    match (&endpoint.url, &endpoint.backends) {
        (Field::Absent, Field::Absent) => {
            let message = "is missing; the address of the endpoint: https://HOST, or several under `backends`";
            place.field("url").error(line, message);
        }
        (Field::Given(_), Field::Given(several)) => {
            at.error(
                several.line,
                "can't stand beside `url`; leave one of them out",
            );
        }
        (Field::Absent, Field::Given(several)) if several.value.is_empty() => {
            at.error(
                several.line,
                "is empty; at least one: [{url: https://HOST}]",
            );
        }
        _ => {}
    }
    let mut backends = Vec::new();
    if let Some(url) = endpoint.url.given() {
        backends.extend(backend(url, 1, place.field("url")));
    }
    let mut lines = HashMap::new();
    for (index, written) in items(&endpoint.backends) {
        let place = at.item(index);
        let weight = small_number(&written.value.weight, place.field("weight"), &WEIGHT);
        let at = place.field("url");
        let what = "the backend's address: http://HOST:PORT";
        let Some(url) = required(&written.value.url, at, written.line, what) else {
            continue;
        };
        let Some(backend) = backend(url, weight.unwrap_or(1), at) else {
            continue;
        };
        let address = (backend.host.clone(), backend.port);
        if let Some(first) = lines.insert(address, url.line) {
            let message = format!(
                "is the address of the backend on line {first} already; give that one more weight"
            );
            at.error(url.line, message);
        }
        backends.push(backend);
    }
    backends
}

fn backend(written: &Written<&str>, weight: u32, place: Place<'_>) -> Option<Backend> {
    url::backend(written.value, weight)
        .map_err(|message| place.error(written.line, message))
        .ok()
}

#[derive(Clone, Copy)]
enum BalanceWord {
    RoundRobin,
    Random,
    Consistent,
    LeastBusy,
}

fn balance(body: &Written<file::Endpoint<'_>>, place: Place<'_>) -> Balance {
    let endpoint = &body.value;
    let words = [
        ("round_robin", BalanceWord::RoundRobin),
        ("random", BalanceWord::Random),
        ("consistent", BalanceWord::Consistent),
        ("least_busy", BalanceWord::LeastBusy),
    ];
    let at = place.field("balance");
    let word = choice_or(
        &endpoint.balance,
        at,
        &words,
        "balances",
        BalanceWord::RoundRobin,
    );
    let header = place.field("affinity_header");
    let consistent = matches!(word, BalanceWord::Consistent);
    if let Some(written) = endpoint.affinity_header.given()
        && !consistent
    {
        let message = "has no effect without `balance: consistent`; leave it out";
        header.error(written.line, message);
    }
    match word {
        BalanceWord::RoundRobin => Balance::RoundRobin,
        BalanceWord::Random => Balance::Random,
        BalanceWord::LeastBusy => Balance::LeastBusy,
        BalanceWord::Consistent => Balance::Consistent {
            affinity_header: affinity_header(body, header).unwrap_or_default(),
        },
    }
}

fn affinity_header(body: &Written<file::Endpoint<'_>>, place: Place<'_>) -> Option<String> {
    let what = "with `balance: consistent` it names the request header that is hashed";
    let written = required(&body.value.affinity_header, place, body.line, what)?;
    let name = header_name(written, place)?;
    if KEPT_HEADERS.contains(&name.as_str()) || name.as_str().starts_with("x-standin-") {
        let message = "is a header that the gateway keeps to itself; name one that it passes on, such as x-session-id";
        place.error(written.line, message);
        return None;
    }
    Some(name.as_str().to_owned())
}

/// The caller's secrets, and what is about its connection alone: of no use for picking a backend.
const KEPT_HEADERS: [&str; 10] = [
    "authorization",
    "x-api-key",
    "api-key",
    "x-goog-api-key",
    "cookie",
    "host",
    "connection",
    "content-length",
    "transfer-encoding",
    "accept-encoding",
];

/// How often host names are asked for their addresses, where they are to be.
fn discover_interval(
    endpoint: &file::Endpoint<'_>,
    backends: &[Backend],
    place: Place<'_>,
) -> Option<Duration> {
    let at = place.field("discover_interval");
    let interval = duration(&endpoint.discover_interval, at, &INTERVAL);
    let Some(word) = endpoint.discover.given() else {
        if let Some(written) = endpoint.discover_interval.given() {
            let message = "has no effect without `discover: dns`; leave it out";
            at.error(written.line, message);
        }
        return None;
    };
    let at = place.field("discover");
    choice(word, at, &[("dns", ())], "ways to discover backends")?;
    let is_name = |backend: &Backend| backend.host.parse::<std::net::IpAddr>().is_err();
    if !backends.is_empty() && !backends.iter().any(is_name) {
        let message = "has no effect: every backend is an IP address already";
        at.warning(word.line, message);
    }
    Some(interval.unwrap_or(DISCOVER_INTERVAL))
}

/// Of something that is done again and again.
const INTERVAL: RangeInclusive<Duration> = Duration::from_millis(100)..=*TIMEOUT.end();

fn health_check(field: &Field<file::HealthCheck<'_>>, place: Place<'_>) -> Option<HealthCheck> {
    let check = field.value()?;
    let path = check.path.value().copied().unwrap_or("/health");
    if let Some(written) = check.path.given()
        && !is_url_path(path)
    {
        place
            .field("path")
            .error(written.line, "must be a path such as /health");
    }
    let interval = duration(&check.interval, place.field("interval"), &INTERVAL)
        .unwrap_or(Duration::from_secs(5));
    let timeout = duration(&check.timeout, place.field("timeout"), &TIMEOUT);
    if let (Some(timeout), Some(written)) = (timeout, check.timeout.given())
        && timeout > interval
    {
        place
            .field("timeout")
            .error(written.line, "must not be longer than `interval`");
    }
    let in_a_row = |field: &Field<u64>, name: &str, default| {
        small_number(field, place.field(name), &(1..=1_000)).unwrap_or(default)
    };
    let status = small_number(&check.status, place.field("status"), &(200..=599));
    if let Some(written) = check.body.given()
        && written.value.is_empty()
    {
        let message = "is empty, which any body contains; leave it out";
        place.field("body").error(written.line, message);
    }
    Some(HealthCheck {
        path: path.to_owned(),
        status: status.and_then(|status| u16::try_from(status).ok()),
        body: check.body.value().map(|&text| text.to_owned()),
        interval,
        timeout: timeout.unwrap_or(Duration::from_secs(2).min(interval)),
        healthy_after: in_a_row(&check.healthy_after, "healthy_after", 1),
        unhealthy_after: in_a_row(&check.unhealthy_after, "unhealthy_after", 3),
        slow_start: duration(&check.slow_start, place.field("slow_start"), &WAIT)
            .unwrap_or(SLOW_START),
    })
}

fn tls(
    field: &Field<file::UpstreamTls<'_>>,
    backends: &[Backend],
    place: Place<'_>,
    sources: &Sources<'_>,
) -> UpstreamTls {
    let Some(written) = field.given() else {
        return UpstreamTls::default();
    };
    let tls = &written.value;
    let https = |backend: &Backend| backend.scheme == Scheme::Https;
    if !backends.is_empty() && !backends.iter().any(https) {
        place.warning(
            written.line,
            "has no effect: no address of the endpoint is https://",
        );
    }
    let verify = tls.verify.value().copied().unwrap_or(true);
    if let (false, Some(verify)) = (verify, tls.verify.given()) {
        let message = "is off: whoever stands between here and the endpoint can read and change everything, its key too; set `ca` instead";
        place.field("verify").warning(verify.line, message);
    }
    let ca = authorities(&tls.ca, place.field("ca"), sources);
    if let Some(name) = tls.sni.given()
        && !url::is_host_name(name.value)
    {
        place.field("sni").error(name.line, "must be a host name");
    }
    UpstreamTls {
        ca,
        verify,
        sni: tls.sni.value().map(|name| name.to_ascii_lowercase()),
        client_certificate: client_certificate(written, place, sources),
    }
}

fn client_certificate(
    written: &Written<file::UpstreamTls<'_>>,
    place: Place<'_>,
    sources: &Sources<'_>,
) -> Option<(Vec<u8>, Secret)> {
    let (tls, line) = (&written.value, written.line);
    if tls.client_certificate.is_absent() && tls.client_key.is_absent() {
        return None;
    }
    let certificate_at = place.field("client_certificate");
    let key_at = place.field("client_key");
    let what = "a client shows a certificate and has its key: both are needed";
    let certificate = required(&tls.client_certificate, certificate_at, line, what);
    let key = required(&tls.client_key, key_at, line, what);
    let (certificate, key) = (certificate?, key?);

    let pem = sources.bytes(certificate.value, pem::MAX_BYTES);
    let pem = pem.and_then(|pem| Ok((pem::certificates(&pem)?, pem)));
    let chain = of_file(pem, certificate, certificate_at);
    let secret = sources.text(key.value, pem::MAX_BYTES).map(Secret::new);
    let secret = of_file(secret, key, key_at);
    let ((chain, pem), secret) = (chain?, secret?);
    let checked = pem::check_private_key(secret.expose().as_bytes(), chain);
    of_file(checked, key, key_at)?;
    Some((pem, secret))
}

/// A key that goes over a network in cleartext can be read there.
fn warn_of_cleartext(backends: &[Backend], line: usize, place: Place<'_>) {
    let is_near = |host: &str| {
        host == "localhost"
            || host
                .parse()
                .is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
    };
    let exposed = |backend: &&Backend| backend.scheme == Scheme::Http && !is_near(&backend.host);
    if let Some(backend) = backends.iter().find(exposed) {
        let message = format!("is sent to {} in cleartext; use https://", backend.host);
        place.warning(line, message);
    }
}
