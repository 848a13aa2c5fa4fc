//! Writing policies in the console: what the form sends, what becomes of it, and that nothing is lost.

use serde_json::json;

use super::{Browser, value_of};
use crate::support::{Client, Gateway, Reply, Response, Setup, Upstream};

const CHAT: &str = "/v1/chat/completions";
const OPERATION: &str = "POST /v1/chat/completions";

async fn start() -> (Gateway, Upstream) {
    let upstream = Upstream::start().await;
    upstream.answer_with(|received| match received.model().unwrap().as_str() {
        "invalid-model" => Reply::status(503),
        model => Reply::chat(model, "Claude Monet"),
    });
    let gateway = Setup::new()
        .endpoint("mistral", &upstream.url())
        .chain(
            &[
                ("gpt-4o", "mistral"),
                ("large", "mistral"),
                ("small", "mistral"),
            ],
            "suspend_duration: 1h   # an hour",
        )
        .admin()
        .start_from_file();
    (gateway, upstream)
}

/// What a browser sends of a form: every input with its value, in the order of the page.
fn fields_of(page: &Response) -> Vec<(String, String)> {
    let text = page.text();
    let (_, form) = text.split_once("<form id=\"policy\"").unwrap();
    let (form, _) = form.split_once("</form>").unwrap();
    let mut fields = Vec::new();
    let mut select = String::new();
    let mut first_option = false;
    for tag in form.split('<').skip(1) {
        let (tag, text) = tag.split_once('>').unwrap();
        let attribute = |name: &str| {
            let (_, value) = tag.split_once(&format!(" {name}=\""))?;
            Some(unescaped(value.split('"').next()?))
        };
        let name = attribute("name").unwrap_or_default();
        let is = |word: &str| tag.split_whitespace().any(|other| other == word);
        if tag.starts_with("input") && !is("disabled") {
            let is_box = attribute("type").as_deref() == Some("checkbox");
            if !is_box || is("checked") {
                fields.push((name, attribute("value").unwrap_or_default()));
            }
        } else if tag.starts_with("select") {
            (select, first_option) = (name, true);
        } else if tag.starts_with("option") && !select.is_empty() {
            let value = attribute("value").unwrap_or_else(|| unescaped(text));
            if first_option {
                fields.push((select.clone(), value));
                first_option = false;
            } else if is("selected") {
                fields.last_mut().unwrap().1 = value;
            }
        } else if tag.starts_with("/select") {
            select.clear();
        } else if tag.starts_with("textarea") {
            fields.push((name, unescaped(text.strip_prefix('\n').unwrap_or(text))));
        }
    }
    fields
}

fn unescaped(text: &str) -> String {
    let text = text
        .replace("&#34;", "\"")
        .replace("&#39;", "'")
        .replace("&#60;", "<");
    text.replace("&#62;", ">").replace("&#38;", "&")
}

fn set(fields: &mut [(String, String)], name: &str, value: &str) {
    let field = fields.iter_mut().find(|(other, _)| other == name);
    field.unwrap_or_else(|| panic!("no {name}")).1 = value.to_owned();
}

/// Presses a button of a form.
async fn press(
    browser: &Browser,
    path: &str,
    fields: &[(String, String)],
    button: &str,
) -> Response {
    let mut all: Vec<_> = fields
        .iter()
        .filter(|(name, _)| name != "csrf")
        .map(|(name, value)| (&**name, &**value))
        .collect();
    all.push(("do", button));
    browser.send(path, &all).await
}

fn models(fields: &[(String, String)]) -> Vec<&str> {
    let models = fields
        .iter()
        .filter(|(name, _)| name == "production.fallbacks.model");
    models.map(|(_, value)| value.as_str()).collect()
}

async fn answer(client: &Client, model: &str) -> (u16, Option<String>) {
    let question = json!({"model": model, "messages": []});
    let answer = client.post(CHAT, question).await;
    (
        answer.status,
        answer.header("x-standin-model").map(str::to_owned),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_of_the_original_is_made_from_nothing() {
    let (gateway, _upstream) = start().await;
    let browser = Browser::signed_in(&gateway).await;
    let path = "/console/policies/new";
    let empty = browser.get(path).await;
    assert_eq!(empty.status, 200);
    let mut form = fields_of(&empty);
    assert!(
        form.contains(&("operations".into(), OPERATION.into())),
        "the only one is chosen: {form:?}"
    );
    set(&mut form, "name", "try-out");
    set(&mut form, "production.target.model", "invalid-model");
    set(&mut form, "production.target.endpoint", "mistral");
    let added = press(&browser, path, &form, "production.add").await;
    let mut form = fields_of(&added);
    assert_eq!(models(&form), [""]);
    assert!(
        added
            .text()
            .contains("data-focus=\"f-production-fallbacks-0-model\""),
        "{}",
        added.text()
    );
    set(
        &mut form,
        "production.fallbacks.model",
        "mistral-small-latest",
    );
    set(&mut form, "production.fallbacks.endpoint", "mistral");
    set(&mut form, "request_timeout", "20");
    set(&mut form, "suspend_duration", "2");
    set(&mut form, "suspend_duration.unit", "m");

    let review = press(&browser, path, &form, "review").await;
    assert_eq!(review.status, 200, "{}", review.text());
    let before = gateway.conf_text();
    for line in [
        "+  try-out:",
        "+      target: {model: invalid-model, endpoint: mistral}",
        "+        - {model: mistral-small-latest, endpoint: mistral}",
        "+    request_timeout: 20s",
        "+    suspend_duration: 2m",
    ] {
        assert!(review.text().contains(line), "{line} in {}", review.text());
    }
    assert_eq!(before, gateway.conf_text(), "a review changes nothing");

    let saved = press(&browser, path, &fields_of(&review), "save").await;
    let page = "/console/policy/try%2Dout";
    assert_eq!(
        (saved.status, saved.header("location")),
        (303, Some(page)),
        "{}",
        saved.text()
    );
    let notice = browser.get(page).await;
    assert!(
        notice.text().contains("Saved and deployed as revision 2."),
        "{}",
        notice.text()
    );
    assert_eq!(
        answer(&gateway.client(), "invalid-model").await,
        (200, Some("mistral-small-latest".into()))
    );
    assert!(
        !browser
            .get(page)
            .await
            .text()
            .contains("Saved and deployed"),
        "told once"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn fallbacks_are_put_in_order_and_the_rest_of_the_file_stays() {
    let (gateway, _upstream) = start().await;
    let browser = Browser::signed_in(&gateway).await;
    let before = gateway.conf_text();
    let path = "/console/policy/chat";
    let form = fields_of(&browser.get(path).await);
    assert_eq!(models(&form), ["large", "small"]);
    for (button, order, said) in [
        (
            "production.up.1",
            ["small", "large"],
            "small is fallback 1 of 2 now",
        ),
        (
            "production.down.0",
            ["small", "large"],
            "large is fallback 2 of 2 now",
        ),
        (
            "production.moved.1",
            ["large", "small"],
            "small is fallback 2 of 2 now",
        ),
    ] {
        let moved = press(&browser, path, &form, button).await;
        assert_eq!(models(&fields_of(&moved)), order, "{button}");
        assert!(
            moved.text().contains(&format!("data-say=\"{said}\"")),
            "{button}"
        );
    }
    let deleted = press(&browser, path, &form, "production.delete.0").await;
    assert_eq!(models(&fields_of(&deleted)), ["small"]);
    for nonsense in [
        "production.up.0",
        "production.down.1",
        "production.delete.9",
        "nowhere.add",
        "x",
    ] {
        let same = press(&browser, path, &form, nonsense).await;
        assert_eq!(
            (same.status, models(&fields_of(&same))),
            (200, vec!["large", "small"]),
            "{nonsense}"
        );
    }

    let moved = press(&browser, path, &form, "production.up.1").await;
    let saved = press(&browser, path, &fields_of(&moved), "save").await;
    assert_eq!(saved.status, 303, "{}", saved.text());
    let after = gateway.conf_text();
    assert!(
        after.contains("suspend_duration: 1h   # an hour"),
        "{after}"
    );
    let sorted = |text: &str| {
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(
        sorted(&after),
        sorted(&before),
        "the same lines in another order"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_stands_beside_its_field_and_nothing_typed_is_lost() {
    let (gateway, _upstream) = start().await;
    let browser = Browser::signed_in(&gateway).await;
    let before = gateway.conf_text();
    let path = "/console/policy/chat";
    let mut form = fields_of(&browser.get(path).await);
    set(&mut form, "production.target.model", "");
    set(&mut form, "production.fallbacks.endpoint", "mistrall");
    set(&mut form, "request_timeout", "soon \"<b>\"");
    set(&mut form, "retries", "99");
    set(&mut form, "match", "gpt-4o, gpt-4o");
    for button in ["review", "save"] {
        let refused = press(&browser, path, &form, button).await;
        assert_eq!(refused.status, 422, "{}", refused.text());
        let text = refused.text();
        for id in [
            "f-production-target-model",
            "f-production-fallbacks-0-endpoint",
            "f-request-timeout",
            "f-retries",
            "f-match",
        ] {
            assert!(
                text.contains(&format!("<p class=\"error\" id=\"{id}-error\">")),
                "{id} in {text}"
            );
            assert!(
                text.contains(&format!("href=\"#{id}\"")),
                "{id} in the list of all"
            );
        }
        assert!(
            text.contains("did you mean `mistral`?") && !text.contains("<b>"),
            "{text}"
        );
        assert!(text.contains("data-focus=\"mistakes\""));
        let kept = fields_of(&refused);
        let mut sent = form.clone();
        sent.retain(|(name, _)| name != "csrf");
        let mut kept: Vec<_> = kept
            .into_iter()
            .filter(|(name, _)| name != "csrf")
            .collect();
        kept.sort();
        sent.sort();
        assert_eq!(kept, sent);
    }
    assert_eq!(gateway.conf_text(), before);

    let unnamed = press(&browser, "/console/policies/new", &form, "save").await;
    assert_eq!(unnamed.status, 422);
    assert!(unnamed.text().contains("id=\"f-name-error\""));
    let mut taken = form.clone();
    taken.push(("name".into(), "chat".into()));
    let taken = press(&browser, "/console/policies/new", &taken, "save").await;
    assert_eq!(taken.status, 409);
    assert!(
        taken.text().contains("is the name of a policy already"),
        "{}",
        taken.text()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_section_that_is_off_keeps_its_content_until_it_is_saved() {
    let (gateway, _upstream) = start().await;
    let browser = Browser::signed_in(&gateway).await;
    let path = "/console/policy/chat";
    let mut form = fields_of(&browser.get(path).await);
    form.push(("sandbox.on".into(), "on".into()));
    set(&mut form, "sandbox.target.model", "small");
    set(&mut form, "sandbox.target.endpoint", "mistral");
    let saved = press(&browser, path, &form, "save").await;
    assert_eq!(saved.status, 303, "{}", saved.text());
    assert_eq!(
        answer(&gateway.sandbox(), "small").await,
        (200, Some("small".into()))
    );
    assert!(gateway.conf_text().contains("    sandbox:\n"));

    let mut form = fields_of(&browser.get(path).await);
    form.retain(|(name, _)| name != "sandbox.on");
    let review = press(&browser, path, &form, "review").await;
    assert!(review.text().contains("-    sandbox:"), "{}", review.text());
    let kept = fields_of(&review);
    assert!(
        kept.contains(&("sandbox.target.model".into(), "small".into())),
        "{kept:?}"
    );
    let saved = press(&browser, path, &kept, "save").await;
    assert_eq!(saved.status, 303);
    assert!(!gateway.conf_text().contains("sandbox:\n"));
    let gone = fields_of(&browser.get(path).await);
    assert!(gone.contains(&("sandbox.target.model".into(), String::new())));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_editors_the_second_is_told_and_overwrites_nothing() {
    let (gateway, _upstream) = start().await;
    let (one, two) = (
        Browser::signed_in(&gateway).await,
        Browser::signed_in(&gateway).await,
    );
    let path = "/console/policy/chat";
    // A revision of what both see, so that the second can be shown what has changed.
    let mut form = fields_of(&one.get(path).await);
    set(&mut form, "retries", "1");
    assert_eq!(press(&one, path, &form, "save").await.status, 303);

    let (mut first, mut second) = (
        fields_of(&one.get(path).await),
        fields_of(&two.get(path).await),
    );
    set(&mut first, "request_timeout", "11");
    set(&mut second, "suspend_duration", "7");
    assert_eq!(press(&one, path, &first, "save").await.status, 303);
    let after_first = gateway.conf_text();
    let refused = press(&two, path, &second, "save").await;
    assert_eq!(refused.status, 409, "{}", refused.text());
    let text = refused.text();
    assert!(
        text.contains("The file has changed since") && text.contains("+    request_timeout: 11s"),
        "{text}"
    );
    assert_eq!(gateway.conf_text(), after_first);
    let kept = fields_of(&refused);
    assert!(
        kept.contains(&("suspend_duration".into(), "7".into())),
        "{kept:?}"
    );

    let review = press(&two, path, &kept, "again").await;
    assert_eq!(review.status, 200, "{}", review.text());
    assert!(
        review.text().contains("-    request_timeout: 11s"),
        "what would be undone is seen"
    );
    let saved = press(&two, path, &fields_of(&review), "save").await;
    assert_eq!(saved.status, 303, "{}", saved.text());
    assert!(gateway.conf_text().contains("suspend_duration: 7h"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_is_rolled_back_and_deleted() {
    let (gateway, _upstream) = start().await;
    let browser = Browser::signed_in(&gateway).await;
    let original = gateway.conf_text();
    let path = "/console/policy/chat";
    let mut form = fields_of(&browser.get(path).await);
    set(&mut form, "production.target.model", "gpt-5");
    set(&mut form, "match", "gpt-5");
    assert_eq!(press(&browser, path, &form, "save").await.status, 303);
    assert_eq!(answer(&gateway.client(), "gpt-5").await.0, 200);

    let revisions = browser.get("/console/revisions").await;
    for part in [
        "policy chat was written",
        "by hand",
        "in the file now",
        "/console/revisions/1",
    ] {
        assert!(
            revisions.text().contains(part),
            "{part} in {}",
            revisions.text()
        );
    }
    let question = browser.get("/console/revisions/1").await;
    assert!(
        question
            .text()
            .contains("-      target: {model: gpt-5, endpoint: mistral}"),
        "{}",
        question.text()
    );
    let stale = browser
        .send("/console/revisions/1", &[("seen", "0123")])
        .await;
    assert_eq!(stale.status, 409);
    let seen = value_of(&question, "seen");
    let back = browser
        .send("/console/revisions/1", &[("seen", &seen)])
        .await;
    assert_eq!(back.status, 303, "{}", back.text());
    assert_eq!(gateway.conf_text(), original);
    assert!(
        browser
            .get("/console/revisions")
            .await
            .text()
            .contains("Rolled back to revision 1.")
    );
    assert_eq!(answer(&gateway.client(), "gpt-4o").await.0, 200);

    // The last policy of an operation that leads nowhere else.
    let question = browser.get("/console/policy/chat/delete").await;
    assert_eq!(question.status, 422, "{}", question.text());
    assert!(
        question.text().contains("leads nowhere"),
        "{}",
        question.text()
    );
    assert_eq!(gateway.conf_text(), original);
    assert_eq!(browser.get("/console/policy/nothing").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_form_has_no_input_for_is_written_as_text() {
    let (gateway, _upstream) = start().await;
    let browser = Browser::signed_in(&gateway).await;
    let path = "/console/policy/chat";
    let form = fields_of(&browser.get(path).await);
    let text = press(&browser, path, &form, "yaml").await;
    let mut as_text = fields_of(&text);
    let yaml = as_text
        .iter()
        .find(|(name, _)| name == "yaml")
        .unwrap()
        .1
        .clone();
    assert!(yaml.contains("suspend_duration: 1h   # an hour"), "{yaml}");
    let back = press(&browser, path, &as_text, "form").await;
    assert_eq!(models(&fields_of(&back)), ["large", "small"]);

    let weighted = "production:\n  target:\n    - {model: a, endpoint: mistral, weight: 3}\n    - {model: b, endpoint: mistral}   # cheap\n";
    set(&mut as_text, "yaml", weighted);
    let refused = press(&browser, path, &as_text, "form").await;
    assert_eq!(refused.status, 422);
    assert!(fields_of(&refused).contains(&("yaml".into(), weighted.into())));
    set(&mut as_text, "yaml", "production: [");
    assert_eq!(press(&browser, path, &as_text, "save").await.status, 422);
    set(&mut as_text, "yaml", weighted);
    let saved = press(&browser, path, &as_text, "save").await;
    assert_eq!(saved.status, 303, "{}", saved.text());
    let shown = fields_of(&browser.get(path).await);
    assert!(
        shown.contains(&("yaml".into(), weighted.into())),
        "{shown:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_file_the_console_shows_and_changes_nothing() {
    let gateway = Setup::new()
        .endpoint("openai", "http://127.0.0.1:9")
        .chain(&[("gpt-4o", "openai")], "")
        .admin()
        .start();
    let browser = Browser::signed_in(&gateway).await;
    let list = browser.get("/console/policies").await;
    assert!(
        list.text().contains("without a configuration file"),
        "{}",
        list.text()
    );
    assert!(!list.text().contains("/console/policies/new"));
    for path in [
        "/console/policies/new",
        "/console/policy/chat",
        "/console/revisions",
    ] {
        assert_eq!(browser.get(path).await.status, 409, "{path}");
    }
}
