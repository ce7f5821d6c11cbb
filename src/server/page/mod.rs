//! The page that `/` is to a browser: clusters, nodes, money, and warnings, as they change.
//!
//! The page itself holds nothing. Its script asks for the token, keeps it in the browser's tab, and reads
//! `/status` and `/events` with it. It loads nothing from elsewhere, and no other page can frame it, run
//! a script in it, or have it talk to anybody else.

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::Response,
};

use super::{auth::Token, error::ApiError};

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Whether a request for `/` comes from somebody who wants to look at something: programs get JSON.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    accepted.is_some_and(|accept| accept.split([',', ';']).any(|kind| kind.trim() == "text/html"))
}

/// The page.
pub(super) fn response() -> Result<Response, ApiError> {
    // Only what has this word runs in the page; nobody can know it who wrote a part of its content.
    let nonce = Token::random().map_err(|error| ApiError::Unavailable(error.to_string()))?;
    let nonce = nonce.as_str();
    let page = PAGE.replace("NONCE", nonce);
    let page = page.replace("/*STYLE*/", STYLE).replace("/*SCRIPT*/", SCRIPT);
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let policy =
        HeaderValue::from_str(&policy).map_err(|error| ApiError::Unavailable(error.to_string()))?;
    let mut response = Response::new(Body::from(page));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    let fixed: [(HeaderName, &str); 5] = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::VARY, "accept"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderValue, header};

    use super::{PAGE, SCRIPT, STYLE, is_wanted};

    #[test]
    fn browsers_get_the_page_and_programs_do_not() {
        let wants = |accept: &'static str| {
            is_wanted(&HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]))
        };

        assert!(wants("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"));
        assert!(wants("application/json, text/html;q=0.5"));
        assert!(!wants("*/*"));
        assert!(!wants("application/json"));
        assert!(!is_wanted(&HeaderMap::new()));
    }

    #[test]
    fn the_page_is_whole_and_makes_no_markup_of_data() {
        assert_eq!(PAGE.matches("NONCE").count(), 2);
        for text in [PAGE, STYLE, SCRIPT] {
            for elsewhere in ["http://", "https://", "//cdn", "@import", "url("] {
                assert!(!text.contains(elsewhere), "{elsewhere}");
            }
        }
        for way in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
            assert!(!SCRIPT.contains(way), "{way}");
        }
        assert!(!STYLE.contains("</") && !SCRIPT.contains("</"), "neither ends its element");
    }
}
