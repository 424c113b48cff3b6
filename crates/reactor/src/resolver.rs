//! Look-ups of names, getaddrinfo(3), in threads that never need an interpreter.
//!
//! The C library has no form of it that does not block. Each look-up is run by a thread of the [`Resolver`] that it was
//! given to; threads are started when all are busy, at most as many as asyncio's default executor has, and end when
//! they had nothing to do for a while or the resolver is gone. An answer is handed to a function in that thread.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use dns_lookup::{AddrInfoHints, getaddrinfo};

/// A thread without work for so long ends.
const IDLE: Duration = Duration::from_secs(10);
/// `EAI_SYSTEM` of `netdb.h`: the reason is in `errno`.
const EAI_SYSTEM: i32 = -11;

/// What is asked, in the words of getaddrinfo(3).
#[derive(Debug, Clone, Default)]
pub struct Question {
    /// A name, or none for the machine itself.
    pub host: Option<String>,
    /// A port's number or name.
    pub service: Option<String>,
    /// `ai_family`, `ai_socktype`, `ai_protocol` and `ai_flags`; `AI_CANONNAME` is not answered.
    pub hints: [i32; 4],
}

/// One entry of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// `ai_socktype`.
    pub kind: i32,
    /// `ai_protocol`.
    pub protocol: i32,
    /// Family, host and port.
    pub address: SocketAddr,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum LookupFailed {
    /// One of the `EAI_…` numbers.
    Lookup(i32),
    /// The system's error.
    System(io::Error),
}

/// An answer.
pub type Lookup = Result<Vec<Found>, LookupFailed>;

type Job = Box<dyn FnOnce() + Send>;

/// The threads of one loop.
#[derive(Debug, Default)]
pub struct Resolver {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
    over: bool,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Resolver {
    /// Look something up, and hand the answer to a function, in another thread.
    ///
    /// # Errors
    /// There is no thread and none can be started (`EAGAIN`): nothing will happen.
    pub fn ask(
        &self,
        question: Question,
        answer: impl FnOnce(Lookup) + Send + 'static,
    ) -> io::Result<()> {
        self.submit(Box::new(move || answer(look_up(&question))))
    }

    fn submit(&self, job: Job) -> io::Result<()> {
        let mut state = self.shared.lock();
        state.jobs.push_back(job);
        if state.idle >= state.jobs.len() || state.threads >= most_threads() {
            drop(state);
            self.shared.work.notify_one();
            return Ok(());
        }
        state.threads += 1;
        drop(state);
        let shared = self.shared.clone();
        let started = thread::Builder::new()
            .name("hotloop-lookup".into())
            .spawn(move || shared.work());
        let Err(error) = started else {
            return Ok(());
        };
        let mut state = self.shared.lock();
        state.threads -= 1;
        if state.threads > 0 {
            return Ok(()); // one of them will come to it
        }
        state.jobs.pop_back();
        Err(error)
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        // In a forked child another thread of the parent may have held the lock, for ever; and where it is only held
        // now, the threads end by themselves when they are idle.
        if let Ok(mut state) = self.shared.state.try_lock() {
            state.over = true;
            state.jobs.clear();
        }
        self.shared.work.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A job that panics does so outside the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What each thread does.
    fn work(&self) {
        let mut state = self.lock();
        loop {
            if state.over {
                break;
            }
            if let Some(job) = state.jobs.pop_front() {
                drop(state);
                // Whatever happens in one look-up, the next ones want to be answered.
                let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
                state = self.lock();
                continue;
            }
            state.idle += 1;
            let (woken, waited) = self
                .work
                .wait_timeout(state, IDLE)
                .unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.idle -= 1;
            if waited.timed_out() && state.jobs.is_empty() {
                break;
            }
        }
        state.threads -= 1;
    }
}

fn most_threads() -> usize {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    (processors + 4).min(32)
}

fn look_up(question: &Question) -> Lookup {
    let [address, socktype, protocol, flags] = question.hints;
    let hints = AddrInfoHints {
        flags,
        address,
        socktype,
        protocol,
    };
    let answer = getaddrinfo(
        question.host.as_deref(),
        question.service.as_deref(),
        Some(hints),
    )
    .map_err(|error| match error.error_num() {
        0 | EAI_SYSTEM => LookupFailed::System(error.into()),
        number => LookupFailed::Lookup(number),
    })?;
    answer
        .map(|entry| {
            entry.map(|entry| Found {
                kind: entry.socktype,
                protocol: entry.protocol,
                address: entry.sockaddr,
            })
        })
        .collect::<io::Result<_>>()
        .map_err(LookupFailed::System)
}

#[cfg(all(test, not(loom)))]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    fn numeric(host: &str) -> Question {
        Question {
            host: Some(host.into()),
            service: Some("80".into()),
            hints: [0, 1, 0, 4], // a stream; AI_NUMERICHOST
        }
    }

    #[test]
    fn an_answer_has_the_address_in_the_question() {
        let (sender, receiver) = channel();
        let resolver = Resolver::default();
        resolver
            .ask(numeric("::1"), move |answer| sender.send(answer).unwrap())
            .unwrap();
        let found = receiver.recv().unwrap().unwrap();
        let expected = Found {
            kind: 1,
            protocol: 6,
            address: "[::1]:80".parse().unwrap(),
        };
        assert_eq!(found, [expected]);
    }

    #[test]
    fn a_failure_has_the_number_of_the_c_library() {
        let (sender, receiver) = channel();
        let resolver = Resolver::default();
        resolver
            .ask(numeric("no.number"), move |answer| {
                sender.send(answer).unwrap();
            })
            .unwrap();
        let answer = receiver.recv().unwrap();
        assert!(matches!(answer, Err(LookupFailed::Lookup(-2)))); // EAI_NONAME
    }

    #[test]
    fn jobs_run_at_the_same_time_up_to_the_limit_and_the_rest_after_them() {
        let resolver = Resolver::default();
        let (started, starts) = channel();
        let (end, gate) = channel::<()>();
        let gate = Arc::new(Mutex::new(gate));
        let count = most_threads() + 3;
        for number in 0..count {
            let (started, gate) = (started.clone(), gate.clone());
            resolver
                .submit(Box::new(move || {
                    started.send(number).unwrap();
                    let _ = gate.lock().unwrap().recv();
                }))
                .unwrap();
        }
        let mut first: Vec<_> = (0..most_threads())
            .map(|_| starts.recv().unwrap())
            .collect();
        first.sort_unstable();
        assert_eq!(first, (0..most_threads()).collect::<Vec<_>>());
        drop(end);
        let mut rest: Vec<_> = starts.iter().take(3).collect();
        rest.sort_unstable();
        assert_eq!(rest, (most_threads()..count).collect::<Vec<_>>());
    }

    #[test]
    fn a_job_that_panics_does_not_take_its_thread_with_it() {
        let resolver = Resolver::default();
        let (sender, receiver) = channel();
        #[allow(clippy::panic)]
        resolver
            .submit(Box::new(|| std::panic::panic_any("on purpose")))
            .unwrap();
        for _ in 0..most_threads() {
            let sender = sender.clone();
            resolver
                .submit(Box::new(move || sender.send(()).unwrap()))
                .unwrap();
        }
        assert_eq!(receiver.iter().take(most_threads()).count(), most_threads());
    }

    #[test]
    fn threads_end_with_their_resolver() {
        let resolver = Resolver::default();
        let shared = Arc::downgrade(&resolver.shared);
        let (sender, receiver) = channel();
        resolver
            .submit(Box::new(move || sender.send(()).unwrap()))
            .unwrap();
        receiver.recv().unwrap();
        drop(resolver);
        // The last of them gives back what they share.
        while shared.strong_count() > 0 {
            thread::yield_now();
        }
        assert_eq!(shared.strong_count(), 0);
    }
}
