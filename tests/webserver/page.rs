//! The page, in a real browser.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::sleep,
};

use crate::{
    browser::Browser,
    lab::{Lab, QUICK, nodes},
};

#[tokio::test]
async fn the_page_shows_clusters_as_they_change() {
    // A provider may call itself anything.
    let name = "<img src=x onerror=alert(1)>";
    let lab = Lab::start(&QUICK.replace("name: quick", &format!("name: '{name}'"))).await;
    let web = &lab.web;
    let mut browser = Browser::start().await;
    browser.open(&format!("{}/#token={}", web.url, web.token)).await;
    browser.until("document.body.innerText.includes('There is no cluster.')").await;
    let address = browser.value("location.href").await;

    web.post("/request_nodes", nodes("c", "head", 1)).await;
    web.post("/request_nodes", nodes("c", "worker", 2)).await;
    browser.until("document.querySelectorAll('.live .state.running').length === 3").await;
    let title = browser.value("document.querySelector('.title h2').innerText").await;
    let total = browser.value("document.getElementById('total-nodes').innerText").await;
    let provider = browser.value("document.querySelector('.live tr td:nth-child(4)').innerText");
    let provider = provider.await;
    let images = browser.value("document.images.length").await;
    web.post("/terminate", json!({"cluster_name": "c", "node_id": "node1"})).await;
    browser.until("document.body.innerText.includes('1 ended')").await;
    web.post("/end_cluster", json!({"cluster_name": "c"})).await;
    browser.until("document.querySelector('.title .state')?.innerText === 'closed'").await;
    let spent = browser.value("document.querySelector('.facts dd span').title").await;

    assert_eq!(address, json!(format!("{}/", web.url)), "the token is not in the address any more");
    assert_eq!((title, total), (json!("c"), json!("3")));
    assert!(provider.as_str().is_some_and(|text| text.starts_with(name)), "{provider}");
    assert_eq!(images, 0);
    let board = web.handle().board();
    let bill = board.closed.last().expect("it is closed").money.spent;
    assert_eq!(spent, json!(format!("{bill} GLM")));
    assert_eq!(browser.complaints, [json!(null); 0]);
    browser.end().await;
}

#[tokio::test]
async fn the_page_asks_for_the_token_and_shows_nothing_without_it() {
    let lab = Lab::start(QUICK).await;
    let web = &lab.web;
    web.post("/request_nodes", nodes("secret-name", "head", 1)).await;
    let mut browser = Browser::start().await;
    let is_asking = "!document.getElementById('ask').hidden";
    let answer = |token: &str| {
        format!(
            "document.getElementById('token').value = '{token}'; \
             document.querySelector('#ask button').click()"
        )
    };

    browser.open(&web.url).await;
    browser.until(is_asking).await;
    let shown = browser.value("document.body.innerHTML").await;
    browser.value(&answer("wrong")).await;
    browser.until(is_asking).await;
    browser.value(&answer(&web.token)).await;
    browser.until("document.body.innerText.includes('secret-name')").await;

    assert!(!shown.as_str().unwrap_or_default().contains("secret-name"));
    assert_eq!(browser.value("document.getElementById('ask').hidden").await, json!(true));
    assert_eq!(browser.complaints, [json!(null); 0]);
    browser.end().await;
}

#[tokio::test]
async fn the_page_sends_no_token_to_what_takes_the_place_of_its_webserver() {
    let mut lab = Lab::start(QUICK).await;
    let mut browser = Browser::start().await;
    let (url, token) = (lab.web.url.clone(), lab.web.token.clone());
    browser.open(&format!("{url}/#token={token}")).await;
    browser.until("document.body.innerText.includes('There is no cluster.')").await;

    lab.web.kill().await;
    let address = url.trim_start_matches("http://").to_owned();
    let heard = Arc::<Mutex<String>>::default();
    let impostor = tokio::spawn(impostor(address, Arc::clone(&heard)));
    let told = || heard.lock().expect("no panic").clone();
    while !told().contains("POST /prove") {
        sleep(Duration::from_millis(50)).await;
    }
    browser
        .until("document.getElementById('link').innerText === 'the webserver does not answer'")
        .await;

    assert!(!told().contains(&token) && !told().to_lowercase().contains("authorization"));
    impostor.abort();
    browser.end().await;
}

/// Answers whatever it is asked as if it were the webserver, and notes what it is told.
async fn impostor(address: String, heard: Arc<Mutex<String>>) {
    let listener = TcpListener::bind(address).await.expect("the webserver has ended");
    loop {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let heard = Arc::clone(&heard);
        tokio::spawn(async move {
            let mut piece = vec![0; 65_536];
            while let Ok(length @ 1..) = stream.read(&mut piece).await {
                let request = String::from_utf8_lossy(&piece[..length]).into_owned();
                let body = match request.starts_with("POST /prove") {
                    true => json!({"proof": "0".repeat(64)}),
                    false => json!({"version": "1", "server_warnings": [], "shutting_down": false}),
                };
                let (body, length) = (body.to_string(), body.to_string().len());
                heard.lock().expect("no panic").push_str(&request);
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}");
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        });
    }
}
