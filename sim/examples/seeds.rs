fn main() { let a: Vec<u64> = std::env::args().skip(1).map(|x| x.parse().unwrap()).collect();
 for s in a[0]..a[1] { let p = golem_sim::plan::Plan::from_seed(s); let t = std::time::Instant::now(); eprint!("{s} "); let r = p.run(None, false);
  eprintln!("steps {} calls {} {:?} v={:?} viol {:?}", r.steps, r.calls, t.elapsed(), r.answer.is_some(), r.violations.first()); if !r.violations.is_empty() && a.len()>2 { eprintln!("{p:#?}\n{:?}", r.notices); } } }
