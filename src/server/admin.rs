//! The admin listener as a service of Pingora's.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use pingora_core::listeners::{L4BufferSettings, ListenerConfig};
use pingora_core::server::{ListenFds, ShutdownWatch};
use pingora_core::services::listening::Service;
use pingora_core::services::{ServiceReadyNotifier, ServiceWithDependents};

use super::certificates::Certificates;
use super::live::LiveGateway;
use super::sockets::{Socket, hand_in};
use super::{ServerError, tls_settings};
use crate::admin::{Admin, Tokens};

/// The admin listener. It ends with the process, or when the next one has its socket: while the
/// gateway drains somebody must be there to say so.
pub(super) struct AdminListening {
    /// Where it listens; never port 0.
    pub(super) address: SocketAddr,
    service: Service<Admin>,
    watch: Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>,
    sockets: Vec<Socket>,
    handed_over: ShutdownWatch,
}

impl AdminListening {
    pub(super) fn new(
        (configured, certificates): (SocketAddr, Option<Certificates>),
        tokens: Arc<Tokens>,
        live: LiveGateway,
        socket: Socket,
        handed_over: ShutdownWatch,
    ) -> Result<Self, ServerError> {
        let address = socket.address;
        let app = Admin::new(Arc::new(live), address, tokens);
        let watch = Box::pin(app.watch());
        let mut service = Service::new("admin".to_owned(), app);
        service.threads = Some(1);
        let endpoint = ListenerConfig::tcp(address.to_string());
        let endpoint = endpoint.l4_buffer(L4BufferSettings::unbuffered());
        service.add_listener(match certificates {
            Some(certificates) => endpoint.tls(tls_settings(&certificates, configured)?),
            None => endpoint,
        });
        Ok(Self {
            address,
            service,
            watch: Some(watch),
            sockets: vec![socket],
            handed_over,
        })
    }
}

#[async_trait]
impl ServiceWithDependents for AdminListening {
    async fn start_service(
        &mut self,
        fds: Option<ListenFds>,
        _shutdown: ShutdownWatch,
        _listeners_per_fd: usize,
        ready: ServiceReadyNotifier,
    ) {
        hand_in(&fds, &mut self.sockets);
        if let Some(watch) = self.watch.take() {
            tokio::spawn(watch);
        }
        ready.notify_ready();
        let until = self.handed_over.clone();
        pingora_core::services::Service::start_service(&mut self.service, fds, until, 1).await;
    }

    fn name(&self) -> &'static str {
        "admin"
    }

    fn threads(&self) -> Option<usize> {
        self.service.threads
    }

    fn listen_addresses(&self) -> Option<Vec<String>> {
        pingora_core::services::Service::listen_addresses(&self.service)
    }
}
