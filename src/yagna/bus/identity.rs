//! Whose bus it is: the daemon says on its bus which identities it has.

use serde::{Deserialize, Serialize};

use super::payload;
use crate::yagna::ProviderId;

/// Where the daemon is asked for an identity (`ya-core-model`, `identity::Get`).
pub const GET: &str = "/local/identity/Get";

#[derive(Serialize, Deserialize)]
enum Get {
    #[serde(rename = "byNodeId")]
    ByNodeId(ProviderId),
}

#[derive(Serialize, Deserialize)]
enum Found {
    Ok(Option<Identity>),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Identity {
    alias: Option<String>,
    node_id: ProviderId,
    is_default: bool,
    is_locked: bool,
    deleted: bool,
}

/// The question whether the daemon has this identity.
pub(super) fn question(identity: &ProviderId) -> Vec<u8> {
    payload::write(&Get::ByNodeId(identity.clone()))
}

/// Which identity a question is about; none if it is no such question.
#[must_use]
pub fn asked(question: &[u8]) -> Option<ProviderId> {
    let Get::ByNodeId(identity) = payload::read(question)?;
    Some(identity)
}

/// What a daemon whose only identity is `own` answers to the question whether it has `wanted`.
#[must_use]
pub fn answer(own: &ProviderId, wanted: &ProviderId) -> Vec<u8> {
    let known = (own == wanted).then(|| Identity {
        alias: None,
        node_id: own.clone(),
        is_default: true,
        is_locked: false,
        deleted: false,
    });
    payload::compress(&payload::write(&Found::Ok(known)))
}

/// Whether the answer says that it has it.
pub(super) fn has(answer: &[u8], identity: &ProviderId) -> bool {
    let found = payload::read(answer);
    matches!(found, Some(Found::Ok(Some(Identity { node_id, .. }))) if node_id == *identity)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{answer, asked, has, payload, question};

    /// As yagna 0.17.6 answers.
    #[test]
    fn an_answer_names_the_identity_or_none() {
        let ours = "0x7346b5fce5f3650a4542af5763fb1326916da6df".into();
        let found = json!({ "Ok": {
            "alias": null, "deleted": false, "isDefault": true, "isLocked": false, "nodeId": ours,
        } });

        let said: serde_json::Value = payload::read(&question(&ours)).expect("a message");
        assert_eq!(asked(&question(&ours)), Some(ours.clone()));
        assert!(has(&answer(&ours, &ours), &ours));
        assert!(!has(&answer(&ours, &"0x1".into()), &ours));
        assert_eq!(said, json!({ "byNodeId": ours }));
        assert!(has(&payload::write(&found), &ours));
        assert!(!has(&payload::write(&found), &"0x1".into()));
        assert!(!has(&payload::write(&json!({ "Ok": null })), &ours));
        assert!(!has(&payload::write(&json!({ "Err": "no" })), &ours));
        assert!(!has(b"", &ours));
    }
}
