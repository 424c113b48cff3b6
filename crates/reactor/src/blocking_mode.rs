//! Setting a descriptor to non-blocking for a while and giving its mode back.
//!
//! `O_NONBLOCK` is a flag of the *open file description* (open(2), fcntl(2)): whoever has a duplicate of the
//! descriptor sees the change, in other processes, too. A terminal is the usual case: standard input, output and
//! error are three descriptors of one description, and the shell has a fourth. So the mode is given back when the
//! loop is done with a descriptor; but not while another descriptor of the same description is still in use here. The
//! kernel does not say which descriptors share one (kcmp(2) does, where it is allowed). The flag itself does: setting
//! it on one descriptor and looking at another shows whether they share it. Whoever shares it gets the duty to give
//! the mode back.
//!
//! # Rules for bare descriptor numbers
//! 1. A number from the table reaches fstat(2) first; only if it still names the file that it was entered with is its
//!    flag read and set. A number that was closed or used again is left alone.
//! 2. The table holds numbers that were open descriptors when they were entered, so never a negative one.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{self, OFlags};
use rustix::process::{Pid, getpid};

/// Device and inode: the file behind a descriptor.
type File = (u64, u64);

/// A descriptor that is non-blocking for as long as it is used.
struct Member {
    id: u64,
    fd: RawFd,
    file: File,
    /// Whether the descriptor is to block again when it is given back.
    to_restore: bool,
}

/// Every descriptor in use, whichever loop uses it: descriptors belong to the process. The lock is taken only by threads
/// that hold the interpreter and is not held when they give it up; `os.fork()` holds it, too, so no child inherits a lock
/// that is taken.
static MEMBERS: Mutex<Vec<Member>> = Mutex::new(Vec::new());
static NEXT_ID: AtomicU64 = AtomicU64::new(0);

/// A descriptor set to non-blocking; [`BlockingMode::restore`] gives its mode back. Dropping this only forgets it.
#[derive(Debug)]
pub struct BlockingMode {
    id: u64,
    process: Pid,
}

impl BlockingMode {
    /// Set `fd` to non-blocking and remember how it was.
    ///
    /// # Errors
    /// fstat(2), fcntl(2).
    pub fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<Self> {
        let file = file_of(fd)?;
        let flags = fs::fcntl_getfl(fd)?;
        let blocked = !flags.contains(OFlags::NONBLOCK);
        if blocked {
            fs::fcntl_setfl(fd, flags | OFlags::NONBLOCK)?;
        }
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        members().push(Member {
            id,
            fd: fd.as_raw_fd(),
            file,
            to_restore: blocked,
        });
        Ok(Self {
            id,
            process: getpid(),
        })
    }

    /// Give the mode back before the descriptor is closed; or leave that to another user of the same open file
    /// description. Does nothing for a number that names another file by now, and nothing in a forked child, which
    /// shares the description with its parent.
    pub fn restore(self) {
        let mut members = members();
        let Some(place) = members.iter().position(|member| member.id == self.id) else {
            return;
        };
        let member = members.swap_remove(place);
        if !member.to_restore || self.process != getpid() {
            return;
        }
        let mut neighbours: Vec<&mut Member> = members
            .iter_mut()
            .filter(|other| other.file == member.file && is_nonblocking(other) == Some(true))
            .collect();
        set(&member, false);
        neighbours.retain(|other| is_nonblocking(other) == Some(false));
        if let Some(heir) = neighbours.first_mut() {
            heir.to_restore = true;
            set(heir, true);
        }
    }
}

impl Drop for BlockingMode {
    fn drop(&mut self) {
        let mut members = members();
        if let Some(place) = members.iter().position(|member| member.id == self.id) {
            members.swap_remove(place);
        }
    }
}

fn members() -> std::sync::MutexGuard<'static, Vec<Member>> {
    MEMBERS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn file_of(fd: BorrowedFd<'_>) -> io::Result<File> {
    let status = fs::fstat(fd)?;
    // The width of the two differs between architectures.
    #[allow(clippy::useless_conversion)]
    Ok((status.st_dev.into(), status.st_ino.into()))
}

/// The descriptor, if the number still names the member's file.
fn open<'a>(member: &'a Member) -> Option<BorrowedFd<'a>> {
    // SAFETY: rule 2; fstat(2) answers a closed number with an error.
    let fd = unsafe { BorrowedFd::<'a>::borrow_raw(member.fd) };
    // Rule 1.
    (file_of(fd).ok()? == member.file).then_some(fd)
}

fn is_nonblocking(member: &Member) -> Option<bool> {
    let flags = fs::fcntl_getfl(open(member)?).ok()?;
    Some(flags.contains(OFlags::NONBLOCK))
}

fn set(member: &Member, nonblocking: bool) {
    let Some(fd) = open(member) else { return };
    if let Ok(mut flags) = fs::fcntl_getfl(fd) {
        flags.set(OFlags::NONBLOCK, nonblocking);
        // It has worked before, on the same file; and there would be nobody to tell.
        let _ = fs::fcntl_setfl(fd, flags);
    }
}
