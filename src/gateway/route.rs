//! From a request to what is done with it: which model it names, and so which policy.

use std::borrow::Cow;
use std::ops::Range;

use http::{HeaderMap, HeaderName};

use super::address::{Address, parameter_value};
use super::admit::BodyKind;
use super::body::Body;
use super::error::Rejection;
use super::form_field::{self, FormError};
use super::mentions::{self, Mentions};
use super::model_field::{self, ModelFieldError};
use super::table::Table;
use crate::policy::{
    Chain, Dialect, EndpointId, Environment, FailoverPolicy, ModelPlace, Operation, decode_segment,
};

/// Where a request goes.
pub(super) enum Route<'a> {
    /// Along the chain of a policy.
    Policy(&'a FailoverPolicy, &'a Chain),
    /// To the operation's default endpoint, unchanged.
    Default(EndpointId),
}

/// The model that a request names, and where it does so.
pub(super) struct Named<'a> {
    pub(super) name: Cow<'a, str>,
    pub(super) in_body: Mentions,
    /// Where it stands in the query.
    pub(super) in_query: Option<Range<usize>>,
    /// The answer is to come as a stream.
    pub(super) stream: bool,
}

/// The model that a request names. Where its operation has the model elsewhere, what the body says
/// of it is found too: the target's name must stand in every place.
///
/// # Errors
/// 400 for a request that names none, or in which two readers could find two.
pub(super) fn model<'a>(
    operation: &Operation,
    headers: &HeaderMap,
    address: &Address,
    body: &'a Body<'_>,
    kind: &BodyKind,
) -> Result<Named<'a>, Rejection> {
    let in_body = in_body(body, kind);
    let (name, in_query) = match &operation.model_in {
        ModelPlace::Body => return in_body,
        ModelPlace::Path => (in_path(address)?, None),
        ModelPlace::Header(name) => (in_header(headers, name)?, None),
        ModelPlace::Query(name) => {
            let (place, name) = in_query(address, name)?;
            (name, Some(place))
        }
    };
    let (mut mentions, stream) = match in_body {
        Ok(named) => (named.in_body, named.stream),
        Err(rejection) if rejection.code == NO_MODEL || body.bytes.is_empty() => {
            (Mentions::None, false)
        }
        Err(rejection) => return Err(rejection),
    };
    if operation.dialect == Dialect::Gemini {
        mentions = mentions::of_gemini(&body.bytes);
    }
    Ok(Named {
        name: Cow::Owned(name),
        in_body: mentions,
        in_query,
        stream: stream || operation.streams,
    })
}

fn in_body<'a>(body: &'a Body<'_>, kind: &BodyKind) -> Result<Named<'a>, Rejection> {
    let (name, in_body, stream) = match kind {
        BodyKind::Json => {
            let field = model_field::find_model(&body.bytes).map_err(|error| bad_body(&error))?;
            (field.name, Mentions::Json(field.span), field.stream)
        }
        BodyKind::Form(boundary) => {
            let field = form_field::find_form_model(&body.bytes, boundary);
            let field = field.map_err(|error| bad_form(&error))?;
            let name = Cow::Borrowed(field.name);
            (name, Mentions::Form(field.span), field.stream)
        }
        BodyKind::Other => return Err(bad_body(&ModelFieldError::NoModel)),
    };
    Ok(Named {
        name,
        in_body,
        in_query: None,
        stream,
    })
}

/// The code of a request without a model.
const NO_MODEL: &str = "missing_model";

fn bad_form(error: &FormError) -> Rejection {
    let code = match error {
        FormError::NoModel => NO_MODEL,
        _ => "invalid_body",
    };
    Rejection::bad_request(code, error.to_string())
}

fn bad_body(error: &ModelFieldError) -> Rejection {
    let code = match error {
        ModelFieldError::NoModel => NO_MODEL,
        _ => "invalid_body",
    };
    Rejection::bad_request(code, error.to_string())
}

/// The model in the path.
///
/// # Errors
/// 400 where it is no text.
pub(super) fn in_path(address: &Address) -> Result<String, Rejection> {
    let written = address.model_in_path().unwrap_or_default();
    decode_segment(written).map(Cow::into_owned).ok_or_else(|| {
        let message = "The model in the path is no text: its percent-encoding is broken.";
        Rejection::bad_request("invalid_model", message)
    })
}

fn in_header(headers: &HeaderMap, name: &HeaderName) -> Result<String, Rejection> {
    let mut values = headers.get_all(name).iter();
    let (first, several) = (values.next(), values.next().is_some());
    let Some(value) = first else {
        let message = format!("The request names no model; name one in the header {name}.");
        return Err(Rejection::bad_request(NO_MODEL, message));
    };
    match std::str::from_utf8(value.as_bytes()) {
        Ok(model) if !several => Ok(model.to_owned()),
        _ => {
            let message = format!(
                "The header {name} is there more than once, or is no text; name one model in it."
            );
            Err(Rejection::bad_request("invalid_model", message))
        }
    }
}

fn in_query(address: &Address, name: &str) -> Result<(Range<usize>, String), Rejection> {
    match parameter_value(address.query(), name) {
        Ok(Some((place, model))) => Ok((place, model.into_owned())),
        Ok(None) => {
            let message =
                format!("The request names no model; name one in the query, as {name}=….");
            Err(Rejection::bad_request(NO_MODEL, message))
        }
        Err(wrong) => {
            let message =
                format!("The parameter {name} of the query {wrong}; name one model in it.");
            Err(Rejection::bad_request("invalid_model", message))
        }
    }
}

/// Where a model leads to.
///
/// # Errors
/// 404 where no policy names the model and the operation has no default endpoint.
pub(super) fn route<'a>(
    table: &'a Table,
    operation: &Operation,
    environment: Environment,
    model: &str,
) -> Result<Route<'a>, Rejection> {
    let policy = table
        .snapshot
        .route(operation, environment, model)
        .and_then(|policy| Some((policy, policy.chains.get(environment).as_ref()?)));
    match (policy, operation.default_endpoint.get(environment)) {
        (Some((policy, chain)), _) => Ok(Route::Policy(policy, chain)),
        (None, Some(endpoint)) => Ok(Route::Default(*endpoint)),
        (None, None) => Err(Rejection::unknown_model(model)),
    }
}
