//! Why something was not done, as an answer: the only place that knows the status codes.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::api::{Kind, Trouble};
use crate::control::OrderError;

/// How long who sent too many wrong tokens is told to wait, in seconds.
const RETRY_AFTER: &str = "60";

/// How long who asked during a hand-over is told to wait, in seconds: it takes less.
const RETRY_SOON: &str = "1";

impl Kind {
    /// The status that goes with it.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::BadFile | Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::Busy | Self::HandingOver | Self::Journal | Self::NotReady | Self::Stopping => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::MisdirectedHost => StatusCode::MISDIRECTED_REQUEST,
            Self::NoAnswer => StatusCode::GATEWAY_TIMEOUT,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Refused => StatusCode::CONFLICT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Self::Unauthorised => StatusCode::UNAUTHORIZED,
        }
    }
}

impl Trouble {
    /// Trouble of `kind`, in a sentence.
    pub fn new(kind: Kind, error: impl Into<String>) -> Self {
        Self { error: error.into(), kind }
    }
}

impl From<OrderError> for Trouble {
    fn from(error: OrderError) -> Self {
        let kind = match &error {
            OrderError::Refused(_) | OrderError::RolledBackMeanwhile => Kind::Refused,
            OrderError::Journal(_) => Kind::Journal,
            OrderError::HandingOver { .. } | OrderError::Unconfirmed { .. } => Kind::HandingOver,
            OrderError::NoAnswer => Kind::NoAnswer,
            OrderError::Stopping => Kind::Stopping,
        };
        Self::new(kind, error.to_string())
    }
}

impl IntoResponse for Trouble {
    fn into_response(self) -> Response {
        let kind = self.kind;
        let mut response = (kind.status(), Json(self)).into_response();
        let headers = response.headers_mut();
        if kind == Kind::Unauthorised {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if kind == Kind::TooMany {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
        }
        if kind == Kind::HandingOver {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_SOON));
        }
        response
    }
}
