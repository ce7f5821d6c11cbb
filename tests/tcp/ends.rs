//! How connections end, and what of them is left.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    task::Poll,
};

use ray_on_golem::{tcp::ConnectError, units::Span};

use crate::{
    node::Service,
    world::{NODE, PORT, Way, World, pattern},
};

const WAY: Way = Way::clean(Span::millis(5));

#[test]
fn only_members_are_connected_to() {
    let mut world = World::new(1, WAY);
    let stranger = Ipv4Addr::new(10, 0, 0, 4);
    let mut connect = |ip, port| world.ours.connect(SocketAddrV4::new(ip, port)).map(|_| ());

    assert_eq!(connect(stranger, PORT), Err(ConnectError::NoMember(stranger)));
    assert_eq!(connect(NODE, 0), Err(ConnectError::NoPort));
    assert_eq!(connect(NODE, PORT), Ok(()));
}

#[test]
fn a_closed_port_is_refused_within_a_round_trip() {
    let mut world = World::new(1, WAY);
    let id = world.ours.connect(SocketAddrV4::new(NODE, 81)).expect("a member");

    let made = world.until(Span::secs(1), |world| {
        let cx = &mut std::task::Context::from_waker(std::task::Waker::noop());
        match world.ours.poll_connected(id, cx) {
            Poll::Ready(made) => Some(made),
            Poll::Pending => None,
        }
    });

    assert!(made.is_some_and(|made| made.is_err()));
}

#[test]
fn the_other_direction_goes_on_after_an_end() {
    let mut world = World::with(1, WAY, Service::Shut);
    let id = world.connect();

    let end = world.until(Span::secs(1), |world| match world.read(id) {
        Poll::Ready(read) => Some(read),
        Poll::Pending => None,
    });
    assert_eq!(end, Some(Ok(Vec::new())));
    world.upload(id, 100_000).expect("the node still reads");
    world.ours.shutdown(id);
    world.pass(Span::secs(1));

    assert_eq!((world.node.read.len(), world.node.open()), (100_000, 0));
}

#[test]
fn a_reset_is_an_error_and_no_end() {
    let mut world = World::with(1, WAY, Service::Reset);
    let id = world.connect();
    world.write(id, b"x");

    let read = world.until(Span::secs(1), |world| match world.read(id) {
        Poll::Ready(read) => Some(read),
        Poll::Pending => None,
    });

    assert!(read.is_some_and(|read| read.is_err()));
}

#[test]
fn what_is_left_unfinished_is_reset_at_the_node() {
    let mut world = World::new(1, WAY);
    for _ in 0..50 {
        let id = world.connect();
        world.write(id, b"x");
        world.pass(Span::millis(50));
        world.ours.leave(id);
    }
    world.connect();
    world.pass(Span::millis(50));
    assert_eq!(world.node.open(), 1);

    world.ours.abandon();
    world.pass(Span::secs(1));

    assert_eq!((world.node.open(), world.ours.connections()), (0, 0));
}

#[test]
fn a_thousand_connections_leave_nothing() {
    let mut world = World::new(1, WAY);
    for _ in 0..1000 {
        let id = world.connect();
        assert!(world.echo(id, 10));
        world.ours.leave(id);
        world.node.read.clear();
    }
    world.pass(Span::secs(1));

    assert_eq!((world.node.open(), world.ours.connections()), (0, 0));
}

#[test]
fn a_node_that_falls_silent_is_given_up_after_a_minute() {
    let mut world = World::new(1, WAY);
    let id = world.connect();
    world.is_silent = true;
    let began = world.now;

    let read = world.until(Span::secs(200), |world| match world.read(id) {
        Poll::Ready(read) => Some(read),
        Poll::Pending => None,
    });

    assert!(read.is_some_and(|read| read.is_err()));
    let took = world.now.since(began);
    assert!(took >= Span::secs(60) && took < Span::secs(80), "{took}");
}

#[test]
fn an_idle_connection_is_kept() {
    let mut world = World::new(1, WAY);
    let id = world.connect();

    world.pass(Span::hours(1));

    assert!(world.echo(id, 1000));
}

#[test]
fn what_cannot_be_sent_for_a_while_is_sent_at_once_when_it_can() {
    let mut world = World::with(1, WAY, Service::Sink);
    let id = world.connect();
    world.ours.set_up(false);
    world.is_silent = true;
    let sent = pattern(100_000);
    assert_eq!(world.write(id, &sent), 100_000);
    world.pass(Span::secs(30));
    assert_eq!(world.node.read.len(), 0);

    world.ours.set_up(true);
    world.is_silent = false;
    let arrived = world.until(Span::secs(1), |world| (world.node.read == sent).then_some(()));

    assert!(arrived.is_some(), "{} bytes after a second", world.node.read.len());
}

#[test]
fn a_connection_that_is_not_read_holds_up_no_other() {
    let mut world = World::new(1, WAY);
    let deaf = world.connect();
    let big = pattern(4 << 20);
    let mut at = 0;
    // The echo fills our own buffer, and then the node's.
    let _: Option<()> = world.until(Span::secs(20), |world| {
        at += world.write(deaf, &big[at..]);
        None
    });
    assert!(at < big.len(), "it takes no more at {at}");
    world.node.read.clear();

    let other = world.connect();

    assert!(world.echo(other, 300_000));
}

#[test]
fn a_node_that_reads_nothing_is_sent_no_more_than_it_has_room_for() {
    let mut world = World::with(1, WAY, Service::Deaf);
    let id = world.connect();
    let big = pattern(8 << 20);
    let mut at = 0;

    let _: Option<()> = world.until(Span::secs(100), |world| {
        at += world.write(id, &big[at..]);
        None
    });

    // Its buffer of 1 MiB, and ours.
    assert!(at <= (1 << 20) + (256 << 10), "{at}");
}

#[test]
fn a_member_that_is_gone_delays_no_connection_to_another_one() {
    let mut world = World::new(1, WAY);
    let gone: Vec<Ipv4Addr> = (10..60).map(|last| Ipv4Addr::new(10, 0, 0, last)).collect();
    for ip in &gone {
        world.ours.add(*ip);
        world.ours.connect(SocketAddrV4::new(*ip, PORT)).expect("a member");
    }
    // Their frames lead nowhere.
    world.ours.poll(world.now);
    while world.ours.next_frame().is_some() {}
    for ip in &gone {
        world.ours.remove(*ip);
    }
    let began = world.now;

    world.connect();

    assert!(world.now.since(began) < Span::millis(100));
}
