//! One process after the other, and nobody notices.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::net::{UnixDatagram, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{
    CHAT, Folder, MODEL, PATIENCE_OF_TWO, Process, admin_address, command, question, refused,
    setup, signal, streaming_question,
};
use crate::support::{Client, Dead, KEY, Reply, Setup, Step, TOKEN, Upstream, until, within};

const SERVES: &str = " serves now; this one finishes what it has";

/// An upstream that answers at once, and streams for a while.
async fn upstream() -> Upstream {
    let upstream = Upstream::start().await;
    upstream.answer_with(|request| match request.json().get("stream") {
        None => Reply::chat(MODEL, "Hello"),
        Some(_) => {
            let pause = || Step::Wait(Duration::from_millis(20));
            let stream = Reply::chat_stream(MODEL, &["H", "e", "l", "l", "o"]);
            (2..6).fold(stream, |stream, nth| stream.before_write(nth, pause()))
        }
    });
    upstream
}

/// Writes a configuration whose process can be followed by another.
fn write(folder: &Folder, setup: &Setup, more: &[(&str, &str)]) {
    let sock = folder.path("upgrade.sock");
    let settings = format!(
        "grace_period_seconds: 0, graceful_shutdown_timeout_seconds: 60, upgrade_sock: {sock:?}"
    );
    let changes = [&[(PATIENCE_OF_TWO, &*settings)], more].concat();
    folder.write_changed(setup, &changes);
}

/// A process that another one has started. It is killed when this is dropped.
struct Next(u32);

impl Next {
    /// The `nth` that serves, by what all of them say.
    async fn serves(first: &Process, nth: usize) -> Self {
        let mut pid = None;
        until("the next process to serve", || {
            let said = first.stderr();
            let mut lines = said.lines().filter(|line| line.contains(SERVES));
            pid = lines.nth(nth).map(|line| {
                let line = line.strip_suffix(SERVES).expect("found");
                let (_, pid) = line.rsplit_once("process ").expect("its pid");
                pid.parse().expect("a pid")
            });
            pid.is_some()
        })
        .await;
        Self(pid.expect("waited for"))
    }

    fn is_running(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0)).unwrap_or_default();
        // Whoever adopted it may take its time to bury it.
        let state = stat.rsplit(") ").next().unwrap_or_default();
        !state.is_empty() && !state.starts_with('Z')
    }

    async fn ended(&self) {
        until("the next process's end", || !self.is_running()).await;
    }
}

impl Drop for Next {
    fn drop(&mut self) {
        if self.is_running() {
            signal(self.0, "KILL");
        }
    }
}

/// Clients that ask all the time, and take nothing but good answers.
struct Load {
    stop: Arc<AtomicBool>,
    answered: watch::Sender<usize>,
    clients: JoinSet<()>,
}

impl Load {
    /// Some that keep their connection, some that make a new one each time; each half of them
    /// reads streams. One of each speaks HTTP/2.
    fn on(address: SocketAddr) -> Self {
        let mut load = Self {
            stop: Arc::default(),
            answered: watch::Sender::default(),
            clients: JoinSet::new(),
        };
        for number in 0..12 {
            let client = match number {
                0..2 => Client::h2c(address),
                _ => Client::new(address),
            };
            load.client(client.key(KEY), number % 2 == 0, number % 3 == 0);
        }
        load
    }

    fn client(&mut self, client: Client, streams: bool, fresh: bool) {
        let (stop, answered) = (self.stop.clone(), self.answered.clone());
        self.clients.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let asked = if streams {
                    streaming_question()
                } else {
                    question(MODEL)
                };
                let answer = client.post(CHAT, asked).try_send().await;
                let answer = answer.unwrap_or_else(|failed| panic!("no answer: {failed:?}"));
                assert_eq!(answer.status, 200);
                assert!(answer.complete, "a cut answer");
                if streams {
                    assert_eq!(answer.transcript().text, "Hello");
                    assert!(answer.events().last().unwrap().is_done());
                } else {
                    assert_eq!(answer.content(), "Hello");
                }
                if fresh {
                    client.close_idle().await;
                }
                answered.send_modify(|count| *count += 1);
            }
        });
    }

    /// Waits for so many more answers.
    async fn more(&mut self, count: usize) {
        let mut answered = self.answered.subscribe();
        let goal = *answered.borrow() + count;
        within("more answers", async {
            tokio::select! {
                reached = answered.wait_for(|&count| count >= goal) => {
                    reached.expect("the load goes on");
                }
                // None ends before it is told to.
                Some(ended) = self.clients.join_next() => {
                    ended.expect("every answer is good");
                }
            }
        })
        .await;
    }

    async fn end(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = within("the last answers", self.clients.join_next()).await {
            ended.expect("every answer is good");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_upgrades_in_a_row_under_load_lose_nothing() {
    let upstream = upstream().await;
    let folder = Folder::new();
    let cleartext = [(
        "address: 127.0.0.1:0\n",
        "address: 127.0.0.1:0\n    h2c: true\n",
    )];
    write(&folder, &setup(&upstream.url()), &cleartext);
    let mut first = Process::run(&folder);
    first.client().await;
    let address = first.address().await;
    let mut load = Load::on(address);
    load.more(100).await;

    first.signal("USR2");
    let second = Next::serves(&first, 0).await;
    load.more(100).await;
    assert_eq!(first.exit_code_of_one_of_many().await, 0);

    signal(second.0, "USR2");
    let third = Next::serves(&first, 1).await;
    assert_ne!(second.0, third.0);
    load.more(100).await;
    second.ended().await;
    load.more(100).await;
    load.end().await;

    signal(third.0, "TERM");
    third.ended().await;
    refused(address).await;
    assert!(!folder.path("upgrade.sock").exists());
    let statuses = folder.lines();
    let failed = statuses.iter().find(|line| line["status"] != 200);
    assert_eq!(failed.unwrap()["status"], 404, "the first question of all");
    assert_eq!(
        statuses.iter().filter(|line| line["status"] != 200).count(),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_flight_is_finished_and_the_admin_listener_goes_along() {
    let upstream = Upstream::start().await;
    upstream.push(Reply::chat(MODEL, "Hello").held("plain"));
    upstream.always(Reply::chat(MODEL, "Hello"));
    let folder = Folder::new();
    write(&folder, &setup(&upstream.url()).admin(), &[]);
    let mut old = Process::run(&folder);
    let idle = old.client().await;
    let address = old.address().await;
    let admin = admin_address(&old).await;
    let busy = Client::new(address).key(KEY);
    let plain = tokio::spawn(busy.post(CHAT, question(MODEL)).into_future());
    upstream.wait_gate("plain").await;

    // By hand, as whoever supervises the processes would.
    let mut new = Process::run_with(&folder, &["--upgrade"]);
    new.says("listening on ").await;
    old.says(SERVES).await;
    assert_eq!(new.address().await, address, "the port that was chosen");
    assert_eq!(admin_address(&new).await, admin);
    let answer = Client::new(address).key(KEY).post(CHAT, question(MODEL));
    assert_eq!(answer.await.content(), "Hello");
    let operator = Client::new(admin).key(TOKEN);
    assert_eq!(operator.get("/readyz").await.status, 200);

    assert!(old.child.try_wait().unwrap().is_none(), "it waits");
    let answer = idle.get("/v1/unknown").await;
    assert_eq!(answer.status, 404, "an idle connection is served once more");
    assert_eq!(answer.header("connection"), Some("close"));
    upstream.open("plain");
    assert_eq!(plain.await.unwrap().content(), "Hello");
    // It was told to go on before the other process served.
    busy.close_idle().await;
    assert_eq!(old.exit_code().await, 0, "{}", old.stderr());

    new.signal("TERM");
    assert_eq!(new.exit_code().await, 0, "{}", new.stderr());
    refused(address).await;
    refused(admin).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_is_new_is_opened_and_one_that_is_gone_is_closed() {
    let upstream = upstream().await;
    let folder = Folder::new();
    let (one, other) = ("{address: 127.0.0.2:0}", "{address: 127.0.0.3:0}");
    write(&folder, &setup(&upstream.url()).listener(one), &[]);
    let mut old = Process::run(&folder);
    old.client().await;
    let stays = old.address().await;
    let goes = listening(&old, "127.0.0.2:");
    write(&folder, &setup(&upstream.url()).listener(other), &[]);
    old.signal("USR2");
    let new = Next::serves(&old, 0).await;
    let comes = listening(&old, "127.0.0.3:");
    for address in [stays, comes] {
        let answer = Client::new(address).key(KEY).post(CHAT, question(MODEL));
        assert_eq!(answer.await.content(), "Hello");
    }
    assert_eq!(old.exit_code_of_one_of_many().await, 0);
    refused(goes).await;
    signal(new.0, "TERM");
    new.ended().await;
}

/// Where it says that it listens, by the beginning of the address.
fn listening(process: &Process, beginning: &str) -> SocketAddr {
    let said = process.stderr();
    let at = said.find(beginning).expect(beginning);
    said[at..].lines().next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_next_process_that_comes_to_nothing_changes_nothing() {
    let upstream = upstream().await;
    let folder = Folder::new();
    let good = setup(&upstream.url());
    write(&folder, &good, &[]);
    let mut process = Process::run(&folder);
    let client = process.client().await;
    let sock = folder.path("upgrade.sock");

    // Its configuration is wrong.
    write(&folder, &good, &[("type: failover", "type: failovr")]);
    process.signal("USR2");
    process
        .says("the next process has ended with exit status: 1")
        .await;
    process.says("policies.chat.type").await;
    // It dies before it serves; somebody looks whether there is anybody; somebody speaks of something else.
    for (said, expected) in [
        (
            "standin-upgrade 1\n127.0.0.1:0\n\n",
            "did not take over: it has ended",
        ),
        ("", ""),
        ("GET / HTTP/1.1\r\n\n\n", "it speaks another language"),
    ] {
        let stranger = UnixStream::connect(&sock).await.unwrap();
        stranger.writable().await.unwrap();
        assert_eq!(stranger.try_write(said.as_bytes()).unwrap(), said.len());
        if said.starts_with("standin") {
            process.says("1 listening sockets are handed over").await;
        }
        drop(stranger);
        process.says(expected).await;
    }
    // They were heard one after the other, so nothing was said of the one that only looked.
    assert_eq!(process.stderr().matches("did not take over").count(), 2);

    assert_eq!(client.post(CHAT, question(MODEL)).await.content(), "Hello");
    assert_eq!(client.connections(), 1);
    // And one that does well takes over after all of that.
    write(&folder, &good, &[]);
    process.signal("USR2");
    let next = Next::serves(&process, 0).await;
    client.close_idle().await;
    assert_eq!(process.exit_code_of_one_of_many().await, 0);
    assert_eq!(client.post(CHAT, question(MODEL)).await.content(), "Hello");
    signal(next.0, "TERM");
    next.ended().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn there_must_be_a_process_with_these_addresses() {
    let dead = Dead::refusing();
    let folder = Folder::new();
    write(&folder, &setup(&dead.url()), &[]);
    let sock = folder.path("upgrade.sock");
    let begins = format!("standin: can't take over at {}: ", sock.display());
    let mut alone = Process::run_with(&folder, &["--upgrade"]);
    assert_eq!(alone.exit_code().await, 1);
    let said = alone.stderr();
    assert!(said.starts_with(&begins), "{said}");
    assert!(
        said.contains("without one, start without --upgrade"),
        "{said}"
    );

    let process = Process::run(&folder);
    process.client().await;
    write(
        &folder,
        &setup(&dead.url()),
        &[("127.0.0.1:0", "127.0.0.4:0")],
    );
    let mut other = Process::run_with(&folder, &["--upgrade"]);
    assert_eq!(other.exit_code().await, 1);
    let said = other.stderr();
    assert!(said.starts_with(&begins), "{said}");
    assert!(said.contains("none of the configured addresses"), "{said}");
    // Nor does one that starts beside it take the path from it.
    let beside = Process::run(&folder);
    beside
        .says("no other process can take over from this one")
        .await;
    beside.signal("USR2");
    beside.says("Set server.upgrade_sock and restart").await;
    assert!(process.stderr().contains("did not take over"));
}

/// What the process at the other end of `NOTIFY_SOCKET` hears.
async fn told(supervisor: &UnixDatagram) -> String {
    let mut bytes = [0; 4096];
    let read = within("a word to systemd", supervisor.recv(&mut bytes)).await;
    String::from_utf8(bytes[..read.unwrap()].to_vec()).unwrap()
}

fn run_under(socket: &Path, folder: &Folder) -> Process {
    let conf = folder.conf();
    let mut command = command(&["run", "--conf", &conf.to_string_lossy()]);
    Process::spawn(command.env("NOTIFY_SOCKET", socket))
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_is_told_how_it_stands() {
    let dead = Dead::refusing();
    let folder = Folder::new();
    write(&folder, &setup(&dead.url()), &[]);
    let socket = folder.path("notify");
    let supervisor = UnixDatagram::bind(&socket).unwrap();
    let mut first = run_under(&socket, &folder);
    assert_eq!(told(&supervisor).await, "READY=1\n");
    first.signal("HUP");
    let reloading = told(&supervisor).await;
    assert!(
        reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="),
        "{reloading}"
    );
    assert_eq!(told(&supervisor).await, "READY=1\n");

    first.signal("USR2");
    let mut both = [told(&supervisor).await, told(&supervisor).await];
    both.sort();
    let next = Next::serves(&first, 0).await;
    assert_eq!(
        both,
        [format!("MAINPID={}\n", next.0), "READY=1\n".to_owned()]
    );
    assert_eq!(first.exit_code_of_one_of_many().await, 0);
    signal(next.0, "TERM");
    assert_eq!(told(&supervisor).await, "STOPPING=1\n");
    next.ended().await;
}
