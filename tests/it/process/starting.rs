//! `standin run`, up to where it serves or says why it can't.

use std::fs;
use std::net::TcpListener;

use super::{CHAT, Folder, MODEL, Process, command, question, setup};
use crate::support::{Reply, Upstream};

#[tokio::test(flavor = "multi_thread")]
async fn it_serves_and_logs_to_standard_output() {
    let upstream = Upstream::start().await;
    upstream.always(Reply::chat(MODEL, "Hello"));
    let folder = Folder::new();
    let log = folder.access_log();
    let changes = [(&*log.to_string_lossy(), "stdout")];
    folder.write_changed(&setup(&upstream.url()), &changes);
    let mut process = Process::run(&folder);
    let client = process.client().await;
    let answer = client.post(CHAT, question(MODEL)).await;
    assert_eq!(answer.content(), "Hello");
    process.signal("TERM");
    assert_eq!(process.exit_code().await, 0);

    let lines: Vec<serde_json::Value> = process
        .stdout()
        .lines()
        .map(|line| serde_json::from_str(line).expect("nothing but the log on standard output"))
        .collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["status"], 404);
    assert_eq!(lines[1]["status"], 200);
    assert_eq!(lines[1]["model"], MODEL);
    assert_eq!(
        lines[1]["request_id"],
        answer.header("x-request-id").unwrap()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_in_use_is_an_error_with_its_name() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let folder = Folder::new();
    let changes = [("127.0.0.1:0", &*address)];
    folder.write_changed(&setup("http://127.0.0.1:9"), &changes);
    let mut process = Process::run(&folder);
    assert_eq!(process.exit_code().await, 1);
    let stderr = process.stderr();
    let expected = format!("standin: can't listen on {address}: Address already in use");
    assert!(stderr.starts_with(&expected), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert_eq!(process.stdout(), "");
    assert!(!folder.access_log().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_with_errors_is_refused_with_all_of_them() {
    let folder = Folder::new();
    let changes = [
        ("policies: [chat]", "policies: [chta]"),
        ("type: failover", "type: failovr"),
    ];
    folder.write_changed(&setup("http://127.0.0.1:9"), &changes);
    for arguments in ["run", "check"] {
        let conf = folder.conf();
        let conf = conf.to_string_lossy();
        let mut process = Process::spawn(&mut command(&[arguments, "--conf", &conf]));
        assert_eq!(process.exit_code().await, 1);
        let stderr = process.stderr();
        for words in [
            "operations[0].policies[0]: ",
            "chta",
            "policies.chat.type: ",
            "failovr",
        ] {
            assert!(stderr.contains(words), "no {words:?} in {stderr}");
        }
        for line in stderr.lines() {
            assert!(line.starts_with(&format!("{conf}:")), "{line}");
        }
        assert_eq!(process.stdout(), "");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_said() {
    let folder = Folder::new();
    let mut process = Process::run(&folder);
    assert_eq!(process.exit_code().await, 1);
    let stderr = process.stderr();
    assert!(
        stderr.contains("standin.yaml: can't be read: No such file"),
        "{stderr}"
    );

    folder.write(&setup("http://127.0.0.1:9"));
    let conf = folder.conf();
    let mut without_secret = command(&["run", "--conf", &conf.to_string_lossy()]);
    let mut process = Process::spawn(without_secret.env_remove("openai"));
    assert_eq!(process.exit_code().await, 1);
    let stderr = process.stderr();
    assert!(stderr.contains("endpoints.openai.api_key"), "{stderr}");

    let log = folder.access_log();
    fs::create_dir(&log).unwrap();
    let mut process = Process::run(&folder);
    assert_eq!(process.exit_code().await, 1);
    let stderr = process.stderr();
    assert!(stderr.contains("access log"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn relative_paths_begin_at_the_configuration() {
    let upstream = Upstream::start().await;
    upstream.always(Reply::chat(MODEL, "Hello"));
    let folder = Folder::new();
    let log = folder.access_log();
    let changes = [(&*log.to_string_lossy(), "./access.log")];
    folder.write_changed(&setup(&upstream.url()), &changes);
    let elsewhere = tempfile::tempdir().unwrap();
    let conf = folder.conf();
    let mut command = command(&["run", "--conf", &conf.to_string_lossy()]);
    let mut process = Process::spawn(command.current_dir(elsewhere.path()));
    let client = process.client().await;
    assert_eq!(client.post(CHAT, question(MODEL)).await.status, 200);
    process.signal("TERM");
    assert_eq!(process.exit_code().await, 0);
    assert_eq!(folder.lines().len(), 2);
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}
