//! A response body sent in pieces, with pauses between them, that may break off.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

/// Long enough that what was sent before the break reaches the client first.
const BREAK_AFTER: Duration = Duration::from_millis(20);

pub(crate) struct Paced {
    pieces: VecDeque<Bytes>,
    pause: Duration,
    pausing: Option<Pin<Box<Sleep>>>,
    breaks_off: bool,
    announces_size: bool,
}

impl Paced {
    pub(crate) fn whole(bytes: Bytes) -> Self {
        Self::pieces(bytes, 1, Duration::ZERO, true)
    }

    /// `announces_size` false leads to chunked transfer, unless the head has a `Content-Length`.
    pub(crate) fn pieces(
        bytes: Bytes,
        count: usize,
        pause: Duration,
        announces_size: bool,
    ) -> Self {
        let step = bytes.len().div_ceil(count.max(1)).max(1);
        let mut rest = bytes;
        let mut pieces = VecDeque::new();
        while !rest.is_empty() {
            pieces.push_back(rest.split_to(step.min(rest.len())));
        }
        Self { pieces, pause, pausing: None, breaks_off: false, announces_size }
    }

    /// Half of the bytes, then a broken connection.
    pub(crate) fn truncated(mut bytes: Bytes) -> Self {
        bytes.truncate(bytes.len() / 2);
        let mut body = Self::pieces(bytes, 1, BREAK_AFTER, false);
        body.breaks_off = true;
        body
    }
}

impl Body for Paced {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Some(pausing) = &mut self.pausing {
            if pausing.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            self.pausing = None;
        }
        let Some(piece) = self.pieces.pop_front() else {
            let broken = self.breaks_off.then(|| Err(io::ErrorKind::ConnectionAborted.into()));
            return Poll::Ready(broken);
        };
        if !self.pause.is_zero() && (self.breaks_off || !self.pieces.is_empty()) {
            self.pausing = Some(Box::pin(sleep(self.pause)));
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty() && !self.breaks_off
    }

    fn size_hint(&self) -> SizeHint {
        if !self.announces_size {
            return SizeHint::default();
        }
        let left: usize = self.pieces.iter().map(Bytes::len).sum();
        SizeHint::with_exact(left as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_all_bytes() {
        let body = Paced::pieces(Bytes::from_static(b"0123456789"), 3, Duration::ZERO, true);
        let pieces: Vec<_> = body.pieces.iter().map(Bytes::len).collect();
        assert_eq!(pieces, [4, 4, 2]);
        assert_eq!(body.size_hint().exact(), Some(10));
        assert!(Paced::whole(Bytes::new()).is_end_stream());
    }

    #[test]
    fn truncated_is_half_and_not_the_end() {
        let body = Paced::truncated(Bytes::from_static(b"0123456789"));
        assert_eq!(body.pieces.iter().map(Bytes::len).sum::<usize>(), 5);
        assert!(!body.is_end_stream());
    }
}
