//! The gateway as the admin side sees it.

use std::sync::Arc;

use crate::admin::Live;
use crate::gateway::{Connections, Gateway};

/// The gateway that runs in this process.
pub(super) struct LiveGateway {
    pub(super) gateway: Arc<Gateway>,
    pub(super) connections: Connections,
}

impl Live for LiveGateway {
    fn is_draining(&self) -> bool {
        self.gateway.is_draining()
    }

    fn write_metrics(&self, text: &mut String) {
        text.push_str(&self.gateway.metrics_text(&self.connections));
    }
}
