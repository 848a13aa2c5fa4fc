//! Suspensions shared through Redis (6 or later, or Valkey).
//!
//! One hash holds a line for each pair, and one channel tells of each change; both are touched only
//! by the two scripts beside this file, which Redis carries out one at a time: that makes an order
//! of what the instances say. One connection serves both (RESP3).
//!
//! ```text
//!  connect ── subscribe ── list, adopt ──► ┌─ something has changed here ─► take.lua, adopt the answer
//!     ▲                                    ├─ a message ─► adopt
//!     │                                    └─ every SYNC ─► list.lua, adopt; tell what is missing there
//!     └── PAUSE ◄── an error, no answer within ANSWER, the connection closed
//! ```

use std::collections::HashMap;
use std::convert::Infallible;
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ErrorKind, FromRedisValue, IntoConnectionInfo, ProtocolVersion,
    PushInfo, PushKind, RedisError, RedisResult, TlsCertificates, Value,
};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::MissedTickBehavior;

use super::complaint::{self, Complaint};
use crate::config::RedisSettings;
use crate::gateway::suspension::{Standing, Suspensions};
use crate::policy::{Environment, Pair};

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(2);

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(1);

/// How often all that is known there is read, which also tells a connection that is dead.
const SYNC: Duration = Duration::from_secs(5);

/// Between two tries to connect: not so long that instances stay apart, and no burden.
const PAUSE: Duration = Duration::from_millis(500);

const TAKE: &str = include_str!("take.lua");
const LIST: &str = include_str!("list.lua");

/// Shares the suspensions for as long as it is polled.
pub(super) async fn share(settings: &RedisSettings, suspensions: &Suspensions) {
    let mut sharing = Sharing {
        suspensions,
        changed: HashMap::new(),
        known: HashMap::new(),
        complaint: Complaint::default(),
    };
    loop {
        let Err(error) = sharing.until_it_fails(settings).await;
        complaint::warn(
            &mut sharing.complaint,
            format_args!(
                "suspensions are not shared with other instances: Redis at {}: {error}. It is tried again all the time; until then this one goes by what it sees itself",
                settings.url
            ),
        );
        sharing.pause().await;
    }
}

/// How a pair stands by Redis's word.
#[derive(Debug, PartialEq)]
struct Word {
    pair: Pair,
    number: u64,
    /// Zero: it is healthy.
    remaining: Duration,
    reason: String,
}

struct Sharing<'s> {
    suspensions: &'s Suspensions,
    /// What has changed here and Redis has not been told, and when.
    changed: HashMap<Pair, Instant>,
    /// The number of the last word about each pair.
    known: HashMap<Pair, u64>,
    complaint: Complaint,
}

impl Sharing<'_> {
    async fn until_it_fails(&mut self, settings: &RedisSettings) -> RedisResult<Infallible> {
        let (mut redis, mut messages) = Redis::connect(settings).await?;
        // Another Redis, or an emptied one, may count otherwise.
        self.known.clear();
        self.synchronise(&mut redis).await?;
        self.tell(&mut redis).await?;
        if self.complaint.is_over() {
            log::info!("suspensions are shared with other instances again");
        }
        let mut sync = tokio::time::interval_at(tokio::time::Instant::now() + SYNC, SYNC);
        sync.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = sync.tick() => self.synchronise(&mut redis).await?,
                changed = self.suspensions.changes() => self.changed.extend(changed),
                message = messages.recv() => match message {
                    Some(message) => self.hear(&message)?,
                    None => return Err(closed()),
                },
            }
            self.tell(&mut redis).await?;
        }
    }

    /// Waits before the next try, and goes on noting what changes.
    async fn pause(&mut self) {
        let pause = tokio::time::sleep(PAUSE);
        tokio::pin!(pause);
        loop {
            tokio::select! {
                () = &mut pause => return,
                changed = self.suspensions.changes() => self.changed.extend(changed),
            }
        }
    }

    /// Tells Redis how every pair stands that has changed here.
    async fn tell(&mut self, redis: &mut Redis) -> RedisResult<()> {
        while let Some((pair, at)) = self.changed.iter().next() {
            let (pair, at) = (pair.clone(), *at);
            let now = Instant::now();
            let suspension = self.suspensions.get(&pair).and_then(|s| s.suspension(now));
            let standing = suspension.map(|suspension| (suspension.standing, suspension.reason));
            let answer = match standing {
                Some((Standing::Suspended { until }, reason)) => {
                    Some(redis.take(&pair, Some(until), at, &reason).await?)
                }
                None => Some(redis.take(&pair, None, at, "").await?),
                // Its end has come: everybody knows.
                Some(_) => None,
            };
            self.changed.remove(&pair);
            if let Some(word) = answer {
                self.adopt(word);
            }
        }
        Ok(())
    }

    /// Reads all that Redis knows, and notes what it should know and doesn't.
    async fn synchronise(&mut self, redis: &mut Redis) -> RedisResult<()> {
        let words = redis.list().await?;
        let now = Instant::now();
        for (pair, suspension) in self.suspensions.list(now) {
            let known = words.iter().any(|word| word.pair == pair);
            if !known && suspension.standing.is_suspended() {
                self.changed.entry(pair).or_insert(now);
            }
        }
        for word in words {
            self.adopt(word);
        }
        Ok(())
    }

    fn hear(&mut self, message: &PushInfo) -> RedisResult<()> {
        match (&message.kind, &*message.data) {
            (PushKind::Disconnection, _) => Err(closed()),
            (PushKind::Message, [_, Value::BulkString(text)]) => {
                let fields: Vec<String> = serde_json::from_slice(text).unwrap_or_default();
                let word = word(&fields).ok_or_else(|| wrong("a message"))?;
                self.adopt(word);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Takes a word over if it is news, and nothing has happened here meanwhile that Redis has not
    /// been told.
    fn adopt(&mut self, word: Word) {
        let last = self.known.get(&word.pair).copied().unwrap_or_default();
        let Some(state) = self.suspensions.get(&word.pair) else {
            return;
        };
        if word.number <= last || self.changed.contains_key(&word.pair) {
            return;
        }
        let now = Instant::now();
        let until = (!word.remaining.is_zero()).then(|| now + word.remaining);
        if state.adopt(now, until, &word.reason) {
            self.known.insert(word.pair, word.number);
        }
    }
}

/// The connection.
struct Redis {
    connection: MultiplexedConnection,
    hash: String,
    channel: String,
    /// An instant here, and what Redis's clock showed then, in milliseconds.
    clock: (Instant, u64),
}

impl Redis {
    /// Connects and subscribes.
    async fn connect(settings: &RedisSettings) -> RedisResult<(Self, UnboundedReceiver<PushInfo>)> {
        let info = settings.url.as_str().into_connection_info()?;
        let mut redis = info
            .redis_settings()
            .clone()
            .set_protocol(ProtocolVersion::RESP3);
        if let Some(password) = &settings.password {
            redis = redis.set_password(password.expose());
        }
        let (sender, messages) = unbounded_channel();
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(ANSWER))
            .set_push_sender(sender);
        let info = info.set_redis_settings(redis);
        let client = match &settings.ca {
            None => Client::open(info)?,
            Some(ca) => {
                let certificates = TlsCertificates {
                    client_tls: None,
                    root_cert: Some(ca.clone()),
                };
                Client::build_with_tls(info, certificates)?
            }
        };
        let connecting = client.get_multiplexed_async_connection_with_config(&config);
        let connection = tokio::time::timeout(CONNECT, connecting).await;
        let mut connection = connection.map_err(|_| late())??;
        // The braces keep both in one slot of a cluster.
        let channel = format!("{{{}}}:changes", settings.prefix);
        connection.subscribe(&channel).await?;
        let redis = Self {
            connection,
            hash: format!("{{{}}}:suspensions", settings.prefix),
            channel,
            clock: (Instant::now(), 0),
        };
        Ok((redis, messages))
    }

    /// Says how a pair stands here since an instant, suspended or healthy; gives how it stands for
    /// all.
    async fn take(
        &mut self,
        pair: &Pair,
        until: Option<Instant>,
        since: Instant,
        reason: &str,
    ) -> RedisResult<Word> {
        let until = until.map_or(0, |until| self.time(until));
        let fields: Vec<String> = redis::cmd("EVAL")
            .arg(TAKE)
            .arg(1)
            .arg(&self.hash)
            .arg(&self.channel)
            .arg(name(pair))
            .arg(until)
            .arg(self.time(since))
            .arg(reason)
            .query_async(&mut self.connection)
            .await?;
        word(&fields).ok_or_else(|| wrong("an answer"))
    }

    /// What Redis's clock shows at an instant of this process, in milliseconds.
    fn time(&self, at: Instant) -> u64 {
        let (known, millis) = self.clock;
        let span = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        match at.checked_duration_since(known) {
            Some(later) => millis.saturating_add(span(later)),
            None => millis.saturating_sub(span(known.duration_since(at))),
        }
    }

    /// How all pairs stand; sets the clock.
    async fn list(&mut self) -> RedisResult<Vec<Word>> {
        let asked = Instant::now();
        let list: Value = redis::cmd("EVAL")
            .arg(LIST)
            .arg(1)
            .arg(&self.hash)
            .query_async(&mut self.connection)
            .await?;
        let list = Vec::<Vec<String>>::from_redis_value(list)?;
        let (time, list) = list.split_first().ok_or_else(|| wrong("nothing"))?;
        let time = time.first().and_then(|time| time.parse().ok());
        // Redis looked at its clock somewhere between the question and the answer.
        let middle = asked + asked.elapsed() / 2;
        self.clock = (middle, time.ok_or_else(|| wrong("no time"))?);
        let words = list.iter().map(|fields| word(fields));
        words.collect::<Option<_>>().ok_or_else(|| wrong("a list"))
    }
}

/// What Redis says in four fields.
fn word(fields: &[String]) -> Option<Word> {
    let [pair, number, remaining, reason] = fields else {
        return None;
    };
    Some(Word {
        pair: pair_of(pair)?,
        number: number.parse().ok()?,
        remaining: Duration::from_millis(remaining.parse().ok()?),
        reason: reason.clone(),
    })
}

/// A pair as a field of the hash.
fn name(pair: &Pair) -> String {
    let environment = pair.environment.to_string();
    serde_json::json!([environment, pair.endpoint, pair.model]).to_string()
}

fn pair_of(name: &str) -> Option<Pair> {
    let [environment, endpoint, model]: [String; 3] = serde_json::from_str(name).ok()?;
    let named = |known: &Environment| known.to_string() == environment;
    Some(Pair {
        environment: Environment::ALL.into_iter().find(named)?,
        endpoint: endpoint.into(),
        model: model.into(),
    })
}

fn closed() -> RedisError {
    (ErrorKind::Io, "it closed the connection").into()
}

fn late() -> RedisError {
    (ErrorKind::Io, "it did not answer in time").into()
}

fn wrong(what: &'static str) -> RedisError {
    (
        ErrorKind::UnexpectedReturnType,
        "it gave what no instance of Standin writes",
        what.to_owned(),
    )
        .into()
}
