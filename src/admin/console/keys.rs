//! Keys: who may call. A new key is shown once; the file has its SHA-256 alone.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Form, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Extension, Router};
use serde::Deserialize;

use super::frame::{self, Frame, page_with};
use crate::admin::State as Shared;
use crate::admin::access::Operator;
use crate::admin::edits::{Refused, Request};
use crate::config::edit::{self, KeyName};
use crate::config::key;
use crate::policy::{Authentication, Environment};

/// The pages under `/console/keys`.
pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/console/keys", get(list).post(create))
        .route("/console/keys/revoke", post(revoke))
}

#[derive(Template)]
#[template(path = "keys.html")]
struct Keys {
    frame: Frame,
    /// `None`: nobody needs a key.
    keys: Option<Vec<KeyName>>,
    /// Whether there is a file, so that something can be changed.
    editable: bool,
    name: String,
    sandbox: bool,
    error: Option<String>,
    /// The key that was just made, and for whom.
    created: Option<(KeyName, String)>,
}

impl Keys {
    fn new(state: &Shared, frame: Frame) -> Self {
        let configuration = state.live.configuration();
        let keys = match &(*configuration).as_ref().authentication {
            Authentication::None(_) => None,
            Authentication::Keys(callers) => {
                let name = |caller: &crate::policy::Caller| KeyName {
                    name: caller.name.to_string(),
                    environment: caller.environment,
                };
                let mut keys: Vec<_> = callers.iter().map(name).collect();
                keys.sort_unstable_by(|a, b| a.name.cmp(&b.name));
                Some(keys)
            }
        };
        Self {
            frame,
            keys,
            editable: state.live.configuration_file().is_some(),
            name: String::new(),
            sandbox: false,
            error: None,
            created: None,
        }
    }

    fn refused(self, refused: &Refused) -> Response {
        let error = Some(refused.to_string());
        page_with(StatusCode::UNPROCESSABLE_ENTITY, &Self { error, ..self })
    }
}

async fn list(State(state): State<Arc<Shared>>, frame: Frame) -> Response {
    frame::page(&Keys::new(&state, frame))
}

/// Which key.
#[derive(Deserialize)]
struct Which {
    #[serde(default)]
    name: String,
    #[serde(default)]
    environment: String,
}

impl Which {
    fn key(&self) -> KeyName {
        let named = |environment: &Environment| environment.name() == self.environment;
        let environment = Environment::ALL.into_iter().find(named);
        KeyName {
            name: self.name.trim().to_owned(),
            environment: environment.unwrap_or(Environment::Production),
        }
    }
}

async fn create(
    State(state): State<Arc<Shared>>,
    Extension(operator): Extension<Operator>,
    frame: Frame,
    Form(which): Form<Which>,
) -> Response {
    let asked = which.key();
    let form = |frame| Keys {
        name: asked.name.clone(),
        sandbox: asked.environment == Environment::Sandbox,
        ..Keys::new(&state, frame)
    };
    let Ok(key) = key::new_key() else {
        let refused = Refused::Broken("the system gives no random numbers".to_owned());
        return form(frame).refused(&refused);
    };
    let (name, digest) = (asked.clone(), key::digest(&key));
    let what = format!(
        "the key of {} ({}) was created",
        name.name, name.environment
    );
    let change = move |_: &_, text: &str| Ok(edit::add_key(text, &name, &digest)?);
    let made = state
        .edits
        .change(&*state.live, request(operator, what), change)
        .await;
    match made {
        Ok(_) => frame::page(&Keys {
            created: Some((asked, key)),
            ..Keys::new(&state, frame)
        }),
        Err(refused) => form(frame).refused(&refused),
    }
}

async fn revoke(
    State(state): State<Arc<Shared>>,
    Extension(operator): Extension<Operator>,
    headers: HeaderMap,
    frame: Frame,
    Form(which): Form<Which>,
) -> Response {
    let name = which.key();
    let what = format!(
        "the key of {} ({}) was revoked",
        name.name, name.environment
    );
    let told = what.clone();
    let change = move |_: &_, text: &str| Ok(edit::remove_key(text, &name)?);
    match state
        .edits
        .change(&*state.live, request(operator, what), change)
        .await
    {
        Ok(_) => {
            let notice = format!("Done: {told}. It is refused from now on.");
            state.console.sessions.leave_notice(&frame.visitor, notice);
            frame::go(&headers, "/console/keys")
        }
        Err(refused) => Keys::new(&state, frame).refused(&refused),
    }
}

/// A change to whatever the file has now: keys stand for themselves.
fn request(Operator(by): Operator, what: String) -> Request {
    Request {
        by,
        what,
        seen: None,
        dry_run: false,
    }
}
