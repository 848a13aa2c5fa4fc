//! Many streams at once, through the program itself, and the memory that they cost it.

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::support::client::ResponseStream;
use crate::support::stage::{CHAT, FIRST, HTTP1, Http, LANES, Lane, question};
use crate::support::{Client, KEY, Reply, Setup, Step, Upstream, bodies, secret, within};

const STREAMS: usize = 1_000;
const EVENTS: usize = 200;

/// Streams that nobody reads, each of 16 MiB.
const STALLED: usize = 50;

/// Of those, as many go over each of these HTTP/2 connections; the rest have one of their own.
const HTTP2_CONNECTIONS: usize = 5;
const STREAMS_OF_ONE: usize = 50;

/// Far more than a stream needs (see `ARCHITECTURE.md`), far less than a leak.
const KIBIBYTES_A_STREAM: usize = 160;

/// The same, with what is read ahead of a reader: over HTTP/2 a window of 64 KiB, in buffers that
/// frames share.
const KIBIBYTES_STALLED: usize = 512;

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_streams_arrive_intact() {
    let upstream = Upstream::start().await;
    let words: Vec<String> = (0..EVENTS)
        .map(|number| format!("word {number} "))
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let events = bodies::chat_events(FIRST, &words);
    upstream.always(Reply::sse(events.clone()).before_write(2, Step::Gate("all have begun")));
    let program = Program::start(&upstream, HTTP1).await;

    let before = program.resident_kibibytes();
    let mut streams = JoinSet::new();
    for client in program.clients() {
        streams.spawn(async move { client.open(CHAT, question()).await });
    }
    let mut begun: Vec<ResponseStream> = Vec::new();
    while let Some(stream) = streams.join_next().await {
        begun.push(stream.unwrap());
    }
    assert_eq!(upstream.count(), STREAMS);
    upstream.wait_gate("all have begun").await;
    let of_one = (program.resident_kibibytes() - before) / STREAMS;

    upstream.open("all have begun");
    let mut whole = JoinSet::new();
    for mut stream in begun {
        let expected = events.concat();
        whole.spawn(async move {
            let mut body = Vec::new();
            while let Some(chunk) = stream.next_chunk().await {
                body.extend_from_slice(&chunk.data);
            }
            assert_eq!(String::from_utf8(body).unwrap(), expected);
            assert!(stream.rest().await.complete);
        });
    }
    while let Some(read) = whole.join_next().await {
        read.unwrap();
    }
    let most = (program.resident_kibibytes() - before) / STREAMS;
    report(&format!(
        "{of_one} KiB a stream at its first token, {most} KiB at its end"
    ));
    assert!(
        of_one.max(most) < KIBIBYTES_A_STREAM,
        "{of_one} and {most} KiB a stream"
    );
}

/// What a reader leaves unread stays with the upstream.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_nobody_reads_is_not_kept_in_memory() {
    // Comments: of text, up to a mebibyte is kept for a rescue.
    let comment = Step::write(format!(": {}\n\n", "x".repeat(16 << 10)));
    let mut flood = vec![Step::write(bodies::chat_events(FIRST, &["Hi"])[1].clone())];
    flood.resize(1024, comment);
    for lane in LANES {
        let upstream = lane.upstream().await;
        upstream.always(Reply::sse([""; 0]).steps(flood.clone()));
        let program = Program::start(&upstream, lane).await;
        let client = program.client(lane.client);
        client.open(CHAT, question()).await.hang_up();
        upstream.wait_cancelled(0).await;

        let before = program.resident_kibibytes();
        let mut streams = Vec::new();
        for _ in 0..STALLED {
            streams.push(client.open(CHAT, question()).await);
        }
        let mut last = 0;
        let mut now = program.resident_kibibytes();
        while now > last {
            tokio::time::sleep(Duration::from_millis(500)).await;
            (last, now) = (now, program.resident_kibibytes());
        }
        let of_one = (now - before) / STALLED;
        report(&format!("{of_one} KiB a stalled stream, {lane:?}"));
        assert!(of_one < KIBIBYTES_STALLED, "{of_one} KiB, {lane:?}");
        assert!((1..=STALLED).all(|stream| upstream.ending(stream).is_none()));
    }
}

#[expect(
    clippy::print_stderr,
    reason = "a measurement, for those who ask for it with --nocapture"
)]
fn report(measured: &str) {
    eprintln!("memory: {measured}");
}

/// The program, in a process of its own, between clients and one upstream.
struct Program {
    process: Child,
    address: SocketAddr,
    h2c_address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Program {
    async fn start(upstream: &Upstream, lane: Lane) -> Self {
        let version = match lane.upstream {
            Http::One => "1.1",
            Http::Two => "2",
        };
        let (address, h2c_address) = (free_address(), free_address());
        let text = Setup::new()
            .endpoint_with(
                "first",
                &upstream.url(),
                &format!("provider: openai\nhttp_version: {version}"),
            )
            .listener(&format!("{{address: {h2c_address:?}, h2c: true}}"))
            .chain(&[(FIRST, "first")], "")
            .yaml("off")
            .replace("127.0.0.1:0", &address.to_string());
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("standin.yaml");
        std::fs::write(&file, text).expect("a written file");
        let process = Command::new(env!("CARGO_BIN_EXE_standin"))
            .args(["run", "--conf"])
            .arg(&file)
            .env("first", secret("first"))
            .stdin(Stdio::null())
            .spawn()
            .expect("the program starts");
        within("the program to listen", async {
            for address in [address, h2c_address] {
                while TcpStream::connect(address).await.is_err() {
                    tokio::task::yield_now().await;
                }
            }
        })
        .await;
        Self {
            process,
            address,
            h2c_address,
            _folder: folder,
        }
    }

    fn client(&self, http: Http) -> Client {
        match http {
            Http::One => Client::new(self.address),
            Http::Two => Client::h2c(self.h2c_address),
        }
        .key(KEY)
        .receive_buffer(4 << 10)
    }

    /// One client for each stream; some share a connection.
    fn clients(&self) -> Vec<Client> {
        let mut clients = Vec::new();
        for _ in 0..HTTP2_CONNECTIONS {
            let client = self.client(Http::Two);
            clients.extend(std::iter::repeat_n(client, STREAMS_OF_ONE));
        }
        clients.resize_with(STREAMS, || self.client(Http::One));
        clients
    }

    fn resident_kibibytes(&self) -> usize {
        let path = format!("/proc/{}/status", self.process.id());
        let status = std::fs::read_to_string(path).expect("a running process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let digits = line.and_then(|line| line.trim().strip_suffix(" kB"));
        digits.expect("its memory").parse().expect("a number")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An address that was free a moment ago.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address")
}
