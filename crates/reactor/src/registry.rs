//! Who waits for which descriptor.
//!
//! The facts this rests on: numbers of descriptors are small and dense (the kernel gives out the lowest that is free),
//! so slots are a vector indexed by number. A user may close a descriptor that is watched; the kernel then drops the
//! registration without a word, and gives the number to the next file. epoll keys its registrations by number *and*
//! file (epoll(7), question 6), so the next `EPOLL_CTL_MOD` answers `ENOENT`: that is how a number that changed hands
//! is noticed, and why `watch` always asks the kernel. Each slot counts its owners (the generation), and each event
//! carries the count, so an event noted for one owner never reaches the next.
//!
//! A watcher that waits for one event and is replaced by another soon (`sock_recv` in a loop) would cost two system calls
//! each time, to register and to deregister. [`Registry::watch_once`] registers with `EPOLLONESHOT`: after the event the
//! kernel keeps the registration and says nothing, so [`Registry::finish`] has nothing to do, and the next `watch` is one
//! `EPOLL_CTL_MOD`, which also tells (`ENOENT`) if the file has been closed meanwhile and the number reused.
//!
//! One case stays out of reach: the user closes a watched descriptor while a duplicate keeps its file open. The kernel
//! then goes on reporting it and has no name left by which the registration could be removed. The stdlib's selectors
//! share this; [`Registry::disarm`] does what can be done.
//!
//! Watchers are handed back, never dropped here, so that foreign code in their destructors runs when the caller says.

use std::io;
use std::os::fd::RawFd;

use rustix::io::Errno;

use crate::{Direction, Interest, Poller, Token};

/// The watchers that a [`Registry::watch`] pushed out.
#[derive(Debug, PartialEq, Eq)]
pub struct Replaced<W> {
    /// The one that waited for the same descriptor and direction.
    pub same: Option<W>,
    /// The one of the other direction, when the descriptor it waited for turned out to be closed and its number reused.
    pub stale: Option<W>,
}

/// The watchers that a [`Registry::forget`] took out.
#[derive(Debug, PartialEq, Eq)]
pub struct Forgotten<W> {
    /// The one that waited for reading.
    pub reader: Option<W>,
    /// The one that waited for writing.
    pub writer: Option<W>,
}

/// Descriptors and their watchers, at most one for each direction.
#[derive(Debug)]
pub struct Registry<W> {
    slots: Vec<Slot<W>>,
    watched: usize,
}

impl<W> Registry<W> {
    /// A registry in which nobody waits.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            slots: Vec::new(),
            watched: 0,
        }
    }

    /// Let `watcher` wait for `fd` in `direction`, in place of whoever did.
    ///
    /// # Errors
    /// `EBADF` if `fd` is negative or not open, `EPERM` if it cannot be polled (a regular file), `ENOSPC` and `ENOMEM`:
    /// epoll_ctl(2). The slot is then as it was before, and `watcher` is dropped.
    pub fn watch(
        &mut self,
        poller: &Poller,
        fd: RawFd,
        direction: Direction,
        watcher: W,
    ) -> io::Result<Replaced<W>> {
        self.put(poller, fd, direction, watcher, false)
    }

    /// The same for one event: when it has come, [`Registry::finish`] or [`Registry::rearm`] must follow. If somebody
    /// waits for the other direction, this is as [`Registry::watch`], and the two calls are right all the same.
    ///
    /// # Errors
    /// As [`Registry::watch`].
    pub fn watch_once(
        &mut self,
        poller: &Poller,
        fd: RawFd,
        direction: Direction,
        watcher: W,
    ) -> io::Result<Replaced<W>> {
        self.put(poller, fd, direction, watcher, true)
    }

    /// Stop waiting after an event that came to [`Registry::watch_once`]; returns who waited.
    pub fn finish(&mut self, poller: &Poller, fd: RawFd, direction: Direction) -> Option<W> {
        let slot = self.slot_mut(fd)?;
        if slot.registration != Registration::Once {
            return self.unwatch(poller, fd, direction);
        }
        let watcher = slot.side(direction).take()?;
        slot.generation = slot.generation.wrapping_add(1);
        slot.registration = Registration::Silent;
        self.watched -= 1;
        Some(watcher)
    }

    /// Go on waiting after an event that came to [`Registry::watch_once`].
    ///
    /// # Errors
    /// `ENOMEM`: epoll_ctl(2). No event will come then. That the descriptor is closed is no error: nothing can come.
    pub fn rearm(&mut self, poller: &Poller, fd: RawFd) -> io::Result<()> {
        let Some(slot) = self.slot_mut(fd) else {
            return Ok(());
        };
        if slot.registration != Registration::Once {
            return Ok(());
        }
        let token = Token::new(fd, slot.generation);
        match poller.modify(fd, token, slot.interest().once()) {
            Err(error) if is(&error, Errno::NOENT) || is(&error, Errno::BADF) => Ok(()),
            result => result,
        }
    }

    fn put(
        &mut self,
        poller: &Poller,
        fd: RawFd,
        direction: Direction,
        watcher: W,
        once: bool,
    ) -> io::Result<Replaced<W>> {
        let index = usize::try_from(fd).map_err(|_| Errno::BADF)?;
        let (generation, before, registration) = match self.slots.get(index) {
            Some(slot) => (slot.generation, slot.interest(), slot.registration),
            None => (0, Interest::NONE, Registration::Standing),
        };
        let token = Token::new(fd, generation);
        let once = once && before.is_empty();
        let mut alone = Interest::from(direction);
        if once {
            alone = alone.once();
        }
        let reused = if registration == Registration::Silent {
            modify_or_add(poller, fd, token, alone)?;
            false
        } else if before.is_empty() {
            add_or_modify(poller, fd, token, alone)?;
            false
        } else {
            match poller.modify(fd, token, before.with(direction)) {
                Ok(()) => false,
                Err(error) if is(&error, Errno::NOENT) => {
                    let next = Token::new(fd, generation.wrapping_add(1));
                    add_or_modify(poller, fd, next, direction.into())?;
                    true
                }
                Err(error) => return Err(error),
            }
        };

        // The kernel has accepted the number, so it is below the limit of open files: the vector may grow to it.
        if index >= self.slots.len() {
            self.slots.resize_with(index + 1, Slot::default);
        }
        let slot = &mut self.slots[index];
        slot.registration = if once {
            Registration::Once
        } else {
            Registration::Standing
        };
        let mut replaced = Replaced {
            same: slot.side(direction).replace(watcher),
            stale: None,
        };
        if reused {
            slot.generation = slot.generation.wrapping_add(1);
            replaced.stale = slot.side(other(direction)).take();
        }
        self.watched += usize::from(before.is_empty());
        Ok(replaced)
    }

    /// Stop waiting for `fd` in `direction`; returns who waited.
    ///
    /// That the kernel no longer knows the descriptor is no error: it was closed.
    pub fn unwatch(&mut self, poller: &Poller, fd: RawFd, direction: Direction) -> Option<W> {
        let slot = self.slot_mut(fd)?;
        let watcher = slot.side(direction).take()?;
        let rest = slot.interest();
        if rest.is_empty() {
            slot.generation = slot.generation.wrapping_add(1);
            slot.registration = Registration::Standing;
            self.watched -= 1;
            ignore(poller.remove(fd));
        } else {
            ignore(poller.modify(fd, Token::new(fd, slot.generation), rest));
        }
        Some(watcher)
    }

    /// Take out everybody who waits for `fd`, because a new owner takes the number over.
    pub fn forget(&mut self, poller: &Poller, fd: RawFd) -> Forgotten<W> {
        let Some(slot) = self.slot_mut(fd) else {
            return Forgotten {
                reader: None,
                writer: None,
            };
        };
        let watched = !slot.interest().is_empty();
        let forgotten = slot.vacate();
        if watched {
            slot.registration = Registration::Standing;
            self.watched -= 1;
            ignore(poller.remove(fd));
        }
        forgotten
    }

    /// Who waits for `fd` in `direction`.
    #[must_use]
    pub fn watcher(&self, fd: RawFd, direction: Direction) -> Option<&W> {
        self.slot(fd)?.watcher(direction)
    }

    /// Who an event with this token is for; `None` if it was noted for an earlier owner of the number.
    #[must_use]
    pub fn resolve(&self, token: Token, direction: Direction) -> Option<&W> {
        let slot = self.slot(token.fd())?;
        if slot.generation != token.generation() {
            return None;
        }
        slot.watcher(direction)
    }

    /// The directions in which somebody waits for `fd`.
    #[must_use]
    pub fn interest(&self, fd: RawFd) -> Interest {
        self.slot(fd).map_or(Interest::NONE, Slot::interest)
    }

    /// The token under which `fd` is watched at present; `None` if nobody waits for it.
    #[must_use]
    pub fn token(&self, fd: RawFd) -> Option<Token> {
        let slot = self.slot(fd).filter(|slot| !slot.interest().is_empty())?;
        Some(Token::new(fd, slot.generation))
    }

    /// How many descriptors are watched.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.watched
    }

    /// Whether nobody waits for anything.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.watched == 0
    }

    /// The watched descriptors in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = (RawFd, Interest)> + '_ {
        (0..)
            .zip(&self.slots)
            .map(|(fd, slot)| (fd, slot.interest()))
            .filter(|(_, interest)| !interest.is_empty())
    }

    /// Every watcher, for the garbage collector's traversal.
    pub fn watchers(&self) -> impl Iterator<Item = &W> + '_ {
        self.slots
            .iter()
            .flat_map(|slot| slot.reader.iter().chain(&slot.writer))
    }

    /// Take out every watcher without a word to the kernel, because its poller is about to be closed.
    pub fn drain(&mut self) -> Vec<W> {
        self.watched = 0;
        let mut watchers = Vec::new();
        for slot in &mut self.slots {
            slot.registration = Registration::Standing;
            let Forgotten { reader, writer } = slot.vacate();
            watchers.extend(reader);
            watchers.extend(writer);
        }
        watchers
    }

    /// Silence an event that nobody waits for, so that level-triggering does not report it for ever.
    ///
    /// If the number has a new owner, its registration is left alone: the kernel offers no way to name the old one.
    pub fn disarm(&mut self, poller: &Poller, token: Token) {
        let fd = token.fd();
        match self.token(fd) {
            None => {
                if let Some(slot) = self.slot_mut(fd) {
                    slot.registration = Registration::Standing;
                }
                ignore(poller.remove(fd));
            }
            Some(current) if current == token => {
                let once = self.slot(fd).map(|slot| slot.registration) == Some(Registration::Once);
                let interest = self.interest(fd);
                let interest = if once { interest.once() } else { interest };
                ignore(poller.modify(fd, current, interest));
            }
            Some(_) => {}
        }
    }

    fn slot(&self, fd: RawFd) -> Option<&Slot<W>> {
        self.slots.get(usize::try_from(fd).ok()?)
    }

    fn slot_mut(&mut self, fd: RawFd) -> Option<&mut Slot<W>> {
        self.slots.get_mut(usize::try_from(fd).ok()?)
    }
}

impl<W> Default for Registry<W> {
    fn default() -> Self {
        Self::new()
    }
}

/// The present owner of one descriptor number.
#[derive(Debug)]
struct Slot<W> {
    generation: u32,
    reader: Option<W>,
    writer: Option<W>,
    registration: Registration,
}

/// What the kernel has been told of a descriptor.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Registration {
    /// Everything that the watchers wait for, until further notice; nothing if there are none.
    Standing,
    /// One event for the one watcher there is.
    Once,
    /// Nobody waits; a registration whose one event has come is left, or has gone with its file.
    Silent,
}

impl<W> Slot<W> {
    fn interest(&self) -> Interest {
        match (&self.reader, &self.writer) {
            (None, None) => Interest::NONE,
            (Some(_), None) => Interest::READ,
            (None, Some(_)) => Interest::WRITE,
            (Some(_), Some(_)) => Interest::BOTH,
        }
    }

    fn watcher(&self, direction: Direction) -> Option<&W> {
        match direction {
            Direction::Read => self.reader.as_ref(),
            Direction::Write => self.writer.as_ref(),
        }
    }

    fn side(&mut self, direction: Direction) -> &mut Option<W> {
        match direction {
            Direction::Read => &mut self.reader,
            Direction::Write => &mut self.writer,
        }
    }

    /// End this generation.
    fn vacate(&mut self) -> Forgotten<W> {
        self.generation = self.generation.wrapping_add(1);
        Forgotten {
            reader: self.reader.take(),
            writer: self.writer.take(),
        }
    }
}

impl<W> Default for Slot<W> {
    fn default() -> Self {
        Self {
            generation: 0,
            reader: None,
            writer: None,
            registration: Registration::Standing,
        }
    }
}

const fn other(direction: Direction) -> Direction {
    match direction {
        Direction::Read => Direction::Write,
        Direction::Write => Direction::Read,
    }
}

/// Register a number that we do not think registered. The kernel may know better, when what the number stood for came
/// back to it (`dup2(2)`): then its registration is taken over.
fn add_or_modify(poller: &Poller, fd: RawFd, token: Token, interest: Interest) -> io::Result<()> {
    match poller.add(fd, token, interest) {
        Err(error) if is(&error, Errno::EXIST) => poller.modify(fd, token, interest),
        result => result,
    }
}

/// Use what is left of a registration. It is gone if its file was closed, even if the number is in use again.
fn modify_or_add(poller: &Poller, fd: RawFd, token: Token, interest: Interest) -> io::Result<()> {
    match poller.modify(fd, token, interest) {
        Err(error) if is(&error, Errno::NOENT) => poller.add(fd, token, interest),
        result => result,
    }
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

/// Deregistering can fail only because the kernel has dropped the registration already, which is what was wanted.
fn ignore(_: io::Result<()>) {}
