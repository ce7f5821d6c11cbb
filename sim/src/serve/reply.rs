//! What a handler gives back: a whole response, or one that the network spoils.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, Response, StatusCode, header},
};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use ray_on_golem::yagna::wire::HttpResponse;
use serde_json::Value;
use tokio::sync::mpsc;

/// The type of a stream of events, and what asks for one.
pub(super) const EVENT_STREAM: &str = "text/event-stream";

/// Marks a response in whose place the connection is closed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Severed;

/// A response as the wire form has it.
pub(super) fn whole(response: HttpResponse) -> Response<Body> {
    let HttpResponse { status, content_type, body } = response;
    let mut built = Response::new(Body::from(body));
    *built.status_mut() =
        StatusCode::from_u16(status.0).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let Some(kind) = content_type.and_then(|kind| HeaderValue::from_str(&kind).ok()) {
        built.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    built
}

/// A document.
pub(super) fn json(status: u16, document: &Value) -> Response<Body> {
    typed(status, "application/json", document.to_string())
}

/// The daemon's usual error body.
pub(super) fn message(status: u16, text: &str) -> Response<Body> {
    json(status, &serde_json::json!({ "message": text }))
}

/// The error body of allocations, in the form of RFC 7807.
pub(super) fn problem(status: u16, document: &Value) -> Response<Body> {
    typed(status, "application/problem+json", document.to_string())
}

/// Plain text.
pub(super) fn text(status: u16, text: &str) -> Response<Body> {
    typed(status, "text/plain; charset=utf-8", text.to_owned())
}

/// A status and nothing else.
pub(super) fn empty(status: u16) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}

/// Events as they come, until there are no more or nobody reads them.
pub(super) fn stream(events: mpsc::Receiver<Bytes>) -> Response<Body> {
    let mut response = empty(200);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(EVENT_STREAM));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    *response.body_mut() = Body::new(Feed(events));
    response
}

/// No response: the connection is closed.
pub(super) fn severed() -> Response<Body> {
    let mut response = empty(500);
    response.extensions_mut().insert(Severed);
    response
}

/// No response, ever.
pub(super) async fn silent() -> Response<Body> {
    std::future::pending().await
}

/// A success that is no JSON.
pub(super) fn garbled() -> Response<Body> {
    typed(200, "application/json", "<html>the proxy is tired".to_owned())
}

/// The first half of a response; then the connection is closed.
pub(super) fn halved(response: HttpResponse) -> Response<Body> {
    let length = response.body.len().max(2);
    let (parts, _) = whole(HttpResponse { body: Vec::new(), ..response.clone() }).into_parts();
    let half = Bytes::from(response.body);
    let half = half.slice(..half.len() / 2);
    Response::from_parts(parts, Body::new(Half { left: Some(half), length: length as u64 }))
}

fn typed(status: u16, kind: &'static str, body: String) -> Response<Body> {
    let mut response = empty(status);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    *response.body_mut() = Body::from(body);
    response
}

/// A body that comes bit by bit.
struct Feed(mpsc::Receiver<Bytes>);

impl HttpBody for Feed {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(context).map(|news| news.map(|frame| Ok(Frame::data(frame))))
    }
}

/// A body that breaks off.
struct Half {
    left: Option<Bytes>,
    length: u64,
}

impl HttpBody for Half {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        Poll::Ready(Some(match self.left.take() {
            Some(half) => Ok(Frame::data(half)),
            None => Err(std::io::ErrorKind::ConnectionAborted.into()),
        }))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length)
    }
}
