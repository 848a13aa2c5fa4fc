//! The console: pages for those who operate the gateway, as a browser asks for them.

mod policies;
mod sign_in;

use std::net::SocketAddr;

use crate::support::{Client, Gateway, Request, Response, TOKEN};

/// A browser without a screen: it keeps the session's cookie, sends forms, and says where they
/// come from.
struct Browser {
    client: Client,
    address: SocketAddr,
    cookie: String,
    csrf: String,
}

impl Browser {
    /// One that nobody knows.
    fn new(gateway: &Gateway) -> Self {
        let address = gateway.running.admin.expect("an admin listener");
        Self {
            client: Client::new(address),
            address,
            cookie: String::new(),
            csrf: String::new(),
        }
    }

    /// One whose holder has signed in.
    async fn signed_in(gateway: &Gateway) -> Self {
        let mut browser = Self::new(gateway);
        let answer = browser.sign_in(TOKEN).await;
        assert_eq!(answer.status, 303, "{}", answer.text());
        browser
    }

    /// Tries a token; with a good one the browser is signed in.
    async fn sign_in(&mut self, token: &str) -> Response {
        let answer = self.send("/console/sign-in", &[("token", token)]).await;
        if let Some(cookie) = answer.header("set-cookie") {
            self.cookie = cookie.split(';').next().unwrap().to_owned();
            let page = self.get("/console/policies").await;
            self.csrf = value_of(&page, "csrf");
        }
        answer
    }

    /// A page.
    async fn get(&self, path: &str) -> Response {
        self.ask("GET", path).await
    }

    /// The answer to a form.
    async fn send(&self, path: &str, fields: &[(&str, &str)]) -> Response {
        self.form(path, fields).await
    }

    /// A form of this browser's session, before it is sent.
    fn form(&self, path: &str, fields: &[(&str, &str)]) -> Request {
        let origin = format!("http://{}", self.address);
        self.foreign_form(path, fields).header("origin", &origin)
    }

    /// A form that doesn't say which page it is from.
    fn foreign_form(&self, path: &str, fields: &[(&str, &str)]) -> Request {
        let csrf = [("csrf", &*self.csrf)];
        let own = csrf.iter().filter(|(_, value)| !value.is_empty());
        let fields: Vec<_> = own.chain(fields).map(encoded).collect();
        let form = self.ask("POST", path);
        form.header("content-type", "application/x-www-form-urlencoded")
            .body(fields.join("&").as_str())
    }

    fn ask(&self, method: &str, path: &str) -> Request {
        let request = self.client.request(method, path);
        match &*self.cookie {
            "" => request,
            cookie => request.header("cookie", cookie),
        }
    }
}

fn encoded((name, value): &(&str, &str)) -> String {
    let encode =
        |text| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC);
    format!("{}={}", encode(name), encode(value))
}

/// The value of the first input of this name on a page.
fn value_of(page: &Response, name: &str) -> String {
    let text = page.text();
    let (_, input) = text
        .split_once(&format!("name=\"{name}\" value=\""))
        .unwrap_or_else(|| panic!("no {name} in {text}"));
    input.split('"').next().unwrap().to_owned()
}
