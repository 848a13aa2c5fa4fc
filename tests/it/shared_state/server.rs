//! A real Redis, and what stands between it and a gateway.

use std::io::BufRead as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, UnixStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::support::tls::Identity;
use crate::support::{Authority, Certificate, within};

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
        Self::start_in(folder, arguments).await
    }

    /// One that is reached by TLS too, and the fields of `shared_state` that lead there.
    pub async fn start_with_tls(authority: &Authority) -> (Self, String) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let Identity { certificate, key } = authority.issue(Certificate::Valid);
        let ca = folder.path().join("ca.pem");
        for (path, text) in [
            (ca.clone(), authority.pem()),
            (folder.path().join("tls.crt"), certificate),
            (folder.path().join("tls.key"), key),
        ] {
            std::fs::write(path, text).expect("a written file");
        }
        let free = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = free.local_addr().expect("its address").port();
        drop(free);
        let fields = format!("redis: {{url: 'rediss://127.0.0.1:{port}', ca: {ca:?}}}");
        let port = port.to_string();
        let files = ["--tls-cert-file", "tls.crt", "--tls-key-file", "tls.key"];
        let arguments = [
            &["--tls-port", &port, "--tls-auth-clients", "no"],
            &files[..],
        ];
        (Self::start_in(folder, &arguments.concat()).await, fields)
    }

    async fn start_in(folder: TempDir, arguments: &[&str]) -> Self {
        let arguments: Vec<String> = arguments.iter().map(|&text| text.to_owned()).collect();
        let child = spawn(&folder, &arguments).await;
        Self {
            folder,
            child,
            arguments,
        }
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

    /// Waits until its clock shows a later time, by so much.
    pub async fn clock_moves(&self, span: Duration) {
        let stream = UnixStream::connect(self.socket()).await;
        let mut stream = BufReader::new(stream.expect("a connection"));
        within("Redis's clock", async {
            let goal = time(&mut stream).await + span;
            while time(&mut stream).await < goal {}
        })
        .await;
    }

    pub fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    /// Another one in its place, which knows nothing.
    pub async fn restart(&mut self) {
        self.child = spawn(&self.folder, &self.arguments).await;
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

/// Starts it, and waits until it says that it is ready.
async fn spawn(folder: &TempDir, arguments: &[String]) -> Child {
    let mut child = Command::new("redis-server")
        .args(["--port", "0", "--save", "", "--appendonly", "no"])
        .args(["--unixsocket", "redis.sock"])
        .args(arguments)
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .expect("redis-server, which ./test installs");
    let said = child.stdout.take().expect("a pipe");
    let (ready, is_ready) = oneshot::channel();
    std::thread::spawn(move || {
        let mut ready = Some(ready);
        // To its end, so that it can always say more.
        for line in std::io::BufReader::new(said).lines().map_while(Result::ok) {
            if line.contains("eady to accept connections") {
                let _ = ready.take().map(|ready| ready.send(()));
            }
        }
    });
    let ready = within("Redis to listen", is_ready).await;
    ready.expect("it starts");
    child
}

/// What its clock shows, since 1970.
async fn time(stream: &mut BufReader<UnixStream>) -> Duration {
    stream.write_all(b"TIME\r\n").await.expect("it listens");
    // *2, $10, the seconds, $6, the microseconds.
    let mut lines = Vec::new();
    for _ in 0..5 {
        let mut line = String::new();
        stream.read_line(&mut line).await.expect("it answers");
        lines.push(line.trim().to_owned());
    }
    let number = |line: &str| line.parse::<u64>().expect("a number");
    Duration::from_secs(number(&lines[2])) + Duration::from_micros(number(&lines[4]))
}

/// A port that leads to Redis until it is cut.
pub struct Way {
    pub port: u16,
    open: Arc<watch::Sender<bool>>,
    tries: watch::Receiver<usize>,
    task: JoinHandle<()>,
}

impl Way {
    pub async fn to(redis: &Redis) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let open = Arc::new(watch::Sender::new(true));
        let (state, socket) = (open.clone(), redis.socket());
        let (try_made, tries) = watch::channel(0);
        let task = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                try_made.send_modify(|tries| *tries += 1);
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
        Self {
            port,
            open,
            tries,
            task,
        }
    }

    /// The fields of `shared_state` that lead to it.
    pub fn fields(&self) -> String {
        format!("redis: {{url: 'redis://127.0.0.1:{}'}}", self.port)
    }

    /// Waits until somebody tries once more to connect.
    pub async fn another_try(&self) {
        let mut tries = self.tries.clone();
        tries.mark_unchanged();
        within("another try", tries.changed())
            .await
            .expect("it is there");
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
