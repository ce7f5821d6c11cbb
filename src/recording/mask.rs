//! What must not be seen by whoever gets a recording.

use crate::core::{Command, Durable};

const MASKED: &str = "***";
/// Shorter texts are no secrets, and stand in too many words.
const SECRET_LENGTH_MIN: usize = 8;

/// The secrets of a recording, as they would be written in it.
///
/// They are hidden in what the machine is told and in what it does alike, so that a replay, which
/// sees the mask in their place, does the same.
#[derive(Clone, Default)]
pub struct Mask(Vec<String>);

impl Mask {
    /// Hides one more text; one of fewer than eight bytes is no secret.
    pub fn add(&mut self, secret: &str) {
        let quoted = serde_json::to_string(secret).expect("a text is JSON");
        let written = quoted.trim_matches('"').to_owned();
        if written.len() >= SECRET_LENGTH_MIN && !self.0.contains(&written) {
            self.0.push(written);
        }
    }

    /// Hides the keys that a command brings.
    pub fn add_keys_of(&mut self, command: &Command) {
        if let Command::RequestNodes(request) = command {
            self.add_ssh_key(&request.plan.ssh_public_key);
        }
    }

    /// Hides the keys of clusters that there are.
    pub fn add_keys_in(&mut self, durable: &Durable) {
        for cluster in durable.clusters().values() {
            self.add_ssh_key(&cluster.plan.ssh_public_key);
        }
    }

    /// The text without the secrets.
    #[must_use]
    pub fn hide(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, secret| text.replace(secret, MASKED))
    }

    /// `KIND KEY COMMENT`, of which the key alone opens something.
    fn add_ssh_key(&mut self, line: &str) {
        if let Some(key) = line.split_whitespace().nth(1) {
            self.add(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Mask;

    #[test]
    fn secrets_are_hidden_and_what_is_too_short_for_one_is_not() {
        let mut mask = Mask::default();
        mask.add("a \"secret\" key");
        mask.add("at");
        mask.add("");

        let text = mask.hide(r#"{"at":1,"why":"no a \"secret\" key"}"#);

        assert_eq!(text, r#"{"at":1,"why":"no ***"}"#);
    }
}
