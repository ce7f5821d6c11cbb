//! The daemon's version, and which networks it knows.

use super::Finding;
use crate::config::{PaymentNetwork, networks::DAEMON_SINCE};

/// What is said of a daemon of this version that is to pay on `network`; `said` is how it names itself, such as
/// `0.17.0-rc10`.
pub(super) fn check(said: &str, network: PaymentNetwork) -> Finding {
    let cure = |since: [u16; 3]| {
        format!(
            "update it to {} or newer, by `pip install -U golem-node`, then start it anew",
            shown(since)
        )
    };
    let Some(version) = numbers(said) else {
        return Finding::note("version", format!("the daemon says that its version is `{said}`"));
    };
    if version < DAEMON_SINCE {
        let what = format!("the daemon is yagna {said}, which is too old");
        return Finding::bad("version", what, cure(network.since));
    }
    if version < network.since {
        let what = format!(
            "the daemon is yagna {said}, which does not know the network `{}`",
            network.name
        );
        return Finding::bad("version", what, cure(network.since));
    }
    Finding::good("version", format!("yagna {said} knows the network `{}`", network.name))
}

/// The three numbers that a version begins with.
fn numbers(said: &str) -> Option<[u16; 3]> {
    let core = said.split(['-', '+', ' ']).next()?;
    let mut parts = core.split('.').map(|part| part.parse().ok());
    Some([parts.next()??, parts.next()??, parts.next()??])
}

fn shown([major, minor, patch]: [u16; 3]) -> String {
    format!("{major}.{minor}.{patch}")
}

#[cfg(test)]
mod tests {
    use super::{check, numbers};
    use crate::{config::networks, doctor::Verdict};

    #[test]
    fn a_version_begins_with_three_numbers() {
        assert_eq!(numbers("0.17.0-rc10"), Some([0, 17, 0]));
        assert_eq!(numbers("0.17.6 (simulated)"), Some([0, 17, 6]));
        for text in ["", "0.17", "0.x.1", "0.17.99999999"] {
            assert_eq!(numbers(text), None, "{text}");
        }
    }

    #[test]
    fn a_network_has_its_first_version() {
        let verdict =
            |said, network| check(said, networks::find(network).expect("a network")).verdict;
        assert_eq!(verdict("0.17.0-rc10", "hoodi"), Verdict::Bad);
        assert_eq!(verdict("0.17.3", "hoodi"), Verdict::Bad);
        assert_eq!(verdict("0.17.4", "hoodi"), Verdict::Good);
        assert_eq!(verdict("0.17.0-rc10", "polygon"), Verdict::Good);
        assert_eq!(verdict("0.16.9", "polygon"), Verdict::Bad);
        assert_eq!(verdict("1.0.0", "hoodi"), Verdict::Good);
        assert_eq!(verdict("newest", "hoodi"), Verdict::Note);
    }
}
