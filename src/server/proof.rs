//! How the webserver shows that it knows a token, before the token is sent to it.
//!
//! Any program that finds its port free may listen there, and be taken for it. So a client asks first, on the connection that it
//! goes on with: it sends a challenge that it has just made, and which token it means by that token's *mark*. Who knows
//! the token answers with the proof.
//!
//! ```text
//!   mark  = HMAC-SHA256(token, "ray-on-golem mark")
//!   proof = HMAC-SHA256(token, "ray-on-golem proof, PLACE, CHALLENGE")
//!           PLACE: "users of port 4578", or "heads"
//! ```
//!
//! All are written in hexadecimal. A proof is worth nothing elsewhere: the challenge is used once, and the place keeps a
//! program at another port from having ours answer for it. The proof is for the process at the other end of one
//! connection, so that the token is sent on that connection, and never on a later one.
//!
//! The node provider has the same in `python/ray_on_golem/proof.py`.

use std::{fmt, io};

use ring::hmac::{self, HMAC_SHA256, Key};

use super::auth::Token;

/// The length of a challenge, in hexadecimal digits.
const CHALLENGE_LENGTH: usize = 64;

/// Who is to be convinced: the other end of which port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Users, at the port that they have connected to.
    Users {
        /// The port.
        port: u16,
    },
    /// Heads, which come through tunnels from ports of their own.
    Heads,
}

/// What a client sends: random digits, used once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge(String);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Users { port } => write!(f, "users of port {port}"),
            Self::Heads => f.write_str("heads"),
        }
    }
}

impl Challenge {
    /// A new one.
    ///
    /// # Errors
    ///
    /// If the system has no randomness to give.
    pub fn random() -> io::Result<Self> {
        Ok(Self(Token::random()?.as_str().to_owned()))
    }

    /// The one that was sent; none if it has another form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let is_one = text.len() == CHALLENGE_LENGTH && text.bytes().all(is_digit);
        is_one.then(|| Self(text.to_owned()))
    }

    /// As it is sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Token {
    /// By what the token is named to who knows it; who does not learns nothing by it.
    #[must_use]
    pub fn mark(&self) -> String {
        hex(hmac::sign(&self.key(), b"ray-on-golem mark").as_ref())
    }

    /// The proof that this token is known.
    #[must_use]
    pub fn proof(&self, place: Place, challenge: &Challenge) -> String {
        hex(hmac::sign(&self.key(), statement(place, challenge).as_bytes()).as_ref())
    }

    /// Whether that is the proof; takes as long for any that has its length.
    #[must_use]
    pub fn is_proven(&self, place: Place, challenge: &Challenge, proof: &str) -> bool {
        let statement = statement(place, challenge);
        let proof = unhex(proof).unwrap_or_default();
        hmac::verify(&self.key(), statement.as_bytes(), &proof).is_ok()
    }

    fn key(&self) -> Key {
        Key::new(HMAC_SHA256, self.as_str().as_bytes())
    }
}

fn statement(place: Place, challenge: &Challenge) -> String {
    format!("ray-on-golem proof, {place}, {}", challenge.0)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2).map(|pair| {
        let digits = std::str::from_utf8(pair).ok().filter(|digits| digits.len() == 2)?;
        u8::from_str_radix(digits, 16).ok()
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::{Challenge, Place};
    use crate::server::auth::Token;

    const USERS: Place = Place::Users { port: 4578 };

    fn token(word: &str) -> Token {
        let data = tempfile::tempdir().expect("a directory");
        let file = data.path().join("token");
        std::fs::write(&file, word).expect("a writable directory");
        Token::of_file(&file).expect("a token")
    }

    /// The values are those of `python/tests/test_proof.py`, too.
    #[test]
    fn both_languages_say_the_same() {
        let token = token("secret");
        let challenge = Challenge::parse(&"0123456789abcdef".repeat(4)).expect("64 digits");

        assert_eq!(
            token.mark(),
            "a728d28dfd4c12197b2a5c8b28af37aadbe2a93ad489192f95bbff7f54d81595"
        );
        assert_eq!(
            token.proof(USERS, &challenge),
            "74859d6731f1e4f114d2cf21781bd580c734ba57d45a8e3275689628b68b4a52"
        );
        assert_eq!(
            token.proof(Place::Heads, &challenge),
            "ff68fa4c93a3a547e00b0d697fe1ac761343dc7d41eafabc0639156e45fb5636"
        );
    }

    #[test]
    fn a_proof_is_for_one_token_one_place_and_one_challenge() {
        let ours = token("secret");
        let challenge = Challenge::random().expect("randomness");
        let proof = ours.proof(USERS, &challenge);

        assert!(ours.is_proven(USERS, &challenge, &proof));
        assert!(!token("other").is_proven(USERS, &challenge, &proof));
        assert!(!ours.is_proven(Place::Users { port: 4579 }, &challenge, &proof));
        assert!(!ours.is_proven(Place::Heads, &challenge, &proof));
        assert!(!ours.is_proven(USERS, &Challenge::random().expect("randomness"), &proof));
        for wrong in ["", "x", &proof[1..], &format!("{proof}00"), &"ü".repeat(32)] {
            assert!(!ours.is_proven(USERS, &challenge, wrong), "{wrong}");
        }
    }

    #[test]
    fn a_challenge_has_one_form() {
        let one = Challenge::random().expect("randomness");

        assert_eq!(Challenge::parse(one.as_str()), Some(one.clone()));
        assert_ne!(Challenge::random().expect("randomness"), one);
        for wrong in ["", "0", &"A".repeat(64), &"0".repeat(65), &"ü".repeat(32)] {
            assert_eq!(Challenge::parse(wrong), None, "{wrong}");
        }
    }
}
