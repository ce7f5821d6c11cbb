//! The Golem registry: where an image is and what its hash is.
//!
//! It stands beside `yagna`, not in it: it is another service, with addresses and failures of its
//! own, and no part of the market's vocabulary.

use serde::Deserialize;
use thiserror::Error;
use url::Url;

use crate::{
    core::market::spec::{Image, ImageRef},
    http::{Outgoing, Transport, TransportError},
    units::Span,
    yagna::{
        CallError, Doubt, Status,
        wire::{HttpResponse, Method},
    },
};

/// The public registry.
pub const DEFAULT_URL: &str = "https://registry.golem.network";

/// The lengths of SHA-3 hashes in hexadecimal digits, from SHA3-224 to SHA3-512.
const SHA3_LENGTHS: [usize; 4] = [56, 64, 96, 128];

/// A connection to a registry.
#[derive(Clone, Debug)]
pub struct Registry {
    base: Url,
    count: bool,
    transport: Transport,
}

/// Why an image was not found.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RegistryError {
    /// The registry does not know the image.
    #[error("Golem Registry request failed\n{} does not exist", named(.0))]
    Unknown(ImageRef),
    /// The registry could not be asked.
    #[error("Golem Registry request failed\nCan't access Golem Registry for image lookup: {0}")]
    Unavailable(CallError),
    /// The registry's answer cannot be used.
    #[error("Golem Registry request failed\n{} has {why}", named(.image))]
    Unusable {
        /// What was asked for.
        image: ImageRef,
        /// What is wrong with the answer.
        why: &'static str,
    },
}

impl Registry {
    /// The registry at `base`; `count` tells it to count our look-ups in its statistics.
    ///
    /// # Errors
    ///
    /// Fails if the address is `https` and the system has no certificates to trust.
    pub fn new(base: Url, count: bool) -> Result<Self, TransportError> {
        let transport = Transport::public(&base)?;
        Ok(Self { base, count, transport })
    }

    /// Looks `image` up.
    ///
    /// # Errors
    ///
    /// Says whether the image is unknown, or the registry of no help.
    pub async fn look_up(&self, image: &ImageRef, patience: Span) -> Result<Image, RegistryError> {
        let url = info_url(&self.base, image, self.count);
        let outgoing =
            Outgoing { method: Method::Get, url, bearer: None, headers: &[], body: None };
        let response = self.transport.send(outgoing, patience).await;
        read(image, &response.map_err(RegistryError::Unavailable)?)
    }
}

/// The parts of the registry's answer that matter.
#[derive(Deserialize)]
struct ImageDocument {
    http: String,
    sha3: String,
}

fn info_url(base: &Url, image: &ImageRef, count: bool) -> Url {
    let (key, value) = match image {
        ImageRef::Tag(tag) => ("tag", tag),
        ImageRef::Hash(hash) => ("hash", hash),
    };
    let mut url = base.clone();
    url.set_path(&format!("{}/v1/image/info", base.path().trim_end_matches('/')));
    url.query_pairs_mut()
        .clear()
        .append_pair(key, value)
        .append_pair("count", if count { "true" } else { "false" });
    url
}

fn read(image: &ImageRef, response: &HttpResponse) -> Result<Image, RegistryError> {
    let unusable = |why| RegistryError::Unusable { image: image.clone(), why };
    match response.status {
        Status(200..=299) => {}
        Status::NOT_FOUND => return Err(RegistryError::Unknown(image.clone())),
        status => {
            let body = String::from_utf8_lossy(&response.body).into_owned();
            let failed = CallError::Unknown(Doubt::Failed { status, body });
            return Err(RegistryError::Unavailable(failed));
        }
    }
    let ImageDocument { http, sha3 } = serde_json::from_slice(&response.body)
        .map_err(|_| unusable("no address and no hash that can be read"))?;
    let is_web = Url::parse(&http).is_ok_and(|url| ["http", "https"].contains(&url.scheme()));
    if !is_web {
        return Err(unusable("no web address"));
    }
    let is_hash = SHA3_LENGTHS.contains(&sha3.len()) && sha3.bytes().all(|b| b.is_ascii_hexdigit());
    if !is_hash {
        return Err(unusable("no SHA-3 hash"));
    }
    Ok(Image { url: http, sha3 })
}

fn named(image: &ImageRef) -> String {
    match image {
        ImageRef::Tag(tag) => format!("Image tag `{tag}`"),
        ImageRef::Hash(hash) => format!("Image hash `{hash}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Image, ImageRef, RegistryError, info_url, read};
    use crate::yagna::{Status, wire::HttpResponse};

    const SHA3: &str = "d646d7b93083d817846c2ae5c62c72ca0507782385a2e29291a3d376";

    #[test]
    fn a_tag_or_a_hash_is_asked_for() {
        let base = "http://localhost:1/registry/".parse().expect("a literal");

        assert_eq!(
            info_url(&base, &tag(), true).as_str(),
            "http://localhost:1/registry/v1/image/info?tag=golem%2Fray%3A1&count=true"
        );
        assert_eq!(
            info_url(&base, &ImageRef::Hash(SHA3.to_owned()), false).as_str(),
            format!("http://localhost:1/registry/v1/image/info?hash={SHA3}&count=false")
        );
    }

    #[test]
    fn address_and_hash_are_taken_from_the_answer() {
        let body = format!(r#"{{"http":"http://host/i.gvmi","sha3":"{SHA3}","extra":1}}"#);

        let image = Image { url: "http://host/i.gvmi".to_owned(), sha3: SHA3.to_owned() };
        assert_eq!(answer(200, &body), Ok(image));
    }

    #[test]
    fn errors_name_the_image() {
        let error = |status, body: &str| answer(status, body).expect_err("no image").to_string();

        assert_eq!(
            error(404, ""),
            "Golem Registry request failed\nImage tag `golem/ray:1` does not exist"
        );
        assert_eq!(
            error(503, "down"),
            "Golem Registry request failed\nCan't access Golem Registry for image lookup: 503: down"
        );
        assert_eq!(
            error(200, &format!(r#"{{"http":"file:///etc/passwd","sha3":"{SHA3}"}}"#)),
            "Golem Registry request failed\nImage tag `golem/ray:1` has no web address"
        );
        assert_eq!(
            error(200, r#"{"http":"http://host/i","sha3":"xyz"}"#),
            "Golem Registry request failed\nImage tag `golem/ray:1` has no SHA-3 hash"
        );
        assert!(matches!(answer(200, "<html>"), Err(RegistryError::Unusable { .. })));
    }

    fn answer(status: u16, body: &str) -> Result<Image, RegistryError> {
        let body = body.as_bytes().to_owned();
        read(&tag(), &HttpResponse { status: Status(status), content_type: None, body })
    }

    fn tag() -> ImageRef {
        ImageRef::Tag("golem/ray:1".to_owned())
    }
}
