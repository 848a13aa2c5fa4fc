//! A bare Pingora pass-through: what a proxy on Pingora costs that does nothing.
//!
//!     bare LISTEN UPSTREAM THREADS shared|apart [CERTIFICATE KEY]
//!
//! `shared`: idle threads take work from busy ones, as is Pingora's default; `apart`: they don't.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a load test that can't go on is over"
)]

use async_trait::async_trait;
use pingora_core::Result;
use pingora_core::server::Server;
use pingora_core::server::configuration::ServerConf;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_proxy::{ProxyHttp, Session, http_proxy_service};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

struct Bare(String);

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(&self.0, false, String::new())))
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let listen = arguments.next().expect("where to listen");
    let upstream = arguments.next().expect("where to pass on to");
    let threads = arguments.next().expect("how many threads");
    let stealing = arguments.next().expect("shared or apart") == "shared";
    let tls = arguments.next().zip(arguments.next());
    let conf = ServerConf {
        threads: threads.parse().unwrap(),
        work_stealing: stealing,
        upstream_keepalive_pool_size: 512,
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let mut service = http_proxy_service(&server.configuration, Bare(upstream));
    match tls {
        Some((certificate, key)) => service.add_tls(&listen, &certificate, &key).unwrap(),
        None => service.add_tcp(&listen),
    }
    server.add_service(service);
    server.run_forever();
}
