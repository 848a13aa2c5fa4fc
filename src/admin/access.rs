//! Who may ask: the holder of a bearer token, and for what is harmless whoever is on this machine.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::Response;
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};

use super::State as Shared;
use super::problem::Problem;
use crate::config::AdminToken;

/// Who asks: the name of the token. Handlers take it from the request's extensions.
#[derive(Clone, Debug)]
pub(super) struct Operator(pub(super) Arc<str>);

/// Lets the holder of a token pass.
pub(super) async fn token(
    State(state): State<Arc<Shared>>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let operator = operator(&state.tokens.0.load(), request.headers());
    let operator = operator.ok_or_else(Problem::unauthorized)?;
    log::debug!(
        "admin: {}: {} {}",
        operator.0,
        request.method(),
        request.uri().path()
    );
    request.extensions_mut().insert(operator);
    Ok(next.run(request).await)
}

/// Lets everybody pass where only this machine can connect, elsewhere the holder of a token.
pub(super) async fn local_or_token(
    state: State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    if state.loopback {
        Ok(next.run(request).await)
    } else {
        token(state, request, next).await
    }
}

fn operator(tokens: &[AdminToken], headers: &HeaderMap) -> Option<Operator> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let bearer = scheme.eq_ignore_ascii_case("bearer");
    let holder = bearer.then(|| holder(tokens, token.trim())).flatten()?;
    Some(Operator(holder.name.clone()))
}

/// Whose token this is. It is compared by its digest, with all there are and each to its last bit,
/// so that the time it takes tells nothing.
pub(super) fn holder<'t>(tokens: &'t [AdminToken], token: &str) -> Option<&'t AdminToken> {
    let digest = Sha256::digest(token);
    let mut found = u64::MAX;
    for (index, known) in (0_u64..).zip(tokens) {
        let same: Choice = known.digest.0.ct_eq(digest.as_slice());
        found.conditional_assign(&index, same);
    }
    tokens.get(usize::try_from(found).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::KeyDigest;

    #[test]
    fn a_token_is_its_holders_and_nobody_elses() {
        let token = |name: &str, token: &str| AdminToken {
            name: name.into(),
            digest: KeyDigest(Sha256::digest(token).into()),
        };
        let tokens = [token("ops", "one"), token("deploy", "two")];
        let name = |token| holder(&tokens, token).map(|holder| holder.name.to_string());
        assert_eq!(name("one").as_deref(), Some("ops"));
        assert_eq!(name("two").as_deref(), Some("deploy"));
        for other in ["", "on", "One", "one "] {
            assert_eq!(name(other), None, "{other:?}");
        }

        let asked = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            operator(&tokens, &headers).is_some()
        };
        assert!(asked("Bearer one") && asked("bearer  two"));
        assert!(!asked("Basic one") && !asked("one") && !asked("Bearer"));
    }
}
