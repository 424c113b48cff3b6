//! The blocking mode of a descriptor: given back, once, by the last user of the open file description.
#![allow(clippy::unwrap_used, missing_docs)]

use std::os::fd::{AsFd, BorrowedFd};

use hotloop_reactor::BlockingMode;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::pipe::pipe;

fn blocks(fd: BorrowedFd<'_>) -> bool {
    !fcntl_getfl(fd).unwrap().contains(OFlags::NONBLOCK)
}

#[test]
fn a_blocking_descriptor_blocks_again_after_restore() {
    let (read, _write) = pipe().unwrap();
    let mode = BlockingMode::set_nonblocking(read.as_fd()).unwrap();
    assert!(!blocks(read.as_fd()));
    mode.restore();
    assert!(blocks(read.as_fd()));
}

#[test]
fn a_nonblocking_descriptor_stays_so() {
    let (read, _write) = pipe().unwrap();
    fcntl_setfl(&read, OFlags::NONBLOCK).unwrap();
    BlockingMode::set_nonblocking(read.as_fd())
        .unwrap()
        .restore();
    assert!(!blocks(read.as_fd()));
}

#[test]
fn dropping_without_restore_leaves_the_descriptor_nonblocking() {
    let (read, _write) = pipe().unwrap();
    drop(BlockingMode::set_nonblocking(read.as_fd()).unwrap());
    assert!(!blocks(read.as_fd()));
}

#[test]
fn the_two_ends_of_a_pipe_are_one_file_but_two_descriptions() {
    let (read, write) = pipe().unwrap();
    let reading = BlockingMode::set_nonblocking(read.as_fd()).unwrap();
    let writing = BlockingMode::set_nonblocking(write.as_fd()).unwrap();
    reading.restore();
    assert!(blocks(read.as_fd()));
    assert!(!blocks(write.as_fd()));
    writing.restore();
    assert!(blocks(write.as_fd()));
}

#[test]
fn the_last_user_of_a_description_gives_its_mode_back() {
    let (read, _write) = pipe().unwrap();
    let copies = [read.try_clone().unwrap(), read.try_clone().unwrap()];
    let first = BlockingMode::set_nonblocking(read.as_fd()).unwrap();
    let second = BlockingMode::set_nonblocking(copies[0].as_fd()).unwrap();
    let third = BlockingMode::set_nonblocking(copies[1].as_fd()).unwrap();
    first.restore();
    assert!(!blocks(read.as_fd()));
    third.restore();
    assert!(!blocks(read.as_fd()));
    second.restore();
    assert!(blocks(read.as_fd()));
}

#[test]
fn a_number_that_names_another_file_is_left_alone() {
    let (read, _write) = pipe().unwrap();
    let (other, _other_write) = pipe().unwrap();
    let mut number = read.try_clone().unwrap();
    let mode = BlockingMode::set_nonblocking(number.as_fd()).unwrap();
    fcntl_setfl(&other, OFlags::NONBLOCK).unwrap();
    rustix::io::dup2(&other, &mut number).unwrap();
    mode.restore();
    assert!(!blocks(other.as_fd()));
}
