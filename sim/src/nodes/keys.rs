//! Public keys in the text of scripts and of `authorized_keys`.

use russh::keys::PublicKey;

/// The public keys that a text speaks of; what is not one is passed over.
pub(super) fn in_text(text: &str) -> Vec<PublicKey> {
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c == '\'' || c == '"').collect();
    let pairs = words.windows(2).filter(|pair| pair[1].starts_with("AAAA"));
    pairs.filter_map(|pair| format!("{} {}", pair[0], pair[1]).parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::in_text;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

    #[test]
    fn keys_are_found_in_a_script() {
        let script = format!("set -e\necho '{KEY} me@there' >> /root/.ssh/authorized_keys\n");

        let found: Vec<String> =
            in_text(&script).iter().filter_map(|key| key.to_openssh().ok()).collect();

        assert_eq!(found, [KEY]);
    }
}
