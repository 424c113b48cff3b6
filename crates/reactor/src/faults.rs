//! Faults under the system-call layer, for tests: each call asks here first whether it should fail.
//!
//! Only with the crate's feature `faults`; without it every function is empty and vanishes in the optimiser. The plan
//! is one for the whole process: a fault at one position ([`arm`]), to try every position in turn, or faults at random
//! from a seed ([`scatter`]). What can be injected into a call is what its man page lists ([`Call::errors`]).

use rustix::io::Errno;

/// The system calls that can be made to fail.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[repr(usize)]
#[allow(missing_docs)] // each is named after its call
#[cfg_attr(not(feature = "faults"), allow(dead_code))] // a test asks for each, the product need not make all
pub enum Call {
    Recv,
    Send,
    Accept,
    Socket,
    Connect,
    Shutdown,
    Name,
    EpollCreate,
    EpollAdd,
    EpollModify,
    EpollWait,
    Poll,
    Eventfd,
    Read,
    Write,
    Sendfile,
}

#[cfg(feature = "faults")]
impl Call {
    /// Every call, in the order of its number.
    pub const ALL: [Self; 16] = [
        Self::Recv,
        Self::Send,
        Self::Accept,
        Self::Socket,
        Self::Connect,
        Self::Shutdown,
        Self::Name,
        Self::EpollCreate,
        Self::EpollAdd,
        Self::EpollModify,
        Self::EpollWait,
        Self::Poll,
        Self::Eventfd,
        Self::Read,
        Self::Write,
        Self::Sendfile,
    ];

    /// The name by which tests ask for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Recv => "recv",
            Self::Send => "send",
            Self::Accept => "accept",
            Self::Socket => "socket",
            Self::Connect => "connect",
            Self::Shutdown => "shutdown",
            Self::Name => "name",
            Self::EpollCreate => "epoll_create",
            Self::EpollAdd => "epoll_add",
            Self::EpollModify => "epoll_modify",
            Self::EpollWait => "epoll_wait",
            Self::Poll => "poll",
            Self::Eventfd => "eventfd",
            Self::Read => "read",
            Self::Write => "write",
            Self::Sendfile => "sendfile",
        }
    }

    /// What the call can answer on a healthy descriptor (the ERRORS section of its man page).
    #[must_use]
    pub fn errors(self) -> &'static [Errno] {
        match self {
            Self::Recv => &[
                Errno::INTR,
                Errno::AGAIN,
                Errno::CONNRESET,
                Errno::NOMEM,
                Errno::NOBUFS,
            ],
            Self::Send => &[
                Errno::INTR,
                Errno::AGAIN,
                Errno::PIPE,
                Errno::CONNRESET,
                Errno::NOMEM,
                Errno::NOBUFS,
            ],
            Self::Accept => &[
                Errno::INTR,
                Errno::AGAIN,
                Errno::CONNABORTED,
                Errno::MFILE,
                Errno::NFILE,
                Errno::NOMEM,
                Errno::NOBUFS,
            ],
            Self::Socket => &[Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS],
            Self::Connect => &[Errno::CONNREFUSED, Errno::NETUNREACH, Errno::ADDRNOTAVAIL],
            Self::Shutdown => &[Errno::NOTCONN],
            Self::Name => &[Errno::NOBUFS],
            Self::EpollCreate | Self::Eventfd => &[Errno::MFILE, Errno::NFILE, Errno::NOMEM],
            Self::EpollAdd => &[Errno::NOMEM, Errno::NOSPC],
            Self::EpollModify => &[Errno::NOMEM],
            Self::EpollWait | Self::Poll => &[Errno::INTR],
            Self::Read => &[Errno::INTR, Errno::AGAIN, Errno::IO],
            Self::Write => &[Errno::INTR, Errno::AGAIN, Errno::PIPE, Errno::NOSPC],
            Self::Sendfile => &[Errno::INTR, Errno::AGAIN, Errno::IO, Errno::NOMEM],
        }
    }
}

#[cfg(not(feature = "faults"))]
mod plan {
    use super::{Call, Errno};

    #[inline(always)]
    pub(crate) fn check(_call: Call) -> Result<(), Errno> {
        Ok(())
    }

    #[inline(always)]
    pub(crate) fn limit(_call: Call, length: usize) -> usize {
        length
    }
}

#[cfg(feature = "faults")]
mod plan {
    use std::sync::{Mutex, MutexGuard, PoisonError};

    use super::{Call, Errno};

    /// What is to happen, and what has happened.
    struct Plan {
        seen: [u64; Call::ALL.len()],
        armed: Option<Armed>,
        scattered: Option<Scattered>,
    }

    struct Armed {
        call: Call,
        position: u64,
        error: Option<Errno>,
    }

    struct Scattered {
        state: u64,
        per_million: u64,
    }

    static PLAN: Mutex<Plan> = Mutex::new(Plan {
        seen: [0; Call::ALL.len()],
        armed: None,
        scattered: None,
    });

    fn plan() -> MutexGuard<'static, Plan> {
        PLAN.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Let the call of this name fail at its `position`-th time from now (0 is the next): with `error`, or by moving one
    /// byte only if that is `None`. Counting begins anew.
    pub fn arm(call: Call, position: u64, error: Option<Errno>) {
        let mut plan = plan();
        plan.seen = [0; Call::ALL.len()];
        plan.armed = Some(Armed {
            call,
            position,
            error,
        });
    }

    /// Let every call fail with this probability, in a way chosen at random; the same seed gives the same choices.
    pub fn scatter(seed: u64, per_million: u64) {
        plan().scattered = Some(Scattered {
            state: seed | 1,
            per_million,
        });
    }

    /// No faults from now on, and counting begins anew.
    pub fn disarm() {
        *plan() = Plan {
            seen: [0; Call::ALL.len()],
            armed: None,
            scattered: None,
        };
    }

    /// How often each call was made since counting began.
    #[must_use]
    pub fn seen() -> [u64; Call::ALL.len()] {
        plan().seen
    }

    /// To be asked before the call is made; an error is its answer.
    pub(crate) fn check(call: Call) -> Result<(), Errno> {
        let mut plan = plan();
        let position = plan.seen[call as usize];
        plan.seen[call as usize] += 1;
        if let Some(armed) = &plan.armed
            && armed.call == call
            && armed.position == position
            && let Some(error) = armed.error
        {
            return Err(error);
        }
        if let Some(scattered) = &mut plan.scattered
            && scattered.happens()
        {
            let errors = call.errors();
            let choice = scattered.next() % errors.len() as u64;
            return Err(errors[choice as usize]);
        }
        Ok(())
    }

    /// How many bytes the call that was checked last may move.
    pub(crate) fn limit(call: Call, length: usize) -> usize {
        let mut plan = plan();
        let position = plan.seen[call as usize];
        if let Some(armed) = &plan.armed
            && armed.call == call
            && armed.position + 1 == position
            && armed.error.is_none()
        {
            return length.min(1);
        }
        match &mut plan.scattered {
            Some(scattered) if length > 1 => {
                if scattered.happens() {
                    1 + (scattered.next() % (length as u64 - 1)) as usize
                } else {
                    length
                }
            }
            _ => length,
        }
    }

    impl Scattered {
        fn happens(&mut self) -> bool {
            self.next() % 1_000_000 < self.per_million
        }

        /// xorshift64* (Vigna, "An experimental exploration of Marsaglia's xorshift generators", 2016).
        fn next(&mut self) -> u64 {
            self.state ^= self.state >> 12;
            self.state ^= self.state << 25;
            self.state ^= self.state >> 27;
            self.state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
        }
    }
}

#[cfg(feature = "faults")]
pub use plan::{arm, disarm, scatter, seen};
pub(crate) use plan::{check, limit};

/// As [`check`], for a call that is made again when it was interrupted.
#[inline]
pub(crate) fn check_retried(call: Call) -> std::io::Result<()> {
    while let Err(error) = check(call) {
        if error != Errno::INTR {
            return Err(error.into());
        }
    }
    Ok(())
}

#[cfg(all(test, feature = "faults", not(loom)))]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    // One test, because the plan is the process's.
    #[test]
    fn faults_come_where_they_were_planned_and_as_often() {
        arm(Call::Recv, 1, Some(Errno::NOMEM));
        assert!(check(Call::Recv).is_ok());
        assert!(check(Call::Send).is_ok());
        assert_eq!(check(Call::Recv), Err(Errno::NOMEM));
        assert!(check(Call::Recv).is_ok());
        assert_eq!(seen()[Call::Recv as usize], 3);

        arm(Call::Send, 0, None);
        assert!(check(Call::Send).is_ok());
        assert_eq!(limit(Call::Send, 100), 1);
        assert!(check(Call::Send).is_ok());
        assert_eq!(limit(Call::Send, 100), 100);

        let outcomes = |seed| {
            disarm();
            scatter(seed, 100_000);
            (0..1000).map(|_| check(Call::Accept)).collect::<Vec<_>>()
        };
        let first = outcomes(7);
        assert_eq!(first, outcomes(7));
        assert_ne!(first, outcomes(8));
        let failed = first.iter().filter(|outcome| outcome.is_err()).count();
        assert!((50..200).contains(&failed), "{failed}");
        disarm();
        assert!((0..1000).all(|_| check(Call::Accept).is_ok()));
    }
}
