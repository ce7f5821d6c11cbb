//! One type per identifier of the daemon, and the form that each of them has.
//!
//! An id is opaque: it is never taken apart. But one of another form, although it came in a good reply, names nothing
//! that the daemon would find again, and it would be asked to end that for ever. So what is read off the wire is
//! checked by its type (`FromWire`); journals keep what was read, whatever it was.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

macro_rules! text_id {
    ($(#[doc = $doc:literal] $name:ident: $form:expr;)+) => {$(
        #[doc = $doc]
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The identifier as the daemon writes it.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The identifier that the daemon writes so; `None` for what is none of its kind.
            #[must_use]
            pub fn from_wire(text: &str) -> Option<Self> {
                let has_form: fn(&str) -> bool = $form;
                has_form(text).then(|| Self(text.into()))
            }
        }

        impl FromWire for $name {
            const KIND: &str = stringify!($name);

            fn from_wire(text: &str) -> Option<Self> {
                Self::from_wire(text)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer).map(Self::from)
            }
        }
    )+};
}

// Forms of yagna 0.17.6, as recorded.
text_id! {
    /// A provider's (or our own) identity on the network: `0x` and 40 hexadecimal digits.
    ProviderId: |text| text.strip_prefix("0x").is_some_and(|digits| is_hex(digits, 40));
    /// A published demand, or a published offer: 32 and 64 hexadecimal digits, and a dash between them.
    SubscriptionId: |text| {
        text.split_once('-').is_some_and(|(head, tail)| is_hex(head, 32) && is_hex(tail, 64))
    };
    /// A look at the market without a demand; its form is not recorded.
    ScanId: is_word;
    /// One proposal of a negotiation: 64 hexadecimal digits, after `R-` or `P-`, the side that keeps it.
    ProposalId: |text| is_hex(without_owner(text), 64);
    /// Funds that the daemon has set aside: a UUID.
    AllocationId: is_uuid;
    /// A payment platform: driver, network, and token, such as `erc20-hoodi-tglm`.
    PlatformId: is_word;
    /// A contract with a provider: 64 hexadecimal digits.
    AgreementId: |text| is_hex(without_owner(text), 64);
    /// Something that a provider runs for us under an agreement: a UUID without dashes. The provider chooses it.
    ActivityId: is_uuid;
    /// A list of commands that an activity executes in order: a UUID without dashes.
    BatchId: is_uuid;
    /// A private network: a UUID without dashes; recordings hide it behind `masked-` and a number.
    NetworkId: |text| is_uuid(text) || text.strip_prefix("masked-").is_some_and(is_word);
    /// A bill for a running activity: a UUID. The provider chooses it.
    DebitNoteId: is_uuid;
    /// The final bill for an agreement: a UUID. The provider chooses it.
    InvoiceId: is_uuid;
    /// Our name for agreements and bills that belong together (`appSessionId`).
    SessionId: |_| true;
}

/// An identifier that is read off the wire.
pub(super) trait FromWire: Sized {
    /// What it is called in an error.
    const KIND: &str;

    /// The identifier that the daemon writes so; `None` for what is none of its kind.
    fn from_wire(text: &str) -> Option<Self>;
}

/// An identifier in a reply: reading one of another form fails.
pub(super) struct Checked<Id>(pub(super) Id);

impl<'de, Id: FromWire> Deserialize<'de> for Checked<Id> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        checked(deserializer).map(Self)
    }
}

/// Reads an identifier in a reply, for a field of a document.
pub(super) fn checked<'de, D: Deserializer<'de>, Id: FromWire>(
    deserializer: D,
) -> Result<Id, D::Error> {
    let text = String::deserialize(deserializer)?;
    Id::from_wire(&text).ok_or_else(|| de::Error::custom(format_args!("no {}", Id::KIND)))
}

/// The same for a field that may be absent.
pub(super) fn checked_if_any<'de, D: Deserializer<'de>, Id: FromWire>(
    deserializer: D,
) -> Result<Option<Id>, D::Error> {
    let id = Option::<Checked<Id>>::deserialize(deserializer)?;
    Ok(id.map(|Checked(id)| id))
}

/// The most characters of a [word](is_word).
const WORD_MAX: usize = 128;

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// With or without dashes: daemons have written both.
fn is_uuid(text: &str) -> bool {
    const PARTS: [usize; 5] = [8, 4, 4, 4, 12];
    let is_dashed = || {
        let mut parts = text.split('-');
        PARTS.iter().all(|digits| parts.next().is_some_and(|part| is_hex(part, *digits)))
            && parts.next().is_none()
    };
    is_hex(text, 32) || is_dashed()
}

/// Letters, digits, dashes, and underscores.
fn is_word(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    !text.is_empty() && text.len() <= WORD_MAX && text.bytes().all(is_plain)
}

fn without_owner(text: &str) -> &str {
    text.strip_prefix("R-").or_else(|| text.strip_prefix("P-")).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::{
        ActivityId, AgreementId, AllocationId, PlatformId, ProposalId, ProviderId, SubscriptionId,
        is_uuid,
    };

    const UUID: &str = "5a3c6f0e-9d1b-4c7a-8e2f-0123456789ab";

    fn hex(digits: usize) -> String {
        "a7".repeat(digits / 2)
    }

    #[test]
    fn ids_of_the_daemons_forms_are_read() {
        let proposal = format!("R-{}", hex(64));
        let subscription = format!("{}-{}", hex(32), hex(64));
        let provider = format!("0x{}", hex(40));

        assert!(AgreementId::from_wire(&hex(64)).is_some());
        assert!(ProposalId::from_wire(&proposal).is_some());
        assert!(SubscriptionId::from_wire(&subscription).is_some());
        assert!(ProviderId::from_wire(&provider).is_some());
        assert!(AllocationId::from_wire(UUID).is_some());
        assert!(ActivityId::from_wire(&hex(32)).is_some());
        assert!(PlatformId::from_wire("erc20-hoodi-tglm").is_some());
    }

    #[test]
    fn an_id_of_another_form_is_none() {
        let long = hex(66);
        let odd = ["", "-", "x", "../../me", "a b", "a\nb", "\u{202e}", "☃", long.as_str(), "0x"];
        for text in odd {
            assert_eq!(AgreementId::from_wire(text), None, "{text:?}");
            assert_eq!(ProposalId::from_wire(text), None, "{text:?}");
            assert_eq!(SubscriptionId::from_wire(text), None, "{text:?}");
            assert_eq!(ProviderId::from_wire(text), None, "{text:?}");
            assert_eq!(AllocationId::from_wire(text), None, "{text:?}");
            assert_eq!(ActivityId::from_wire(text), None, "{text:?}");
        }
        assert_eq!(AllocationId::from_wire(&hex(64)), None, "an agreement is no allocation");
        assert_eq!(AgreementId::from_wire(UUID), None, "an allocation is no agreement");
        assert_eq!(PlatformId::from_wire("erc20 hoodi"), None);
        assert!(!is_uuid("5a3c6f0e-9d1b-4c7a-8e2f-0123456789ab-"));
        assert!(!is_uuid("5a3c6f0e9d1b-4c7a-8e2f-0123456789ab"));
    }
}
