//! What a request for a websocket must say, in the words of the HTTP library of the real daemon (actix-http).

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, Response, header, request::Parts},
};
use hyper::upgrade::OnUpgrade;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::serve::{connection::says, reply};

/// Versions of the protocol that are taken; the older ones are drafts, and the same.
const VERSIONS: [&str; 3] = ["13", "8", "7"];

/// The answer that opens a websocket, and the connection that follows it; or what the request does not say.
pub(super) fn open(parts: &mut Parts) -> Result<(Response<Body>, OnUpgrade), &'static str> {
    check(&parts.headers)?;
    let key = parts.headers.get(header::SEC_WEBSOCKET_KEY).ok_or("BadWebsocketKey")?;
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes()));
    let upgrade = parts.extensions.remove::<OnUpgrade>().ok_or("NoConnectionUpgrade")?;
    let mut answer = reply::empty(101);
    let headers = answer.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept.expect("digits of base 64"));
    Ok((answer, upgrade))
}

fn check(headers: &HeaderMap) -> Result<(), &'static str> {
    if !says(headers, &header::UPGRADE, "websocket") {
        return Err("NoWebsocketUpgrade");
    }
    if !says(headers, &header::CONNECTION, "upgrade") {
        return Err("NoConnectionUpgrade");
    }
    let Some(version) = headers.get(header::SEC_WEBSOCKET_VERSION) else {
        return Err("NoVersionHeader");
    };
    if !VERSIONS.iter().any(|known| version == known) {
        return Err("UnsupportedVersion");
    }
    Ok(())
}
