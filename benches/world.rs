//! Whole surveys in virtual time, with an auditor at each step.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use golem_sim::plan::Plan;

fn plans(criterion: &mut Criterion) {
    let steps = |plan: &Plan| plan.run(None, false).steps;
    let plans: Vec<Plan> = (0..50).map(Plan::from_seed).collect();
    let mut group = criterion.benchmark_group("audited steps");
    group.throughput(Throughput::Elements(plans.iter().map(steps).sum()));
    group.sample_size(10);
    group.bench_function("50 plans", |bencher| {
        bencher.iter(|| black_box(&plans).iter().map(steps).sum::<u64>());
    });
    group.finish();
}

criterion_group!(benches, plans);
criterion_main!(benches);
