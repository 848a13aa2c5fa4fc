//! Many streams at once.

use std::io::Read as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::Load;
use super::answer::{Progress, progress};

/// Reads streams to their ends, `at_once` of them, each connection one after the other; none is
/// begun after `during`.
pub(super) fn repeat(load: Load, at_once: usize, during: Duration) -> String {
    let load = Arc::new(load);
    let end = Instant::now() + during;
    let (streams, events, failed) = runtime().block_on(async {
        let tasks: Vec<_> = (0..at_once)
            .map(|_| tokio::spawn(one_after_the_other(Arc::clone(&load), end)))
            .collect();
        let mut sum = (0, 0, 0);
        for task in tasks {
            let (streams, events, failed) = task.await.unwrap();
            sum = (sum.0 + streams, sum.1 + events, sum.2 + failed);
        }
        sum
    });
    format!(r#"{{"requests":{streams},"events":{events},"failed":{failed}}}"#)
}

/// How many streams, with how many events, came whole, and how many did not.
async fn one_after_the_other(load: Arc<Load>, end: Instant) -> (usize, usize, usize) {
    let (mut streams, mut events, mut failed) = (0, 0, 0);
    let mut stream = connect(&load).await;
    while Instant::now() < end {
        match to_the_end(&mut stream, &load.request).await {
            Some(seen) => {
                streams += 1;
                events += seen;
            }
            None => {
                failed += 1;
                stream = connect(&load).await;
            }
        }
    }
    (streams, events, failed)
}

/// The events of one stream; `None` where it broke or was none.
async fn to_the_end(stream: &mut TcpStream, request: &[u8]) -> Option<usize> {
    stream.write_all(request).await.ok()?;
    let mut read = Vec::with_capacity(64 << 10);
    while stream.read_buf(&mut read).await.ok()? > 0 {
        // Cheaper than to parse the head anew at every event.
        let may_be_last = read.ends_with(b"0\r\n\r\n");
        if may_be_last && progress(&read) == Progress::Whole(200) {
            let done = memchr::memmem::find(&read, b"data: [DONE]")?;
            return Some(memchr::memmem::find_iter(&read[..done], b"data: ").count());
        }
    }
    None
}

/// Opens streams and reads them until the standard input ends. Says so when all have begun.
pub(super) fn hold(load: Load, streams: usize) {
    let load = Arc::new(load);
    runtime().block_on(async {
        let (begun, mut all) = mpsc::channel(streams.max(1));
        for _ in 0..streams {
            tokio::spawn(read_on(Arc::clone(&load), begun.clone()));
        }
        for _ in 0..streams {
            all.recv().await.unwrap();
        }
        println!(r#"{{"open":{streams}}}"#);
        let wait_for_the_end = || std::io::stdin().read_to_end(&mut Vec::new());
        let _ = tokio::task::spawn_blocking(wait_for_the_end).await;
    });
}

async fn read_on(load: Arc<Load>, begun: mpsc::Sender<()>) {
    let mut stream = connect(&load).await;
    stream.write_all(&load.request).await.unwrap();
    let mut read = vec![0; 4096];
    let mut held = 0;
    while memchr::memmem::find(&read[..held], b"data: ").is_none() {
        let more = stream.read(&mut read[held..]).await.unwrap();
        assert!(more > 0, "the stream ended before its first event");
        held += more;
    }
    begun.send(()).await.unwrap();
    while stream.read(&mut read).await.unwrap() > 0 {}
}

async fn connect(load: &Load) -> TcpStream {
    let stream = TcpStream::connect(load.address)
        .await
        .expect("the proxy listens");
    stream.set_nodelay(true).unwrap();
    stream
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}
