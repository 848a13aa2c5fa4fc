//! A client's connection in HTTP/1.1.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};

use super::response::{End, Source};
use super::{Body, NoAnswer, Pool, Request, Response, ResponseStream};
use crate::support::socket::{Lever, Unread, Wire};
use crate::support::wait::{Task, within};
use crate::support::wire::{self, Broken, Reader, ResponseHead};

/// How long a read of bytes that are there may take.
const FOR_A_TICKET: Duration = Duration::from_millis(20);

/// A connection on which a test writes its own bytes. Dropping it closes it.
pub struct Connection {
    reader: Reader<ReadHalf<Wire>>,
    writer: Writer,
    lever: Lever,
}

enum Writer {
    Ready(WriteHalf<Wire>),
    /// A request is being written while its answer is read already.
    Busy(Task<io::Result<WriteHalf<Wire>>>),
    Closed,
}

/// For tests that write their own bytes.
impl Connection {
    /// Writes `bytes` as they are. Panics where the connection is closed.
    pub async fn write(&mut self, bytes: &[u8]) {
        let written = self.try_write(bytes).await;
        written.unwrap_or_else(|error| panic!("can't write {bytes:?}: {error}"));
    }

    /// Writes `bytes` as they are.
    pub async fn try_write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Writer::Ready(half) = &mut self.writer else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let write = async {
            half.write_all(bytes).await?;
            half.flush().await
        };
        within("the server to read what is written", write).await
    }

    /// Says that nothing more will be written (FIN), and goes on reading.
    pub async fn finish(&mut self) {
        if let Writer::Ready(mut half) = std::mem::replace(&mut self.writer, Writer::Closed) {
            half.shutdown().await.expect("a FIN");
        }
    }

    /// Closes it with a reset.
    pub fn reset(self) {
        self.lever.reset_on_close();
    }

    /// Whether anything has come that was not read yet: an answer, or the end.
    pub fn has_answer(&self) -> bool {
        !self.reader.buffered().is_empty() || self.lever.unread() != Unread::Nothing
    }

    /// Reads one whole answer to a request that was no HEAD. Panics where there is none.
    pub async fn response(&mut self) -> Response {
        let response = self.try_response().await;
        response.unwrap_or_else(|reason| panic!("no answer: {reason:?}"))
    }

    /// Reads one whole answer to a request that was no HEAD.
    pub async fn try_response(&mut self) -> Result<Response, NoAnswer> {
        within("an answer", async {
            let mut interim = Vec::new();
            let head = self.head(&mut interim).await?;
            let mut body = body_of(&head, "GET");
            let mut whole = BytesMut::new();
            let broken = loop {
                match next_part(&mut body, &mut self.reader).await {
                    Ok(Some(part)) => whole.extend_from_slice(&part),
                    Ok(None) => break None,
                    Err(broken) => break Some(broken),
                }
            };
            let closed = match broken {
                Some(_) => true,
                None if body.is_until_close() => true,
                None if announces_close(&head) => self.closed().await,
                None => self.lever.unread() == Unread::End,
            };
            Ok(Response {
                status: head.status,
                version: head.version,
                headers: head.headers,
                interim,
                body: whole.freeze(),
                trailers: body.trailers,
                complete: broken.is_none(),
                closed,
                reset: matches!(broken, Some(Broken::Reset(_))),
            })
        })
        .await
    }

    /// Everything that comes until the server closes or resets.
    pub async fn read_to_end(&mut self) -> Bytes {
        within("the server to close the connection", async {
            while let Ok(true) = self.reader.fill().await {}
            self.reader.take_buffered()
        })
        .await
    }

    /// Waits for the server to close or reset; always true. Panics where it says more before.
    pub async fn closed(&mut self) -> bool {
        let extra = self.read_to_end().await;
        assert!(extra.is_empty(), "bytes after the last answer: {extra:?}");
        true
    }
}

/// For the client.
impl Connection {
    pub(super) fn new(wire: Wire, lever: Lever) -> Self {
        let (read, write) = tokio::io::split(wire);
        Self {
            reader: Reader::new(read),
            writer: Writer::Ready(write),
            lever,
        }
    }

    /// Whether the server has closed it by now. Panics where it said something instead.
    pub(super) async fn is_closed_now(&mut self) -> bool {
        match self.lever.unread() {
            Unread::Nothing => return false,
            Unread::End => return true,
            Unread::Bytes => {}
        }
        // With TLS they may be a ticket, which no read gives, or a close_notify.
        match tokio::time::timeout(FOR_A_TICKET, self.reader.fill()).await {
            Err(_) => false,
            Ok(Ok(false) | Err(_)) => true,
            Ok(Ok(true)) => panic!("bytes that nobody asked for: {:?}", self.reader.buffered()),
        }
    }

    /// Sends `request` and reads the answer's head.
    pub(super) async fn exchange(
        mut self,
        request: &Request,
        pool: &Arc<Pool>,
    ) -> Result<ResponseStream, NoAnswer> {
        let mut interim = Vec::new();
        let mut head = None;
        let mut writes = writes(request);
        if request.expect_continue {
            let promise = writes.remove(0);
            self.try_write(&promise).await.map_err(NoAnswer::Reset)?;
            head = self.head_instead_of_continue(&mut interim).await?;
        }
        let body_sent = head.is_none();
        let head = match head {
            Some(head) => head,
            None => {
                self.start_writing(writes);
                self.head(&mut interim).await?
            }
        };
        let incoming = Incoming {
            body: body_of(&head, &request.method),
            closes: announces_close(&head) || request.wants_close(),
            reusable: body_sent.then(|| Arc::clone(pool)),
            connection: self,
            broken: None,
        };
        Ok(ResponseStream::new(head, interim, Source::Http1(incoming)))
    }

    /// Writes beside the reading, since a server may answer before it has read everything.
    fn start_writing(&mut self, writes: Vec<Bytes>) {
        let Writer::Ready(mut half) = std::mem::replace(&mut self.writer, Writer::Closed) else {
            panic!("a connection with a request under way is not idle");
        };
        self.writer = Writer::Busy(Task::spawn(async move {
            for bytes in writes {
                half.write_all(&bytes).await?;
                half.flush().await?;
            }
            Ok(half)
        }));
    }

    /// Waits until the request is written, and keeps the connection for the next one; false where
    /// the server has closed it.
    async fn keep_alive(mut self, pool: &Pool) -> bool {
        let extra = self.reader.buffered();
        assert!(extra.is_empty(), "bytes after the answer: {extra:?}");
        if let Writer::Busy(task) = std::mem::replace(&mut self.writer, Writer::Closed)
            && let Ok(half) = task.join().await
        {
            self.writer = Writer::Ready(half);
        }
        let open = matches!(self.writer, Writer::Ready(_)) && !self.is_closed_now().await;
        if open {
            pool.idle().push(self);
        }
        open
    }

    /// The head of the answer; what comes before it goes to `interim`.
    async fn head(&mut self, interim: &mut Vec<ResponseHead>) -> Result<ResponseHead, NoAnswer> {
        loop {
            let head = self.any_head().await?;
            match head.status {
                100..200 if head.status != 101 => interim.push(head),
                _ => return Ok(head),
            }
        }
    }

    /// None when the server says `100 Continue`; the head of its answer where it does not.
    async fn head_instead_of_continue(
        &mut self,
        interim: &mut Vec<ResponseHead>,
    ) -> Result<Option<ResponseHead>, NoAnswer> {
        loop {
            let head = self.any_head().await?;
            let go_on = head.status == 100;
            if head.status >= 200 {
                return Ok(Some(head));
            }
            interim.push(head);
            if go_on {
                return Ok(None);
            }
        }
    }

    async fn any_head(&mut self) -> Result<ResponseHead, NoAnswer> {
        match self.reader.response_head().await {
            Ok(Some(head)) => Ok(head),
            Ok(None) | Err(Broken::Closed) => Err(NoAnswer::Closed),
            Err(Broken::Reset(error)) => Err(NoAnswer::Reset(error)),
            Err(Broken::Malformed(what)) => panic!("a malformed answer: {what}"),
        }
    }
}

/// The rest of an answer whose head was read.
pub(super) struct Incoming {
    connection: Connection,
    body: wire::Body,
    /// Whether the close of the connection was announced.
    closes: bool,
    /// Where the connection goes when it can be used again.
    reusable: Option<Arc<Pool>>,
    broken: Option<Broken>,
}

impl Incoming {
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        match next_part(&mut self.body, &mut self.connection.reader).await {
            Ok(part) => part,
            Err(broken) => {
                self.broken = Some(broken);
                None
            }
        }
    }

    pub(super) async fn end(self) -> End {
        let Self {
            mut connection,
            body,
            closes,
            reusable,
            broken,
        } = self;
        let closed = match (&broken, reusable) {
            (Some(_), _) => true,
            (None, _) if body.is_until_close() => true,
            (None, _) if closes => connection.closed().await,
            (None, None) => connection.is_closed_now().await,
            (None, Some(pool)) => !connection.keep_alive(&pool).await,
        };
        End {
            complete: broken.is_none(),
            closed,
            reset: matches!(broken, Some(Broken::Reset(_))),
            trailers: body.trailers,
        }
    }

    pub(super) fn reset(self) {
        self.connection.reset();
    }
}

fn body_of(head: &ResponseHead, method: &str) -> wire::Body {
    match wire::Body::of_response(head, method) {
        Ok(body) => body,
        Err(broken) => panic!("a malformed answer: {broken:?}"),
    }
}

async fn next_part(
    body: &mut wire::Body,
    reader: &mut Reader<ReadHalf<Wire>>,
) -> Result<Option<Bytes>, Broken> {
    match body.next(reader).await {
        Err(Broken::Malformed(what)) => panic!("a malformed answer: {what}"),
        part => part,
    }
}

fn announces_close(head: &ResponseHead) -> bool {
    match head.version {
        http::Version::HTTP_10 => !head.headers.lists("connection", "keep-alive"),
        _ => head.headers.lists("connection", "close"),
    }
}

/// The bytes of a request, write by write: a whole body goes with the head, unless it waits for
/// a permission; a chunk goes alone.
fn writes(request: &Request) -> Vec<Bytes> {
    let head = head(request);
    let mut writes = match &request.body {
        Body::None => vec![head],
        Body::Json(body) | Body::Bytes(body) if request.expect_continue => {
            vec![head, body.clone()]
        }
        Body::Json(body) | Body::Bytes(body) => vec![[head, body.clone()].concat().into()],
        Body::Chunked(pieces) => std::iter::once(head)
            .chain(pieces.iter().map(|piece| chunk(piece)))
            .collect(),
    };
    if let Body::Chunked(_) = request.body {
        writes.push(Bytes::from_static(b"0\r\n\r\n"));
    }
    writes
}

fn head(request: &Request) -> Bytes {
    let version = if request.http10 { "1.0" } else { "1.1" };
    let mut headers = request.body_headers();
    if !request.headers.contains("host") {
        headers.push("host", request.authority());
    }
    if let Body::Chunked(_) = request.body
        && !request.headers.contains("transfer-encoding")
    {
        headers.push("transfer-encoding", "chunked");
    }
    if request.expect_continue {
        headers.push("expect", "100-continue");
    }
    let mut head = format!("{} {} HTTP/{version}\r\n", request.method, request.path).into_bytes();
    headers.write_to(&mut head);
    request.headers.write_to(&mut head);
    head.extend_from_slice(b"\r\n");
    head.into()
}

fn chunk(piece: &[u8]) -> Bytes {
    assert!(!piece.is_empty(), "an empty chunk would be the last");
    let size = format!("{:x}\r\n", piece.len());
    [size.as_bytes(), piece, b"\r\n"].concat().into()
}
