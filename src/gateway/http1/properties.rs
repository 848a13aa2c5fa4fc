//! What holds of any bytes that an upstream may send, whatever the reads in which they arrive. The tests beside
//! this file and the fuzz target share it.

use http::Method;
use pingora_core::protocols::Stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use super::{ExchangeFault, Http1};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\n\r\n";

/// What a whole answer is, and whether its connection can be used again.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Of the final head.
    pub status: u16,
    /// Decoded.
    pub body: Vec<u8>,
    /// Nothing was left behind, either way.
    pub reusable: bool,
}

/// Checks any bytes: the first says what the method is and how long reads are, the rest is what an upstream sends
/// before it closes.
///
/// # Panics
/// As [`check`].
pub fn check_input(input: &[u8]) {
    if let [how, wire @ ..] = input {
        let method = if how % 2 == 0 {
            Method::GET
        } else {
            Method::HEAD
        };
        check(&method, wire, usize::from(how / 2));
    }
}

/// Checks an answer that arrives whole, and in reads of `size` bytes at most.
///
/// # Panics
/// Where the reads make a difference, a body is longer than what came, or a connection is used again
/// whose next byte belongs to nobody.
pub fn check(method: &Method, wire: &[u8], size: usize) {
    let whole = answer(method, wire, wire.len());
    for size in [1, size] {
        // What follows an answer may stand in a read that is never made: then the pool finds it.
        let in_pieces = answer(method, wire, size);
        assert_eq!(in_pieces.map(told), whole.clone().map(told), "by {size}");
    }
    let Ok(whole) = whole else { return };
    assert!(whole.body.len() <= wire.len());
    if whole.reusable {
        let more = [wire, b"H"].concat();
        let with_more = answer(method, &more, more.len());
        assert!(!with_more.is_ok_and(|with_more| with_more.reusable));
    }
}

fn told(answer: Answer) -> (u16, Vec<u8>) {
    (answer.status, answer.body)
}

/// The answer to a request of `method` in `wire`, of which a read brings `size` bytes at most; the connection is
/// closed behind it.
///
/// # Panics
/// Where it makes a difference whether a body that is all here is read, or taken as it is.
pub fn answer(method: &Method, wire: &[u8], size: usize) -> Result<Answer, ExchangeFault> {
    let [taken, read] = [true, false].map(|take| answer_of(method, wire, size, take));
    assert_eq!(taken, read);
    taken
}

fn answer_of(
    method: &Method,
    wire: &[u8],
    size: usize,
    take: bool,
) -> Result<Answer, ExchangeFault> {
    #[expect(clippy::unwrap_used, reason = "a runtime that does no I/O")]
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (client, mut server) = duplex(size.max(1));
        let wire = wire.to_vec();
        tokio::spawn(async move {
            let mut request = [0; REQUEST.len()];
            server.read_exact(&mut request).await?;
            server.write_all(&wire).await
        });
        exchange(Box::new(client), method, take).await
    })
}

/// One request, and the whole answer to it; with `take` a body that is all here is not read.
pub(super) async fn exchange(
    connection: Stream,
    method: &Method,
    take: bool,
) -> Result<Answer, ExchangeFault> {
    let mut http1 = Http1::new(connection);
    http1.send(REQUEST, [b""; 3]).await?;
    let status = http1.read_head(method).await?.status.as_u16();
    let taken = if take { http1.take_body() } else { None };
    let body = match taken {
        Some(body) => body.into(),
        None => read_body(&mut http1).await?,
    };
    let reusable = http1.into_idle().is_some();
    Ok(Answer {
        status,
        body,
        reusable,
    })
}

/// The whole body that is still to come.
pub(super) async fn read_body(http1: &mut Http1) -> Result<Vec<u8>, ExchangeFault> {
    let mut body = Vec::new();
    while let Some(piece) = http1.read_body().await? {
        assert!(!piece.is_empty(), "a piece of nothing");
        body.extend_from_slice(&piece);
    }
    Ok(body)
}
