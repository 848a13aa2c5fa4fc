//! What a form sends: fields in the order in which they stand on the page, a name any number of times.

use axum::extract::rejection::FormRejection;
use axum::extract::{Form, FromRequest, Request};

/// The fields of a form.
pub(super) struct Sent(Vec<(String, String)>);

impl Sent {
    /// The first field of a name.
    pub(super) fn first(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// All fields of a name.
    pub(super) fn all<'s>(&'s self, name: &str) -> impl Iterator<Item = &'s str> + use<'s> {
        let name = name.to_owned();
        let named = self.0.iter().filter(move |(other, _)| *other == name);
        named.map(|(_, value)| value.as_str())
    }
}

impl<S: Send + Sync> FromRequest<S> for Sent {
    type Rejection = FormRejection;

    async fn from_request(request: Request, state: &S) -> Result<Self, Self::Rejection> {
        Form::from_request(request, state)
            .await
            .map(|Form(fields)| Self(fields))
    }
}
