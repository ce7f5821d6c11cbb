//! Whose bus it is: the daemon says on its bus which identities it has.

use serde::{Deserialize, Serialize};

use super::payload;
use crate::yagna::ProviderId;

/// Where the daemon is asked for an identity (`ya-core-model`, `identity::Get`).
pub(super) const GET: &str = "/local/identity/Get";

#[derive(Serialize)]
enum Get<'a> {
    #[serde(rename = "byNodeId")]
    ByNodeId(&'a ProviderId),
}

#[derive(Deserialize)]
enum Found {
    Ok(Option<Identity>),
}

#[derive(Deserialize)]
struct Identity {
    #[serde(rename = "nodeId")]
    node_id: ProviderId,
}

/// The question whether the daemon has this identity.
pub(super) fn question(identity: &ProviderId) -> Vec<u8> {
    payload::write(&Get::ByNodeId(identity))
}

/// Whether the answer says that it has it.
pub(super) fn has(answer: &[u8], identity: &ProviderId) -> bool {
    let found = payload::read(answer);
    matches!(found, Some(Found::Ok(Some(Identity { node_id }))) if node_id == *identity)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{has, payload, question};

    /// As yagna 0.17.6 answers.
    #[test]
    fn an_answer_names_the_identity_or_none() {
        let ours = "0x7346b5fce5f3650a4542af5763fb1326916da6df".into();
        let found = json!({ "Ok": {
            "alias": null, "deleted": false, "isDefault": true, "isLocked": false, "nodeId": ours,
        } });

        let asked: serde_json::Value = payload::read(&question(&ours)).expect("a message");
        assert_eq!(asked, json!({ "byNodeId": ours }));
        assert!(has(&payload::write(&found), &ours));
        assert!(!has(&payload::write(&found), &"0x1".into()));
        assert!(!has(&payload::write(&json!({ "Ok": null })), &ours));
        assert!(!has(&payload::write(&json!({ "Err": "no" })), &ours));
        assert!(!has(b"", &ours));
    }
}
