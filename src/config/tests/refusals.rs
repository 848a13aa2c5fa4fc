//! Every error, word for word, with the place where it is reported.

use std::fs;
use std::path::PathBuf;

use super::*;

/// What is set in the smallest configuration, and under it the errors that come of it.
const REFUSALS: &str = include_str!("refusals.txt");

fn refused(fields: &[(&str, Json)]) -> Vec<String> {
    let ConfigErrors(errors) = read(&with(fields)).unwrap_err();
    errors
        .into_iter()
        .map(|error| {
            assert_eq!(error.line, 1, "{error}");
            format!("{}: {}", error.path, error.message)
        })
        .collect()
}

#[test]
fn every_refusal_reads_as_it_should() {
    let lines = REFUSALS.lines().filter(|line| !line.starts_with('#'));
    let text = lines.collect::<Vec<_>>().join("\n");
    let mut count = 0;
    for case in text.split("\n\n").filter(|case| !case.trim().is_empty()) {
        let case = case.lines().filter(|line| !line.is_empty());
        let (expected, fields): (Vec<_>, Vec<_>) = case.partition(|line| line.starts_with("  "));
        let fields = fields.iter().map(|line| {
            let (path, value) = line.split_once(" = ").unwrap();
            (path, serde_json::from_str(value).unwrap())
        });
        let expected: Vec<_> = expected.iter().map(|line| line.trim_start()).collect();
        let fields: Vec<(&str, Json)> = fields.collect();
        assert_eq!(refused(&fields), expected, "{fields:?}");
        count += 1;
    }
    assert!(count > 100, "{count}");
}

#[test]
fn an_empty_file_misses_everything() {
    for text in ["", "{}", "# nothing\n", "listeners:\n"] {
        assert_eq!(
            read(text).unwrap_err().to_string(),
            "line 1: listeners: is missing; at least one: [{address: 0.0.0.0:8080}]\n\
             line 1: keys: is missing; at least one, `standin key` makes it; or write `authentication: none`\n\
             line 1: endpoints: is missing; at least one: {NAME: {url: https://HOST}}\n\
             line 1: operations: is missing; at least one: [{path: /v1/chat/completions, policies: […]}]",
            "{text:?}"
        );
    }
    let list = read("- a").unwrap_err().to_string();
    assert_eq!(list, "line 1: must be fields (`name: value`), not a list");
}

/// One mistake each: a field, its value, and the error's message.
fn assert_mistakes(mistakes: &[(&str, Json, &str)]) {
    for (path, value, message) in mistakes {
        let errors = refused(&[(path, value.clone())]);
        assert_eq!(errors, [format!("{path}: {message}")], "{value}");
    }
}

#[test]
fn keys_that_are_written_twice() {
    let text = "limits: {}\nendpoints:\n  a: {}\n  b: {url: x,\n    url: y}\n  a: {}\nlimits: {}\n";
    let ConfigErrors(errors) = read(text).unwrap_err();
    let twice: Vec<_> = errors
        .iter()
        .filter(|error| error.message.starts_with("is written twice"))
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        twice,
        [
            "line 5: endpoints.b.url: is written twice, first on line 4; keep one of them",
            "line 6: endpoints.a: is written twice, first on line 3; keep one of them",
            "line 7: limits: is written twice, first on line 1; keep one of them",
        ]
    );
}

#[test]
fn a_refused_endpoint_or_policy_is_one_error_however_often_it_is_used() {
    let target = json!({"model": "m", "endpoint": "openai"});
    let errors = refused(&[
        ("endpoints.openai.url", json!("api.openai.com")),
        ("policies.chat.production.fallbacks", json!([target])),
        (
            "operations[0].default_endpoint",
            json!({"production": "openai"}),
        ),
    ]);
    assert_eq!(errors.len(), 1, "{errors:?}");
    let errors = refused(&[("policies.chat", json!([]))]);
    assert_eq!(errors.len(), 1, "{errors:?}");
    let errors = refused(&[("endpoints.openai.url", json!(["x"]))]);
    assert_eq!(errors, ["endpoints.openai.url: must be text, not a list"]);
}

#[test]
fn callers() {
    let digest = "a".repeat(64);
    let key = |name: &str, sha256: &str| json!({"name": name, "environment": "sandbox", "sha256": sha256});
    let errors = |keys: Json| {
        refused(&[
            ("authentication", json!("keys")),
            ("environment", Json::Null),
            ("keys", keys),
        ])
    };
    let made = "the lower-case hex SHA-256 of the key: `standin key` makes both";
    for (keys, expected) in [
        (
            json!([{"sha256": digest, "environment": "sandbox"}]),
            "keys[0].name: is missing; who holds the key, for the logs".to_owned(),
        ),
        (
            json!([{"sha256": digest, "name": "a"}]),
            "keys[0].environment: is missing; production or sandbox".into(),
        ),
        (
            json!([{"environment": "sandbox", "name": "a"}]),
            format!("keys[0].sha256: is missing; {made}"),
        ),
        (
            json!([{"environment": "test", "name": "a", "sha256": digest}]),
            "keys[0].environment: `test` is unknown; environments are: production, sandbox".into(),
        ),
        (
            json!([key("", &digest)]),
            "keys[0].name: must not be empty".into(),
        ),
        (
            json!([key("a\u{7}", &digest)]),
            "keys[0].name: must not have control characters in it".into(),
        ),
        (
            json!([key(" a", &digest)]),
            "keys[0].name: must not begin or end with white space".into(),
        ),
        (
            json!([key("a", SECRET)]),
            format!("keys[0].sha256: must be 64 lower-case hex digits, {made}"),
        ),
        (
            json!([key("a", &digest.to_uppercase())]),
            format!("keys[0].sha256: must be 64 lower-case hex digits, {made}"),
        ),
        (
            json!([key("a", &digest[1..])]),
            format!("keys[0].sha256: must be 64 lower-case hex digits, {made}"),
        ),
        (
            json!([key("a", &digest), key("b", &digest)]),
            "keys[1].sha256: is the digest of the key on line 1 already; keep one of them".into(),
        ),
        (
            json!([key("a", &digest), key("a", &"b".repeat(64))]),
            "keys[1].name: `a` is the key of sandbox on line 1 already".into(),
        ),
        (
            json!([key(
                "a",
                "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
            )]),
            "keys[0].sha256: is the digest of an empty key; `standin key` makes one".into(),
        ),
        (
            json!([{"key": SECRET}]),
            "keys[0].key: there is no such field; the fields here are: name, environment, sha256, rate_limit"
                .into(),
        ),
    ] {
        assert_eq!(errors(keys.clone())[0], expected, "{keys}");
    }
}

#[test]
fn rate_limits() {
    let first = "keys[0].rate_limit";
    let range = "must be from 1 to 1000000000, not";
    for (limit, expected) in [
        (
            json!({}),
            format!("{first}: is empty; write `requests_per_minute`, `tokens_per_minute` or both"),
        ),
        (
            json!({"requests_per_minute": 0}),
            format!("{first}.requests_per_minute: {range} 0"),
        ),
        (
            json!({"requests_per_minute": 1, "tokens_per_minute": 1_000_000_001}),
            format!("{first}.tokens_per_minute: {range} 1000000001"),
        ),
        (
            json!({"requests_per_minute": 1, "requests": 1}),
            format!(
                "{first}.requests: there is no such field; the fields here are: requests_per_minute, tokens_per_minute"
            ),
        ),
    ] {
        let key = json!({"name": "a", "environment": "sandbox", "sha256": "a".repeat(64), "rate_limit": limit});
        let errors = refused(&[
            ("authentication", json!("keys")),
            ("environment", Json::Null),
            ("keys", json!([key])),
        ]);
        assert_eq!(errors, [expected], "{limit}");
    }
}

#[test]
fn secrets() {
    let folder = Folder::new("secrets");
    let good = folder.file("good", SECRET);
    let empty = folder.file("empty", "\r\n");
    let remedy = "write {env: NAME} or {file: PATH}";
    let path = "endpoints.openai.api_key";
    let several = "holds more than a secret: there is a line end or a control character in it";
    assert_mistakes(&[
        (
            path,
            json!(SECRET),
            &format!("a secret is never written into the configuration; {remedy}"),
        ),
        (
            path,
            json!([SECRET]),
            &format!("must say where the secret is kept; {remedy}"),
        ),
        (
            path,
            json!({}),
            &format!("must name exactly one place where the secret is kept; {remedy}"),
        ),
        (
            path,
            json!({"env": "KEY", "file": good}),
            &format!("must name exactly one place where the secret is kept; {remedy}"),
        ),
        (
            path,
            json!({"env": [SECRET]}),
            &format!("must say where the secret is kept; {remedy}"),
        ),
        (
            path,
            json!({"value": SECRET}),
            &format!("secrets are kept in the environment or in a file; {remedy}"),
        ),
        (
            path,
            json!({SECRET: null}),
            &format!("must say where the secret is kept; {remedy}"),
        ),
        (
            path,
            json!({"env": SECRET}),
            &format!("this is no name of an environment variable; {remedy}"),
        ),
        (
            path,
            json!({"env": "ABSENT"}),
            "the environment variable ABSENT is not set",
        ),
        (
            path,
            json!({"env": "EMPTY"}),
            "the environment variable EMPTY is empty; it must hold the secret",
        ),
        (
            path,
            json!({"env": "SEVERAL_LINES"}),
            &format!("the environment variable SEVERAL_LINES {several}"),
        ),
        (
            path,
            json!({"env": "BLANK_AROUND"}),
            "the environment variable BLANK_AROUND begins or ends with white space, which no key does",
        ),
        (
            path,
            json!({"file": empty}),
            &format!("the file {empty} is empty; it must hold the secret"),
        ),
        (
            path,
            json!({"file": "/no/such/file"}),
            "the file /no/such/file can't be read: No such file or directory (os error 2)",
        ),
        (
            path,
            json!({"file": "/dev/zero"}),
            "the file /dev/zero is no regular file",
        ),
        (
            path,
            json!({"file": folder.path()}),
            &format!("the file {} is no regular file", folder.path()),
        ),
    ]);
    let large = folder.file("large", &"x".repeat(65_537));
    let binary = folder.bytes("binary", b"\xff\xfe");
    assert_mistakes(&[
        (
            path,
            json!({"file": large}),
            &format!("the file {large} is larger than 65536 bytes"),
        ),
        (
            path,
            json!({"file": binary}),
            &format!("the file {binary} is no UTF-8 text"),
        ),
    ]);
    let endpoint = &accepted(&[(path, json!({"file": good}))])
        .snapshot
        .endpoints[0];
    assert_eq!(endpoint.credential.keys()[0].expose(), SECRET);
}

#[test]
fn certificates() {
    let folder = Folder::new("certificates");
    let (certificate, key) = folder.certificate("a");
    let (_, other_key) = folder.certificate("b");
    let text = folder.file("text", "hello");
    let broken = folder.file(
        "broken",
        "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
    );
    let odd = folder.file(
        "odd",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    let odd_key = folder.file(
        "odd_key",
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    );
    let no_certificate = "holds no certificate (PEM: -----BEGIN CERTIFICATE-----)";
    let no_key = "holds no private key without a passphrase (PEM: -----BEGIN PRIVATE KEY-----)";
    let listener = |certificate: &str, key: &str, ca: Json| {
        let tls = json!({"certificate": certificate, "private_key": key, "client_ca": ca});
        json!({"address": "127.0.0.1:1", "tls": tls})
    };
    let at = |field: &str| format!("listeners[0].tls.{field}");
    for (value, field, message) in [
        (
            listener("/none", &key, Json::Null),
            "certificate",
            "/none can't be read: No such file or directory (os error 2)".to_owned(),
        ),
        (
            listener(&text, &key, Json::Null),
            "certificate",
            format!("{text} {no_certificate}"),
        ),
        (
            listener(&broken, &key, Json::Null),
            "certificate",
            format!("{broken} is no valid PEM: base64 decode error"),
        ),
        (
            listener(&certificate, "/none", Json::Null),
            "private_key",
            "/none can't be read: No such file or directory (os error 2)".into(),
        ),
        (
            listener(&certificate, &certificate, Json::Null),
            "private_key",
            format!("{certificate} {no_key}"),
        ),
        (
            listener(&certificate, &other_key, Json::Null),
            "private_key",
            format!("{other_key} holds the key of another certificate"),
        ),
        (
            listener(&certificate, &odd_key, Json::Null),
            "private_key",
            format!("{odd_key} can't be used with its certificate: "),
        ),
        (
            listener(&certificate, &key, json!(text)),
            "client_ca",
            format!("{text} {no_certificate}"),
        ),
        (
            listener(&certificate, &key, json!(odd)),
            "client_ca",
            format!("{odd} holds a certificate that can't be used: "),
        ),
    ] {
        let errors = refused(&[("listeners[0]", value.clone())]);
        let [error] = &errors[..] else {
            panic!("{errors:?}")
        };
        assert!(
            error.starts_with(&format!("{}: {message}", at(field))),
            "{error}"
        );
    }
    let ca = json!(certificate);
    let tls = accepted(&[("listeners[0]", listener(&certificate, &key, ca.clone()))]).listeners[0]
        .tls
        .clone();
    assert_eq!(tls.unwrap().client_ca, Some(PathBuf::from(&certificate)));

    let upstream = "endpoints.openai.tls";
    let errors = refused(&[(upstream, json!({"ca": text}))]);
    assert_eq!(errors, [format!("{upstream}.ca: {text} {no_certificate}")]);
    let errors = refused(&[(
        upstream,
        json!({"client_certificate": text, "client_key": other_key}),
    )]);
    assert_eq!(
        errors,
        [format!(
            "{upstream}.client_certificate: {text} {no_certificate}"
        )]
    );
    let errors = refused(&[(
        upstream,
        json!({"client_certificate": certificate, "client_key": other_key}),
    )]);
    assert_eq!(
        errors,
        [format!(
            "{upstream}.client_key: {other_key} holds the key of another certificate"
        )]
    );
    let tls = json!({"ca": ca, "client_certificate": certificate, "client_key": key});
    let tls = &accepted(&[(upstream, tls)]).snapshot.endpoints[0].tls;
    assert_eq!(tls.ca.as_deref(), Some(&*fs::read(&certificate).unwrap()));
    let (_, secret) = tls.client_certificate.as_ref().unwrap();
    assert_eq!(secret.expose(), fs::read_to_string(&key).unwrap());
}

#[test]
fn two_policies_that_match_the_same() {
    let chain = json!({"target": {"model": "m", "endpoint": "openai"}});
    let errors = |chat: Json, other: Json, other_chain: &str| {
        let other_chain = format!("policies.other.{other_chain}");
        let fields = [
            ("policies.chat.match", chat),
            ("policies.other.match", other),
            (&*other_chain, chain.clone()),
            ("operations[0].policies", json!(["chat", "other"])),
        ];
        read(&with(&fields)).map_err(|ConfigErrors(errors)| errors[0].to_string())
    };
    let conflict = |name| {
        format!(
            "line 1: operations[0].policies[1]: `chat` and `other` both match {name} in production; give one of them another `match`"
        )
    };
    for (chat, other, name) in [
        (json!(["a", "b"]), json!(["c", "b"]), "b"),
        (json!(["a-*"]), json!(["a-*"]), "a-*"),
        (json!(["*"]), json!(["*"]), "*"),
        (Json::Null, json!(["gpt-4o"]), "gpt-4o"),
        (json!(["m"]), Json::Null, "m"),
    ] {
        assert_eq!(
            errors(chat, other, "production").unwrap_err(),
            conflict(name)
        );
    }
    for (chat, other) in [
        (json!(["a-*"]), json!(["a-b"])),
        (json!(["a-*"]), json!(["a-*-*"])),
        (Json::Null, Json::Null),
    ] {
        assert!(errors(chat, other, "production").is_ok());
    }
    assert!(errors(json!(["a"]), json!(["a"]), "sandbox").is_ok());
}

#[test]
fn all_errors_of_a_file_come_together_in_its_order() {
    let text = "\
listeners:
  - adress: 0.0.0.0:8080
endpoints:
  openai:
    provider: openai
    url: https://api.openai.com
    api_key: sk-inline
operations:
  - path: /v1/chat/completions
    policies:
      - chat
      - chta
policies:
  chat:
    production:
      target: {model: gpt-4o}
      fallbacks:
        - {model: a, endpoint: openai}
        - model: b
          endpoint: opnai
    request_timeout: soon
authentication: none
";
    assert_eq!(
        read(text).unwrap_err().to_string(),
        "\
line 2: listeners[0].adress: there is no such field; did you mean `address`?
line 2: listeners[0].address: is missing; an address is IP:PORT, such as 0.0.0.0:8080 or [::1]:8080
line 7: endpoints.openai.api_key: a secret is never written into the configuration; write {env: NAME} or {file: PATH}
line 12: operations[0].policies[1]: `chta` is unknown; did you mean `chat`?
line 16: policies.chat.production.target.endpoint: is missing; the name of an endpoint
line 20: policies.chat.production.fallbacks[1].endpoint: `opnai` is unknown; did you mean `openai`?
line 21: policies.chat.request_timeout: must be a duration such as 30s, 250ms, 2m or 1h (a bare whole number means seconds), not `soon`
line 22: environment: is missing; with `authentication: none` it says where all calls belong: production or sandbox"
    );
}

#[test]
fn files_that_cannot_be_read() {
    let folder = Folder::new("files_that_cannot_be_read");
    let error = load(&PathBuf::from(folder.path()).join("none.yaml")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "can't be read: No such file or directory (os error 2)"
    );
    let binary = folder.bytes("binary.yaml", b"a: \xff");
    let error = load(&PathBuf::from(binary)).unwrap_err();
    assert_eq!(error.to_string(), "is no UTF-8 text, from byte 3 on");
}

#[test]
fn relative_paths_start_at_the_folder_of_the_file() {
    let folder = Folder::new("relative_paths");
    let secret = folder.file("secret", SECRET);
    let text = with(&[
        ("endpoints.openai.api_key", json!({"file": "secret"})),
        ("observability.access_log.path", json!("./access.log")),
    ]);
    let path = folder.file("standin.yaml", &text);
    let configuration = load(&PathBuf::from(path)).unwrap();
    let key = &configuration.snapshot.endpoints[0].credential.keys()[0];
    assert_eq!(key.expose(), fs::read_to_string(secret).unwrap());
    let expected = PathBuf::from(folder.path()).join("./access.log");
    assert_eq!(configuration.access_log.path, AccessLogPath::File(expected));
}

/// A folder of a test's own, gone with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let name = format!("standin-config-{test}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    fn file(&self, name: &str, text: &str) -> String {
        self.bytes(name, text.as_bytes())
    }

    fn bytes(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.0.join(name);
        fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// A certificate and its key.
    fn certificate(&self, name: &str) -> (String, String) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        let certificate = self.file(&format!("{name}.crt"), &made.cert.pem());
        let key = self.file(&format!("{name}.key"), &made.signing_key.serialize_pem());
        (certificate, key)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
