//! What a request for a websocket must say, in the words of the HTTP library of the real daemon (actix-http).

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

/// Versions of the protocol that are taken; the older ones are drafts, and the same.
const VERSIONS: [&str; 3] = ["13", "8", "7"];

/// Checks the headers of a request, and makes the version the newest one. Tells what is missing.
pub(super) fn check(headers: &mut HeaderMap) -> Result<(), &'static str> {
    let says = |name: &HeaderName, word: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.is_some_and(|value| value.to_ascii_lowercase().contains(word))
    };
    if !says(&header::UPGRADE, "websocket") {
        return Err("NoWebsocketUpgrade");
    }
    if !says(&header::CONNECTION, "upgrade") {
        return Err("NoConnectionUpgrade");
    }
    let Some(version) = headers.get(header::SEC_WEBSOCKET_VERSION) else {
        return Err("NoVersionHeader");
    };
    if !VERSIONS.iter().any(|known| version == known) {
        return Err("UnsupportedVersion");
    }
    if !headers.contains_key(header::SEC_WEBSOCKET_KEY) {
        return Err("BadWebsocketKey");
    }
    headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static(VERSIONS[0]));
    Ok(())
}
