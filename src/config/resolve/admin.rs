//! `admin`: where those who operate the gateway connect, and who they are.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use super::super::file::{self, File};
use super::super::place::Place;
use super::super::read::{Field, Written, items};
use super::super::sources::Sources;
use super::super::{Admin, AdminToken, Listener};
use super::callers::{self, Seen};
use super::check::{printable, required};
use super::listeners::{self, ADDRESS};
use crate::policy::{Authentication, KeyDigest};

/// The admin listener, where there is one.
pub(super) fn admin(
    file: &File<'_>,
    listeners: &[Listener],
    authentication: Option<&Authentication>,
    sources: &Sources<'_>,
    root: Place<'_>,
) -> Option<Admin> {
    let written = file.admin.given()?;
    let admin = &written.value;
    let place = root.field("admin");
    let tls = listeners::tls(&admin.tls, place.field("tls"), sources);
    let tokens = tokens(&admin.tokens, place.field("tokens"), authentication);
    let at = place.field("address");
    let address = required(&admin.address, at, written.line, ADDRESS)?;
    let Ok(parsed) = address.value.parse::<SocketAddr>() else {
        let message = format!("`{}` is no address; {ADDRESS}", address.value);
        at.error(address.line, message);
        return None;
    };
    let taken = listeners.iter().any(|listener| listener.address == parsed);
    if taken && parsed.port() != 0 {
        at.error(address.line, "is the address of a listener already");
    }
    if !parsed.ip().is_loopback() {
        let nobody = admin.tokens.value().is_none_or(Vec::is_empty);
        if nobody && !matches!(admin.tokens, Field::Refused) {
            let message = "are missing: away from loopback everything needs a token; `standin key --admin` makes one";
            place.field("tokens").error(written.line, message);
        } else if admin.tls.is_absent() {
            let message = "is away from loopback without `tls`: tokens travel in the clear";
            at.warning(address.line, message);
        }
    }
    Some(Admin {
        address: parsed,
        tls,
        tokens,
    })
}

fn tokens(
    field: &Field<Vec<Option<Written<file::AdminToken<'_>>>>>,
    place: Place<'_>,
    authentication: Option<&Authentication>,
) -> Vec<AdminToken> {
    let mut seen = Seen::default();
    let mut names = HashMap::new();
    let mut tokens = Vec::new();
    for (index, written) in items(field) {
        let place = place.item(index);
        let token = &written.value;
        let digest = callers::digest(
            &token.sha256,
            written.line,
            place.field("sha256"),
            &mut seen,
        );
        let at = place.field("name");
        let what = "who holds the token, for the logs and the revisions";
        let name = required(&token.name, at, written.line, what).filter(|name| printable(name, at));
        let (Some(digest), Some(name)) = (digest, name) else {
            continue;
        };
        if let Some(first) = names.insert(name.value, name.line) {
            let message = format!("`{}` is the token on line {first} already", name.value);
            at.error(name.line, message);
        }
        if let Some(caller) = caller(authentication, &digest) {
            let message = format!(
                "is the digest of the key of {caller}: who calls must not administer; `standin key --admin` makes another"
            );
            place.field("sha256").error(written.line, message);
        }
        tokens.push(AdminToken {
            name: Arc::from(name.value),
            digest,
        });
    }
    tokens
}

/// The caller whose key has this digest.
fn caller<'a>(
    authentication: Option<&'a Authentication>,
    digest: &KeyDigest,
) -> Option<&'a Arc<str>> {
    match authentication? {
        Authentication::Keys(callers) => callers.find(digest).map(|caller| &caller.name),
        Authentication::None(_) => None,
    }
}
