//! Many runs on all cores, with a line that moves while somebody watches.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use indicatif::{ProgressBar, ProgressStyle};

/// Does the works of the numbers below `count`, each thread into a heap of its own, until one says
/// that it is enough. The heaps together do not depend on how many threads there are.
pub(crate) fn work<T: Default + Send>(
    count: u64,
    threads: Option<usize>,
    what: &'static str,
    run: impl Fn(&mut T, u64) -> Option<()> + Sync,
) -> Vec<T> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let threads = threads.unwrap_or(cores).max(1);
    let next = AtomicU64::new(0);
    let bar = bar(count, what);
    let heaps = thread::scope(|scope| {
        let work = || {
            let mut heap = T::default();
            loop {
                let nth = next.fetch_add(1, Ordering::Relaxed);
                if nth >= count || run(&mut heap, nth).is_none() {
                    return heap;
                }
                bar.inc(1);
            }
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let joined = workers.into_iter().map(|worker| match worker.join() {
            Ok(heap) => heap,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        joined.collect()
    });
    bar.finish_and_clear();
    heaps
}

/// Seen on a terminal only.
fn bar(count: u64, what: &str) -> ProgressBar {
    let template = format!("{{spinner}} {{pos}} of {{len}} {what}, {{eta}} left");
    let style = ProgressStyle::with_template(&template);
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(count).with_style(style)
}
