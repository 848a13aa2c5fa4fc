//! The embedded providers: two HTTP servers on ports of their own, on a thread of their own.
//!
//! ```text
//! request ──▶ authenticate ──▶ replies (pure) ──▶ Reply ──▶ Connection::play ──▶ wire
//! ```
//!
//! They have their own runtime so that a plain `main` and a test start them alike, and so that a
//! busy gateway does not slow them down. Dropping [`Providers`] ends them at once, with whatever
//! they were sending.

#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Body;
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::IncomingStream;
use bytes::Bytes;
use futures_util::stream;
use http::StatusCode;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE};
use socket2::{SockRef, Socket};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use super::models::Flavour;
use super::script::{Reply, Step};
use super::shapes::Stamp;
use super::{refusals, replies};

/// The two running providers; they end when this is dropped.
#[derive(Debug)]
pub struct Providers {
    openai: SocketAddr,
    mistral: SocketAddr,
    stop: Option<oneshot::Sender<Infallible>>,
    thread: Option<JoinHandle<()>>,
}

/// Starts both providers on free ports of 127.0.0.1. They accept connections from here on.
///
/// # Errors
/// No port, no thread, or no runtime to be had.
pub fn start() -> io::Result<Providers> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (openai, openai_address) = bind(&runtime)?;
    let (mistral, mistral_address) = bind(&runtime)?;
    let (stop, stopped) = oneshot::channel();
    let thread = std::thread::Builder::new()
        .name("demo-providers".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = serve(openai, Flavour::OpenAi) => {}
                    _ = serve(mistral, Flavour::Mistral) => {}
                    _ = stopped => {}
                }
            });
        })?;
    Ok(Providers {
        openai: openai_address,
        mistral: mistral_address,
        stop: Some(stop),
        thread: Some(thread),
    })
}

impl Providers {
    /// Where the `OpenAI`-like provider listens.
    pub const fn openai(&self) -> SocketAddr {
        self.openai
    }

    /// Where the Mistral-like provider listens.
    pub const fn mistral(&self) -> SocketAddr {
        self.mistral
    }
}

impl Drop for Providers {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of that thread has been reported by itself; there is nothing left to do.
            drop(thread.join());
        }
    }
}

/// A listener of `runtime`. It is not bound by `block_on`, which a caller's own runtime forbids.
fn bind(runtime: &Runtime) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let _entered = runtime.enter();
    Ok((TcpListener::from_std(listener)?, address))
}

/// One provider, shared by its requests.
struct Provider {
    flavour: Flavour,
    answers: AtomicU64,
}

impl Provider {
    fn stamp(&self) -> Stamp {
        Stamp {
            number: self.answers.fetch_add(1, Ordering::Relaxed) + 1,
            created: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |age| age.as_secs()),
        }
    }
}

async fn serve(listener: TcpListener, flavour: Flavour) -> io::Result<()> {
    let provider = Arc::new(Provider {
        flavour,
        answers: AtomicU64::new(0),
    });
    let router = Router::new()
        .route("/v1/chat/completions", post(chat))
        .route("/v1/embeddings", post(embeddings))
        .route("/v1/models", get(models))
        .fallback(unknown_path)
        .layer(from_fn_with_state(Arc::clone(&provider), authenticate))
        .layer(DefaultBodyLimit::disable())
        .with_state(provider);
    axum::serve(
        listener,
        router.into_make_service_with_connect_info::<Connection>(),
    )
    .await
}

type Peer = ConnectInfo<Connection>;
type Server = State<Arc<Provider>>;

async fn authenticate(
    State(provider): Server,
    ConnectInfo(connection): Peer,
    request: Request,
    next: Next,
) -> Response {
    let expected = format!("Bearer {}", provider.flavour.api_key());
    let given = request.headers().get(AUTHORIZATION);
    if given.is_some_and(|given| given.as_bytes() == expected.as_bytes()) {
        next.run(request).await
    } else {
        let refusal = refusals::unauthorized(provider.flavour);
        connection.play(Reply::Answer(refusal)).await
    }
}

async fn chat(State(provider): Server, ConnectInfo(peer): Peer, body: Bytes) -> Response {
    peer.play(replies::chat(provider.flavour, &body, provider.stamp()))
        .await
}

async fn embeddings(State(provider): Server, ConnectInfo(peer): Peer, body: Bytes) -> Response {
    peer.play(replies::embeddings(provider.flavour, &body))
        .await
}

async fn models(State(provider): Server, ConnectInfo(peer): Peer) -> Response {
    peer.play(replies::models(provider.flavour)).await
}

async fn unknown_path(State(provider): Server, ConnectInfo(peer): Peer) -> Response {
    peer.play(Reply::Answer(refusals::unknown_path(provider.flavour)))
        .await
}

/// A second handle of a caller's connection, to do to it what no HTTP server would.
#[derive(Clone)]
struct Connection(Option<Arc<Socket>>);

impl Connected<IncomingStream<'_, TcpListener>> for Connection {
    fn connect_info(stream: IncomingStream<'_, TcpListener>) -> Self {
        let socket = SockRef::from(stream.io());
        // Without it small events would wait for one another.
        let _ = socket.set_tcp_nodelay(true);
        Self(socket.try_clone().ok().map(Arc::new))
    }
}

impl Connection {
    /// Does what the reply says.
    async fn play(self, reply: Reply) -> Response {
        let answer = match reply {
            Reply::Answer(answer) => answer,
            Reply::HangUp => return self.hang_up().await,
        };
        tokio::time::sleep(answer.after).await;
        let mut head = Response::builder()
            .status(answer.status)
            .header(CONTENT_TYPE, answer.content_type);
        for (name, value) in answer.headers {
            head = head.header(name, value);
        }
        if let Some(length) = answer.content_length {
            head = head.header(CONTENT_LENGTH, length);
        }
        head.body(self.body(answer.body))
            .unwrap_or_else(|_| BROKEN.into_response())
    }

    /// The body whose steps these are.
    fn body(self, steps: Vec<Step>) -> Body {
        let start = (steps.into_iter(), self);
        Body::from_stream(stream::unfold(start, async |(mut steps, connection)| {
            loop {
                match steps.next()? {
                    Step::Send(bytes) => return Some((Ok(bytes), (steps, connection))),
                    Step::Wait(time) => tokio::time::sleep(time).await,
                    Step::Stall => pending().await,
                    Step::Reset => {
                        connection.reset_when_closed();
                        let error = io::Error::from(io::ErrorKind::ConnectionReset);
                        return Some((Err(error), (steps, connection)));
                    }
                }
            }
        }))
    }

    /// Closes the connection; the server notices and gives up the request.
    async fn hang_up(self) -> Response {
        match self.0.map(|socket| socket.shutdown(Shutdown::Both)) {
            Some(Ok(())) => pending().await,
            _ => BROKEN.into_response(),
        }
    }

    /// Lets the end of the connection be a reset; the failed body then makes the server end it.
    fn reset_when_closed(&self) {
        if let Some(socket) = &self.0 {
            let _ = socket.set_linger(Some(Duration::ZERO));
        }
    }
}

/// What is said where this program itself is at its limits.
const BROKEN: StatusCode = StatusCode::INTERNAL_SERVER_ERROR;
