//! `limits`: what a client can't exceed.

use std::ops::RangeInclusive;

use super::super::file;
use super::super::place::Place;
use super::super::read::{Field, Size};
use super::check::{TIMEOUT, duration, within};
use crate::policy::Limits;

const REQUEST_BODY: RangeInclusive<Size> = Size(1)..=Size(16 << 30);
const BUFFERED_BODIES: RangeInclusive<Size> = Size(1)..=Size(1 << 40);
const RESPONSE_BODY: RangeInclusive<Size> = Size(1)..=Size(1 << 30);
const CONNECTIONS: RangeInclusive<u64> = 1..=10_000_000;
const REQUESTS: RangeInclusive<u64> = 1..=1_000_000_000;

/// The limits, with defaults for what is not written.
pub(super) fn limits(field: &Field<file::Limits>, place: Place<'_>) -> Limits {
    let default = Limits::default();
    let Some(written) = field.given() else {
        return default;
    };
    let limits = &written.value;
    let connections = within(
        &limits.connections,
        place.field("connections"),
        &CONNECTIONS,
    );
    let size = |field, name, range, default| {
        within(field, place.field(name), range).map_or(default, |Size(bytes)| bytes)
    };
    let request_body = size(
        &limits.request_body,
        "request_body",
        &REQUEST_BODY,
        default.request_body,
    );
    let buffered_bodies = size(
        &limits.buffered_bodies,
        "buffered_bodies",
        &BUFFERED_BODIES,
        default.buffered_bodies,
    );
    let response_body = size(
        &limits.response_body,
        "response_body",
        &RESPONSE_BODY,
        default.response_body,
    );
    if request_body > buffered_bodies {
        let message = "is less than `request_body`: a body of the allowed size would never fit";
        place.field("buffered_bodies").error(written.line, message);
    }
    let timeout =
        |field, name, default| duration(field, place.field(name), &TIMEOUT).unwrap_or(default);
    Limits {
        request_body,
        buffered_bodies,
        response_body,
        request_head_timeout: timeout(
            &limits.request_head_timeout,
            "request_head_timeout",
            default.request_head_timeout,
        ),
        request_body_timeout: timeout(
            &limits.request_body_timeout,
            "request_body_timeout",
            default.request_body_timeout,
        ),
        request_body_total: timeout(
            &limits.request_body_total,
            "request_body_total",
            default.request_body_total,
        ),
        keepalive_timeout: timeout(
            &limits.keepalive_timeout,
            "keepalive_timeout",
            default.keepalive_timeout,
        ),
        response_write_timeout: timeout(
            &limits.response_write_timeout,
            "response_write_timeout",
            default.response_write_timeout,
        ),
        requests_per_connection: within(
            &limits.requests_per_connection,
            place.field("requests_per_connection"),
            &REQUESTS,
        )
        .unwrap_or(default.requests_per_connection),
        connections: connections
            .and_then(|number| number.try_into().ok())
            .unwrap_or(default.connections),
    }
}
