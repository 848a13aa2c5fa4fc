//! `shared_state`: where suspensions are known beyond this process.

use redis::IntoConnectionInfo as _;

use super::super::file::{self, File};
use super::super::place::Place;
use super::super::read::Written;
use super::super::sources::Sources;
use super::super::{RedisSettings, SharedState, secret};
use super::check::{printable, required};
use super::listeners::authorities;

const URL: &str =
    "the address of the Redis: redis://HOST:PORT, rediss://HOST:PORT (TLS) or unix:/PATH";

/// Where they are, if anywhere.
pub(super) fn shared_state(
    file: &File<'_>,
    sources: &Sources<'_>,
    root: Place<'_>,
) -> Option<SharedState> {
    let written = file.shared_state.given()?;
    let place = root.field("shared_state");
    let (redis, state_file) = (&written.value.redis, &written.value.state_file);
    if let (Some(_), Some(path)) = (redis.given(), state_file.given()) {
        let message =
            "is for a gateway without Redis, which remembers just as well; leave one of them out";
        place.field("state_file").error(path.line, message);
    }
    if redis.is_absent() && state_file.is_absent() {
        let message =
            "says nowhere; it needs `redis: {url: redis://HOST:PORT}`, or `state_file: PATH`";
        place.error(written.line, message);
    }
    if let Some(settings) = redis.given() {
        return self::redis(settings, place.field("redis"), sources).map(SharedState::Redis);
    }
    let path = state_file.given()?;
    let resolved = sources.path(path.value);
    if !resolved.parent().is_some_and(std::path::Path::is_dir) || resolved.is_dir() {
        let message = format!(
            "{} can't be written: it must be a file in a folder that exists",
            path.value
        );
        place.field("state_file").error(path.line, message);
    }
    Some(SharedState::File(resolved))
}

fn redis(
    written: &Written<file::Redis<'_>>,
    place: Place<'_>,
    sources: &Sources<'_>,
) -> Option<RedisSettings> {
    let redis = &written.value;
    let password = redis.password.given().and_then(|source| {
        secret::fetch(&source.value, source.line, place.field("password"), sources)
    });
    let at = place.field("prefix");
    let prefix = redis.prefix.given().filter(|prefix| printable(prefix, at));
    let at = place.field("url");
    let url = required(&redis.url, at, written.line, URL)?;
    if let Err(message) = check_url(url.value) {
        at.error(url.line, message);
    }
    let at = place.field("ca");
    if let Some(ca) = redis.ca.given()
        && !url.value.starts_with("rediss:")
    {
        at.error(ca.line, "is for TLS: the `url` begins with rediss://, then");
    }
    Some(RedisSettings {
        ca: authorities(&redis.ca, at, sources),
        url: url.value.to_owned(),
        prefix: prefix.map_or("standin", |prefix| prefix.value).to_owned(),
        password,
    })
}

/// The URL itself is not shown: people write passwords into URLs.
fn check_url(url: &str) -> Result<(), String> {
    let info = url
        .into_connection_info()
        .map_err(|_| format!("can't be used; {URL}"))?;
    if info.redis_settings().password().is_some() {
        return Err(
            "must not have a password in it; it goes to `password: {env: NAME}` or `{file: PATH}`"
                .into(),
        );
    }
    if url.contains(['?', '#']) && !url.starts_with("unix") {
        return Err("must not have a query (`?…`) or a fragment (`#…`)".into());
    }
    Ok(())
}
