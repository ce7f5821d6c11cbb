//! One connection to a server of this machine: what is asked over it is asked of one and the same process.
//!
//! A pool makes another connection when one has ended, perhaps to another process. Here the end of the connection is
//! the end of the talk.

use std::{io, net::SocketAddr, time::Duration};

use axum::body::{Body, to_bytes};
use hyper::{
    Request,
    client::conn::http1::{SendRequest, handshake},
    header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue},
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

use super::BODY_LENGTH_MAX;
use crate::{
    units::Span,
    yagna::{
        CallError, Doubt, Status,
        wire::{HttpResponse, Method},
    },
};

/// A connection.
#[derive(Debug)]
pub(crate) struct Line {
    requests: SendRequest<Body>,
    address: SocketAddr,
}

/// What is asked over it.
#[derive(Debug)]
pub(crate) struct Question<'a> {
    pub(crate) method: Method,
    pub(crate) path: &'a str,
    /// The token to authenticate with.
    pub(crate) bearer: Option<&'a str>,
    /// A JSON body.
    pub(crate) body: Option<Vec<u8>>,
}

impl Line {
    /// Connects.
    pub(crate) async fn open(address: SocketAddr, patience: Span) -> io::Result<Self> {
        let connecting = timeout(duration(patience), TcpStream::connect(address));
        let stream = connecting.await.map_err(|_| io::ErrorKind::TimedOut)??;
        let (requests, connection) =
            handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        // It ends when this end is dropped, or the other one goes.
        tokio::spawn(connection);
        Ok(Self { requests, address })
    }

    /// Sends a request and reads the response, all of it within `patience`.
    pub(crate) async fn send(
        &mut self,
        question: Question<'_>,
        patience: Span,
    ) -> Result<HttpResponse, CallError> {
        let request = self.request(question)?;
        let exchange = async {
            self.requests.ready().await?;
            let (head, body) = self.requests.send_request(request).await?.into_parts();
            let body = to_bytes(Body::new(body), BODY_LENGTH_MAX).await;
            Ok::<_, hyper::Error>((head, body))
        };
        let closed = |why: String| CallError::Unknown(Doubt::Closed { why });
        let (head, body) = match timeout(duration(patience), exchange).await {
            Ok(exchanged) => exchanged.map_err(|error| closed(error.to_string()))?,
            Err(_) => return Err(CallError::Unknown(Doubt::TimedOut)),
        };
        let content_type = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        Ok(HttpResponse {
            status: Status(head.status.as_u16()),
            content_type: content_type.map(str::to_owned),
            body: body.map_err(|error| closed(error.to_string()))?.to_vec(),
        })
    }

    fn request(&self, question: Question<'_>) -> Result<Request<Body>, CallError> {
        let method = match question.method {
            Method::Get => hyper::Method::GET,
            Method::Post => hyper::Method::POST,
            Method::Put => hyper::Method::PUT,
            Method::Delete => hyper::Method::DELETE,
        };
        let not_sent = |why: String| CallError::NotSent { why };
        let mut request = Request::builder()
            .method(method)
            .uri(question.path)
            .header(HOST, self.address.to_string())
            .header(CONTENT_TYPE, "application/json");
        if let Some(token) = question.bearer {
            let header = HeaderValue::from_str(&format!("Bearer {token}"));
            let mut header = header.map_err(|error| not_sent(error.to_string()))?;
            header.set_sensitive(true);
            request = request.header(AUTHORIZATION, header);
        }
        let body = question.body.map_or_else(Body::empty, Body::from);
        request.body(body).map_err(|error| not_sent(error.to_string()))
    }
}

fn duration(span: Span) -> Duration {
    Duration::from_micros(span.as_micros())
}
