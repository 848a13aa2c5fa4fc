//! A request that is being put together.

use std::fmt;
use std::panic::Location;
use std::pin::Pin;

use bytes::Bytes;
use serde_json::Value;

use super::{Client, NoAnswer, Response, ResponseStream, Speaks};
use crate::support::wait::within_at;
use crate::support::wire::Headers;

/// What a request carries.
#[derive(Clone, Debug)]
pub enum Body {
    /// Nothing; no length is declared.
    None,
    /// JSON, its length declared, its content type too.
    Json(Bytes),
    /// Bytes, their length declared.
    Bytes(Bytes),
    /// Pieces, each a chunk (HTTP/2: a DATA frame) of its own.
    Chunked(Vec<Bytes>),
}

impl Body {
    /// The pieces in which it is written.
    pub(super) fn pieces(&self) -> Vec<Bytes> {
        match self {
            Self::None => Vec::new(),
            Self::Json(bytes) | Self::Bytes(bytes) => vec![bytes.clone()],
            Self::Chunked(pieces) => pieces.clone(),
        }
    }
}

impl From<Value> for Body {
    fn from(value: Value) -> Self {
        Self::from(&value)
    }
}

impl From<&Value> for Body {
    fn from(value: &Value) -> Self {
        Self::Json(value.to_string().into())
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes.into())
    }
}

impl From<&str> for Body {
    fn from(text: &str) -> Self {
        Self::Bytes(text.to_owned().into())
    }
}

/// One request; `.await` sends it and gives the whole [`Response`].
#[derive(Clone)]
#[must_use = "nothing is sent before .await, .try_send() or .open()"]
pub struct Request {
    client: Client,
    pub(super) method: String,
    pub(super) path: String,
    pub(super) headers: Headers,
    pub(super) body: Body,
    pub(super) http10: bool,
    pub(super) expect_continue: bool,
    asked: &'static Location<'static>,
}

impl Request {
    #[track_caller]
    pub(super) fn new(client: &Client, method: &str, path: &str) -> Self {
        Self {
            client: client.clone(),
            method: method.to_owned(),
            path: path.to_owned(),
            headers: client.headers.clone(),
            body: Body::None,
            http10: false,
            expect_continue: false,
            asked: Location::caller(),
        }
    }

    /// Adds a header; a `host`, `content-type`, `content-length` or `transfer-encoding` takes the
    /// place of the usual one.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push(name, value.to_owned());
        self
    }

    /// Adds `Authorization: Bearer key`.
    pub fn key(self, key: &str) -> Self {
        self.header("authorization", &format!("Bearer {key}"))
    }

    /// Sets the body.
    pub fn body(mut self, body: impl Into<Body>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets a body in pieces, each a chunk of its own.
    pub fn chunked_body<P: Into<Bytes>>(self, pieces: impl IntoIterator<Item = P>) -> Self {
        self.body(Body::Chunked(pieces.into_iter().map(Into::into).collect()))
    }

    /// Is an HTTP/1.0 request.
    pub fn http10(mut self) -> Self {
        self.http10 = true;
        self
    }

    /// Says `Expect: 100-continue`, and sends the body only when the server says so. HTTP/1.1 only.
    pub fn expect_continue(mut self) -> Self {
        self.expect_continue = true;
        self
    }

    /// Sends it; the whole answer, or why there is none.
    pub async fn try_send(self) -> Result<Response, NoAnswer> {
        let (asked, what) = (self.asked, format!("the whole answer to {self}"));
        let answer = async { Ok(self.exchange().await?.rest().await) };
        within_at(asked, what, answer).await
    }

    /// Sends it; the answer from its head on. Panics where there is none.
    pub async fn open(self) -> ResponseStream {
        let opened = self.clone().try_open().await;
        opened.unwrap_or_else(|reason| panic!("no answer to {self}: {reason:?}"))
    }

    /// Sends it; the answer from its head on, or why there is none.
    pub async fn try_open(self) -> Result<ResponseStream, NoAnswer> {
        let (asked, what) = (self.asked, format!("the head of the answer to {self}"));
        within_at(asked, what, self.exchange()).await
    }

    async fn exchange(self) -> Result<ResponseStream, NoAnswer> {
        match self.client.speaks {
            Speaks::Http1 => {
                let connection = self.client.connection().await?;
                connection.exchange(&self, &self.client.pool).await
            }
            Speaks::Http2 => self.client.session().await?.exchange(&self).await,
        }
    }

    /// The host that it is for, unless a header says another.
    pub(super) fn authority(&self) -> String {
        let host = self.headers.get("host").map(str::to_owned);
        host.unwrap_or_else(|| self.client.addr.to_string())
    }

    /// Whether the server is to close the connection after it.
    pub(super) fn wants_close(&self) -> bool {
        match self.http10 {
            true => !self.headers.lists("connection", "keep-alive"),
            false => self.headers.lists("connection", "close"),
        }
    }

    /// The scheme of its URL.
    pub(super) fn scheme(&self) -> &'static str {
        match self.client.tls {
            None => "http",
            Some(_) => "https",
        }
    }

    /// What every client says about a body, unless a header says it otherwise.
    pub(super) fn body_headers(&self) -> Headers {
        let mut headers = Headers::default();
        let scripted = |name| self.headers.contains(name);
        if matches!(self.body, Body::Json(_)) && !scripted("content-type") {
            headers.push("content-type", "application/json");
        }
        if let Body::Json(bytes) | Body::Bytes(bytes) = &self.body
            && !scripted("content-length")
            && !scripted("transfer-encoding")
        {
            headers.push("content-length", bytes.len().to_string());
        }
        headers
    }
}

impl IntoFuture for Request {
    type Output = Response;
    type IntoFuture = Pin<Box<dyn Future<Output = Response> + Send>>;

    /// The whole answer. Panics where there is none.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let answer = self.clone().try_send().await;
            answer.unwrap_or_else(|reason| panic!("no answer to {self}: {reason:?}"))
        })
    }
}

/// What it asks, where, and from which line of which test.
impl fmt::Display for Request {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (method, path, asked) = (&self.method, &self.path, self.asked);
        let addr = self.client.addr;
        write!(formatter, "{method} {path} at {addr} ({asked})")
    }
}
