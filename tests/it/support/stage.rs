//! A gateway between a client and upstreams, each the fallback of the one before, with HTTP/1.1 or
//! HTTP/2 on either side.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::client::{Request, ResponseStream};
use super::{Client, Gateway, KEY, Response, Setup, Upstream};

/// The version of HTTP on one side of the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Http {
    /// HTTP/1.1.
    One,
    /// HTTP/2 with prior knowledge.
    Two,
}

/// What the client speaks, and what the upstreams speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lane {
    /// Between the client and the gateway.
    pub client: Http,
    /// Between the gateway and the upstreams.
    pub upstream: Http,
}

/// HTTP/1.1 on both sides.
pub const HTTP1: Lane = lane(Http::One, Http::One);

/// HTTP/2 on both sides.
pub const HTTP2: Lane = lane(Http::Two, Http::Two);

/// Each on each side.
pub const LANES: [Lane; 4] = [
    HTTP1,
    lane(Http::One, Http::Two),
    lane(Http::Two, Http::One),
    HTTP2,
];

const fn lane(client: Http, upstream: Http) -> Lane {
    Lane { client, upstream }
}

/// The first target's model, which is what clients ask for.
pub const FIRST: &str = "first-model";
/// The fallback's model.
pub const SECOND: &str = "second-model";
/// The second fallback's model.
pub const THIRD: &str = "third-model";

/// The path of chat completions.
pub const CHAT: &str = "/v1/chat/completions";
/// The path of Anthropic's messages.
pub const MESSAGES: &str = "/v1/messages";

/// A chat request for a stream.
pub fn question() -> Value {
    json!({"model": FIRST, "messages": [{"role": "user", "content": "Who painted this?"}], "stream": true})
}

/// A stage that is being set.
pub struct Setting {
    lane: Lane,
    path: &'static str,
    policy: String,
    /// Fields of the endpoints `first`, `second`, `third`; and what follows in their targets.
    endpoints: [String; 3],
    targets: [&'static str; 3],
    fallbacks: usize,
    receive_buffer: Option<u32>,
}

/// The gateway between a client and upstreams.
pub struct Stage {
    /// Where [`FIRST`] is: endpoint `first`.
    pub first: Upstream,
    /// Where [`SECOND`] is: endpoint `second`.
    pub second: Upstream,
    /// Where [`THIRD`] is: endpoint `third`; no target unless the setting says so.
    pub third: Upstream,
    /// Between them.
    pub gateway: Gateway,
    /// A caller.
    pub client: Client,
    path: &'static str,
}

impl Setting {
    /// For chat completions, with one fallback.
    pub fn new(lane: Lane) -> Self {
        Self {
            lane,
            path: CHAT,
            policy: String::new(),
            endpoints: std::array::from_fn(|_| "provider: custom\n".to_owned()),
            targets: [""; 3],
            fallbacks: 1,
            receive_buffer: None,
        }
    }

    /// For another operation.
    pub fn at(mut self, path: &'static str) -> Self {
        self.path = path;
        self
    }

    /// Fields of the policy, one YAML line each.
    pub fn policy(mut self, fields: &str) -> Self {
        let _ = writeln!(self.policy, "{fields}");
        self
    }

    /// The second endpoint's provider, and its target's `prefill`.
    pub fn second(mut self, provider: &str, prefill: &'static str) -> Self {
        self.endpoints[1] = format!("provider: {provider}\n");
        self.targets[1] = prefill;
        self
    }

    /// How many fallbacks there are: the second and the third, the second (the default), or none.
    pub fn fallbacks(mut self, count: usize) -> Self {
        self.fallbacks = count;
        self
    }

    /// The client's kernel takes only about so many bytes that it has not read.
    pub fn receive_buffer(mut self, bytes: u32) -> Self {
        self.receive_buffer = Some(bytes);
        self
    }

    /// Starts everything.
    pub async fn start(self) -> Stage {
        let lane = self.lane;
        let (first, second, third) =
            tokio::join!(lane.upstream(), lane.upstream(), lane.upstream());
        let gateway = self.gateway([&first, &second, &third]);
        let mut client = match lane.client {
            Http::One => gateway.client(),
            Http::Two => Client::h2c(gateway.running.addresses[1]).key(KEY),
        };
        if let Some(bytes) = self.receive_buffer {
            client = client.receive_buffer(bytes);
        }
        Stage {
            first,
            second,
            third,
            gateway,
            client,
            path: self.path,
        }
    }

    fn gateway(&self, upstreams: [&Upstream; 3]) -> Gateway {
        let version = match self.lane.upstream {
            Http::One => "1.1",
            Http::Two => "2",
        };
        let mut setup = Setup::new().listener("{address: 127.0.0.1:0, h2c: true}");
        let mut targets = Vec::new();
        for (index, name) in ["first", "second", "third"].into_iter().enumerate() {
            let fields = format!("{}http_version: {version}\n", self.endpoints[index]);
            setup = setup.endpoint_with(name, &upstreams[index].url(), &fields);
            let prefill = match self.targets[index] {
                "" => String::new(),
                prefill => format!(", prefill: {prefill}"),
            };
            let model = [FIRST, SECOND, THIRD][index];
            targets.push(format!("{{model: {model}, endpoint: {name}{prefill}}}"));
        }
        let fallbacks = targets[1..=self.fallbacks].join(", ");
        let chain = format!("  target: {}\n  fallbacks: [{fallbacks}]", targets[0]);
        let policy = format!("production:\n{chain}\n{}", self.policy);
        if self.path == CHAT {
            return setup.policy("chain", &policy).start();
        }
        let path = self.path;
        setup
            .default_endpoint("third")
            .other_policy("chain", &policy)
            .operation(&format!("method: POST\npath: {path:?}\npolicies: [chain]"))
            .start()
    }
}

impl Lane {
    /// An upstream that speaks what the gateway's upstreams speak here.
    pub async fn upstream(self) -> Upstream {
        match self.upstream {
            Http::One => Upstream::start().await,
            Http::Two => Upstream::h2c().await,
        }
    }
}

impl Stage {
    /// The two upstreams, HTTP/1.1 everywhere, nothing configured.
    pub async fn new() -> Self {
        Setting::new(HTTP1).start().await
    }

    /// The [`question`], not sent yet.
    #[track_caller]
    pub fn ask(&self) -> Request {
        self.ask_for(question())
    }

    /// A request of one's own, not sent yet.
    #[track_caller]
    pub fn ask_for(&self, body: Value) -> Request {
        self.client.post(self.path, body)
    }

    /// The whole answer to the [`question`].
    pub async fn answer(&self) -> Response {
        self.ask().await
    }

    /// The answer to the [`question`] as it comes.
    pub async fn open(&self) -> ResponseStream {
        self.ask().open().await
    }

    /// The line of the access log about the one request that was made, its end waited for.
    pub async fn account(&self) -> Value {
        self.gateway.wait_log(1).await.remove(0)
    }

    /// Whether the first pair is suspended, as the next request finds out.
    pub async fn first_is_suspended(&self) -> bool {
        let before = self.first.count();
        let _ = self.ask().await;
        self.first.count() == before
    }
}
