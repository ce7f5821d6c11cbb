//! What others on the same bus do to an echo over it.

use crate::{
    MIB, bus,
    proxy::{Services as _, bytes, size},
    tell_echoes,
};

const SECOND: &str = "0x00000000000000000000000000000000000000a2";

/// What clients that do not read, and nodes that do not read, fall silent, or are removed, do to it.
pub(crate) async fn beside_bad_neighbours(bus: &bus::Stage) {
    let mut deaf = bus.proxy("give");
    deaf.send(&size(256 * MIB)).await;
    tell_echoes("bus, beside a client that does not read", bus).await;
    drop(deaf);

    let mut ignored = bus.proxy("ignore");
    // As much as both ends and the proxy hold, or less.
    ignored.send(&bytes(256 << 10, 1)).await;
    tell_echoes("bus, beside a node that does not read", bus).await;
    drop(ignored);

    let ip = [192, 168, 0, 4].into();
    let second = bus.join("second", ip, SECOND).await;
    let open = bus.connect(ip, second.port("tick")).await.expect("it listens");
    bus.silence(&second);
    tell_echoes("bus, beside a node that falls silent", bus).await;
    bus.remove(&second, SECOND).await;
    tell_echoes("bus, beside a node that is removed", bus).await;
    drop(open);

    for _ in 0..1000 {
        let stream = bus.connect(bus.ip(), bus.port("echo")).await.expect("it listens");
        bus.finish(stream).await;
    }
    tell_echoes("bus, after 1,000 connections", bus).await;
    bus.until_idle().await;
}
