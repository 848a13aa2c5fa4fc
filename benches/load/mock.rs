//! The cheapest upstream that the comparison can have: it answers almost without looking.
//!
//!     mock ANSWERING FAILING SLOW COUNTERS
//!
//! Four addresses. At ANSWERING a request gets a chat completion of about 500 bytes, or, where its
//! body asks for a stream, 200 events 2 ms apart; at FAILING a 503; at SLOW a stream of one event a
//! second without an end. COUNTERS tells how many connections were accepted and how many requests
//! were read at the other three. One thread, so that it takes one core at most.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a load test that can't go on is over"
)]

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const EVENTS: u32 = 200;
const PAUSE: Duration = Duration::from_millis(2);
const SLOW_PAUSE: Duration = Duration::from_secs(1);

static ACCEPTED: AtomicU64 = AtomicU64::new(0);
static REQUESTS: AtomicU64 = AtomicU64::new(0);

/// What an address does with its requests.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    Answering,
    Failing,
    Slow,
    Counters,
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut addresses = std::env::args().skip(1);
        let mut last = None;
        for manner in [
            Manner::Answering,
            Manner::Failing,
            Manner::Slow,
            Manner::Counters,
        ] {
            let address = addresses.next().expect("four addresses");
            let listener = TcpListener::bind(address)
                .await
                .expect("the address is free");
            last = Some(tokio::spawn(accept(listener, manner)));
        }
        last.unwrap().await.unwrap();
    });
}

async fn accept(listener: TcpListener, manner: Manner) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        if manner != Manner::Counters {
            ACCEPTED.fetch_add(1, Ordering::Relaxed);
        }
        tokio::spawn(async move {
            // A connection that breaks is its client's affair.
            let _ = serve(stream, manner).await;
        });
    }
}

async fn serve(mut stream: TcpStream, manner: Manner) -> io::Result<()> {
    let answer = whole("200 OK", COMPLETION);
    let failure = whole("503 Service Unavailable", FAILURE);
    let mut buffer = vec![0; 64 << 10];
    while let Some(wants_stream) = read_request(&mut stream, &mut buffer).await? {
        match manner {
            Manner::Answering if wants_stream => events(&mut stream).await?,
            Manner::Answering => stream.write_all(&answer).await?,
            Manner::Failing => stream.write_all(&failure).await?,
            Manner::Slow => slow_events(&mut stream).await?,
            Manner::Counters => stream.write_all(&counters()).await?,
        }
        if manner != Manner::Counters {
            REQUESTS.fetch_add(1, Ordering::Relaxed);
        }
    }
    Ok(())
}

/// Reads one request, and says whether it asks for a stream; only bodies that come in one piece
/// with their head, or are small, are looked at for that. `None`: the client has closed.
async fn read_request(stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<Option<bool>> {
    let mut held = 0;
    let end = loop {
        let read = stream.read(&mut buffer[held..]).await?;
        if read == 0 {
            return Ok(None);
        }
        held += read;
        if let Some(end) = find(&buffer[..held], b"\r\n\r\n") {
            break end + 4;
        }
    };
    let whole = end + content_length(&buffer[..end]);
    while held < whole.min(buffer.len()) {
        let read = stream.read(&mut buffer[held..]).await?;
        if read == 0 {
            return Ok(None);
        }
        held += read;
    }
    let looked_at = &buffer[end..held.min(end + 4096)];
    let wants_stream =
        find(looked_at, b"\"stream\":true").or_else(|| find(looked_at, b"\"stream\": true"));
    let mut left = whole - held;
    while left > 0 {
        let read = stream.read(buffer).await?;
        if read == 0 {
            return Ok(None);
        }
        left = left.saturating_sub(read);
    }
    Ok(Some(wants_stream.is_some()))
}

async fn events(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(STREAM_HEAD).await?;
    let mut ticks = tokio::time::interval(PAUSE);
    for index in 1..=EVENTS {
        ticks.tick().await;
        stream.write_all(&event(index, index == EVENTS)).await?;
    }
    let done = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n";
    stream.write_all(done).await
}

async fn slow_events(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(STREAM_HEAD).await?;
    let mut ticks = tokio::time::interval(SLOW_PAUSE);
    for index in 1.. {
        ticks.tick().await;
        stream.write_all(&event(index, false)).await?;
    }
    Ok(())
}

/// One event as a chunk.
fn event(index: u32, last: bool) -> Vec<u8> {
    let finish = if last { "\"stop\"" } else { "null" };
    let event = format!(
        "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"gpt-4o\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"word {index} \"}},\"finish_reason\":{finish}}}]}}\n\n"
    );
    format!("{:x}\r\n{event}\r\n", event.len()).into_bytes()
}

fn counters() -> Vec<u8> {
    let (accepted, requests) = (
        ACCEPTED.load(Ordering::Relaxed),
        REQUESTS.load(Ordering::Relaxed),
    );
    whole(
        "200 OK",
        &format!(r#"{{"accepted":{accepted},"requests":{requests}}}"#),
    )
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    memchr::memmem::find(haystack, needle)
}

fn content_length(head: &[u8]) -> usize {
    let lower = head.to_ascii_lowercase();
    find(&lower, b"content-length:")
        .and_then(|at| std::str::from_utf8(&lower[at + 15..]).ok())
        .and_then(|rest| rest.split("\r\n").next()?.trim().parse().ok())
        .unwrap_or(0)
}

fn whole(status: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

const STREAM_HEAD: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

const FAILURE: &str = r#"{"error":{"message":"The server is overloaded","type":"server_error","param":null,"code":null}}"#;

const COMPLETION: &str = r#"{"id":"chatcmpl-9a8b7c6d5e4f3a2b1c0d","object":"chat.completion","created":1700000000,"model":"gpt-4o-2024-08-06","choices":[{"index":0,"message":{"role":"assistant","content":"The most renowned French painter is perhaps Claude Monet, a founder of Impressionism, whose water lilies hang in museums all over the world.","refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":17,"completion_tokens":31,"total_tokens":48},"system_fingerprint":"fp_44709d6fcb"}"#;
