//! The payment networks, as one table.
//!
//! The daemon's own names: <https://github.com/golemfactory/yagna> 0.17.

/// A chain on which GLM are paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PaymentNetwork {
    /// Its name, as the cluster file and the daemon have it.
    pub name: &'static str,
    /// The daemon's driver for it.
    pub driver: &'static str,
    /// The token that is paid; `tGLM` is worth nothing.
    pub token: &'static str,
    /// The payment platform, as demands and allocations name it.
    pub platform: &'static str,
    /// Whether its tokens are worth nothing.
    pub testnet: bool,
    /// Whether the daemon can get tokens from a faucet.
    pub fundable: bool,
    /// The first version of the daemon that knows it, of those that this program can use at all.
    pub since: [u16; 3],
    /// The network to use in its place, if the chain has been shut down.
    pub replaced_by: Option<&'static str>,
}

/// The one driver that the daemon has.
pub const DRIVER: &str = "erc20";

/// The network that is used if the cluster file names none: a testnet that is alive.
pub const DEFAULT: PaymentNetwork =
    PaymentNetwork { since: [0, 17, 4], ..testnet("hoodi", "erc20-hoodi-tglm") };

/// The first version of the daemon that has all that is asked of it.
pub const DAEMON_SINCE: [u16; 3] = [0, 17, 0];

/// Every network that the daemon knows, the ones to use first.
pub const NETWORKS: [PaymentNetwork; 9] = [
    DEFAULT,
    mainnet("polygon", "erc20-polygon-glm"),
    mainnet("mainnet", "erc20-mainnet-glm"),
    testnet("amoy", "erc20-amoy-tglm"),
    testnet("sepolia", "erc20-sepolia-tglm"),
    testnet("holesky", "erc20-holesky-tglm").retired("hoodi"),
    testnet("goerli", "erc20-goerli-tglm").retired("hoodi"),
    testnet("rinkeby", "erc20-rinkeby-tglm").retired("hoodi"),
    testnet("mumbai", "erc20-mumbai-tglm").retired("amoy"),
];

/// The network called `name`, retired ones too.
#[must_use]
pub fn find(name: &str) -> Option<PaymentNetwork> {
    NETWORKS.into_iter().find(|network| network.name == name)
}

/// The network of a payment platform.
#[must_use]
pub fn of_platform(platform: &str) -> Option<PaymentNetwork> {
    NETWORKS.into_iter().find(|network| network.platform == platform)
}

/// The names of all networks that are alive.
#[must_use]
pub fn names_in_use() -> Vec<&'static str> {
    NETWORKS
        .into_iter()
        .filter(|network| network.replaced_by.is_none())
        .map(|network| network.name)
        .collect()
}

impl PaymentNetwork {
    const fn retired(self, replacement: &'static str) -> Self {
        Self { fundable: false, replaced_by: Some(replacement), ..self }
    }
}

const fn mainnet(name: &'static str, platform: &'static str) -> PaymentNetwork {
    PaymentNetwork {
        name,
        driver: DRIVER,
        token: "GLM",
        platform,
        testnet: false,
        fundable: false,
        since: DAEMON_SINCE,
        replaced_by: None,
    }
}

const fn testnet(name: &'static str, platform: &'static str) -> PaymentNetwork {
    PaymentNetwork {
        name,
        driver: DRIVER,
        token: "tGLM",
        platform,
        testnet: true,
        fundable: true,
        since: DAEMON_SINCE,
        replaced_by: None,
    }
}

#[cfg(test)]
mod tests {
    use super::{NETWORKS, find};

    #[test]
    fn the_table_agrees_with_itself() {
        for network in NETWORKS {
            let platform =
                format!("{}-{}-{}", network.driver, network.name, network.token.to_lowercase());
            assert_eq!(network.platform, platform);
            assert_eq!(network.testnet, network.token == "tGLM");
            assert_eq!(find(network.name), Some(network));
            if let Some(replacement) = network.replaced_by {
                let replacement = find(replacement).expect("a network of the table");
                assert_eq!(replacement.replaced_by, None);
                assert_eq!(replacement.testnet, network.testnet);
            }
        }
    }
}
