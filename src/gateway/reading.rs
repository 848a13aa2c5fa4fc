//! Reading without a buffer that waits.
//!
//! A connection spends most of its time waiting: for its next request, or for a stream's next event.
//! What has come is read into the stack and kept in memory of just its length, so that who waits
//! holds none. For the small pieces that are read this way the copy costs less than touching a
//! buffer that was away from the processor meanwhile.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead, ReadBuf};

/// Appends what has come, at most `MOST` bytes of it, to `whole`: how much; 0 at the end.
///
/// # Errors
/// What the connection says.
pub(super) async fn read_some<const MOST: usize>(
    stream: &mut (impl AsyncRead + Unpin),
    whole: &mut BytesMut,
) -> io::Result<usize> {
    poll_fn(|context| poll_read_some::<MOST>(stream, context, whole)).await
}

/// The same, for those who poll.
pub(super) fn poll_read_some<const MOST: usize>(
    stream: &mut (impl AsyncRead + Unpin),
    context: &mut Context<'_>,
    whole: &mut BytesMut,
) -> Poll<io::Result<usize>> {
    let mut space = [const { MaybeUninit::uninit() }; MOST];
    let mut read = ReadBuf::uninit(&mut space);
    ready!(Pin::new(stream).poll_read(context, &mut read))?;
    if whole.is_empty() {
        *whole = BytesMut::from(read.filled());
    } else {
        whole.extend_from_slice(read.filled());
    }
    Poll::Ready(Ok(read.filled().len()))
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn memory_is_taken_for_what_has_come() {
        let (mut near, mut far) = tokio::io::duplex(64);
        let mut whole = BytesMut::new();
        assert!(futures_util::poll!(Box::pin(read_some::<8>(&mut near, &mut whole))).is_pending());
        assert_eq!(whole.capacity(), 0, "who waits holds nothing");

        far.write_all(b"0123456789").await.unwrap();
        assert_eq!(read_some::<8>(&mut near, &mut whole).await.unwrap(), 8);
        assert_eq!((&whole[..], whole.capacity()), (&b"01234567"[..], 8));
        assert_eq!(read_some::<8>(&mut near, &mut whole).await.unwrap(), 2);
        assert_eq!(&whole[..], b"0123456789");

        drop(far);
        assert_eq!(read_some::<8>(&mut near, &mut whole).await.unwrap(), 0);
        assert_eq!(&whole[..], b"0123456789");
    }
}
