//! How fast offers are filtered and scored: each of both must do a million offers a second.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use golem_sim::plan;
use ray_on_golem::{
    core::{
        market::{
            choice::Choice,
            limits::Limits,
            offer::Offer,
            price::Price,
            score::{Score, Scorer},
        },
        reputation::Known,
        rng::Seed,
    },
    units::Glm,
};

const OFFERS: u64 = 1_000;

fn offers() -> Vec<Offer> {
    let price = |ordinal, what| {
        let atto = Seed::new(1).below(200_000_000_000_000, what, ordinal, 0);
        Glm::from_atto(u128::from(atto))
    };
    (0..OFFERS)
        .map(|ordinal| Offer {
            price: Price {
                start: price(ordinal, "start"),
                cpu_second: price(ordinal, "cpu"),
                env_second: price(ordinal, "env"),
                ..Price::default()
            },
            fingerprint: ordinal,
            ..Offer::example()
        })
        .collect()
}

fn filter_and_score(criterion: &mut Criterion) {
    let offers = offers();
    let limits = plan::spec().limits;
    let scorer =
        Scorer::new(limits.per_cpu_expected_usage, Choice::recommended().weights, Seed::new(1));
    let limits = Limits::new(&limits);
    let mut group = criterion.benchmark_group("offers");
    group.throughput(Throughput::Elements(OFFERS));
    group.bench_function("filter", |bencher| {
        bencher.iter(|| {
            let passed = |offer: &&Offer| limits.exceeded(&offer.price, offer.threads).is_none();
            black_box(&offers).iter().filter(passed).count()
        });
    });
    group.bench_function("score", |bencher| {
        bencher.iter(|| -> Option<Score> {
            black_box(&offers).iter().map(|offer| scorer.score(offer, &Known::NOTHING)).max()
        });
    });
    group.finish();
}

criterion_group!(benches, filter_and_score);
criterion_main!(benches);
