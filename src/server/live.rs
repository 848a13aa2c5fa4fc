//! The gateway as the admin side sees it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;

use super::reload::Reloader;
use crate::admin::{Listening, Live, Reload, ReloadedBy, Reloads, WayIn};
use crate::gateway::suspension::Suspensions;
use crate::gateway::{Connections, Gateway, Guest, PASS};
use crate::policy::{Caller, Snapshot};
use crate::telemetry::metrics::{RoomStatus, Totals};
use crate::telemetry::{BackendReport, RequestRecord};

/// The gateway that runs in this process.
pub(super) struct LiveGateway {
    pub(super) gateway: Arc<Gateway>,
    pub(super) connections: Connections,
    pub(super) reloader: Arc<Reloader>,
    pub(super) listeners: Vec<Listening>,
}

#[async_trait]
impl Live for LiveGateway {
    fn is_draining(&self) -> bool {
        self.gateway.is_draining()
    }

    fn write_metrics(&self, text: &mut String) {
        text.push_str(&self.gateway.metrics_text(&self.connections));
    }

    fn configuration_file(&self) -> Option<PathBuf> {
        self.reloader.path().map(Path::to_owned)
    }

    fn configuration(&self) -> Arc<dyn AsRef<Snapshot> + Send + Sync> {
        self.gateway.table()
    }

    fn suspensions(&self) -> &Suspensions {
        self.gateway.suspensions()
    }

    fn rooms(&self) -> Vec<RoomStatus> {
        self.gateway.table().rooms()
    }

    fn backends(&self) -> Vec<BackendReport> {
        self.gateway.backends()
    }

    fn recent(&self) -> Vec<RequestRecord> {
        self.gateway.recent().list()
    }

    fn totals(&self) -> Totals {
        self.gateway.metrics().totals()
    }

    fn listeners(&self) -> &[Listening] {
        &self.listeners
    }

    fn invite(&self, caller: Caller) -> io::Result<WayIn> {
        let Guest { socket, pass } = self.gateway.guests().invite(caller)?;
        Ok(WayIn {
            socket,
            pass: (PASS, pass.value.clone()),
            keep: Box::new(pass),
        })
    }

    async fn reload(&self, by: ReloadedBy) -> Arc<Reload> {
        self.reloader.reload(by).await
    }

    fn reloads(&self) -> Reloads {
        self.reloader.reloads().borrow().clone()
    }
}
