//! Our BIO: OpenSSL reads records out of the loop's receive buffer and writes them into one buffer to send.
//!
//! BIO_meth_new(3), BIO_read_ex(3), BIO_should_retry(3). Its four callbacks run inside OpenSSL calls, some of which
//! `_ssl` makes without holding the interpreter (T4).

use std::ffi::{c_char, c_int, c_long, c_void};
use std::ptr::NonNull;

use super::library::{Bio, Functions, Library};

/// `BIO_FLAGS_READ | BIO_FLAGS_SHOULD_RETRY`, <openssl/bio.h>.
const RETRY_READ: c_int = 0x01 | 0x08;
/// `BIO_CTRL_FLUSH`: asked after a handshake message; there is nothing below us to flush.
const CONTROL_FLUSH: c_int = 11;
/// `BIO_CTRL_PENDING` and `BIO_CTRL_WPENDING`.
const CONTROL_PENDING: c_int = 10;
const CONTROL_WRITE_PENDING: c_int = 13;

/// The records of one connection, on their way in and out. Owned by the BIO (T3).
pub(super) struct Records {
    /// Received before this turn and not consumed.
    kept: Vec<u8>,
    kept_start: usize,
    /// Received in this turn (T5): what is left of it.
    window: *const u8,
    window_len: usize,
    /// To be sent.
    pub(super) outgoing: Vec<u8>,
    /// Whether the BIO's retry flags are set.
    retrying: bool,
}

impl Records {
    /// Makes a BIO with its records.
    pub(super) fn new_bio(library: &'static Library) -> Option<(NonNull<Bio>, NonNull<Self>)> {
        let functions = &library.functions;
        // SAFETY: T1: BIO_new(3); the new BIO is handed over with the only reference to it.
        let bio = NonNull::new(unsafe { (functions.BIO_new)(library.method) })?;
        let records = Box::new(Self {
            kept: Vec::new(),
            kept_start: 0,
            window: std::ptr::null(),
            window_len: 0,
            outgoing: Vec::new(),
            retrying: false,
        });
        let records = NonNull::from(Box::leak(records));
        // SAFETY: T1, T3: from here on the BIO owns the records; BIO_set_init(3) marks it as usable.
        unsafe {
            (functions.BIO_set_data)(bio.as_ptr(), records.as_ptr().cast());
            (functions.BIO_set_init)(bio.as_ptr(), 1);
        }
        Some((bio, records))
    }

    /// How many bytes can still be read.
    pub(super) fn unread(&self) -> usize {
        self.kept.len() - self.kept_start + self.window_len
    }

    /// # Safety
    /// T5.
    pub(super) unsafe fn lend(&mut self, data: &[u8]) {
        self.take_back(); // what an outer turn has lent comes first
        (self.window, self.window_len) = (data.as_ptr(), data.len());
    }

    pub(super) fn take_back(&mut self) {
        let length = std::mem::take(&mut self.window_len);
        let start = std::mem::replace(&mut self.window, std::ptr::null());
        if length > 0 {
            // SAFETY: T5: still lent, until this function returns.
            self.keep(unsafe { std::slice::from_raw_parts(start, length) });
        }
    }

    pub(super) fn keep(&mut self, data: &[u8]) {
        if self.kept_start > 0 {
            self.kept.drain(..self.kept_start);
            self.kept_start = 0;
        }
        self.kept.extend_from_slice(data);
    }

    /// Copies up to `length` bytes to `target`.
    ///
    /// # Safety
    /// `target` has room for `length` bytes.
    unsafe fn read(&mut self, target: *mut u8, length: usize) -> usize {
        let kept = self.kept.len() - self.kept_start;
        if kept > 0 {
            let count = kept.min(length);
            // SAFETY: T4: nobody else looks at the records; in bounds, here by `min` and there by the caller; and they do
            // not overlap: `target` is OpenSSL's memory.
            unsafe {
                let source = self.kept.as_ptr().add(self.kept_start);
                std::ptr::copy_nonoverlapping(source, target, count);
            }
            self.kept_start += count;
            if self.kept_start == self.kept.len() {
                // An idle connection keeps no memory for it.
                (self.kept, self.kept_start) = (Vec::new(), 0);
            }
            return count;
        }
        let count = self.window_len.min(length);
        if count > 0 {
            // SAFETY: T5, T4: still lent, and in bounds by `min`; `target` and overlap as above.
            unsafe {
                std::ptr::copy_nonoverlapping(self.window, target, count);
                self.window = self.window.add(count);
            }
            self.window_len -= count;
        }
        count
    }
}

/// # Safety
/// T4: called by OpenSSL with a BIO of ours.
unsafe fn records_of<'a>(bio: *mut Bio, functions: &Functions) -> Option<&'a mut Records> {
    // SAFETY: T3, T4: the data is what `new_bio` stored, or null after `destroy`.
    unsafe { (functions.BIO_get_data)(bio).cast::<Records>().as_mut() }
}

static FUNCTIONS: std::sync::OnceLock<&'static Functions> = std::sync::OnceLock::new();

/// Where the callbacks find the functions; set before the first BIO is made.
pub(super) fn set_functions(library: &'static Library) {
    let _ = FUNCTIONS.set(&library.functions);
}

/// The BIO's read callback.
///
/// # Safety
/// Called by OpenSSL (T4).
pub(super) unsafe extern "C" fn read(
    bio: *mut Bio,
    target: *mut c_char,
    length: usize,
    count: *mut usize,
) -> c_int {
    let Some(functions) = FUNCTIONS.get() else {
        return 0;
    };
    // SAFETY: T4: a callback; BIO_meth_set_read_ex(3): `target` has room for `length` bytes, `count` can be set.
    unsafe {
        let Some(records) = records_of(bio, functions) else {
            return 0;
        };
        let got = records.read(target.cast(), length);
        *count = got;
        if got > 0 {
            if std::mem::take(&mut records.retrying) {
                (functions.BIO_clear_flags)(bio, RETRY_READ);
            }
            return 1;
        }
        if !std::mem::replace(&mut records.retrying, true) {
            (functions.BIO_set_flags)(bio, RETRY_READ);
        }
        0
    }
}

/// The BIO's write callback: takes everything.
///
/// # Safety
/// Called by OpenSSL (T4).
pub(super) unsafe extern "C" fn write(
    bio: *mut Bio,
    source: *const c_char,
    length: usize,
    count: *mut usize,
) -> c_int {
    let Some(functions) = FUNCTIONS.get() else {
        return 0;
    };
    // SAFETY: T4: a callback; BIO_meth_set_write_ex(3): `source` has `length` bytes, `count` can be set.
    unsafe {
        let Some(records) = records_of(bio, functions) else {
            return 0;
        };
        if std::mem::take(&mut records.retrying) {
            (functions.BIO_clear_flags)(bio, RETRY_READ);
        }
        if length > 0 {
            let data = std::slice::from_raw_parts(source.cast::<u8>(), length);
            records.outgoing.extend_from_slice(data);
        }
        *count = length;
    }
    1
}

/// The BIO's control callback.
///
/// # Safety
/// Called by OpenSSL (T4).
pub(super) unsafe extern "C" fn control(
    bio: *mut Bio,
    command: c_int,
    _: c_long,
    _: *mut c_void,
) -> c_long {
    let length = |look: fn(&Records) -> usize| {
        // SAFETY: T4: a callback, with a BIO of ours; `look` calls neither OpenSSL nor Python.
        let records = FUNCTIONS
            .get()
            .and_then(|functions| unsafe { records_of(bio, functions) });
        records.map_or(0, |records| look(records).cast_signed() as c_long)
    };
    match command {
        CONTROL_FLUSH => 1,
        CONTROL_PENDING => length(Records::unread),
        CONTROL_WRITE_PENDING => length(|records| records.outgoing.len()),
        _ => 0,
    }
}

/// The BIO is freed, with the `SSL` or when it could not be given one.
///
/// # Safety
/// Called by OpenSSL (T4), once.
pub(super) unsafe extern "C" fn destroy(bio: *mut Bio) -> c_int {
    let Some(functions) = FUNCTIONS.get() else {
        return 0;
    };
    // SAFETY: T3: the records were leaked from a box by `new_bio`, and nobody uses the BIO after this.
    unsafe {
        let records = (functions.BIO_get_data)(bio).cast::<Records>();
        (functions.BIO_set_data)(bio, std::ptr::null_mut());
        if !records.is_null() {
            (functions.BIO_set_init)(bio, 0);
            drop(Box::from_raw(records));
        }
    }
    1
}
