//! The functions of the libssl and libcrypto that the running Python's `_ssl` module uses.
//!
//! dlopen(3): with `RTLD_NOLOAD` a library that is loaded already is found and none is loaded; dlsym(3) on the
//! handle looks through the library and its dependencies, in the order in which they were loaded. An `_ssl` that
//! has OpenSSL linked in, and hides it, fails here, and the other engine serves.

use std::ffi::{CStr, CString, c_char, c_int, c_long, c_uint, c_ulong, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use super::bio;

/// `SSL` of OpenSSL.
pub(super) enum Ssl {}
/// `SSL_CTX` of OpenSSL.
pub(super) enum SslContext {}
/// `BIO` of OpenSSL.
pub(super) enum Bio {}
/// `BIO_METHOD` of OpenSSL.
pub(super) enum BioMethod {}

type ReadCallback = unsafe extern "C" fn(*mut Bio, *mut c_char, usize, *mut usize) -> c_int;
type WriteCallback = unsafe extern "C" fn(*mut Bio, *const c_char, usize, *mut usize) -> c_int;
type ControlCallback = unsafe extern "C" fn(*mut Bio, c_int, c_long, *mut c_void) -> c_long;
type BioCallback = unsafe extern "C" fn(*mut Bio) -> c_int;

macro_rules! functions {
    ($($name:ident($($argument:ty),*) $(-> $result:ty)?;)*) => {
        /// Pointers to the functions, by their own names. Those that can run Python code may unwind (rule A7).
        #[allow(non_snake_case)] // OpenSSL's names
        pub(super) struct Functions {
            $(pub(super) $name: unsafe extern "C-unwind" fn($($argument),*) $(-> $result)?,)*
        }

        impl Functions {
            /// # Safety
            /// T1: `handle` is what `dlopen` returned for `_ssl`.
            unsafe fn resolve(handle: *mut c_void) -> Option<Self> {
                Some(Self {
                    // SAFETY: T1: a symbol of this name has this type in every version.
                    $($name: unsafe {
                        let name = concat!(stringify!($name), "\0");
                        let found = libc::dlsym(handle, name.as_ptr().cast());
                        if found.is_null() {
                            return None;
                        }
                        std::mem::transmute::<
                            *mut c_void,
                            unsafe extern "C-unwind" fn($($argument),*) $(-> $result)?,
                        >(found)
                    },)*
                })
            }
        }
    };
}

functions! {
    OpenSSL_version_num() -> c_ulong;
    ERR_peek_error() -> c_ulong;
    ERR_clear_error();
    SSL_get_SSL_CTX(*const Ssl) -> *mut SslContext;
    SSL_set_bio(*mut Ssl, *mut Bio, *mut Bio);
    SSL_ctrl(*mut Ssl, c_int, c_long, *mut c_void) -> c_long;
    SSL_read_ex(*mut Ssl, *mut c_void, usize, *mut usize) -> c_int;
    SSL_write_ex(*mut Ssl, *const c_void, usize, *mut usize) -> c_int;
    SSL_do_handshake(*mut Ssl) -> c_int;
    SSL_shutdown(*mut Ssl) -> c_int;
    SSL_get_error(*const Ssl, c_int) -> c_int;
    SSL_get_shutdown(*const Ssl) -> c_int;
    SSL_pending(*const Ssl) -> c_int;
    SSL_want(*const Ssl) -> c_int;
    BIO_get_new_index() -> c_int;
    BIO_meth_new(c_int, *const c_char) -> *mut BioMethod;
    BIO_meth_set_read_ex(*mut BioMethod, ReadCallback) -> c_int;
    BIO_meth_set_write_ex(*mut BioMethod, WriteCallback) -> c_int;
    BIO_meth_set_ctrl(*mut BioMethod, ControlCallback) -> c_int;
    BIO_meth_set_destroy(*mut BioMethod, BioCallback) -> c_int;
    BIO_new(*const BioMethod) -> *mut Bio;
    BIO_set_init(*mut Bio, c_int);
    BIO_set_data(*mut Bio, *mut c_void);
    BIO_get_data(*mut Bio) -> *mut c_void;
    BIO_set_flags(*mut Bio, c_int);
    BIO_clear_flags(*mut Bio, c_int);
}

/// The functions and the method table of our BIO.
pub(super) struct Library {
    pub(super) functions: Functions,
    pub(super) method: *const BioMethod,
}

// SAFETY: T1: function pointers and a table that is never changed again.
unsafe impl Send for Library {}
// SAFETY: as above.
unsafe impl Sync for Library {}

static LIBRARY: PyOnceLock<Option<Library>> = PyOnceLock::new();

/// The library, or `None` if it cannot be driven directly; found out once per process.
pub(super) fn library(py: Python<'_>) -> Option<&'static Library> {
    LIBRARY.get_or_init(py, || load(py).ok().flatten()).as_ref()
}

fn load(py: Python<'_>) -> PyResult<Option<Library>> {
    let module = py.import("_ssl")?;
    let path: PathBuf = module.getattr("__file__")?.extract()?;
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else {
        return Ok(None);
    };
    let expected: c_ulong = module.getattr("OPENSSL_VERSION_NUMBER")?.extract()?;
    let version: String = module.getattr("OPENSSL_VERSION")?.extract()?;
    if !is_known(&version, expected) {
        return Ok(None);
    }
    // SAFETY: T1: the flags load nothing; the handle is kept for ever.
    let functions = unsafe {
        let handle = libc::dlopen(path.as_ptr(), libc::RTLD_NOLOAD | libc::RTLD_LAZY);
        if handle.is_null() {
            return Ok(None);
        }
        let Some(functions) = Functions::resolve(handle) else {
            return Ok(None);
        };
        functions
    };
    // SAFETY: T1: takes no argument and returns a number, in every version.
    if unsafe { (functions.OpenSSL_version_num)() } != expected {
        return Ok(None);
    }
    Ok(make_method(&functions).map(|method| Library { functions, method }))
}

/// Whether a library is one of those that T1 speaks of: OpenSSL itself, which its relatives (BoringSSL, AWS-LC) only
/// say that they are compatible with, from 1.1.1 to 3.x.
fn is_known(version: &str, number: c_ulong) -> bool {
    let name = version.strip_prefix("OpenSSL ");
    name.is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
        && !version.contains("compatible")
        && (0x1010_1000..0x4000_0000).contains(&number)
}

fn make_method(functions: &Functions) -> Option<*const BioMethod> {
    /// `BIO_TYPE_SOURCE_SINK`, <openssl/bio.h>.
    const SOURCE_SINK: c_uint = 0x0400;
    const NAME: &CStr = c"hotloop records";
    // SAFETY: T1; BIO_meth_new(3): the callbacks have the types that the setters ask for.
    unsafe {
        let index = (functions.BIO_get_new_index)();
        if index < 0 {
            return None;
        }
        let kind = index.unsigned_abs() | SOURCE_SINK;
        let method = (functions.BIO_meth_new)(kind.cast_signed(), NAME.as_ptr());
        if method.is_null() {
            return None;
        }
        let complete = (functions.BIO_meth_set_read_ex)(method, bio::read) == 1
            && (functions.BIO_meth_set_write_ex)(method, bio::write) == 1
            && (functions.BIO_meth_set_ctrl)(method, bio::control) == 1
            && (functions.BIO_meth_set_destroy)(method, bio::destroy) == 1;
        complete.then_some(method.cast_const())
    }
}
