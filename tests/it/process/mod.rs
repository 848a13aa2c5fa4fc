//! The real binary as a process: how it starts, what signals do to it, and what it says where.

mod commands;
mod daemon;
mod ending;
mod exhaustion;
mod reload;
mod secrets;
mod starting;
mod upgrade;
mod watching;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;

use crate::support::{Client, KEY, Setup, secret, until, within};

/// The operation with a policy.
const CHAT: &str = "/v1/chat/completions";

/// What its target is.
const MODEL: &str = "gpt-4o";

fn question(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "Hi"}]})
}

fn streaming_question() -> Value {
    let mut question = question(MODEL);
    question["stream"] = true.into();
    question
}

/// A gateway with one policy, to one endpoint.
fn setup(url: &str) -> Setup {
    Setup::new()
        .endpoint("openai", url)
        .chain(&[(MODEL, "openai")], "")
}

/// A folder with a configuration in it, whose access log is beside it.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn conf(&self) -> PathBuf {
        self.path("standin.yaml")
    }

    fn access_log(&self) -> PathBuf {
        self.path("access.log")
    }

    /// Writes the configuration.
    fn write(&self, setup: &Setup) {
        self.write_changed(setup, &[]);
    }

    /// Writes the configuration with parts of its text replaced, each of which must be there.
    fn write_changed(&self, setup: &Setup, changes: &[(&str, &str)]) {
        let mut text = setup.yaml(&self.access_log().to_string_lossy());
        for (from, to) in changes {
            assert!(text.contains(from), "no {from:?} in {text}");
            text = text.replace(from, to);
        }
        fs::write(self.conf(), text).expect("a written configuration");
    }

    /// The lines of the access log.
    fn lines(&self) -> Vec<Value> {
        lines_of(&self.access_log())
    }
}

fn lines_of(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = |line| serde_json::from_str(line).expect("a line of JSON");
    text.lines().map(line).collect()
}

/// What `server` says in [`Setup`]'s text, to be replaced.
const PATIENCE_OF_TWO: &str = "grace_period_seconds: 0, graceful_shutdown_timeout_seconds: 2";

/// The command with these arguments; every endpoint's secret is in its environment.
fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_standin"));
    command
        .args(arguments)
        .env_clear()
        .env("openai", secret("openai"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// A process and what it says. It is killed when this is dropped.
struct Process {
    child: Child,
    stdout: watch::Receiver<String>,
    stderr: watch::Receiver<String>,
}

impl Process {
    fn spawn(command: &mut Command) -> Self {
        let mut child = command.spawn().expect("a process");
        let stdout = heard(child.stdout.take().expect("its standard output"));
        let stderr = heard(child.stderr.take().expect("its standard error"));
        Self {
            child,
            stdout,
            stderr,
        }
    }

    /// `standin run` with the folder's configuration.
    fn run(folder: &Folder) -> Self {
        Self::run_with(folder, &[])
    }

    fn run_with(folder: &Folder, more: &[&str]) -> Self {
        let conf = folder.conf();
        let conf = conf.to_string_lossy();
        let arguments = [&["run", "--conf", &*conf], more].concat();
        Self::spawn(&mut command(&arguments))
    }

    fn stdout(&self) -> String {
        self.stdout.borrow().clone()
    }

    fn stderr(&self) -> String {
        self.stderr.borrow().clone()
    }

    /// Waits until standard error says `words`.
    async fn says(&self, words: &str) {
        let mut stderr = self.stderr.clone();
        let said = stderr.wait_for(|text| text.contains(words));
        let said = within(format!("{words:?} on standard error"), said).await;
        assert!(said.is_ok(), "it ended with: {}", self.stderr());
    }

    /// Where it listens.
    async fn address(&self) -> SocketAddr {
        self.says("listening on ").await;
        let stderr = self.stderr();
        let (_, rest) = stderr.split_once("listening on ").expect("waited for");
        let address = rest.lines().next().expect("a line");
        address.parse().expect("an address")
    }

    /// A client of it with the production key, once it has served a request: then its signals are
    /// waited for, too.
    async fn client(&self) -> Client {
        let client = Client::new(self.address().await).key(KEY);
        assert_eq!(client.get("/v1/unknown").await.status, 404);
        client
    }

    fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// Waits until it is gone.
    async fn gone(&mut self) -> ExitStatus {
        let what = format!("the end of process {}", self.child.id());
        let mut status = None;
        until(what, || {
            status = self.child.try_wait().expect("its status");
            status.is_some()
        })
        .await;
        status.expect("it has ended")
    }

    /// Waits until it has ended, and with it everything that it says.
    async fn ended(&mut self) -> ExitStatus {
        let status = self.gone().await;
        // What it said last.
        for mut said in [self.stdout.clone(), self.stderr.clone()] {
            let _ = within("the end of what it says", said.wait_for(|_| false)).await;
        }
        status
    }

    /// Waits until it has ended; its exit code. Those that it has started go on, and say what they
    /// say where it did.
    async fn exit_code_of_one_of_many(&mut self) -> i32 {
        let status = self.gone().await;
        let code = status.code();
        code.unwrap_or_else(|| panic!("{status}; it said: {}", self.stderr()))
    }

    /// Waits until it has ended; its exit code.
    async fn exit_code(&mut self) -> i32 {
        let status = self.ended().await;
        let code = status.code();
        code.unwrap_or_else(|| panic!("{status}; it said: {}", self.stderr()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal to a process that this test has started.
fn signal(pid: u32, name: &str) {
    let line = format!("kill -{name} {pid}");
    let sent = Command::new("sh").args(["-c", &line]).status();
    assert!(sent.expect("a shell").success(), "{line}");
}

/// Everything that comes out of `pipe` so far; the sender goes at its end.
fn heard(pipe: impl Read + Send + 'static) -> watch::Receiver<String> {
    let (sender, receiver) = watch::channel(String::new());
    std::thread::spawn(move || {
        let mut lines = BufReader::new(pipe);
        let mut line = String::new();
        while lines.read_line(&mut line).is_ok_and(|read| read > 0) {
            sender.send_modify(|text| text.push_str(&line));
            line.clear();
        }
    });
    receiver
}

/// Waits until nobody listens at `address`.
async fn refused(address: SocketAddr) {
    let refused = || std::net::TcpStream::connect(address).is_err();
    until("connections to be refused", refused).await;
}

/// Where a process's admin listener is, once it has said so.
async fn admin_address(process: &Process) -> SocketAddr {
    const WORDS: &str = "admin: listening on ";
    process.says(WORDS).await;
    let said = process.stderr();
    let (_, rest) = said.split_once(WORDS).expect("waited for");
    rest.lines().next().unwrap().parse().expect("an address")
}
