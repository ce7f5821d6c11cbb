//! One body of cases, two arms: the simulated daemon in process and a real yagna. Where both pass,
//! what holds in the simulation holds at the daemon.

#![expect(clippy::print_stdout, reason = "names the case that fails")]

#[path = "../lab/mod.rs"]
mod lab;

mod arms;
mod cases;

use arms::{Real, Sim};
use cases::CASES;

#[test]
fn the_simulated_daemon_conforms() {
    for (name, case) in CASES {
        println!("{name}");
        case(&mut Sim::new());
    }
}

#[test]
fn the_real_daemon_conforms() {
    let real = Real::start();
    for (name, case) in CASES {
        println!("{name}");
        case(&mut real.arm());
    }
}
