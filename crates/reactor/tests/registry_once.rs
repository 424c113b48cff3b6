//! Watchers that wait for one event: what the kernel is told, and what it no longer says.
#![allow(clippy::unwrap_used, missing_docs)]

mod fixture;

use std::os::fd::{AsRawFd, RawFd};

use hotloop_reactor::Direction::{Read, Write as Writing};
use hotloop_reactor::{Interest, Poller};
use rustix::io::dup2;

use fixture::{Fixture, ready_pair};

impl Fixture {
    fn once(&mut self, fd: RawFd, watcher: &'static str) {
        let replaced = self.registry.watch_once(&self.poller, fd, Read, watcher);
        assert_eq!(replaced.unwrap().same, None);
    }

    /// The one event that there is resolves to this watcher.
    fn expect(&self, watcher: &'static str) {
        let token = self.event().token;
        assert_eq!(self.registry.resolve(token, Read), Some(&watcher));
    }
}

#[test]
fn after_its_event_a_descriptor_is_silent_and_can_be_watched_again() {
    let (near, _far) = ready_pair();
    let fd = near.as_raw_fd();
    let mut fixture = Fixture::new();
    for watcher in ["first", "second", "third"] {
        fixture.once(fd, watcher);
        fixture.expect(watcher);
        assert_eq!(fixture.events(), []);
        assert_eq!(
            fixture.registry.finish(&fixture.poller, fd, Read),
            Some(watcher)
        );
        assert_eq!(fixture.events(), []);
        assert!(fixture.registry.is_empty());
    }
}

#[test]
fn an_event_of_an_earlier_watcher_does_not_resolve_to_the_next() {
    let (near, _far) = ready_pair();
    let fd = near.as_raw_fd();
    let mut fixture = Fixture::new();
    fixture.once(fd, "first");
    let event = fixture.events()[0];
    fixture.registry.finish(&fixture.poller, fd, Read);
    fixture.once(fd, "second");
    assert_eq!(fixture.registry.resolve(event.token, Read), None);
    fixture.expect("second");
}

#[test]
fn rearming_brings_the_event_again() {
    let (near, _far) = ready_pair();
    let fd = near.as_raw_fd();
    let mut fixture = Fixture::new();
    fixture.once(fd, "watcher");
    fixture.expect("watcher");
    assert_eq!(fixture.events(), []);
    fixture.registry.rearm(&fixture.poller, fd).unwrap();
    fixture.expect("watcher");
}

#[test]
fn a_number_that_was_reused_is_watched_anew() {
    let (near, _far) = ready_pair();
    let (other, _other_far) = ready_pair();
    let mut near = near;
    let fd = near.as_raw_fd();
    let mut fixture = Fixture::new();
    fixture.once(fd, "first");
    fixture.expect("first");
    fixture.registry.finish(&fixture.poller, fd, Read);
    dup2(&other, &mut near).unwrap();
    fixture.once(fd, "second");
    fixture.expect("second");
}

#[test]
fn a_standing_watcher_after_it_is_reported_again_and_again() {
    let (near, _far) = ready_pair();
    let fd = near.as_raw_fd();
    let mut fixture = Fixture::new();
    fixture.once(fd, "once");
    fixture.expect("once");
    fixture.registry.finish(&fixture.poller, fd, Read);
    let (registry, poller) = (&mut fixture.registry, &fixture.poller);
    registry.watch(poller, fd, Read, "standing").unwrap();
    fixture.expect("standing");
    fixture.expect("standing");
    // `finish` on it is as good as `unwatch`.
    assert_eq!(
        fixture.registry.finish(&fixture.poller, fd, Read),
        Some("standing")
    );
    assert_eq!(fixture.events(), []);
}

#[test]
fn a_standing_watcher_in_its_place_is_reported_again_and_again() {
    let (near, _far) = ready_pair();
    let fd = near.as_raw_fd();
    let mut fixture = Fixture::new();
    fixture.once(fd, "once");
    let (registry, poller) = (&mut fixture.registry, &fixture.poller);
    let replaced = registry.watch(poller, fd, Read, "standing").unwrap();
    assert_eq!(replaced.same, Some("once"));
    fixture.expect("standing");
    fixture.expect("standing");
}

#[test]
fn two_directions_wait_independently() {
    let (near, _far) = ready_pair();
    let fd = near.as_raw_fd();
    let mut fixture = Fixture::new();
    fixture.once(fd, "reader");
    let (registry, poller) = (&mut fixture.registry, &fixture.poller);
    registry.watch_once(poller, fd, Writing, "writer").unwrap();
    let event = fixture.events()[0];
    assert!(event.readable && event.writable);
    let (registry, poller) = (&mut fixture.registry, &fixture.poller);
    assert_eq!(registry.finish(poller, fd, Writing), Some("writer"));
    assert_eq!(registry.interest(fd), Interest::READ);
    registry.rearm(poller, fd).unwrap();
    fixture.expect("reader");
    assert_eq!(
        fixture.registry.finish(&fixture.poller, fd, Read),
        Some("reader")
    );
    assert_eq!(fixture.events(), []);
}

#[test]
fn one_that_is_taken_out_before_its_event_is_silent() {
    let (near, _far) = ready_pair();
    let fd = near.as_raw_fd();
    let mut fixture = Fixture::new();
    fixture.once(fd, "watcher");
    assert_eq!(
        fixture.registry.unwatch(&fixture.poller, fd, Read),
        Some("watcher")
    );
    assert_eq!(fixture.events(), []);
    fixture.once(fd, "next");
    fixture.registry.forget(&fixture.poller, fd);
    assert_eq!(fixture.events(), []);
    fixture.once(fd, "last");
    fixture.expect("last");
}

#[test]
fn another_poller_is_told_all_over_as_in_a_forked_child() {
    let (near, _far) = ready_pair();
    let fd = near.as_raw_fd();
    let mut fixture = Fixture::new();
    fixture.once(fd, "parent");
    fixture.expect("parent");
    fixture.registry.finish(&fixture.poller, fd, Read);
    fixture.poller = Poller::new().unwrap();
    fixture.once(fd, "child");
    fixture.expect("child");
}
