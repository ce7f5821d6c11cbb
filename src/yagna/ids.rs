//! One type per identifier of the daemon. All are opaque text; none is ever parsed.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

macro_rules! text_id {
    ($(#[doc = $doc:literal] $name:ident;)+) => {$(
        #[doc = $doc]
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The identifier as the daemon writes it.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
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

text_id! {
    /// A provider's (or our own) identity on the network: `0x` and 40 hexadecimal digits.
    ProviderId;
    /// A published demand, or a published offer.
    SubscriptionId;
    /// A look at the market without a demand.
    ScanId;
    /// One proposal of a negotiation.
    ProposalId;
    /// Funds that the daemon has set aside.
    AllocationId;
    /// A payment platform: driver, network, and token, such as `erc20-hoodi-tglm`.
    PlatformId;
    /// A contract with a provider: 64 hexadecimal digits.
    AgreementId;
    /// Something that a provider runs for us under an agreement.
    ActivityId;
    /// A list of commands that an activity executes in order.
    BatchId;
    /// A private network.
    NetworkId;
    /// A bill for a running activity.
    DebitNoteId;
    /// The final bill for an agreement.
    InvoiceId;
    /// Our name for agreements and bills that belong together (`appSessionId`).
    SessionId;
}
