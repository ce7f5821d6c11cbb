//! One input of the machine: a page of a hundred offers, taken in, filtered, scored, and answered.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use golem_sim::{
    plan,
    scenario::Scenario,
    world::BEGINNING,
    yagna::{RequestNo, SimYagna},
};
use ray_on_golem::{
    core::{
        Command, Input, Machine, Output,
        ids::{CallId, RequestId},
        reputation::Reputation,
        rng::Seed,
        survey::SurveyPlan,
    },
    units::{Glm, Span},
    yagna::{PlatformId, Request, Response},
};

const OFFERS: u64 = 100;

/// A machine that has published its demand, the call that waits for events, and a page of them.
fn ready() -> (Machine, CallId, Response) {
    let text = format!("daemon: {{ warm: 1 }}\npopulations: [{{ count: {OFFERS} }}]");
    let scenario = Scenario::parse(text.as_bytes()).expect("a scenario");
    let mut daemon = SimYagna::new(&scenario, Seed::new(1), BEGINNING);
    let mut machine = Machine::new(Seed::new(1), BEGINNING);
    let spec =
        ray_on_golem::core::market::spec::NodeSpec { priority_subnet_tag: None, ..plan::spec() };
    let survey = SurveyPlan {
        spec,
        image: plan::image("bench"),
        platform: PlatformId::from("erc20-hoodi-tglm"),
        funds: Glm::from_whole(1),
        duration: Span::mins(5),
        reputation: Reputation::default(),
        parallel: 64,
        explains: false,
        pool_capacity: 1_000,
    };
    let mut input =
        Input::Requested { id: RequestId(1), command: Command::Survey(Box::new(survey)) };
    loop {
        machine.handle(BEGINNING, input);
        let mut asked = None;
        while let Some(output) = machine.poll_output() {
            if let Output::Call { call, request, .. } = output {
                asked = Some((call, request));
            }
        }
        let (call, request) = asked.expect("the machine asks one thing after the other");
        daemon.handle(BEGINNING, RequestNo(0), &request);
        let (_, reply) = daemon.poll_reply().expect("an answer at once");
        let response = reply.expect("no refusal");
        if matches!(request, Request::CollectEvents { .. }) {
            return (machine, call, response);
        }
        input = Input::Replied { call, result: Ok(response) };
    }
}

fn page_of_offers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("machine");
    group.throughput(Throughput::Elements(OFFERS));
    group.bench_function("a page of offers", |bencher| {
        bencher.iter_batched(
            ready,
            |(mut machine, call, response)| {
                machine.handle(BEGINNING, Input::Replied { call, result: Ok(response) });
                std::iter::from_fn(|| machine.poll_output()).count()
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

criterion_group!(benches, page_of_offers);
criterion_main!(benches);
