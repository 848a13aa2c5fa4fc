//! The embedded providers: two HTTP servers on ports of their own, on a thread of their own.
//!
//! ```text
//! request ──▶ authenticate ──▶ replies (pure) ──▶ Reply ──▶ Connection::play ──▶ wire
//! ```
//!
//! They have their own runtime so that a plain `main` and a test start them alike, and so that a
//! busy gateway does not slow them down. Dropping [`Providers`] ends them at once, with whatever
//! they were sending.

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

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use serde_json::{Value, json};

    use super::super::answers::PAINTER_QUESTION;
    use super::*;

    /// How long the wire must be still to be called silent.
    const SILENCE: Duration = Duration::from_secs(1);

    /// What came over a connection, and how it ended.
    #[derive(Debug)]
    struct Heard {
        head: String,
        body: String,
        end: End,
    }

    #[derive(Debug, PartialEq)]
    enum End {
        Closed,
        Reset,
        Silence,
    }

    impl Heard {
        fn status(&self) -> u16 {
            self.head.split(' ').nth(1).unwrap().parse().unwrap()
        }

        fn header(&self, name: &str) -> Option<&str> {
            self.head.lines().find_map(|line| {
                let (key, value) = line.split_once(": ")?;
                key.eq_ignore_ascii_case(name).then_some(value)
            })
        }

        fn json(&self) -> Value {
            serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
        }

        /// The data of the events, in order.
        fn events(&self) -> Vec<&str> {
            self.body
                .lines()
                .filter_map(|line| line.strip_prefix("data: "))
                .collect()
        }

        /// The text that the events put together.
        fn text(&self) -> String {
            let chunks = self.events().into_iter().filter(|data| *data != "[DONE]");
            chunks
                .filter_map(|data| {
                    let chunk: Value = serde_json::from_str(data).unwrap();
                    chunk["choices"][0]["delta"]["content"]
                        .as_str()
                        .map(str::to_owned)
                })
                .collect()
        }
    }

    /// Sends a request and gives back the connection.
    fn send(address: SocketAddr, key: &str, line: &str, body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(address).unwrap();
        let length = body.len();
        write!(
            stream,
            "{line} HTTP/1.1\r\nhost: demo\r\nauthorization: Bearer {key}\r\n\
             connection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        stream
    }

    /// Sends a request and listens until the connection ends or goes silent.
    fn exchange(address: SocketAddr, key: &str, line: &str, body: &str) -> Heard {
        let mut stream = send(address, key, line, body);
        stream.set_read_timeout(Some(SILENCE)).unwrap();
        let mut bytes = Vec::new();
        let mut buffer = [0; 4096];
        let end = loop {
            match stream.read(&mut buffer) {
                Ok(0) => break End::Closed,
                Ok(count) => bytes.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break End::Reset,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break End::Silence,
                Err(error) => panic!("{error}"),
            }
        };
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        Heard {
            head: head.to_owned(),
            body: body.to_owned(),
            end,
        }
    }

    fn request(model: &str, stream: bool) -> Value {
        let messages = json!([{"role": "user", "content": PAINTER_QUESTION}]);
        json!({"model": model, "messages": messages, "stream": stream})
    }

    fn post(address: SocketAddr, key: &str, body: &Value) -> Heard {
        exchange(address, key, "POST /v1/chat/completions", &body.to_string())
    }

    /// A request to the `OpenAI`-like provider with its key.
    fn openai(providers: &Providers, model: &str, stream: bool) -> Heard {
        post(
            providers.openai(),
            "demo-openai-key",
            &request(model, stream),
        )
    }

    /// A request to the Mistral-like provider with its key.
    fn mistral(providers: &Providers, model: &str, stream: bool) -> Heard {
        post(
            providers.mistral(),
            "demo-mistral-key",
            &request(model, stream),
        )
    }

    #[test]
    fn healthy_models_answer_the_painter_question() {
        let providers = start().unwrap();
        let models = ["mistral-small-latest", "mistral-large-latest"];
        let heard = models.map(|model| (model, mistral(&providers, model, false)));
        let healthy = [("gpt-healthy", openai(&providers, "gpt-healthy", false))];
        for (model, heard) in heard.into_iter().chain(healthy) {
            assert_eq!((heard.status(), &heard.end), (200, &End::Closed));
            assert_eq!(heard.header("content-type"), Some("application/json"));
            let answer = heard.json();
            assert_eq!(answer["model"], model);
            assert_eq!(answer["object"], "chat.completion");
            let text = answer["choices"][0]["message"]["content"].as_str().unwrap();
            assert!(
                text.starts_with("Claude Monet") && text.contains("fixed text"),
                "{text}"
            );
            assert_eq!(answer["choices"][0]["finish_reason"], "stop");
            assert_eq!(answer["usage"]["prompt_tokens"], 7);
            assert_eq!(
                answer["usage"]["completion_tokens"],
                text.split_whitespace().count()
            );
        }
    }

    #[test]
    fn a_stream_has_the_same_text_word_by_word() {
        let providers = start().unwrap();
        let plain = openai(&providers, "gpt-healthy", false).json();
        let text = plain["choices"][0]["message"]["content"].as_str().unwrap();
        for heard in [
            openai(&providers, "gpt-healthy", true),
            mistral(&providers, "mistral-small-latest", true),
        ] {
            assert_eq!(
                heard.header("content-type"),
                Some("text/event-stream; charset=utf-8")
            );
            assert_eq!(heard.text(), text);
            let events = heard.events();
            assert!(
                events[0].contains(r#""role":"assistant","content":"""#),
                "{}",
                events[0]
            );
            assert!(events[1].contains(r#""content":"Claude""#), "{}", events[1]);
            assert!(events[events.len() - 2].contains(r#""finish_reason":"stop""#));
            assert_eq!(events.last(), Some(&"[DONE]"));
        }
    }

    #[test]
    fn the_usage_of_a_stream_comes_when_asked_for() {
        let providers = start().unwrap();
        let mut asked = request("gpt-healthy", true);
        asked["stream_options"] = json!({"include_usage": true});
        let heard = post(providers.openai(), "demo-openai-key", &asked);
        let events = heard.events();
        let last: Value = serde_json::from_str(events[events.len() - 2]).unwrap();
        assert_eq!(last["choices"], json!([]));
        assert_eq!(last["usage"]["prompt_tokens"], 7);
        assert!(
            !openai(&providers, "gpt-healthy", true)
                .body
                .contains("usage")
        );
    }

    #[test]
    fn a_foreign_key_is_refused_in_each_provider_s_shape() {
        let providers = start().unwrap();
        let body = request("gpt-healthy", false);

        let heard = post(providers.openai(), "demo-key", &body);
        assert_eq!(heard.status(), 401);
        assert_eq!(heard.json()["error"]["code"], "invalid_api_key");

        let heard = post(providers.mistral(), "demo-openai-key", &body);
        assert_eq!(heard.status(), 401);
        assert_eq!(heard.json()["message"], "Unauthorized");
    }

    #[test]
    fn unknown_models_are_refused_as_by_the_real_ones() {
        let providers = start().unwrap();

        let heard = mistral(&providers, "invalid-model", false);
        assert_eq!(heard.status(), 400);
        assert_eq!(
            heard.body,
            r#"{"object":"error","message":"Invalid model: invalid-model","type":"invalid_model","code":"1500"}"#
        );

        let heard = openai(&providers, "gpt-unknown", true);
        assert_eq!(heard.status(), 404);
        assert_eq!(heard.json()["error"]["code"], "model_not_found");
    }

    #[test]
    fn a_rate_limited_model_says_when_to_come_back() {
        let providers = start().unwrap();
        let heard = openai(&providers, "gpt-rate-limited", false);
        assert_eq!(heard.status(), 429);
        assert_eq!(heard.header("retry-after"), Some("20"));
        assert_eq!(heard.json()["error"]["code"], "rate_limit_exceeded");
    }

    #[test]
    fn a_broken_model_is_unavailable() {
        let providers = start().unwrap();
        let heard = openai(&providers, "gpt-broken", false);
        assert_eq!(heard.status(), 503);
        assert_eq!(heard.json()["error"]["type"], "server_error");
    }

    #[test]
    fn a_crashing_model_closes_without_a_byte() {
        let providers = start().unwrap();
        let heard = openai(&providers, "gpt-crashing", false);
        assert_eq!((heard.head.as_str(), heard.end), ("", End::Closed));
    }

    #[test]
    fn a_garbled_answer_is_shorter_than_it_says() {
        let providers = start().unwrap();
        for stream in [false, true] {
            let heard = openai(&providers, "gpt-garbled", stream);
            assert_eq!((heard.status(), &heard.end), (200, &End::Closed));
            let claimed: usize = heard.header("content-length").unwrap().parse().unwrap();
            assert_eq!(heard.body.len(), claimed / 2);
            assert!(heard.body.starts_with('{'));
        }
    }

    #[test]
    fn a_silent_model_sends_its_role_and_nothing_more() {
        let providers = start().unwrap();
        let heard = openai(&providers, "gpt-silent", true);
        assert_eq!((heard.status(), &heard.end), (200, &End::Silence));
        assert_eq!(heard.events().len(), 1);
        assert!(heard.events()[0].contains(r#""role":"assistant","content":"""#));

        let heard = openai(&providers, "gpt-silent", false);
        assert_eq!(
            (heard.status(), heard.body.as_str(), &heard.end),
            (200, "", &End::Silence)
        );
    }

    #[test]
    fn a_slow_model_is_silent_for_long() {
        let providers = start().unwrap();
        let heard = openai(&providers, "gpt-slow", true);
        assert_eq!((heard.head.as_str(), heard.end), ("", End::Silence));
    }

    #[test]
    fn a_stream_that_breaks_midway_ends_with_a_reset_after_half_of_its_words() {
        let providers = start().unwrap();
        let whole = openai(&providers, "gpt-healthy", true).text();
        let heard = openai(&providers, "gpt-breaks-midway", true);
        assert_eq!((heard.status(), &heard.end), (200, &End::Reset));
        let half = heard.text();
        assert!(whole.starts_with(&half));
        let (sent, all) = (half.split(' ').count(), whole.split(' ').count());
        assert!(sent.abs_diff(all / 2) <= 2, "{sent} of {all}");

        let heard = openai(&providers, "gpt-breaks-midway", false);
        assert_eq!((heard.status(), &heard.end), (200, &End::Reset));
        assert!(heard.body.contains("chat.completion"));
    }

    #[test]
    fn the_rest_of_a_broken_stream_makes_it_whole() {
        let providers = start().unwrap();
        let half = openai(&providers, "gpt-breaks-midway", true).text();
        let mut body = request("mistral-small-latest", true);
        let partial = json!({"role": "assistant", "content": half, "prefix": true});
        body["messages"].as_array_mut().unwrap().push(partial);
        let rest = post(providers.mistral(), "demo-mistral-key", &body).text();
        assert_eq!(half + &rest, openai(&providers, "gpt-healthy", true).text());
    }

    #[test]
    fn embeddings_and_lists_of_models() {
        let providers = start().unwrap();
        let body = json!({"model": "text-embedding-healthy", "input": ["Monet", "Manet"]});
        let line = "POST /v1/embeddings";
        let heard = exchange(
            providers.openai(),
            "demo-openai-key",
            line,
            &body.to_string(),
        );
        let list = heard.json();
        assert_eq!(list["data"][1]["index"], 1);
        assert_eq!(list["data"][0]["embedding"].as_array().unwrap().len(), 8);
        assert_eq!(
            list["usage"],
            json!({"prompt_tokens": 2, "total_tokens": 2})
        );

        let line = "GET /v1/models";
        let list = exchange(providers.mistral(), "demo-mistral-key", line, "").json();
        assert_eq!(list["data"][0]["id"], "mistral-small-latest");
        assert_eq!(list["data"].as_array().unwrap().len(), 2);

        let heard = exchange(providers.openai(), "demo-openai-key", "GET /v2", "");
        assert_eq!(
            (heard.status(), &heard.json()["error"]["param"]),
            (404, &Value::Null)
        );
    }

    #[tokio::test]
    async fn they_start_and_stop_within_a_runtime_too() {
        let providers = start().unwrap();
        assert_eq!(openai(&providers, "gpt-healthy", false).status(), 200);
        drop(providers);
    }

    #[test]
    fn dropping_them_stops_them_with_what_is_under_way() {
        let providers = start().unwrap();
        let address = providers.openai();
        let body = request("gpt-silent", true).to_string();
        let mut stream = send(
            address,
            "demo-openai-key",
            "POST /v1/chat/completions",
            &body,
        );
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let mut heard = Vec::new();
        while !heard.ends_with(b"\n\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            heard.extend(byte);
        }
        drop(providers);
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
        assert!(TcpStream::connect(address).is_err());
    }
}
