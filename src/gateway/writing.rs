//! Writing what lies in several pieces.
//!
//! A head and a body, or a chunk with its size, leave in one write. Where they are short they are put together
//! on the stack first: the kernel takes one piece with a tenth less work than several of the same length.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncWrite, ReadBuf};

/// Up to so many bytes are put together: most requests, most answers, every chunk of a stream.
const SHORT: usize = 4 << 10;

/// Writes what the connection takes at once of the pieces that are `left`, and leaves the rest: how much it was;
/// 0 where nothing is left.
///
/// # Errors
/// What the connection says; `WriteZero` where it takes nothing.
pub(super) fn poll_write_some(
    stream: &mut (impl AsyncWrite + Unpin),
    context: &mut Context<'_>,
    left: &mut &mut [IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    let stream = Pin::new(stream);
    let length = length(left);
    if length == 0 {
        return Poll::Ready(Ok(0));
    }
    let written = if length <= SHORT {
        let mut space = [const { MaybeUninit::uninit() }; SHORT];
        let mut whole = ReadBuf::uninit(&mut space);
        for piece in left.iter() {
            whole.put_slice(piece);
        }
        ready!(stream.poll_write(context, whole.filled()))?
    } else {
        ready!(stream.poll_write_vectored(context, left))?
    };
    if written == 0 {
        return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
    }
    IoSlice::advance_slices(left, written);
    Poll::Ready(Ok(written))
}

/// Bytes in all the pieces.
pub(super) fn length(pieces: &[IoSlice<'_>]) -> usize {
    pieces.iter().map(|piece| piece.len()).sum()
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    /// Takes so many bytes at once, and remembers in how many pieces they came.
    struct Slow {
        most: usize,
        taken: Vec<u8>,
        pieces: Vec<usize>,
    }

    impl AsyncWrite for Slow {
        fn poll_write(
            self: Pin<&mut Self>,
            context: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.poll_write_vectored(context, &[IoSlice::new(bytes)])
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            _context: &mut Context<'_>,
            pieces: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            self.pieces.push(pieces.len());
            let whole: Vec<u8> = pieces.iter().flat_map(|piece| piece.to_vec()).collect();
            let taken = whole.len().min(self.most);
            self.taken.extend_from_slice(&whole[..taken]);
            Poll::Ready(Ok(taken))
        }

        fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    async fn write(most: usize, pieces: &[&[u8]]) -> io::Result<Slow> {
        let mut slow = Slow {
            most,
            taken: Vec::new(),
            pieces: Vec::new(),
        };
        let mut slices: Vec<_> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
        let mut left = &mut slices[..];
        while poll_fn(|context| poll_write_some(&mut slow, context, &mut left)).await? > 0 {}
        assert_eq!(slow.taken, pieces.concat());
        Ok(slow)
    }

    #[tokio::test]
    async fn what_is_short_leaves_in_one_piece_and_what_is_long_as_it_lies() {
        let short = write(usize::MAX, &[b"size", b"", b"chunk", b"end"])
            .await
            .unwrap();
        assert_eq!(short.pieces, [1]);
        let long = vec![b'x'; SHORT];
        let long = write(usize::MAX, &[b"head", &long, b"", &long])
            .await
            .unwrap();
        assert_eq!(long.pieces, [4]);
        let nothing = write(usize::MAX, &[b"", b""]).await.unwrap();
        assert!(nothing.pieces.is_empty());
    }

    #[tokio::test]
    async fn it_goes_on_where_it_stopped() {
        let body = vec![b'x'; SHORT + 10];
        for most in [1, 7, 1000, SHORT, SHORT + 3] {
            let all = write(most, &[b"head", &body, b"", b"end"]).await.unwrap();
            assert_eq!(all.pieces.len(), (body.len() + 7).div_ceil(most));
        }
        let error = write(0, &[b"head"]).await.map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WriteZero);
    }
}
