//! Bodies of requests: read whole, or piece by piece, within their limits; and bodies of answers.

use std::{convert::Infallible, time::Duration};

use agentos_sdk::{Code, Error};
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::{StatusCode, body::Body as _, body::Incoming};

use super::reply::Failure;

/// The body of an answer.
pub(super) type Body = UnsyncBoxBody<Bytes, Error>;

/// A body that is here already.
pub(super) fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never: Infallible| match never {})
        .boxed_unsync()
}

/// What a client may send, and how slowly.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) bytes_max: usize,
    pub(super) idle: Duration,
}

impl Limits {
    /// Refuses a body that says beforehand that it is too large.
    pub(super) fn check(self, body: &Incoming) -> Result<(), Failure> {
        let least = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        if least > self.bytes_max {
            return Err(self.too_large());
        }
        Ok(())
    }

    pub(super) fn too_large(self) -> Failure {
        let bytes_max = self.bytes_max;
        let message = format!("the body is larger than the limit of {bytes_max} bytes");
        Error::caller(Code::PayloadTooLarge, message).into()
    }

    /// The next piece; `None` at the end.
    pub(super) async fn next(self, body: &mut Incoming) -> Result<Option<Bytes>, Failure> {
        loop {
            let frame = tokio::time::timeout(self.idle, body.frame()).await;
            let frame = frame.map_err(|_| {
                let error = Error::caller(Code::Timeout, "the body stopped coming");
                Failure::with_status(error, StatusCode::REQUEST_TIMEOUT)
            })?;
            match frame {
                None => return Ok(None),
                Some(Err(error)) => {
                    let message = format!("the body is cut short: {error}");
                    return Err(Error::caller(Code::InvalidFrame, message).into());
                }
                // Trailers are of no use here.
                Some(Ok(frame)) => {
                    if let Ok(piece) = frame.into_data() {
                        return Ok(Some(piece));
                    }
                }
            }
        }
    }

    /// The whole body.
    pub(super) async fn collect(self, mut body: Incoming) -> Result<Bytes, Failure> {
        self.check(&body)?;
        let Some(first) = self.next(&mut body).await? else {
            return Ok(Bytes::new());
        };
        if first.len() > self.bytes_max {
            return Err(self.too_large());
        }
        let Some(second) = self.next(&mut body).await? else {
            return Ok(first);
        };
        let mut whole = BytesMut::from(&first[..]);
        let mut piece = Some(second);
        while let Some(more) = piece {
            if whole.len() + more.len() > self.bytes_max {
                return Err(self.too_large());
            }
            whole.extend_from_slice(&more);
            piece = self.next(&mut body).await?;
        }
        Ok(whole.freeze())
    }

    /// Reads what nobody wants, so that a client that is still sending comes to read its answer.
    pub(super) async fn discard(self, mut body: Incoming) {
        let mut left = self.bytes_max;
        while let Ok(Some(piece)) = self.next(&mut body).await {
            let Some(still) = left.checked_sub(piece.len()) else {
                return;
            };
            left = still;
        }
    }
}
