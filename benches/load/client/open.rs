//! An open loop: requests are sent when they are due, whatever became of those before.
//!
//! Each connection is a thread that blocks, and sends once a turn, at a random moment of the first
//! half of it; the turns of the connections are spread evenly. A latency is counted from the moment
//! at which the request was *due*: a request that waits because its connection is still busy, or
//! because this client was late, has waited. (To leave such waits out would be the "coordinated
//! omission" that makes slow servers look quick.) So the client's own wake-up is in every figure,
//! and the same client without a proxy tells how much that is.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use super::Load;
use super::answer::{Progress, progress};

/// Without this the kernel may wake a thread 50 us late.
const TIMER_SLACK: (&str, &str) = ("/proc/self/timerslack_ns", "1");

pub(super) fn run(load: &Load, connections: u32, rate: f64, during: Duration) -> String {
    // Not everywhere allowed; then all who are compared have the same slack.
    let _ = std::fs::write(TIMER_SLACK.0, TIMER_SLACK.1);
    let turn = Duration::from_secs_f64(f64::from(connections) / rate);
    let start = Instant::now() + Duration::from_millis(200);
    let seen: Vec<Seen> = thread::scope(|scope| {
        let threads: Vec<_> = (0..connections)
            .map(|number| {
                let first = start + turn * number / connections;
                scope.spawn(move || connection(load, first, turn, start + during, number))
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    summary(seen)
}

/// What one connection saw.
#[derive(Default)]
struct Seen {
    latencies: Vec<Duration>,
    failed: usize,
}

fn connection(load: &Load, first: Instant, turn: Duration, end: Instant, number: u32) -> Seen {
    let mut seen = Seen::default();
    let mut random = Random(u64::from(number) + 1);
    let mut stream = TcpStream::connect(load.address).expect("the proxy listens");
    stream.set_nodelay(true).unwrap();
    for due in (0..).map(|count| first + turn * count + turn.mul_f64(random.fraction() / 2.0)) {
        if due >= end {
            break;
        }
        thread::sleep(due.saturating_duration_since(Instant::now()));
        match exchange(&mut stream, &load.request) {
            Some(200) => seen.latencies.push(due.elapsed()),
            Some(_) => seen.failed += 1,
            None => {
                seen.failed += 1;
                stream = TcpStream::connect(load.address).expect("the proxy listens");
                stream.set_nodelay(true).unwrap();
            }
        }
    }
    seen
}

/// One request and its answer's status; `None` where the connection broke.
fn exchange(stream: &mut TcpStream, request: &[u8]) -> Option<u16> {
    stream.write_all(request).ok()?;
    let mut buffer = [0; 16 << 10];
    let mut held = 0;
    loop {
        let read = stream.read(&mut buffer[held..]).ok()?;
        if read == 0 {
            return None;
        }
        held += read;
        if let Progress::Whole(status) = progress(&buffer[..held]) {
            return Some(status);
        }
    }
}

fn summary(seen: Vec<Seen>) -> String {
    let failed: usize = seen.iter().map(|seen| seen.failed).sum();
    let mut latencies: Vec<_> = seen.into_iter().flat_map(|seen| seen.latencies).collect();
    latencies.sort_unstable();
    // Every latency is kept, so a percentile is one that was seen: the first that is not less than
    // so many of all.
    let micros = |share: usize| {
        let rank = (latencies.len() * share).div_ceil(10_000).max(1);
        latencies
            .get(rank - 1)
            .map_or(0.0, |latency| latency.as_secs_f64() * 1e6)
    };
    format!(
        r#"{{"requests":{},"failed":{failed},"p50_us":{:.1},"p99_us":{:.1},"p999_us":{:.1},"max_us":{:.1}}}"#,
        latencies.len(),
        micros(5_000),
        micros(9_900),
        micros(9_990),
        micros(10_000),
    )
}

/// A small generator (xorshift), the same numbers in every run.
struct Random(u64);

impl Random {
    /// At least 0, less than 1.
    fn fraction(&mut self) -> f64 {
        for shift in [13, -7, 17_i32] {
            self.0 ^= if shift > 0 {
                self.0 << shift
            } else {
                self.0 >> -shift
            };
        }
        f64::from(u32::try_from(self.0 >> 32).unwrap_or(u32::MAX)) / 2_f64.powi(32)
    }
}
