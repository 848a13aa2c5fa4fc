//! Any message, held against what Pingora makes of it.

use super::*;

/// Parts of messages, most of them right, some nearly, in any combination.
fn any_message() -> impl Strategy<Value = Vec<u8>> {
    let pick = |parts: &'static [&'static str]| prop::sample::select(parts);
    let start = pick(&[
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.0 200 OK\r\n",
        "HTTP/1.1 204 No Content\r\n",
        "HTTP/1.1 304 Not Modified\r\n",
        "HTTP/1.1 503 \r\n",
        "HTTP/1.1 429\r\n",
        "HTTP/1.1 200 OK\n",
        "\r\nHTTP/1.1 200 OK\r\n",
        "HTTP/1.1  200 OK\r\n",
        "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n",
        "HTTP/1.1 100 Continue\r\ncontent-length: 5\r\n\r\nHTTP/1.1 200 OK\r\n",
    ]);
    let header = pick(&[
        "content-length: 5\r\n",
        "content-length: 5\r\n",
        "content-length: 6\r\n",
        "content-length: 0\r\n",
        "content-length: 5, 5\r\n",
        "content-length: \r\n",
        "content-length: +5\r\n",
        "content-length:5 \r\n",
        "content-length : 5\r\n",
        "Content-Length:\t5\n",
        "transfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\n",
        "transfer-encoding: gzip, chunked\r\n",
        "transfer-encoding: identity\r\n",
        "transfer-encoding: chunked, identity\r\n",
        "Transfer-Encoding:\tChunked\r\n",
        "connection: close\r\n",
        "connection: content-length\r\n",
        "x: y\r\n",
        "x:\r\n",
        "x: a\r\n b\r\n",
        "upgrade: h2c\r\n",
    ]);
    let body = pick(&[
        "hello",
        "hello!",
        "hell",
        "",
        "5\r\nhello\r\n0\r\n\r\n",
        "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        "5;a=b\r\nhello\r\n0\r\nx: y\r\n\r\n",
        "5\r\nhello\r\n0\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\nhello\n0\n\n",
        "05\r\nhello\r\n00\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "6\r\nhello\r\n0\r\n\r\n",
    ]);
    let headers = prop::collection::vec(header, 0..4);
    (start, headers, body).prop_map(|(start, headers, body)| {
        format!("{start}{}\r\n{body}", headers.concat()).into_bytes()
    })
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(future)
}

proptest! {
    /// Not laxer than the client that Pingora itself would have used.
    #[test]
    fn what_is_taken_for_an_answer_is_the_same_answer_to_pingora(wire in any_message()) {
        block_on(async {
            if let Ok(ours) = answer(&wire).await {
                let theirs = answer_by_pingora(&wire).await;
                prop_assert_eq!(theirs, Some((ours.status, ours.body)));
            }
            Ok(())
        })?;
    }

    #[test]
    fn any_body_in_any_framing_at_any_pace_is_read_whole(
        body_sent: Vec<u8>,
        framing in 0..3,
        chunk in 1usize..64,
        step in 1usize..64,
    ) {
        let mut wire = b"HTTP/1.1 200 OK\r\n".to_vec();
        match framing {
            0 => {
                wire.extend_from_slice(format!("content-length: {}\r\n\r\n", body_sent.len()).as_bytes());
                wire.extend_from_slice(&body_sent);
            }
            1 => {
                wire.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n");
                for piece in body_sent.chunks(chunk) {
                    wire.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
                    wire.extend_from_slice(piece);
                    wire.extend_from_slice(b"\r\n");
                }
                wire.extend_from_slice(b"0\r\n\r\n");
            }
            _ => {
                wire.extend_from_slice(b"\r\n");
                wire.extend_from_slice(&body_sent);
            }
        }
        block_on(async {
            let (client, mut server) = duplex(ROOM);
            tokio::spawn(async move {
                for piece in wire.chunks(step) {
                    server.write_all(piece).await.unwrap();
                    tokio::task::yield_now().await;
                }
            });
            let mut http1 = Http1::new(Box::new(client));
            http1.send(b"GET / HTTP/1.1\r\n\r\n", [b""; 3]).await.unwrap();
            http1.read_head(&Method::GET).await.unwrap();
            prop_assert_eq!(read_body(&mut http1).await.unwrap(), body_sent);
            prop_assert_eq!(http1.into_idle().is_some(), framing < 2);
            Ok(())
        })?;
    }

    /// However small the kernel's buffer is.
    #[test]
    fn a_request_leaves_whole_and_in_order(
        pieces in prop::array::uniform4(prop::collection::vec(any::<u8>(), 0..300)),
        room in 1usize..64,
    ) {
        block_on(async {
            let sent = pieces.concat();
            let (client, server) = duplex(room);
            let reading = tokio::spawn(read_slowly(server, sent.len()));
            let mut http1 = Http1::new(Box::new(client));
            let [head, before, model, rest] = &pieces;
            http1.send(head, [before, model, rest]).await.unwrap();
            let (received, _server) = reading.await.unwrap();
            prop_assert_eq!(received, sent);
            Ok(())
        })?;
    }

    #[test]
    fn no_bytes_make_it_panic(wire: Vec<u8>, framed in any_message(), at: prop::sample::Index) {
        block_on(async {
            let _ = answer(&wire).await;
            let mut broken = framed.clone();
            broken.splice(at.index(framed.len())..at.index(framed.len()), wire);
            let _ = answer(&broken).await;
        });
    }
}
