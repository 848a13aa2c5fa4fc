//! The commands that end by themselves: what they print where, and their exit codes.

use super::{Folder, MODEL, Process, command, setup};

/// A command's exit code, standard output and standard error.
async fn called(arguments: &[&str]) -> (i32, String, String) {
    let mut process = Process::spawn(&mut command(arguments));
    let code = process.exit_code().await;
    (code, process.stdout(), process.stderr())
}

#[tokio::test(flavor = "multi_thread")]
async fn help_and_version_are_asked_for() {
    let (code, out, err) = called(&["--help"]).await;
    assert_eq!((code, &*err), (0, ""));
    for name in ["run", "check", "explain", "key", "health", "demo"] {
        let listed = out
            .lines()
            .any(|line| line.trim_start().starts_with(&format!("{name} ")));
        assert!(listed, "no {name} in {out}");
        let (code, out, err) = called(&[name, "--help"]).await;
        assert_eq!((code, &*err), (0, ""));
        assert!(out.contains(&format!("Usage: standin {name}")), "{out}");
    }
    let (code, out, err) = called(&["--version"]).await;
    let version = format!("standin {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!((code, out, err), (0, version, String::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_usage_is_2() {
    for arguments in [
        &[][..],
        &["serve"],
        &["run"],
        &["run", "--conf"],
        &["run", "--conf", "x", "--fast"],
        &["check"],
        &["explain", "--conf", "x"],
        &[
            "explain",
            "--conf",
            "x",
            "--environment",
            "test",
            "--model",
            "m",
        ],
        &["key", "--environment", "test"],
    ] {
        let (code, out, err) = called(arguments).await;
        assert_eq!((code, &*out), (2, ""), "{arguments:?}");
        assert!(err.contains("--help"), "{arguments:?}: {err}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn check_says_what_is_there() {
    let folder = Folder::new();
    folder.write(&setup("http://127.0.0.1:9"));
    let conf = folder.conf();
    let (code, out, err) = called(&["check", "--conf", &conf.to_string_lossy()]).await;
    assert_eq!((code, &*err), (0, ""));
    assert!(
        out.contains("1 listener, 1 endpoint, 1 operation, 1 policy, 2 keys"),
        "{out}"
    );
    // It starts nothing.
    assert!(!folder.access_log().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_tells_the_way_of_a_model() {
    let folder = Folder::new();
    folder.write(&setup("http://127.0.0.1:9"));
    let conf = folder.conf();
    let explain = |environment, model| {
        let arguments = [
            "explain",
            "--conf",
            &conf.to_string_lossy(),
            "--environment",
            environment,
            "--model",
            model,
        ];
        let arguments = arguments.map(str::to_owned);
        async move { called(&arguments.each_ref().map(String::as_str)).await }
    };
    let (code, out, err) = explain("production", MODEL).await;
    assert_eq!((code, &*err), (0, ""));
    for words in [
        "Policy chat matches gpt-4o",
        "1. gpt-4o at openai",
        "http://127.0.0.1:9/v1/chat/completions",
    ] {
        assert!(out.contains(words), "no {words:?} in {out}");
    }
    let (code, out, _) = explain("sandbox", MODEL).await;
    assert_eq!(code, 0);
    assert!(out.contains("404 model_not_found"), "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_new_each_time_and_fits_the_file() {
    let mut keys = Vec::new();
    for _ in 0..2 {
        let (code, out, err) = called(&["key", "--name", "app", "--environment", "sandbox"]).await;
        assert_eq!((code, &*err), (0, ""));
        let words: Vec<&str> = out.split_whitespace().collect();
        let is_key = |word: &&&str| word.starts_with("sk-standin-");
        assert_eq!(
            words.iter().filter(is_key).count(),
            1,
            "the key is shown once: {out}"
        );
        let key = words.iter().find(is_key).expect("a key");
        let digest = format!("{:x}", <sha2::Sha256 as sha2::Digest>::digest(key));
        let line = format!("- {{name: app, environment: sandbox, sha256: {digest}}}");
        assert!(out.contains(&line), "no {line} in {out}");
        keys.push((*key).to_owned());
    }
    assert_ne!(keys[0], keys[1]);
}
