//! Thousands of requests and streams over a network that delays, throttles, cuts, resets, corrupts and
//! swallows: each ends in exactly one good answer or one honest error, and nothing is left behind.
//!
//! ```text
//! callers ──> gateway ──┬─> network ──> first   HTTP/1.1
//!                       ├─> network ──> second  HTTP/1.1 over TLS
//!                       └─> network ──> third   HTTP/2 over TLS
//! ```
//!
//! Each request has a marker of its own. The upstreams refuse a request whose text is not its marker's, and
//! the answer's text is made of it, so that nothing can be lost, cut or mixed up without being seen. Bits
//! are turned on TLS only: without it no gateway could tell.
//!
//! What happens to which connection hangs on the seed alone; which request meets it hangs on the machine.

mod network;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use self::network::{FAULTS, Fault, Network};
use crate::support::stage::CHAT;
use crate::support::{
    Certificate, Client, Gateway, Received, Reply, Response, Setup, Upstream, bodies, until,
};

const SEED: u64 = 20;
const REQUESTS: usize = 4_800;
/// Of each policy and way to call, as many callers.
const CALLERS: usize = 16;
/// In 100 connections, each within a few exchanges.
const FAULTS_IN_100: u32 = 95;

const CLEAR: [Fault; 6] = [
    Fault::Refused,
    Fault::Delayed,
    Fault::Throttled,
    Fault::Cut,
    Fault::Reset,
    Fault::Swallowed,
];

const POLICY: &str =
    "request_timeout: 700ms\nstream_idle_timeout: 400ms\nwhen_all_suspended: try_soonest\n";

/// What the callers were told.
#[derive(Default)]
struct Told {
    whole: AtomicUsize,
    failed: AtomicUsize,
    rescued: AtomicUsize,
    attempts: AtomicUsize,
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_ends_in_one_good_answer_or_one_honest_error() {
    let mixed_up = Arc::new(AtomicUsize::new(0));
    let upstreams = [
        Upstream::start().await,
        Upstream::tls_http1(Certificate::Valid).await,
        Upstream::tls(Certificate::Valid).await,
    ];
    let mut networks = Vec::new();
    for (number, upstream) in upstreams.iter().enumerate() {
        let mixed_up = mixed_up.clone();
        upstream.answer_with(move |asked| answer(asked, &mixed_up));
        let kinds = if number == 0 { &CLEAR[..] } else { &FAULTS[..] };
        let seed = SEED + number as u64;
        networks.push(Network::before(upstream.addr(), seed, FAULTS_IN_100, kinds).await);
    }
    let folder = tempfile::tempdir().unwrap();
    let gateway = start(&upstreams, &networks, &folder);

    let told = Arc::new(Told::default());
    let mut callers = JoinSet::new();
    for number in 0..CALLERS * 4 {
        let (stream, suspending, h2) = (number % 2 == 0, number % 4 < 2, number % 8 < 4);
        let address = gateway.running.addresses[usize::from(h2)];
        let client = if h2 {
            Client::h2c(address)
        } else {
            Client::new(address)
        };
        let client = client.key(crate::support::KEY);
        let told = told.clone();
        callers.spawn(async move {
            for count in 0..REQUESTS / (CALLERS * 4) {
                call(
                    &client,
                    &format!("m{number}-{count}"),
                    stream,
                    suspending,
                    &told,
                )
                .await;
            }
            client.close_idle().await;
        });
    }
    while let Some(caller) = callers.join_next().await {
        caller.unwrap();
    }

    assert_eq!(
        mixed_up.load(Ordering::Acquire),
        0,
        "requests arrived changed"
    );
    upstreams
        .iter()
        .for_each(|upstream| drop(upstream.take_faults()));
    let faults = counted(&networks);
    let number = |counter: &AtomicUsize| counter.load(Ordering::Acquire);
    println!(
        "{REQUESTS} requests, {} attempts: {} whole answers, {} streams of them rescued, {} honest errors; faults: {faults:?}",
        number(&told.attempts),
        number(&told.whole),
        number(&told.rescued),
        number(&told.failed),
    );
    assert_eq!(number(&told.whole) + number(&told.failed), REQUESTS);
    assert!(
        number(&told.whole) > REQUESTS * 9 / 10,
        "a good answer was mostly to be had"
    );
    assert!(number(&told.rescued) > 0);
    assert!(faults.iter().all(|(_, count)| *count > 0), "{faults:?}");
    nothing_is_left(gateway, &networks).await;
}

fn start(upstreams: &[Upstream], networks: &[Network], folder: &tempfile::TempDir) -> Gateway {
    let mut setup = Setup::new().listener("{address: \"127.0.0.1:0\", h2c: true}");
    let mut chain =
        String::from("production:\n  target: {model: gpt, endpoint: first}\n  fallbacks:\n");
    for (name, (upstream, network)) in ["first", "second", "third"]
        .iter()
        .zip(upstreams.iter().zip(networks))
    {
        let url = upstream.url().replace(
            &upstream.port().to_string(),
            &network.addr().port().to_string(),
        );
        let tls = if url.starts_with("https") {
            let ca = folder.path().join(format!("{name}.pem"));
            std::fs::write(&ca, upstream.ca_pem()).unwrap();
            format!("tls: {{ca: {}}}\n", ca.display())
        } else {
            String::new()
        };
        setup = setup.endpoint_with(
            name,
            &url,
            &format!("provider: openai\nconnect_timeout: 500ms\n{tls}"),
        );
        if *name != "first" {
            chain += &format!("    - {{model: gpt-{name}, endpoint: {name}}}\n");
        }
    }
    let forgetful = format!("{chain}match: [forgetful]\n{POLICY}");
    let suspending = format!("{chain}match: [suspending]\n{POLICY}suspend_duration: 50ms\n");
    setup
        .policy("forgetful", &forgetful)
        .policy("suspending", &suspending)
        .start()
}

/// One request and its answer, held to the marker.
async fn call(client: &Client, marker: &str, stream: bool, suspending: bool, told: &Told) {
    let model = if suspending {
        "suspending"
    } else {
        "forgetful"
    };
    let question = json!({"model": model, "stream": stream,
        "messages": [{"role": "user", "content": text_of_request(marker)}]});
    let answer = client.post(CHAT, question).await;
    let attempts = answer
        .header("x-standin-attempts")
        .map_or(0, |count| count.parse().unwrap());
    told.attempts.fetch_add(attempts, Ordering::AcqRel);
    let is_whole = match stream && answer.status == 200 {
        true => is_whole_stream(&answer, marker, told),
        false => is_whole_answer(&answer, marker),
    };
    let counter = if is_whole { &told.whole } else { &told.failed };
    counter.fetch_add(1, Ordering::AcqRel);
}

fn is_whole_answer(answer: &Response, marker: &str) -> bool {
    assert!(answer.complete, "{marker}: {answer:?}");
    if answer.status == 200 {
        assert_eq!(answer.content(), text_of_answer(marker));
        return true;
    }
    assert!(matches!(answer.status, 502..=504), "{marker}: {answer:?}");
    assert!(
        answer.json()["error"]["code"].is_string(),
        "{marker}: {answer:?}"
    );
    false
}

/// The whole text and one end; or a beginning of it, and then an error and no end.
fn is_whole_stream(answer: &Response, marker: &str, told: &Told) -> bool {
    let seen = answer.transcript();
    let expected = text_of_answer(marker);
    if seen.errors.is_empty() {
        assert_eq!(seen.text, expected);
        assert!(answer.complete && seen.done, "{marker}: {answer:?}");
        assert_eq!(
            (seen.finishes.len(), seen.ids.len(), seen.roles),
            (1, 1, 1),
            "{marker}"
        );
        told.rescued
            .fetch_add(usize::from(seen.models.len() > 1), Ordering::AcqRel);
        return true;
    }
    assert!(
        expected.starts_with(&seen.text),
        "{marker}: {:?}",
        seen.text
    );
    assert!(
        !seen.done && seen.finishes.is_empty(),
        "{marker}: {answer:?}"
    );
    false
}

/// What an upstream answers: the text of the marker, from where it was broken off.
fn answer(asked: &Received, mixed_up: &AtomicUsize) -> Reply {
    let body = asked.json();
    let question = body["messages"][0]["content"].as_str().unwrap_or_default();
    let marker = question.split(' ').next().unwrap_or_default();
    if question != text_of_request(marker) {
        mixed_up.fetch_add(1, Ordering::AcqRel);
    }
    let text = text_of_answer(marker);
    let said = body["messages"][1]["content"].as_str().unwrap_or_default();
    let rest = text.strip_prefix(said).unwrap_or("another answer");
    let model = body["model"].as_str().unwrap_or_default();
    if body["stream"] != Value::Bool(true) {
        return Reply::json(200, &bodies::chat_completion(model, rest));
    }
    let words: Vec<&str> = rest.split_inclusive(' ').collect();
    Reply::chat_stream(model, &words)
}

/// Up to 16 KiB, of a length that is the marker's own.
fn text_of_request(marker: &str) -> String {
    let hash = marker
        .bytes()
        .fold(7_usize, |hash, byte| hash * 31 % 65_521 + usize::from(byte));
    let words = hash % 2_000 + 1;
    format!(
        "{marker} {}",
        format!("{marker};").repeat(words * 8 / (marker.len() + 1))
    )
}

/// No place in it is like another.
fn text_of_answer(marker: &str) -> String {
    (0..24)
        .map(|number| format!("{number}-{marker} "))
        .collect()
}

fn counted(networks: &[Network]) -> Vec<(Fault, usize)> {
    let count = |fault| networks.iter().map(|network| network.count(fault)).sum();
    FAULTS.iter().map(|&fault| (fault, count(fault))).collect()
}

/// Connections, buffers and suspensions are what they were at the start.
async fn nothing_is_left(gateway: Gateway, networks: &[Network]) {
    let gauges = [
        "standin_connections",
        "standin_buffered_bytes",
        "standin_suspended",
    ];
    until("the gateway to be at rest", || {
        let seen = gauges_of(&gateway, &gauges);
        seen.values().all(|value| *value == 0.0)
    })
    .await;
    drop(gateway);
    until("no connection to be open", || {
        networks.iter().all(|network| network.open() == 0)
    })
    .await;
}

fn gauges_of(gateway: &Gateway, names: &[&'static str]) -> BTreeMap<&'static str, f64> {
    let text = gateway
        .running
        .gateway
        .metrics_text(&gateway.running.connections);
    let mut sums = BTreeMap::new();
    for line in text.lines() {
        let name = line.split(['{', ' ']).next().unwrap_or_default();
        if let Some(&known) = names.iter().find(|&&known| known == name) {
            let value: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
            *sums.entry(known).or_default() += value;
        }
    }
    assert_eq!(sums.len(), names.len(), "{sums:?}");
    sums
}
