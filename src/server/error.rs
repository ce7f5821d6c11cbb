//! What goes wrong with a request, as its caller reads it.

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

use crate::{config::FieldError, core::output::RequestError, driver::manager::Gone};

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiError {
    /// A field, or the body as a whole.
    Field(FieldError),
    /// Something in a file of the user's, by its name and line.
    InFile {
        /// The path of the key.
        field: String,
        /// The whole sentence.
        what: String,
    },
    /// What is asked for cannot be done.
    Refused(String),
    /// No nodes are started or ended while the webserver shuts down; plain text, as ever.
    ShuttingDown,
    /// There is no such path.
    NotFound,
    /// The path is there, the method is not.
    MethodNotAllowed,
    /// No token, or a wrong one.
    Unauthorized,
    /// The token does not reach so far.
    Forbidden(&'static str),
    /// The body is too long.
    TooLarge,
    /// The body did not come in time.
    TooSlow,
    /// The head has as many connections as it may.
    Crowded,
    /// The manager has stopped.
    Unavailable(String),
}

impl ApiError {
    /// An error of one field.
    #[must_use]
    pub fn field(field: &str, what: impl Into<String>) -> Self {
        Self::Field(FieldError { field: field.to_owned(), what: what.into() })
    }

    /// Its status.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Field(_) | Self::InFile { .. } | Self::Refused(_) | Self::ShuttingDown => {
                StatusCode::BAD_REQUEST
            }
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Crowded => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl From<FieldError> for ApiError {
    fn from(error: FieldError) -> Self {
        Self::Field(error)
    }
}

impl From<RequestError> for ApiError {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::ShuttingDown => Self::ShuttingDown,
            RequestError::UnknownCluster
            | RequestError::UnknownNode
            | RequestError::KeyReused
            | RequestError::NotInFile
            | RequestError::OverLimit { .. }
            | RequestError::OverTypeLimit { .. }
            | RequestError::TooManyNodes { .. }
            | RequestError::TagsTooLong { .. }
            | RequestError::NoRoom { .. }
            | RequestError::SecondHead
            | RequestError::BudgetTooSmall { .. } => Self::Refused(error.to_string()),
        }
    }
}

impl From<Gone> for ApiError {
    fn from(error: Gone) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.status();
        let is_unread = matches!(self, Self::TooLarge | Self::TooSlow | Self::Crowded);
        let body = match self {
            Self::ShuttingDown => {
                let mut response =
                    Response::new(Body::from(RequestError::ShuttingDown.to_string()));
                *response.status_mut() = status;
                let text = HeaderValue::from_static("text/plain; charset=utf-8");
                response.headers_mut().insert(header::CONTENT_TYPE, text);
                return response;
            }
            Self::Field(error) if error.field.is_empty() => json!({ "error": error.what }),
            Self::Field(error) => json!({ "error": error.to_string(), "field": error.field }),
            Self::InFile { field, what } => json!({ "error": what, "field": field }),
            Self::Refused(what) | Self::Unavailable(what) => json!({ "error": what }),
            Self::NotFound => json!({ "error": "not found" }),
            Self::MethodNotAllowed => json!({ "error": "Method Not Allowed" }),
            Self::Unauthorized => json!({
                "error": "a token is needed: send the text of `webserver.token` in the data \
                          directory as `Authorization: Bearer TOKEN`"
            }),
            Self::Forbidden(what) => json!({ "error": what }),
            Self::TooLarge => json!({ "error": "the body is too long" }),
            Self::TooSlow => json!({ "error": "the body did not come in time" }),
            Self::Crowded => json!({ "error": "the head has too many connections at once" }),
        };
        let mut response = json_response(status, body.to_string());
        if is_unread {
            // What is left of it must not be taken for the next request; and a connection too many has to end.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// A response with a JSON body.
pub(super) fn json_response(status: StatusCode, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
