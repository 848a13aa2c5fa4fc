//! The gateway as the admin side sees it.

use std::sync::Arc;

use crate::admin::Live;
use crate::gateway::Gateway;

/// The gateway that runs in this process.
pub(super) struct LiveGateway {
    pub(super) gateway: Arc<Gateway>,
}

impl Live for LiveGateway {
    fn is_draining(&self) -> bool {
        self.gateway.is_draining()
    }

    /// Here `/metrics` gets its text.
    fn write_metrics(&self, _text: &mut String) {}
}
