//! A connection whose request has a body in chunks that Pingora will read: each byte of the body is looked at
//! before Pingora sees it.
//!
//! Pingora takes an empty line for a chunk of no bytes, a sign or a space for part of a number, and a bare LF
//! for a line's end. It closes the connection then, so nothing follows such a body; but what has been read
//! otherwise by somebody in front of the gateway must not even be answered. The body is decoded here by the
//! rules that hold for all others ([`ChunkedDecoder`]), for the sake of its errors alone.

use std::error::Error;
use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use bytes::BytesMut;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::tls::SslDigest;
use pingora_core::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    Stream, TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::gateway::chunked::ChunkedDecoder;

/// The connection.
pub(super) struct StrictChunks {
    stream: Stream,
    /// What was read of the body along with the head.
    ahead: BytesMut,
    decoder: ChunkedDecoder,
    /// A line of which the end is still to come.
    undecided: BytesMut,
    ended: bool,
}

/// What a read of a body fails with that is not framed as it should be.
#[derive(Debug)]
pub(in crate::gateway) struct MalformedChunks;

impl fmt::Display for MalformedChunks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("malformed chunks")
    }
}

impl Error for MalformedChunks {}

impl StrictChunks {
    /// A connection on which a body in chunks is next, of which `ahead` has been read already.
    pub(super) fn new(stream: Stream, ahead: BytesMut) -> Self {
        Self {
            stream,
            ahead,
            decoder: ChunkedDecoder::new(),
            undecided: BytesMut::new(),
            ended: false,
        }
    }

    /// The connection itself, where it is one and nothing is left on it of its request.
    pub(super) fn unwrap(stream: Stream) -> Option<Stream> {
        let this = stream.into_any().downcast::<Self>().ok()?;
        (this.ended && this.ahead.is_empty()).then_some(this.stream)
    }

    fn look_at(&mut self, read: &[u8]) -> io::Result<()> {
        if self.ended {
            return Ok(());
        }
        self.undecided.extend_from_slice(read);
        let decoded = self.decoder.decode(&mut self.undecided);
        decoded.map_err(|_| io::Error::other(MalformedChunks))?;
        self.ended = self.decoder.take_trailers().is_some();
        Ok(())
    }
}

impl AsyncRead for StrictChunks {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        if this.ahead.is_empty() {
            ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
        } else {
            let length = this.ahead.len().min(buffer.remaining());
            buffer.put_slice(&this.ahead.split_to(length));
        }
        let looked_at = this.look_at(&buffer.filled()[before..]);
        if looked_at.is_err() {
            buffer.set_filled(before);
        }
        Poll::Ready(looked_at)
    }
}

impl AsyncWrite for StrictChunks {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

impl fmt::Debug for StrictChunks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("StrictChunks")
            .field(&self.stream)
            .finish()
    }
}

#[async_trait]
impl Shutdown for StrictChunks {
    async fn shutdown(&mut self) {
        Shutdown::shutdown(&mut *self.stream).await;
    }
}

#[async_trait]
impl Peek for StrictChunks {}

impl UniqueID for StrictChunks {
    fn id(&self) -> UniqueIDType {
        self.stream.id()
    }
}

impl Ssl for StrictChunks {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.stream.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.stream.selected_alpn_proto()
    }
}

impl GetTimingDigest for StrictChunks {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.stream.get_timing_digest()
    }
}

impl GetProxyDigest for StrictChunks {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.stream.get_proxy_digest()
    }
}

impl GetSocketDigest for StrictChunks {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.stream.get_socket_digest()
    }
}
