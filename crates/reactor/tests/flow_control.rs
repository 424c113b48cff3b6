//! The marks of flow control: when to pause, when to resume, and that each is told once.
#![allow(missing_docs)]

use hotloop_reactor::FlowControl;
use proptest::prelude::*;

/// What a transport does at each change of its queue: look, and tell if it is time.
fn look(flow: &FlowControl, waiting: usize) -> Option<bool> {
    let paused = if flow.must_pause(waiting) {
        true
    } else if flow.must_resume(waiting) {
        false
    } else {
        return None;
    };
    flow.set_paused(paused);
    Some(paused)
}

#[test]
fn the_default_marks_are_asyncios() {
    let flow = FlowControl::default();
    assert_eq!((flow.low(), flow.high()), (16 * 1024, 64 * 1024));
    assert!(!flow.is_paused());
}

#[test]
fn it_pauses_above_the_high_mark_and_resumes_at_the_low_one() {
    let flow = FlowControl::new(100);
    assert_eq!(look(&flow, 100), None);
    assert_eq!(look(&flow, 101), Some(true));
    assert_eq!(look(&flow, 1000), None);
    assert_eq!(look(&flow, 26), None);
    assert_eq!(look(&flow, 25), Some(false));
    assert_eq!(look(&flow, 0), None);
}

#[test]
fn tls_pauses_at_the_mark_itself() {
    let flow = FlowControl::new(100);
    assert!(!flow.must_pause_at_mark(99));
    assert!(flow.must_pause_at_mark(100));
    flow.set_paused(true);
    assert!(!flow.must_pause_at_mark(100));
}

#[test]
fn marks_of_zero_pause_for_the_first_byte_and_resume_after_the_last() {
    let flow = FlowControl::new(0);
    assert_eq!(look(&flow, 0), None);
    assert_eq!(look(&flow, 1), Some(true));
    assert_eq!(look(&flow, 1), None);
    assert_eq!(look(&flow, 0), Some(false));
}

#[test]
fn another_mark_counts_from_the_next_look_on() {
    let flow = FlowControl::new(100);
    assert_eq!(look(&flow, 60), None);
    flow.set_high(50);
    assert!(!flow.is_paused());
    assert_eq!(look(&flow, 60), Some(true));
    flow.set_low(60);
    assert!(flow.is_paused());
    assert_eq!(look(&flow, 60), Some(false));
}

proptest! {
    #[test]
    fn pause_and_resume_take_turns(
        high in 0..200_usize,
        low in 0..200_usize,
        sizes in prop::collection::vec(0..300_usize, 0..100),
    ) {
        prop_assume!(low <= high);
        let flow = FlowControl::new(high);
        flow.set_low(low);
        let mut paused = false;
        for waiting in sizes {
            if let Some(told) = look(&flow, waiting) {
                prop_assert_ne!(told, paused);
                paused = told;
            }
            prop_assert_eq!(flow.is_paused(), paused);
            prop_assert!(!(paused && waiting <= low) && (paused || waiting <= high));
        }
    }
}
