//! The cheapest upstream that the comparison can have: it answers without looking.
//!
//!     mock ADDRESS
//!
//! A request whose path holds `/fail/` gets a 503, one whose path holds `/stream/` 200 events 2 ms
//! apart, any other a chat completion of about 500 bytes. One thread, so that it takes one core at most.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a load test that can't go on is over"
)]

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const EVENTS: usize = 200;
const PAUSE: Duration = Duration::from_millis(2);

fn main() {
    let address = std::env::args().nth(1).expect("an address");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind(address)
            .await
            .expect("the address is free");
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            tokio::spawn(serve(stream));
        }
    });
}

async fn serve(mut stream: TcpStream) {
    let answer = whole(200, "OK", COMPLETION);
    let failure = whole(503, "Service Unavailable", FAILURE);
    let mut buffer = vec![0; 64 << 10];
    let mut held = 0;
    loop {
        // The head, then as much body as it says.
        let (head, length) = loop {
            let Ok(read @ 1..) = stream.read(&mut buffer[held..]).await else {
                return;
            };
            held += read;
            if let Some(end) = find(&buffer[..held], b"\r\n\r\n") {
                break (end + 4, content_length(&buffer[..end + 4]));
            }
        };
        let path_end = buffer.iter().position(|&byte| byte == b'\r').unwrap_or(0);
        let path = &buffer[..path_end];
        let streams = find(path, b"/stream/").is_some();
        let fails = find(path, b"/fail/").is_some();
        let mut left = (head + length).saturating_sub(held);
        while left > 0 {
            let Ok(read @ 1..) = stream.read(&mut buffer).await else {
                return;
            };
            left = left.saturating_sub(read);
        }
        held = 0;
        let written = if streams {
            events(&mut stream).await
        } else {
            stream
                .write_all(if fails { &failure } else { &answer })
                .await
        };
        if written.is_err() {
            return;
        }
    }
}

async fn events(stream: &mut TcpStream) -> std::io::Result<()> {
    stream
        .write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        .await?;
    let mut ticks = tokio::time::interval(PAUSE);
    for index in 0..EVENTS {
        ticks.tick().await;
        let finish = if index + 1 == EVENTS {
            "\"stop\""
        } else {
            "null"
        };
        let event = format!(
            "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"gpt-4o\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"word {index} \"}},\"finish_reason\":{finish}}}]}}\n\n"
        );
        stream
            .write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes())
            .await?;
    }
    stream
        .write_all(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
        .await
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

fn whole(status: u16, reason: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status} {reason}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

const FAILURE: &str = r#"{"error":{"message":"The server is overloaded","type":"server_error","param":null,"code":null}}"#;

const COMPLETION: &str = r#"{"id":"chatcmpl-9a8b7c6d5e4f3a2b1c0d","object":"chat.completion","created":1700000000,"model":"gpt-4o-2024-08-06","choices":[{"index":0,"message":{"role":"assistant","content":"The most renowned French painter is perhaps Claude Monet, a founder of Impressionism, whose water lilies hang in museums all over the world.","refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":17,"completion_tokens":31,"total_tokens":48},"system_fingerprint":"fp_44709d6fcb"}"#;
