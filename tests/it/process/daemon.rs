//! `standin run --daemon`.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use super::{CHAT, Folder, MODEL, PATIENCE_OF_TWO, Process, question, refused, setup, signal};
use crate::support::{Client, KEY, Reply, Upstream, until};

/// A process in the background, which is nobody's child. It is killed when this is dropped.
struct Daemon(u32);

impl Daemon {
    fn is_running(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0)).unwrap_or_default();
        // Whoever adopted it may take its time to bury it.
        let state = stat
            .rsplit(") ")
            .next()
            .and_then(|rest| rest.chars().next());
        state.is_some_and(|state| state != 'Z')
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.is_running() {
            signal(self.0, "KILL");
        }
    }
}

/// A port that was free a moment ago: in the background nobody tells which one was chosen.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address")
}

async fn pid_in(path: &Path) -> u32 {
    let mut pid = None;
    until("the pid file", || {
        let text = fs::read_to_string(path).unwrap_or_default();
        pid = text.trim().parse().ok();
        pid.is_some()
    })
    .await;
    pid.expect("waited for")
}

#[tokio::test(flavor = "multi_thread")]
async fn it_goes_to_the_background_and_writes_its_pid() {
    let upstream = Upstream::start().await;
    upstream.always(Reply::chat(MODEL, "Hello"));
    let folder = Folder::new();
    let address = free_address();
    let (pid_file, error_log) = (folder.path("standin.pid"), folder.path("error.log"));
    let settings = format!("{PATIENCE_OF_TWO}, pid_file: {pid_file:?}, error_log: {error_log:?}");
    let address_text = address.to_string();
    let changes = [
        (PATIENCE_OF_TWO, &*settings),
        ("127.0.0.1:0", &*address_text),
    ];
    folder.write_changed(&setup(&upstream.url()), &changes);

    let mut starter = Process::run_with(&folder, &["--daemon"]);
    assert_eq!(starter.exit_code().await, 0, "{}", starter.stderr());
    let daemon = Daemon(pid_in(&pid_file).await);
    assert_ne!(daemon.0, starter.child.id());
    until("the daemon to listen", || {
        std::net::TcpStream::connect(address).is_ok()
    })
    .await;
    let client = Client::new(address).key(KEY);
    let answer = client.post(CHAT, question(MODEL)).await;
    assert_eq!(answer.content(), "Hello");

    // It finds its configuration again, wherever its folder is now.
    let another = "production: {target: {model: gpt-5, endpoint: openai}}";
    folder.write_changed(&setup(&upstream.url()).policy("another", another), &changes);
    signal(daemon.0, "HUP");
    crate::support::within("the new policy", async {
        while client.post(CHAT, question("gpt-5")).await.status != 200 {}
    })
    .await;

    signal(daemon.0, "TERM");
    refused(address).await;
    until("the daemon's end", || !daemon.is_running()).await;
    assert!(folder.lines().len() >= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_prevents_it_is_said_before_it_goes_to_the_background() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let folder = Folder::new();
    let pid_file = folder.path("standin.pid");
    let settings = format!("{PATIENCE_OF_TWO}, pid_file: {pid_file:?}");
    let changes = [(PATIENCE_OF_TWO, &*settings), ("127.0.0.1:0", &*address)];
    folder.write_changed(&setup("http://127.0.0.1:9"), &changes);
    let mut starter = Process::run_with(&folder, &["--daemon"]);
    assert_eq!(starter.exit_code().await, 1);
    let stderr = starter.stderr();
    assert!(
        stderr.contains(&format!("can't listen on {address}")),
        "{stderr}"
    );
    assert!(!pid_file.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_foreground_no_pid_file_is_written() {
    let folder = Folder::new();
    let pid_file = folder.path("standin.pid");
    let settings = format!("{PATIENCE_OF_TWO}, pid_file: {pid_file:?}");
    let dead = crate::support::Dead::refusing();
    folder.write_changed(&setup(&dead.url()), &[(PATIENCE_OF_TWO, &settings)]);
    let mut process = Process::run(&folder);
    process.client().await;
    process.signal("TERM");
    assert_eq!(process.exit_code().await, 0);
    assert!(!pid_file.exists());
}
