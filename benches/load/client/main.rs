//! The loads that wrk can't make: an open loop with honest latencies, and streams.
//!
//!     client open ADDRESS REQUEST CONNECTIONS RATE SECONDS
//!     client streams ADDRESS REQUEST STREAMS SECONDS
//!     client hold ADDRESS REQUEST STREAMS
//!
//! REQUEST is a file with one whole HTTP/1.1 request. What was seen is printed as one line of JSON.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a load test that can't go on is over, and its client is a command"
)]

mod answer;
mod open;
mod streams;

use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let seen = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["open", address, request, connections, rate, seconds] => open::run(
            &load(address, request),
            number(connections),
            number(rate),
            Duration::from_secs_f64(number(seconds)),
        ),
        ["streams", address, request, streams, seconds] => streams::repeat(
            load(address, request),
            number(streams),
            Duration::from_secs_f64(number(seconds)),
        ),
        ["hold", address, request, streams] => {
            streams::hold(load(address, request), number(streams));
            return;
        }
        _ => panic!("open | streams | hold, and their arguments"),
    };
    println!("{seen}");
}

/// What is sent where.
struct Load {
    address: SocketAddr,
    request: Vec<u8>,
}

fn load(address: &str, request: &str) -> Load {
    Load {
        address: number(address),
        request: std::fs::read(request).expect("the request's file"),
    }
}

fn number<T: FromStr>(text: &str) -> T {
    text.parse()
        .unwrap_or_else(|_| panic!("{text:?} is no such number"))
}
