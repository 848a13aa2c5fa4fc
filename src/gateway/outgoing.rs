//! The request as a target gets it: the caller's, less what is nobody else's business, with the
//! target's model, path and key.
//!
//! What the caller sent is prepared once; every attempt adds only what its endpoint asks for. The
//! body is never copied: it goes out as the piece before the model, the target's model, and the
//! piece after it.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use pingora_http::RequestHeader;

use super::address::Address;
use super::admit;
use super::backends::Member;
use super::http1::HOP_BY_HOP;
use super::judge::ExchangeFault;
use super::labels::REQUEST_ID;
use super::mentions::Mentions;
use super::table::{EndpointLinks, Table};
use crate::policy::Target;
use crate::provider::ShownKey;
use crate::telemetry::traces::RequestTrace;

/// A caller's request, ready to be sent to any target.
pub(super) struct Outgoing {
    method: Method,
    address: Address,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// The caller's credential, for the endpoints that get to see it.
    credential: Vec<(HeaderName, HeaderValue)>,
    /// The header that names the model, as it came.
    model_header: Option<(HeaderName, HeaderValue)>,
    body: Bytes,
    /// Where the body names the model.
    mentions: Mentions,
    /// In whose stead of the caller's `traceparent` each attempt tells its own.
    trace: Option<Arc<RequestTrace>>,
}

impl Outgoing {
    /// Prepares what `request` says for sending. `model_header` is the one that names the model,
    /// `mentions` where the body does. `judged`: the answer will be read, so it is asked for
    /// uncompressed.
    pub(super) fn new(
        table: &Table,
        request: &RequestHeader,
        address: Address,
        model_header: Option<&HeaderName>,
        body: Bytes,
        mentions: Mentions,
        judged: bool,
    ) -> Self {
        let mut headers = Vec::with_capacity(request.headers.len());
        let nominated = nominated(&request.headers);
        let keys = table.key_headers();
        let is_wanted = |name| is_forwarded(name) && !nominated.contains(name);
        for (name, value) in &request.headers {
            if is_wanted(name) && !keys.contains(name) && name != header::EXPECT {
                headers.push((name.clone(), value.clone()));
            }
        }
        if judged {
            headers.retain(|(name, _)| name != header::ACCEPT_ENCODING);
            headers.push((
                header::ACCEPT_ENCODING,
                HeaderValue::from_static("identity"),
            ));
        }
        let names_model = |(name, _): &(HeaderName, _)| Some(name) == model_header;
        let place = headers.iter().position(names_model);
        Self {
            method: request.method.clone(),
            address,
            model_header: place.map(|place| headers.remove(place)),
            headers,
            credential: admit::callers_credential(table, &request.headers),
            body,
            mentions,
            trace: None,
        }
    }

    /// Makes it a part of a trace of this gateway's.
    pub(super) fn trace(&mut self, trace: &Arc<RequestTrace>) {
        self.headers
            .retain(|(name, _)| !is_replaced_by(name, trace));
        self.trace = Some(trace.clone());
    }

    /// The same request with another body, which names the model so.
    pub(super) fn with_body(&self, body: Bytes, mentions: Mentions) -> Self {
        Self {
            method: self.method.clone(),
            address: self.address.clone(),
            headers: self.headers.clone(),
            credential: self.credential.clone(),
            model_header: self.model_header.clone(),
            body,
            mentions,
            trace: self.trace.clone(),
        }
    }

    /// The request as `target` gets it, where its body can't be spliced of three pieces.
    pub(super) fn written_out(&self, target: Option<&Target>) -> Option<Self> {
        let body = self.mentions.written_out(&self.body, target?)?;
        Some(self.with_body(body.into(), Mentions::None))
    }

    pub(super) const fn method(&self) -> &Method {
        &self.method
    }

    /// A header that goes out as the caller sent it.
    pub(super) fn header(&self, name: &HeaderName) -> Option<&HeaderValue> {
        let mut same = self.headers.iter().filter(|(sent, _)| sent == name);
        same.next().map(|(_, value)| value)
    }

    /// The body as the caller sent it.
    pub(super) const fn body(&self) -> &Bytes {
        &self.body
    }

    /// The body for `target` in pieces; without a target as it came.
    pub(super) fn pieces<'a>(&'a self, target: Option<&'a Target>) -> [&'a [u8]; 3] {
        match target {
            Some(target) => self.mentions.splice(&self.body, target),
            None => [&self.body, &[], &[]],
        }
    }

    fn body_len(&self, target: Option<&Target>) -> usize {
        self.pieces(target).iter().map(|piece| piece.len()).sum()
    }

    /// The head for HTTP/1.1, as it goes over the wire.
    pub(super) fn http1_head(
        &self,
        endpoint: &EndpointLinks,
        backend: &Member,
        key: &ShownKey,
        target: Option<&Target>,
    ) -> Vec<u8> {
        let mut head = Vec::with_capacity(512);
        head.extend_from_slice(self.method.as_str().as_bytes());
        head.push(b' ');
        let model = target.map(|target| &*target.model_url);
        let parameter = key.parameter.as_ref();
        self.address
            .write(&mut head, endpoint, backend, parameter, model);
        head.extend_from_slice(b" HTTP/1.1\r\nhost: ");
        head.extend_from_slice(backend.authority.as_bytes());
        let model_header = self.model_header(target);
        let model_header = model_header.as_ref().map(|(name, value)| (*name, &**value));
        let traceparent = self.trace.as_deref().and_then(traceparent);
        let traceparent = traceparent.map(|value| (TRACEPARENT, value));
        let traceparent = traceparent.as_ref().map(|(name, value)| (name, value));
        let own_headers = model_header.into_iter().chain(traceparent);
        for (name, value) in self.all_headers(endpoint, key).chain(own_headers) {
            head.extend_from_slice(b"\r\n");
            head.extend_from_slice(name.as_str().as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value.as_bytes());
        }
        let length = self.body_len(target);
        if length > 0 || self.method != Method::GET {
            head.extend_from_slice(b"\r\ncontent-length: ");
            head.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
        }
        head.extend_from_slice(b"\r\n\r\n");
        head
    }

    /// The head for HTTP/2, and the body's pieces.
    pub(super) fn http2_parts(
        &self,
        endpoint: &EndpointLinks,
        backend: &Member,
        key: &ShownKey,
        target: Option<&Target>,
    ) -> Result<(Box<RequestHeader>, [Bytes; 3]), ExchangeFault> {
        let mut path = Vec::new();
        let model = target.map(|target| &*target.model_url);
        let parameter = key.parameter.as_ref();
        self.address
            .write(&mut path, endpoint, backend, parameter, model);
        let malformed = |_| ExchangeFault::Malformed;
        let mut head =
            RequestHeader::build_no_case(self.method.clone(), &path, None).map_err(malformed)?;
        head.set_version(http::Version::HTTP_2);
        head.append_header(header::HOST, &*backend.authority)
            .map_err(malformed)?;
        for (name, value) in self.all_headers(endpoint, key) {
            head.append_header(name.clone(), value.clone())
                .map_err(malformed)?;
        }
        if let Some(value) = self.trace.as_deref().and_then(traceparent) {
            head.append_header(TRACEPARENT, value).map_err(malformed)?;
        }
        if let Some((name, value)) = self.model_header(target) {
            head.append_header(name.clone(), value.into_owned())
                .map_err(malformed)?;
        }
        head.append_header(header::CONTENT_LENGTH, self.body_len(target))
            .map_err(malformed)?;
        let [before, model, behind] = self.pieces(target);
        let pieces = [
            self.body.slice_ref(before),
            Bytes::copy_from_slice(model),
            self.body.slice_ref(behind),
        ];
        Ok((Box::new(head), pieces))
    }

    fn all_headers<'a>(
        &'a self,
        endpoint: &'a EndpointLinks,
        key: &'a ShownKey,
    ) -> impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)> {
        let required = endpoint
            .required_header()
            .filter(|(required, _)| !self.headers.iter().any(|(name, _)| name == required));
        let callers = endpoint.passes_credential().then_some(&self.credential);
        self.headers
            .iter()
            .chain(callers.into_iter().flatten())
            .chain(&key.header)
            .chain(required)
            .map(|(name, value)| (name, value))
    }

    /// The header that names the model; `target`'s in place of the caller's.
    fn model_header(&self, target: Option<&Target>) -> Option<(&HeaderName, Cow<'_, HeaderValue>)> {
        let (name, asked) = self.model_header.as_ref()?;
        // A model's name has no control characters: the configuration refuses them.
        let model = target.and_then(|target| HeaderValue::from_bytes(target.model.as_bytes()).ok());
        Some((name, model.map_or(Cow::Borrowed(asked), Cow::Owned)))
    }
}

pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// What the target of the attempt under way is told of its trace.
pub(super) fn traceparent(trace: &RequestTrace) -> Option<HeaderValue> {
    HeaderValue::try_from(trace.traceparent()).ok()
}

/// Whether a caller's header says what the gateway says otherwise: its span, and of a trace that
/// isn't carried on the state too.
pub(super) fn is_replaced_by(name: &HeaderName, trace: &RequestTrace) -> bool {
    *name == TRACEPARENT || *name == TRACESTATE && !trace.has_parent()
}

/// Whether a caller's header may go upstream: not what is about its connection, not its
/// credential, and nothing that only this gateway says.
pub(super) fn is_forwarded(name: &HeaderName) -> bool {
    const REPLACED: [&str; 9] = [
        "host",
        "content-length",
        "authorization",
        "cookie",
        "proxy-authorization",
        "x-api-key",
        "api-key",
        "x-goog-api-key",
        "http2-settings",
    ];
    let text = name.as_str();
    !HOP_BY_HOP.contains(&text)
        && !REPLACED.contains(&text)
        && *name != REQUEST_ID
        && !text.starts_with("x-standin-")
}

/// The headers that `connection` names as being about the connection too.
pub(super) fn nominated(headers: &HeaderMap) -> Vec<HeaderName> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|token| {
            !token.eq_ignore_ascii_case(b"keep-alive") && !token.eq_ignore_ascii_case(b"close")
        })
        .filter_map(|token| HeaderName::from_bytes(token).ok())
        .collect()
}
