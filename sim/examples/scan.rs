use golem_sim::drill::{Mode, Plan, shrink::shrink};
use ray_on_golem::core::planted::Bug;
fn main() {
    let bugs: Vec<Bug> = Bug::ALL.into_iter().skip(17).collect();
    let results = std::sync::Mutex::new(Vec::new());
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|s| { for _ in 0..2 { s.spawn(|| loop {
        let i = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let Some(bug) = bugs.get(i) else { break };
        let t = std::time::Instant::now();
        let mut hit = None; let mut count = 0; let mut kinds = std::collections::BTreeMap::new();
        for seed in 0..5000u64 {
            let out = std::panic::catch_unwind(|| Plan::from_seed(seed, Mode::Swarm).run(Some(*bug), false));
            match out { Ok(o) => if let Some(v) = o.violation { *kinds.entry(v.invariant).or_insert(0) += 1; count += 1; if hit.is_none() { hit = Some((seed, v.invariant, v.what)); } }, Err(_) => { *kinds.entry("PANIC").or_insert(0) += 1; } }
            if count >= 5 || (hit.is_some() && seed > 300) { break; }
            if t.elapsed().as_secs() > 60 { break; }
        }
        let line = match hit { Some((seed, inv, what)) => { let (small, runs) = shrink(&Plan::from_seed(seed, Mode::Swarm), inv, Some(*bug)); format!("{bug:?}: seed {seed} {inv} kinds {kinds:?} ops {} runs {runs} {:?} :: {what}", small.ops.len(), t.elapsed()) }, None => format!("{bug:?}: SURVIVED {:?} {kinds:?}", t.elapsed()) };
        println!("{line}"); results.lock().unwrap().push(line);
    }); } });
}
