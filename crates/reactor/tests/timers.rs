//! Timers against a plain list: whatever is pushed, cancelled, popped and compacted, both give the same items.
#![allow(clippy::unwrap_used, missing_docs)]

use hotloop_reactor::Timers;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Push(f64),
    Cancel(prop::sample::Index),
    Pop,
    PopDue(f64),
    Compact,
    Settle,
}

/// Few values, so that equal deadlines are common.
fn deadline() -> impl Strategy<Value = f64> {
    prop_oneof![
        8 => (-4..4_i8).prop_map(f64::from),
        1 => Just(-0.0),
        1 => Just(f64::NAN),
        1 => Just(f64::INFINITY),
        1 => Just(f64::NEG_INFINITY),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => deadline().prop_map(Step::Push),
        2 => any::<prop::sample::Index>().prop_map(Step::Cancel),
        1 => Just(Step::Pop),
        3 => deadline().prop_map(Step::PopDue),
        1 => Just(Step::Compact),
        2 => Just(Step::Settle),
    ]
}

#[derive(Clone, Debug)]
struct Entry {
    deadline: f64,
    id: usize,
    cancelled: bool,
    fresh: bool,
}

/// Entries in the order of their pushes; the first of those with the least deadline is the next.
#[derive(Default)]
struct Model(Vec<Entry>);

impl Model {
    fn sorted(&self) -> Vec<Entry> {
        let mut entries = self.0.clone();
        // A stable sort keeps the order of equal deadlines.
        entries.sort_by(|a, b| match (a.deadline.is_nan(), b.deadline.is_nan()) {
            (false, false) => a.deadline.partial_cmp(&b.deadline).unwrap(),
            (a, b) => b.cmp(&a),
        });
        entries
    }

    fn take(&mut self, id: usize) -> Entry {
        let position = self.0.iter().position(|entry| entry.id == id).unwrap();
        self.0.remove(position)
    }

    fn cancelled(&self) -> Vec<usize> {
        let entries = self.0.iter().filter(|entry| entry.cancelled);
        entries.map(|entry| entry.id).collect()
    }
}

proptest! {
    #[test]
    fn the_queue_behaves_as_a_sorted_list(steps in prop::collection::vec(step(), 0..600)) {
        let (mut timers, mut model) = (Timers::new(), Model::default());
        for (id, step) in steps.into_iter().enumerate() {
            match step {
                Step::Push(deadline) => {
                    timers.push(deadline, id);
                    model.0.push(Entry { deadline, id, cancelled: false, fresh: true });
                }
                Step::Cancel(index) => {
                    if let Some(position) = (!model.0.is_empty()).then(|| index.index(model.0.len()))
                        && !std::mem::replace(&mut model.0[position].cancelled, true)
                    {
                        timers.note_cancelled();
                    }
                }
                Step::Pop | Step::PopDue(_) => {
                    timers.settle(|_| false, |_| ());
                    model.0.iter_mut().for_each(|entry| entry.fresh = false);
                    let (popped, first) = match step {
                        Step::PopDue(now) => {
                            let due = |entry: &Entry| entry.deadline.is_nan() || entry.deadline <= now;
                            (timers.pop_due(now), model.sorted().into_iter().next().filter(due))
                        }
                        _ => (timers.pop(), model.sorted().into_iter().next()),
                    };
                    prop_assert_eq!(popped, first.as_ref().map(|entry| entry.id));
                    if first.is_some_and(|first| model.take(first.id).cancelled) {
                        timers.note_cancelled_removed();
                    }
                }
                Step::Compact => {
                    let expected = model.cancelled();
                    let mut removed = timers.compact(|id| expected.contains(id));
                    removed.sort_unstable();
                    prop_assert_eq!(&removed, &expected);
                    model.0.retain(|entry| !entry.cancelled);
                }
                Step::Settle => {
                    let drops = model.0.len() > 100 && timers.cancelled() > 0;
                    let cancelled = model.cancelled();
                    let gone = |entry: &Entry| drops && entry.fresh && entry.cancelled;
                    let gone: Vec<_> = model.0.iter().filter(|entry| gone(entry)).map(|entry| entry.id).collect();
                    let mut settled = Vec::new();
                    let removed = timers.settle(|id| cancelled.contains(id), |id| settled.push(*id));
                    prop_assert_eq!(&removed, &gone);
                    model.0.retain(|entry| !gone.contains(&entry.id));
                    let expected: Vec<_> = model.0.iter().filter(|entry| entry.fresh).map(|entry| entry.id).collect();
                    prop_assert_eq!(settled, expected);
                    model.0.iter_mut().for_each(|entry| entry.fresh = false);
                }
            }
            let cancelled = model.cancelled().len();
            prop_assert_eq!((timers.len(), timers.cancelled()), (model.0.len(), cancelled));
            prop_assert_eq!(timers.is_empty(), model.0.is_empty());
            let many = model.0.len() > 100 && cancelled as f64 / model.0.len() as f64 > 0.5;
            prop_assert_eq!(timers.needs_compaction(), many);
            let first = model.sorted().into_iter().find(|entry| !entry.fresh);
            prop_assert_eq!(timers.is_unsettled(), model.0.iter().any(|entry| entry.fresh));
            prop_assert_eq!(timers.peek(), first.as_ref().map(|entry| &entry.id));
            let bits = |deadline: f64| deadline.to_bits();
            let next = first.map(|entry| bits(entry.deadline));
            prop_assert_eq!(timers.next_deadline().map(bits), next);
        }

        let sorted: Vec<_> = timers.iter_sorted().into_iter().map(|(_, id)| *id).collect();
        let expected: Vec<_> = model.sorted().into_iter().map(|entry| entry.id).collect();
        prop_assert_eq!(sorted, expected);
        prop_assert_eq!(timers.iter().count(), model.0.len());
        let mut drained = timers.drain();
        drained.sort_unstable();
        prop_assert_eq!(drained, model.0.iter().map(|entry| entry.id).collect::<Vec<_>>());
        prop_assert_eq!((timers.len(), timers.cancelled()), (0, 0));
    }
}
