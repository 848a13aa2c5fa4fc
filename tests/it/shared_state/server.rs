//! A real Redis, and what stands between it and a gateway.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::support::within;

/// A `redis-server` on a socket of its own, which keeps nothing on disk.
pub struct Redis {
    folder: TempDir,
    child: Child,
    arguments: Vec<String>,
}

impl Redis {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    pub async fn start_with(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let arguments: Vec<String> = arguments.iter().map(|&text| text.to_owned()).collect();
        let child = spawn(&folder, &arguments);
        let redis = Self {
            folder,
            child,
            arguments,
        };
        redis.listens().await;
        redis
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    pub fn url(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// The fields of `shared_state` that lead to it.
    pub fn fields(&self) -> String {
        format!("redis: {{url: {:?}}}", self.url())
    }

    async fn listens(&self) {
        within("Redis to listen", async {
            while UnixStream::connect(self.socket()).await.is_err() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
    }

    pub fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    /// Another one in its place, which knows nothing.
    pub async fn restart(&mut self) {
        self.child = spawn(&self.folder, &self.arguments);
        self.listens().await;
    }

    /// `STOP`: it takes connections and answers nothing; `CONT`.
    pub fn signal(&self, name: &str) {
        let line = format!("kill -{name} {}", self.child.id());
        let sent = Command::new("sh").args(["-c", &line]).status();
        assert!(sent.expect("a shell").success());
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(folder: &TempDir, arguments: &[String]) -> Child {
    Command::new("redis-server")
        .args(["--port", "0", "--save", "", "--appendonly", "no"])
        .args(["--unixsocket", "redis.sock"])
        .args(arguments)
        .current_dir(folder.path())
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server, which ./test installs")
}

/// A port that leads to Redis until it is cut.
pub struct Way {
    pub port: u16,
    open: Arc<watch::Sender<bool>>,
    task: JoinHandle<()>,
}

impl Way {
    pub async fn to(redis: &Redis) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let open = Arc::new(watch::Sender::new(true));
        let (state, socket) = (open.clone(), redis.socket());
        let task = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let (mut state, socket) = (state.subscribe(), socket.clone());
                tokio::spawn(async move {
                    if !*state.borrow() {
                        return;
                    }
                    let Ok(mut server) = UnixStream::connect(socket).await else {
                        return;
                    };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                        _ = state.wait_for(|open| !open) => {}
                    }
                });
            }
        });
        Self { port, open, task }
    }

    /// Closes what is open, and all that comes, until it is opened again.
    pub fn set_open(&self, open: bool) {
        self.open.send_replace(open);
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A server that answers whatever it is told with the same bytes. Gives its URL and how many
/// connections it had.
pub async fn answering(bytes: &'static [u8]) -> (String, watch::Receiver<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("redis://{}", listener.local_addr().expect("its address"));
    let (count, counted) = watch::channel(0);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            count.send_modify(|count| *count += 1);
            tokio::spawn(async move {
                let mut heard = [0; 4096];
                while client.read(&mut heard).await.is_ok_and(|read| read > 0) {
                    if tokio::io::AsyncWriteExt::write_all(&mut client, bytes)
                        .await
                        .is_err()
                    {
                        return;
                    }
                }
            });
        }
    });
    (url, counted)
}
