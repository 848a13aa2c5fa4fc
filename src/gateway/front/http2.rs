//! A connection of HTTP/2: Pingora serves it, and what Pingora has no bounds for is bounded here.
//!
//! - **The first request** must come by a deadline, as in HTTP/1.1: Pingora would wait for the preface of a
//!   client that has agreed on HTTP/2 for as long as that likes.
//! - **After `requests_per_connection`** the client is told to come back on another connection (`GOAWAY`), and
//!   may finish what it has begun.
//! - **Streams that were reset count** until their request is let go of. HTTP/2 allows a client to open the next
//!   stream the moment it has reset one, so the limit of streams alone bounds nothing; a connection with twice
//!   as many requests under way as it may have streams is cut.
//! - **A client that was told to go** and has nothing under way is cut after a while, also where it never
//!   answers.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream, ServerApp};
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v2::server::H2Options;
use pingora_core::server::ShutdownWatch;
use pingora_proxy::HttpProxy;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout_at};

use super::Entered;
use crate::gateway::proxy::Proxy;
use crate::policy::Limits;

/// Streams of one connection at once.
pub const HTTP2_STREAMS: u32 = 256;

/// Requests of one connection that are under way at once, those of streams that were reset among them.
const UNDER_WAY: u32 = 2 * HTTP2_STREAMS;

/// One connection.
pub(super) struct Http2 {
    /// It is open until the last of its requests is let go of.
    _entered: Entered,
    proxy: Arc<HttpProxy<Proxy>>,
    /// Requests that it may still begin.
    left: AtomicU64,
    under_way: AtomicU32,
    first: Notify,
    flooded: Notify,
    /// The client is to be told to go.
    ending: watch::Sender<bool>,
}

impl Http2 {
    /// Serves a connection to its end; its first request must begin by `deadline`.
    pub(super) async fn serve(
        entered: Entered,
        proxy: Arc<HttpProxy<Proxy>>,
        stream: Stream,
        limits: &Limits,
        deadline: Instant,
        mut shutdown: ShutdownWatch,
    ) {
        let (ending, ended) = watch::channel(false);
        let connection = Arc::new(Self {
            _entered: entered,
            proxy,
            left: AtomicU64::new(limits.requests_per_connection),
            under_way: AtomicU32::new(0),
            first: Notify::new(),
            flooded: Notify::new(),
            ending,
        });
        let told = async {
            let _ = shutdown.wait_for(|down| *down).await;
            connection.ending.send_replace(true);
            pending::<()>().await;
        };
        tokio::select! {
            _ = ServerApp::process_new(&connection, stream, &ended) => {}
            () = connection.idle_from_the_start(deadline) => {}
            () = connection.flooded.notified() => {
                log::warn!("a connection of HTTP/2 was cut: its client resets streams faster than their requests end");
            }
            () = connection.idle_at_the_end(ended.clone(), limits.keepalive_timeout) => {}
            () = told => {}
        }
    }

    /// Comes back where no request has begun by `deadline`.
    async fn idle_from_the_start(&self, deadline: Instant) {
        if timeout_at(deadline, self.first.notified()).await.is_ok() {
            pending::<()>().await;
        }
    }

    /// Comes back where the client was told to go, and has had nothing under way for `linger` or so.
    async fn idle_at_the_end(&self, mut ended: watch::Receiver<bool>, linger: Duration) {
        let _ = ended.wait_for(|ended| *ended).await;
        loop {
            sleep(linger).await;
            if self.under_way.load(Ordering::Relaxed) == 0 {
                return;
            }
        }
    }

    fn begin(&self) -> UnderWay<'_> {
        self.first.notify_one();
        if self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.ending.send_replace(true);
        }
        if self.under_way.fetch_add(1, Ordering::Relaxed) >= UNDER_WAY {
            self.flooded.notify_one();
        }
        UnderWay(&self.under_way)
    }
}

/// A request that is under way.
struct UnderWay<'a>(&'a AtomicU32);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[async_trait]
impl HttpServerApp for Http2 {
    async fn process_new_http(
        self: &Arc<Self>,
        session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        let _under_way = self.begin();
        self.proxy.process_new_http(session, shutdown).await
    }

    fn h2_options(&self) -> Option<H2Options> {
        self.proxy.h2_options()
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        HttpServerApp::server_options(&*self.proxy)
    }
}
