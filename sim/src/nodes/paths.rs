//! The paths of a node that is only a directory of the host.
//!
//! Whatever it is told to run names the paths of a machine: its bootstrap writes to `/etc/environment`, rsync copies to
//! `/root`. Without a mount namespace these are the host's. So they are replaced in the text of every command, by those
//! in the node's directory; a program that has such a path in itself sees the host's.

use std::path::{Path, PathBuf};

/// What a node has for itself, with everything below.
const OWN: [&str; 13] = [
    "/etc/environment",
    "/etc/hostname",
    "/etc/hosts",
    "/etc/profile.d",
    "/etc/ray_on_golem",
    "/etc/ssh",
    "/golem",
    "/opt/ray_on_golem",
    "/root",
    "/root_copy",
    "/tmp",
    "/var/log",
    "/var/tmp",
];

/// The paths of one node.
#[derive(Clone, Debug)]
pub(super) struct Paths {
    root: PathBuf,
}

impl Paths {
    /// Those of a node whose files are in a directory.
    pub(super) fn below(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// A command with the node's paths in place of the host's.
    pub(super) fn in_command(&self, command: &[u8]) -> Vec<u8> {
        let mut moved = Vec::with_capacity(command.len());
        let mut rest = command;
        while !rest.is_empty() {
            let is_begin = moved.last().is_none_or(|before| may_precede(*before));
            if is_begin && let Some(below) = self.below_a_node(rest) {
                moved.extend_from_slice(self.root.as_os_str().as_encoded_bytes());
                rest = below;
            } else if is_begin && begins_with_own(rest) {
                moved.extend_from_slice(self.root.as_os_str().as_encoded_bytes());
            }
            // The path itself follows, up to its last byte, none of which begins another one.
            let length = rest.iter().skip(1).take_while(|byte| is_of_name(**byte)).count() + 1;
            let (word, others) = rest.split_at(length.min(rest.len()));
            moved.extend_from_slice(word);
            rest = others;
        }
        moved
    }

    /// What follows the directory of a node of this network, if a text begins with one. A command that a head hands on to a
    /// worker names the head's, and means the worker's.
    fn below_a_node<'a>(&self, text: &'a [u8]) -> Option<&'a [u8]> {
        let all = self.root.parent()?.as_os_str().as_encoded_bytes();
        let node = text.strip_prefix(all)?.strip_prefix(b"/node")?;
        let number = node.iter().take_while(|byte| byte.is_ascii_digit()).count();
        (number > 0).then(|| &node[number..])
    }

    /// The same for text.
    pub(super) fn in_text(&self, text: &str) -> String {
        String::from_utf8_lossy(&self.in_command(text.as_bytes())).into_owned()
    }
}

/// What stands before a path in a command.
const fn may_precede(byte: u8) -> bool {
    byte.is_ascii_whitespace()
        || matches!(byte, b'\'' | b'"' | b'`' | b'=' | b':' | b';' | b',')
        || matches!(byte, b'(' | b'{' | b'[' | b'|' | b'&' | b'<' | b'>')
}

/// What a name in a path consists of.
const fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'+' | b'@' | b'%' | b'~')
}

fn begins_with_own(text: &[u8]) -> bool {
    OWN.iter().any(|own| {
        let after = text.strip_prefix(own.as_bytes());
        after.is_some_and(|after| after.first().is_none_or(|next| !is_of_name(*next)))
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::Paths;

    fn moved(command: &str) -> String {
        Paths::below(Path::new("/nodes/n")).in_text(command)
    }

    #[test]
    fn own_paths_lead_into_the_directory() {
        for (said, meant) in [
            ("/root", "/nodes/n/root"),
            ("cat /tmp/x '/etc/hosts'", "cat /nodes/n/tmp/x '/nodes/n/etc/hosts'"),
            ("mv \"/root_copy/$file\" /root;", "mv \"/nodes/n/root_copy/$file\" /nodes/n/root;"),
            ("A=/tmp:/var/tmp/b>/tmp/c", "A=/nodes/n/tmp:/nodes/n/var/tmp/b>/nodes/n/tmp/c"),
            ("rsync --server -vz . /tmp/a\\ b/", "rsync --server -vz . /nodes/n/tmp/a\\ b/"),
            (
                "echo '1' >> /etc/environment\nls /tmp",
                "echo '1' >> /nodes/n/etc/environment\nls /nodes/n/tmp",
            ),
        ] {
            assert_eq!(moved(said), meant);
        }
    }

    #[test]
    fn a_path_is_moved_once() {
        let [head, worker] =
            ["/tmp/all/node3", "/tmp/all/node14"].map(|it| Paths::below(Path::new(it)));

        let once = head.in_text("cat /tmp/x /etc/hosts");
        assert_eq!(once, "cat /tmp/all/node3/tmp/x /tmp/all/node3/etc/hosts");
        assert_eq!(head.in_text(&once), once);
        let on_worker = worker.in_text(&once);
        assert_eq!(on_worker, "cat /tmp/all/node14/tmp/x /tmp/all/node14/etc/hosts");
        assert_eq!(head.in_text("cd /tmp/all/node3"), "cd /tmp/all/node3");
    }

    #[test]
    fn all_else_stays() {
        for said in [
            "/bin/sh -c true",
            "/usr/tmp/x ~/tmp ./root a/tmp $HOME/root",
            "/rootless /root.old /tmp2 /etc/passwd /etc/hosts.allow",
            "http://host/tmp/x file:///tmp/x s/tmp/x/",
            "ssh-rsa AAAA+/tmp/root==",
            "",
        ] {
            assert_eq!(moved(said), said);
        }
    }

    #[test]
    fn bytes_that_are_no_text_stay_as_they_are() {
        let command = b"printf '\xff\xfe' > /tmp/x";

        assert_eq!(
            Paths::below(Path::new("/nodes/n")).in_command(command),
            b"printf '\xff\xfe' > /nodes/n/tmp/x"
        );
    }
}
