//! The app-key from the daemon's command line, with scripts in its place.
#![cfg(unix)]

use std::{error::Error, path::Path};

use ray_on_golem::driver::appkey::AppKeySource;

#[tokio::test]
async fn a_given_key_is_used_as_it_is() {
    let source = AppKeySource { given: Some(" abc\n".to_owned()), ..source("absent.sh", "x") };

    assert_eq!(found(&source).await, "abc");
}

#[tokio::test]
async fn the_key_of_our_name_is_found_on_any_page() {
    let source = source("daemon.sh", "second");

    assert_eq!(found(&source).await, "k-second");
}

#[tokio::test]
async fn an_empty_variable_counts_as_not_given() {
    let source = AppKeySource { given: Some(String::new()), ..source("daemon.sh", "first") };

    assert_eq!(found(&source).await, "k-first");
}

#[tokio::test]
async fn a_key_that_is_on_no_page_is_created() {
    let source = source("daemon.sh", "ray-on-golem");

    assert_eq!(found(&source).await, "k-created-for-ray-on-golem");
}

#[tokio::test]
async fn errors_say_what_to_do() {
    let bad = AppKeySource { given: Some("a b".to_owned()), ..source("absent.sh", "x") };
    let mut errors = String::new();
    for source in
        [bad, source("absent.sh", "x"), source("no-daemon.sh", "x"), source("chatty.sh", "x")]
    {
        let error = source.find().await.expect_err("no key");
        let cause = error.source().map(|cause| format!("\n  caused by: {cause}"));
        errors += &format!("{error}{}\n", cause.unwrap_or_default());
    }

    insta::with_settings!({ filters => vec![(r"`[^` ]*/fixtures/", "`fixtures/")] }, {
        insta::assert_snapshot!(errors);
    });
}

async fn found(source: &AppKeySource) -> String {
    source.find().await.expect("a key").as_str().to_owned()
}

fn source(script: &str, name: &str) -> AppKeySource {
    let binary = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/appkey").join(script);
    AppKeySource { given: None, binary, name: name.to_owned() }
}
