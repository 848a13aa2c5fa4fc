//! What a process lives through that others die of.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};

use tokio::net::TcpStream;

use super::{CHAT, Folder, MODEL, Process, command, question, setup};
use crate::support::{Client, KEY, Reply, Upstream, secret, within};

/// `standin run`, by a shell that has said `before`.
fn run_after(before: &str, folder: &Folder, more: &[&str]) -> Process {
    let mut shell = Command::new("sh");
    let conf = folder.conf();
    shell
        .args(["-c", &format!("{before}; exec \"$0\" \"$@\"")])
        .arg(env!("CARGO_BIN_EXE_standin"))
        .args(["run", "--conf"])
        .arg(conf)
        .args(more)
        .env("openai", secret("openai"))
        .current_dir(folder.path("."))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Process::spawn(&mut shell)
}

#[tokio::test(flavor = "multi_thread")]
async fn it_lives_on_without_descriptors_and_serves_when_there_are_some() {
    let upstream = Upstream::start().await;
    upstream.always(Reply::chat(MODEL, "Hello"));
    let folder = Folder::new();
    folder.write(&setup(&upstream.url()));
    let mut process = run_after("ulimit -n 96", &folder, &[]);
    let client = process.client().await;
    assert_eq!(client.post(CHAT, question(MODEL)).await.status, 200);

    let address = process.address().await;
    let mut crowd = Vec::new();
    for _ in 0..200 {
        crowd.push(TcpStream::connect(address).await.unwrap());
    }
    // Who is in is served, by the connection upstream that there is.
    for _ in 0..3 {
        assert_eq!(client.post(CHAT, question(MODEL)).await.status, 200);
    }
    drop(crowd);
    let newcomer = Client::new(address).key(KEY);
    let served = async {
        while newcomer
            .post(CHAT, question(MODEL))
            .try_send()
            .await
            .is_ok_and(|answer| answer.status != 200)
        {}
    };
    within("a newcomer to be served", served).await;
    assert_eq!(
        newcomer.post(CHAT, question(MODEL)).await.content(),
        "Hello"
    );
    process.signal("TERM");
    assert_eq!(process.exit_code().await, 0);
}

/// Whether a process that dies of a fault leaves its memory in a file is the machine's to say; where it
/// would, this one does so only when it is asked to.
#[tokio::test(flavor = "multi_thread")]
async fn it_leaves_no_core_unless_it_is_asked_to() {
    let allowed = "ulimit -c 2000000";
    let upstream = Upstream::start().await;
    let folder = Folder::new();
    folder.write(&setup(&upstream.url()));
    let mut other = Command::new("sh");
    other.args(["-c", &format!("{allowed}; kill -ABRT $$")]);
    let machine = other.current_dir(folder.path(".")).status().unwrap();
    for (more, expected) in [(&[][..], false), (&["--core-dumps"], machine.core_dumped())] {
        let mut process = run_after(allowed, &folder, more);
        process.client().await;
        process.signal("ABRT");
        let ended = process.ended().await;
        assert_eq!(ended.signal(), Some(6), "{ended}");
        assert_eq!(ended.core_dumped(), expected, "{more:?}");
    }
    let help = command(&["run", "--help"]).output().unwrap();
    assert!(String::from_utf8_lossy(&help.stdout).contains("--core-dumps"));
}
