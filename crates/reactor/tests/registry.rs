//! The registry over a real poller: watchers come and go, descriptors are closed and their numbers reused.
//!
//! `dup2(2)` puts another file under a number in one step, so that no other thread of the test process can take the
//! number in between.
#![allow(clippy::unwrap_used, missing_docs)]

mod fixture;

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use hotloop_reactor::Direction::{Read, Write as Writing};
use hotloop_reactor::{Forgotten, Interest, Registry, Replaced};
use rustix::io::dup2;

use fixture::{Fixture, ready_pair};

const EBADF: Option<i32> = Some(9);
const EPERM: Option<i32> = Some(1);
const NOBODY: Replaced<&str> = Replaced {
    same: None,
    stale: None,
};

fn regular_file() -> OwnedFd {
    std::fs::File::open(env!("CARGO_MANIFEST_PATH"))
        .unwrap()
        .into()
}

#[test]
fn both_directions_share_one_registration_and_go_one_by_one() {
    let Fixture {
        poller,
        mut registry,
    } = Fixture::new();
    let (near, _far) = ready_pair();
    let fd = near.as_raw_fd();
    assert_eq!(registry.watch(&poller, fd, Read, "r").unwrap(), NOBODY);
    assert_eq!(registry.watch(&poller, fd, Writing, "w").unwrap(), NOBODY);
    assert_eq!((registry.len(), registry.interest(fd)), (1, Interest::BOTH));
    assert_eq!(registry.iter().collect::<Vec<_>>(), [(fd, Interest::BOTH)]);
    assert_eq!(registry.watchers().collect::<Vec<_>>(), [&"r", &"w"]);

    let fixture = Fixture { poller, registry };
    let event = fixture.event();
    assert!(event.readable && event.writable);
    assert_eq!(fixture.registry.resolve(event.token, Read), Some(&"r"));
    assert_eq!(fixture.registry.resolve(event.token, Writing), Some(&"w"));
    assert_eq!(fixture.registry.token(fd), Some(event.token));

    let Fixture {
        poller,
        mut registry,
    } = fixture;
    assert_eq!(registry.unwatch(&poller, fd, Read), Some("r"));
    assert_eq!(registry.unwatch(&poller, fd, Read), None);
    assert_eq!(registry.watcher(fd, Writing), Some(&"w"));
    let fixture = Fixture { poller, registry };
    assert!(!fixture.event().readable);

    let Fixture {
        poller,
        mut registry,
    } = fixture;
    assert_eq!(registry.unwatch(&poller, fd, Writing), Some("w"));
    assert!(registry.is_empty());
    assert_eq!(registry.iter().count(), 0);
    assert_eq!(Fixture { poller, registry }.events(), []);
}

#[test]
fn watching_again_hands_the_earlier_watcher_back() {
    let Fixture {
        poller,
        mut registry,
    } = Fixture::new();
    let (near, _far) = ready_pair();
    let fd = near.as_raw_fd();
    registry.watch(&poller, fd, Read, "first").unwrap();
    let replaced = registry.watch(&poller, fd, Read, "second").unwrap();
    assert_eq!(replaced.same, Some("first"));
    assert_eq!(replaced.stale, None);
    assert_eq!(registry.watcher(fd, Read), Some(&"second"));
    assert_eq!(registry.len(), 1);
}

#[test]
fn an_event_for_an_earlier_watcher_reaches_nobody() {
    let mut fixture = Fixture::new();
    let (near, _far) = ready_pair();
    let fd = near.as_raw_fd();
    fixture
        .registry
        .watch(&fixture.poller, fd, Read, "old")
        .unwrap();
    let event = fixture.event();
    fixture.registry.unwatch(&fixture.poller, fd, Read);
    assert_eq!(fixture.registry.resolve(event.token, Read), None);
    fixture
        .registry
        .watch(&fixture.poller, fd, Read, "new")
        .unwrap();
    assert_eq!(fixture.registry.resolve(event.token, Read), None);
    let current = fixture.event().token;
    assert_eq!(fixture.registry.resolve(current, Read), Some(&"new"));
}

#[test]
fn a_number_reused_under_its_watchers_is_noticed_by_the_next_watch() {
    for direction in [Read, Writing] {
        let mut fixture = Fixture::new();
        let (mut number, _far) = ready_pair();
        let fd = number.as_raw_fd();
        fixture
            .registry
            .watch(&fixture.poller, fd, Read, "old reader")
            .unwrap();
        fixture
            .registry
            .watch(&fixture.poller, fd, Writing, "old writer")
            .unwrap();
        let old = fixture.event().token;

        let (other, _other_far) = ready_pair();
        dup2(&other, &mut number).unwrap();
        assert_eq!(fixture.events(), [], "the kernel dropped it without a word");

        let replaced = fixture
            .registry
            .watch(&fixture.poller, fd, direction, "new")
            .unwrap();
        let (same, stale) = match direction {
            Read => ("old reader", "old writer"),
            Writing => ("old writer", "old reader"),
        };
        assert_eq!((replaced.same, replaced.stale), (Some(same), Some(stale)));
        assert_eq!(fixture.registry.interest(fd), Interest::from(direction));
        assert_eq!(fixture.registry.len(), 1);
        let new = fixture.event().token;
        assert_ne!(new, old);
        assert_eq!(fixture.registry.resolve(new, direction), Some(&"new"));
        assert_eq!(fixture.registry.resolve(old, direction), None);
    }
}

#[test]
fn a_number_reused_between_two_owners_is_watched_anew() {
    let mut fixture = Fixture::new();
    let (mut number, _far) = ready_pair();
    let fd = number.as_raw_fd();
    fixture
        .registry
        .watch(&fixture.poller, fd, Read, "old")
        .unwrap();
    let (other, _other_far) = ready_pair();
    dup2(&other, &mut number).unwrap();
    assert_eq!(
        fixture.registry.unwatch(&fixture.poller, fd, Read),
        Some("old")
    );
    assert_eq!(
        fixture
            .registry
            .watch(&fixture.poller, fd, Read, "new")
            .unwrap(),
        NOBODY
    );
    assert!(fixture.event().readable);
}

#[test]
fn a_registration_that_the_kernel_still_has_is_taken_over() {
    let mut fixture = Fixture::new();
    let (number, _far) = ready_pair();
    let fd = number.as_raw_fd();
    fixture
        .registry
        .watch(&fixture.poller, fd, Read, "old")
        .unwrap();
    // The registry forgets, the kernel does not: as if the number had been away while the loop let go of it.
    assert_eq!(fixture.registry.drain(), ["old"]);
    assert!(fixture.registry.is_empty());
    let old = fixture.event().token;
    assert_eq!(fixture.registry.resolve(old, Read), None);
    fixture
        .registry
        .watch(&fixture.poller, fd, Writing, "new")
        .unwrap();
    let event = fixture.event();
    assert!(event.writable && !event.readable);
    assert_eq!(fixture.registry.resolve(event.token, Writing), Some(&"new"));
}

#[test]
fn a_refused_descriptor_leaves_the_slot_as_it_was() {
    let Fixture {
        poller,
        mut registry,
    } = Fixture::new();
    for (fd, errno) in [(-1, EBADF), (i32::MIN, EBADF), (i32::MAX, EBADF)] {
        let error = registry.watch(&poller, fd, Read, "x").unwrap_err();
        assert_eq!(error.raw_os_error(), errno);
        assert_eq!(registry.watcher(fd, Read), None);
    }
    let file = regular_file();
    let error = registry
        .watch(&poller, file.as_raw_fd(), Read, "x")
        .unwrap_err();
    assert_eq!(error.raw_os_error(), EPERM);
    assert!(registry.is_empty());

    // The number of a watched socket comes to stand for a regular file.
    let (mut number, _far) = ready_pair();
    let fd = number.as_raw_fd();
    registry.watch(&poller, fd, Writing, "w").unwrap();
    dup2(&file, &mut number).unwrap();
    let error = registry.watch(&poller, fd, Read, "x").unwrap_err();
    assert_eq!(error.raw_os_error(), EPERM);
    assert_eq!(registry.watcher(fd, Read), None);
    assert_eq!(registry.watcher(fd, Writing), Some(&"w"));
    assert_eq!(registry.unwatch(&poller, fd, Writing), Some("w"));
}

#[test]
fn a_descriptor_closed_under_its_watchers_can_still_be_let_go() {
    let Fixture {
        poller,
        mut registry,
    } = Fixture::new();
    let (number, _far) = ready_pair();
    let fd = number.as_raw_fd();
    registry.watch(&poller, fd, Read, "r").unwrap();
    registry.watch(&poller, fd, Writing, "w").unwrap();
    drop(number);
    assert_eq!(registry.unwatch(&poller, fd, Read), Some("r"));
    assert_eq!(registry.unwatch(&poller, fd, Writing), Some("w"));
    assert!(registry.is_empty());
}

#[test]
fn forgetting_hands_both_watchers_back_and_ends_the_generation() {
    let mut fixture = Fixture::new();
    let (number, _far) = ready_pair();
    let fd = number.as_raw_fd();
    fixture
        .registry
        .watch(&fixture.poller, fd, Writing, "w")
        .unwrap();
    let token = fixture.event().token;
    let forgotten = fixture.registry.forget(&fixture.poller, fd);
    assert_eq!((forgotten.reader, forgotten.writer), (None, Some("w")));
    assert_eq!(fixture.events(), []);
    assert_eq!(fixture.registry.resolve(token, Writing), None);
    let nobody = Forgotten {
        reader: None,
        writer: None,
    };
    for fd in [fd, -1, i32::MAX] {
        assert_eq!(fixture.registry.forget(&fixture.poller, fd), nobody);
    }
}

#[test]
fn disarming_silences_a_registration_without_an_owner() {
    let mut fixture = Fixture::new();
    let (number, _far) = ready_pair();
    let fd = number.as_raw_fd();
    fixture
        .registry
        .watch(&fixture.poller, fd, Read, "r")
        .unwrap();
    fixture.registry.drain();
    let token = fixture.event().token;
    fixture.registry.disarm(&fixture.poller, token);
    assert_eq!(fixture.events(), []);
    fixture.registry.disarm(&fixture.poller, token);
}

#[test]
fn disarming_restores_what_the_kernel_should_report() {
    let mut fixture = Fixture::new();
    let (number, _far) = ready_pair();
    let fd = number.as_raw_fd();
    fixture
        .registry
        .watch(&fixture.poller, fd, Read, "r")
        .unwrap();
    let token = fixture.event().token;
    fixture.poller.modify(fd, token, Interest::BOTH).unwrap();
    assert!(fixture.event().writable);
    fixture.registry.disarm(&fixture.poller, token);
    assert!(!fixture.event().writable);
    assert_eq!(fixture.registry.resolve(token, Read), Some(&"r"));
}

#[test]
fn disarming_an_earlier_owner_leaves_the_present_one_alone() {
    let mut fixture = Fixture::new();
    let (number, _far) = ready_pair();
    let fd = number.as_raw_fd();
    fixture
        .registry
        .watch(&fixture.poller, fd, Read, "old")
        .unwrap();
    let old = fixture.event().token;
    fixture.registry.unwatch(&fixture.poller, fd, Read);
    fixture
        .registry
        .watch(&fixture.poller, fd, Read, "new")
        .unwrap();
    fixture.registry.disarm(&fixture.poller, old);
    assert_eq!(
        fixture.registry.resolve(fixture.event().token, Read),
        Some(&"new")
    );
}

#[test]
fn questions_about_numbers_never_seen_are_answered_with_nobody() {
    let registry = Registry::<&str>::new();
    for fd in [RawFd::MIN, -1, 0, RawFd::MAX] {
        assert_eq!(registry.watcher(fd, Read), None);
        assert_eq!(registry.interest(fd), Interest::NONE);
        assert_eq!(registry.token(fd), None);
    }
}
