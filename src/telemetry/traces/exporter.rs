//! The task that sends spans: in batches, with one message under way at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header;
use pingora_core::connectors::http::Connector;
use pingora_core::protocols::http::client::HttpSession;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_http::RequestHeader;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::{Job, encode};
use crate::policy::{Backend, Scheme};
use crate::telemetry::RequestRecord;

/// Requests of one message at most, and how long the first of them waits for others.
const BATCH: usize = 256;
const GATHER: Duration = Duration::from_secs(1);

/// From the connection's start to the end of the collector's answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Before a message that failed is sent once more.
const PAUSE: Duration = Duration::from_secs(1);

/// A failing collector is told of so often at most.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(60);

/// An idle connection to the collector is kept so long.
const IDLE: Duration = Duration::from_secs(30);

pub(super) struct Exporter {
    collector: Backend,
    jobs: mpsc::Receiver<Job>,
    dropped: Arc<AtomicU64>,
    complained: Option<Instant>,
}

impl Exporter {
    pub(super) fn new(
        collector: Backend,
        jobs: mpsc::Receiver<Job>,
        dropped: Arc<AtomicU64>,
    ) -> Self {
        Self {
            collector,
            jobs,
            dropped,
            complained: None,
        }
    }

    /// Sends until nobody is left who could ask for it.
    pub(super) async fn run(mut self) {
        let connector = Connector::new(None);
        while let Some(job) = self.jobs.recv().await {
            let (records, flushed) = self.gather(job).await;
            if !records.is_empty() {
                self.send(&connector, &records).await;
            }
            if let Some(flushed) = flushed {
                let _ = flushed.send(());
            }
        }
    }

    async fn gather(
        &mut self,
        first: Job,
    ) -> (Vec<Box<RequestRecord>>, Option<oneshot::Sender<()>>) {
        let until = Instant::now() + GATHER;
        let mut records = Vec::new();
        let mut job = Some(first);
        loop {
            match job {
                Some(Job::Send(record)) => records.push(record),
                Some(Job::Flush(flushed)) => return (records, Some(flushed)),
                None => return (records, None),
            }
            if records.len() == BATCH {
                return (records, None);
            }
            job = timeout_at(until, self.jobs.recv()).await.unwrap_or(None);
        }
    }

    async fn send(&mut self, connector: &Connector, records: &[Box<RequestRecord>]) {
        let body = Bytes::from(encode::message(records).to_string());
        let mut failed = String::new();
        for _ in 0..2 {
            if !failed.is_empty() {
                sleep(PAUSE).await;
            }
            let sent = timeout(PATIENCE, self.post(connector, body.clone())).await;
            failed = match sent {
                Ok(Ok(())) => return,
                Ok(Err(why)) => why,
                Err(_) => format!("no answer within {PATIENCE:?}"),
            };
        }
        let spans = records.iter().map(|record| encode::count(record)).sum();
        self.dropped.fetch_add(spans, Ordering::Relaxed);
        let now = Instant::now();
        let due = |last: Instant| now - last >= COMPLAINT_INTERVAL;
        if self.complained.is_none_or(due) {
            self.complained = Some(now);
            log::warn!(
                "{spans} spans are lost: {}: {failed}. Check that the collector runs and that observability.otlp.endpoint is its address for OTLP over HTTP, port 4318 as a rule",
                self.collector.authority()
            );
        }
    }

    async fn post(&self, connector: &Connector, body: Bytes) -> Result<(), String> {
        let words = |error: Box<pingora_core::Error>| error.to_string();
        let peer = self.peer().await?;
        let (mut session, _reused) = connector.get_http_session(&peer).await.map_err(words)?;
        session
            .write_request_header(Box::new(self.head(body.len()).map_err(words)?))
            .await
            .map_err(words)?;
        session
            .write_request_body(body, true)
            .await
            .map_err(words)?;
        session.finish_request_body().await.map_err(words)?;
        session.read_response_header().await.map_err(words)?;
        let status = session.response_header().map(|head| head.status);
        while session.read_response_body().await.map_err(words)?.is_some() {}
        release(connector, session, &peer).await;
        match status {
            Some(status) if status.is_success() => Ok(()),
            Some(status) => Err(format!("it answers {status}")),
            None => Err("it doesn't answer".to_owned()),
        }
    }

    async fn peer(&self) -> Result<HttpPeer, String> {
        let Backend { host, port, .. } = &self.collector;
        let mut found = tokio::net::lookup_host((host.as_str(), *port))
            .await
            .map_err(|error| error.to_string())?;
        let address = found.next().ok_or("its name has no address")?;
        let tls = self.collector.scheme == Scheme::Https;
        Ok(HttpPeer::new(address, tls, host.clone()))
    }

    fn head(&self, length: usize) -> pingora_core::Result<RequestHeader> {
        let path = format!("{}/v1/traces", self.collector.base_path);
        let mut head = RequestHeader::build("POST", path.as_bytes(), Some(3))?;
        head.insert_header(header::HOST, self.collector.authority())?;
        head.insert_header(header::CONTENT_TYPE, "application/json")?;
        head.insert_header(header::CONTENT_LENGTH, length)?;
        Ok(head)
    }
}

async fn release(connector: &Connector, session: HttpSession, peer: &HttpPeer) {
    connector
        .release_http_session(session, peer, Some(IDLE))
        .await;
}
