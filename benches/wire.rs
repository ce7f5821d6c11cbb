//! The codec: a page of a hundred offers from JSON, and a counter-proposal to JSON.

use std::{hint::black_box, sync::Arc};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use golem_sim::{
    plan,
    scenario::Scenario,
    world::BEGINNING,
    yagna::{RequestNo, SimYagna},
};
use ray_on_golem::{
    core::{market::demand, rng::Seed},
    units::Span,
    yagna::{Decorations, ProposalId, Request, Response, wire},
};

const OFFERS: u64 = 100;

fn codec(criterion: &mut Criterion) {
    let text = format!("daemon: {{ warm: 1 }}\npopulations: [{{ count: {OFFERS} }}]");
    let scenario = Scenario::parse(text.as_bytes()).expect("a scenario");
    let mut daemon = SimYagna::new(&scenario, Seed::new(1), BEGINNING);
    let spec = plan::spec();
    let body = demand::body(
        &spec,
        "public",
        &plan::image("bench"),
        &Decorations::default(),
        BEGINNING.plus(Span::days(1)),
    );
    let body = Arc::new(body);
    daemon.handle(BEGINNING, RequestNo(0), &Request::Subscribe { demand: Arc::clone(&body) });
    let Some((_, Ok(Response::Subscribed(subscription)))) = daemon.poll_reply() else {
        panic!("not subscribed");
    };
    let poll = Request::CollectEvents {
        subscription: subscription.clone(),
        timeout: Span::ZERO,
        max_events: 100,
    };
    daemon.handle(BEGINNING, RequestNo(1), &poll);
    let Some((_, Ok(page))) = daemon.poll_reply() else { panic!("no events") };
    let page = wire::encode_response(Ok(&page));
    let proposal = ProposalId::from("R-0");
    let counter = Request::CounterProposal { subscription, proposal, body };

    let mut group = criterion.benchmark_group("wire");
    group.throughput(Throughput::Elements(OFFERS));
    group.bench_function("decode a page of offers", |bencher| {
        bencher.iter(|| wire::decode_response(black_box(&poll), black_box(&page)).is_ok());
    });
    group.throughput(Throughput::Elements(1));
    group.bench_function("encode a counter-proposal", |bencher| {
        bencher.iter(|| wire::encode_request(black_box(&counter)));
    });
    group.finish();
}

criterion_group!(benches, codec);
criterion_main!(benches);
