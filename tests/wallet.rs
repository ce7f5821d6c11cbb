//! The wallet: the faucet is asked where tokens cost nothing, once, and only when there are few.
#![expect(clippy::disallowed_methods, reason = "runs a program")]

use std::{fs, process::Command};

use ray_on_golem::{
    config::networks,
    driver::{
        log::Log,
        wallet::{DaemonCli, Wallet, WalletError},
    },
};
use tempfile::TempDir;

/// A wallet with so much in it, and a faucet that gives so much; none is one that fails.
struct Lab {
    home: TempDir,
    wallet: Wallet,
}

impl Lab {
    fn new(amount: &str, faucet: Option<&str>) -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let binary = home.path().join("yagna");
        let path = home.path().display();
        let gives = match faucet {
            Some(gives) => format!("echo {gives} > {path}/amount"),
            None => "echo 'Error: the faucet is dry' >&2; exit 1".to_owned(),
        };
        let script = format!(
            "#!/bin/sh\necho \"$*\" >> {path}/asked\ncase \"$*\" in\n\
             \"payment fund\"*) {gives} ;;\n\
             *--json) echo \"{{\\\"amount\\\":\\\"$(cat {path}/amount)\\\"}}\" ;;\n\
             *) echo table ;;\nesac\n"
        );
        fs::write(home.path().join("amount"), amount).expect("a writable directory");
        let draft = home.path().join("draft");
        fs::write(&draft, script).expect("a writable directory");
        // Written by a process of its own: one that another test starts meanwhile would hold a file of ours open, and
        // what is open for writing cannot be run.
        let installed = Command::new("install").arg("--mode=755").args([&draft, &binary]).status();
        assert!(installed.expect("`install` is a usual program").success());
        let cli = DaemonCli { binary, environment: Vec::new() };
        Self { home, wallet: Wallet::new("0xabc".to_owned(), cli, Log::silent()) }
    }

    /// What the daemon says is in the wallet of a network.
    async fn amount(&self, network: &str) -> Result<String, WalletError> {
        let network = networks::find(network).expect("a network");
        let status = self.wallet.status(network).await?;
        assert_eq!(status.table, "table\n");
        Ok(status.document["amount"].as_str().expect("text").to_owned())
    }

    /// How often the faucet was asked. Whatever is asked is about our account, which is not always the default one.
    fn asked(&self) -> usize {
        let asked = fs::read_to_string(self.home.path().join("asked")).unwrap_or_default();
        let payments: Vec<&str> =
            asked.lines().filter(|line| line.starts_with("payment ")).collect();
        assert!(payments.iter().all(|line| line.contains(" --account 0xabc")), "{payments:?}");
        asked.lines().filter(|line| line.starts_with("payment fund ")).count()
    }
}

#[tokio::test]
async fn a_low_wallet_is_funded_once_however_many_ask() {
    let lab = Lab::new("0", Some("1000"));

    let (first, second) = tokio::join!(lab.amount("hoodi"), lab.amount("hoodi"));

    assert_eq!((first, second), (Ok("1000".to_owned()), Ok("1000".to_owned())));
    fs::write(lab.home.path().join("amount"), "0").expect("a writable directory");
    assert_eq!(lab.amount("hoodi").await, Ok("0".to_owned()), "what is spent is not given again");
    assert_eq!(lab.asked(), 1);
}

#[tokio::test]
async fn a_wallet_with_enough_in_it_is_left_alone() {
    let lab = Lab::new("1", Some("1000"));

    assert_eq!(lab.amount("hoodi").await, Ok("1".to_owned()));
    assert_eq!(lab.asked(), 0);
}

#[tokio::test]
async fn real_tokens_are_asked_of_nobody() {
    let lab = Lab::new("0", Some("1000"));

    assert_eq!(lab.amount("polygon").await, Ok("0".to_owned()));
    assert_eq!(lab.asked(), 0);
}

#[tokio::test]
async fn a_faucet_that_gives_nothing_is_told_of_where_nothing_is_left() {
    let empty = Lab::new("0", None).amount("hoodi").await.expect_err("there is nothing");
    let low = Lab::new("0.5", None).amount("hoodi").await;

    let words = empty.to_string();
    assert!(words.starts_with("Can't prepare `erc20/hoodi` funds! "), "{words}");
    assert!(words.ends_with("the faucet is dry"), "{words}");
    assert_eq!(low, Ok("0.5".to_owned()), "it will do for now");
}
