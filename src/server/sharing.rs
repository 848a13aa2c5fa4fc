//! Suspensions beyond this process, as a service of Pingora's: on a thread of its own.

use std::sync::Arc;

use async_trait::async_trait;
use pingora_core::server::ShutdownWatch;
use pingora_core::services::background::{BackgroundService, GenBackgroundService};

use crate::config::SharedState;
use crate::gateway::Gateway;
use crate::shared_state;

/// What is shared, and where.
pub(super) struct Sharing {
    settings: SharedState,
    gateway: Arc<Gateway>,
}

impl Sharing {
    /// Takes up what is known in a file from before the start.
    pub(super) fn new(settings: SharedState, gateway: &Arc<Gateway>) -> Self {
        if let SharedState::File(path) = &settings {
            shared_state::restore(path, gateway.suspensions());
        }
        // Before the first request: its failure may be the first change.
        gateway.suspensions().note_changes();
        Self {
            settings,
            gateway: gateway.clone(),
        }
    }

    /// Shares until the process drains: what it sees then is no longer the whole of its traffic.
    pub(super) fn service(self, draining: ShutdownWatch) -> GenBackgroundService<Running> {
        let running = Running {
            sharing: self,
            draining,
        };
        let mut service = GenBackgroundService::new("shared state".to_owned(), Arc::new(running));
        service.threads = Some(1);
        service
    }
}

/// The service.
pub(super) struct Running {
    sharing: Sharing,
    draining: ShutdownWatch,
}

#[async_trait]
impl BackgroundService for Running {
    async fn start(&self, _shutdown: ShutdownWatch) {
        let Sharing { settings, gateway } = &self.sharing;
        let mut draining = self.draining.clone();
        tokio::select! {
            () = shared_state::share(settings.clone(), gateway.suspensions().clone()) => {}
            _ = draining.wait_for(|draining| *draining) => {}
        }
    }
}
