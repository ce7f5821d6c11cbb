//! What is said to a member of a private network about the others, in FlexBuffers.
//!
//! An exe-unit takes a node's addresses one message at a time: of a message that names several, some may be
//! left undone when one is refused. What it does not understand, and a network or a node that is not there, is
//! answered with success and no data, so only an answer that says `Ok` counts.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use serde::{Deserialize, Serialize};

use super::payload;
use crate::yagna::{NetworkId, ProviderId};

/// What is said to a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Control {
    /// Who is reachable where.
    AddNodes {
        /// In which network.
        network_id: NetworkId,
        /// Who, by address.
        nodes: BTreeMap<String, ProviderId>,
    },
    /// Who is not there any more.
    RemoveNodes {
        /// In which network.
        network_id: NetworkId,
        /// Who.
        node_ids: BTreeSet<ProviderId>,
    },
}

/// What a member answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is done.
    Done,
    /// The address belongs to a node that the member knows.
    Taken,
    /// It is not done, or the member does not know what was asked.
    Refused(String),
}

impl Control {
    /// Tells that `provider` is at `ip`.
    #[must_use]
    pub fn add(network: NetworkId, ip: Ipv4Addr, provider: ProviderId) -> Self {
        Self::AddNodes { network_id: network, nodes: BTreeMap::from([(ip.to_string(), provider)]) }
    }

    /// Tells that `provider` is gone.
    #[must_use]
    pub fn remove(network: NetworkId, provider: ProviderId) -> Self {
        Self::RemoveNodes { network_id: network, node_ids: BTreeSet::from([provider]) }
    }

    /// The bytes of it.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        payload::write(self)
    }

    /// Reads what is said to a member; none if a member does not understand it.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        payload::read(bytes)
    }
}

impl Answer {
    /// What a member answers to `question`: in its form, and nothing to what it does not understand.
    #[must_use]
    pub fn to_bytes(&self, question: &[u8]) -> Vec<u8> {
        let outcome = match self {
            Self::Done => Outcome::Ok(()),
            Self::Taken => Outcome::Err(serde_json::json!({ "other": "IP address is taken" })),
            Self::Refused(_) => return Vec::new(),
        };
        let plain = payload::write(&outcome);
        if payload::is_compressed(question) { payload::compress(&plain) } else { plain }
    }

    /// Reads an answer to a [`Control`].
    #[must_use]
    pub fn read(bytes: &[u8]) -> Self {
        if bytes.is_empty() {
            return Self::Refused("the node does not know the network, or the message".to_owned());
        }
        let Some(outcome) = payload::read(bytes) else {
            return Self::Refused("an answer that is not understood".to_owned());
        };
        match outcome {
            Outcome::Ok(()) => Self::Done,
            Outcome::Err(why) => {
                let why = why.to_string();
                if why.contains("is taken") { Self::Taken } else { Self::Refused(why) }
            }
        }
    }
}

#[derive(Serialize, Deserialize)]
enum Outcome {
    Ok(()),
    Err(serde_json::Value),
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};
    use serde_json::json;

    use super::{Answer, Control, Outcome, payload};

    #[test]
    fn a_member_is_told_of_one_node_at_a_time() {
        let add = Control::add("net".into(), [10, 0, 0, 3].into(), "0x1".into());
        let remove = Control::remove("net".into(), "0x1".into());

        let read = |control: &Control| {
            let bytes = control.to_bytes();
            flexbuffers::from_slice::<serde_json::Value>(&bytes).expect("FlexBuffers")
        };
        assert_eq!(
            read(&add),
            json!({ "addNodes": { "network_id": "net", "nodes": { "10.0.0.3": "0x1" } } })
        );
        assert_eq!(
            read(&remove),
            json!({ "removeNodes": { "network_id": "net", "node_ids": ["0x1"] } })
        );
    }

    #[test]
    fn only_an_answer_that_says_so_is_success() {
        let answer = |outcome| Answer::read(&flexbuffers::to_vec(&outcome).expect("FlexBuffers"));
        let remove = || Control::remove("net".into(), "0x1".into());
        let taken = json!({ "other": "IP address is taken: 10.0.0.3" });

        assert_eq!(Control::read(&remove().to_bytes()), Some(remove()));
        for question in [remove().to_bytes(), payload::compress(&remove().to_bytes())] {
            for said in [Answer::Done, Answer::Taken] {
                assert_eq!(Answer::read(&said.to_bytes(&question)), said);
            }
            assert!(Answer::Refused(String::new()).to_bytes(&question).is_empty());
        }
        assert_eq!(answer(Outcome::Ok(())), Answer::Done);
        assert_eq!(answer(Outcome::Err(taken)), Answer::Taken);
        assert!(matches!(answer(Outcome::Err(json!("x"))), Answer::Refused(why) if why == "\"x\""));
        assert!(matches!(Answer::read(b""), Answer::Refused(_)));
        assert!(matches!(Answer::read(b"nonsense"), Answer::Refused(_)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer(bytes in vec(any::<u8>(), 0..200)) {
            let answer = Answer::read(&bytes);
            prop_assert!(answer != Answer::Done || bytes.len() >= 3);
        }
    }
}
