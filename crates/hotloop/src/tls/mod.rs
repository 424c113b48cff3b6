//! TLS engines: what turns records into plain text and back, under the program's own `ssl.SSLObject`.
//!
//! Two engines do the same. [`Engine::Direct`] calls OpenSSL itself, on the very `SSL` that is inside the
//! `SSLObject`; [`Engine::Memory`] calls the object's Python methods over `ssl.MemoryBIO`, as asyncio does, and
//! serves where the first cannot. Handshake and shutdown go through the object in both, so that their exceptions,
//! verification codes and callbacks are Python's own; only a step that can end in nothing but "the peer has to send"
//! is made without it ([`Engine::handshake_waits`]). The environment variable `HOTLOOP_TLS` (`direct` or `bio`)
//! forces one; `transport.get_extra_info("tls_engine")` tells which one a connection has.
//!
//! # Facts
//! CPython 3.11–3.15, `Modules/_ssl.c`: `PySSLSocket` is the object head, a weak reference, `SSL *`,
//! `PySSLContext *`; `PySSLContext` is the object head and `SSL_CTX *`. `_ssl` releases the interpreter around
//! `SSL_do_handshake`, `SSL_shutdown`, `SSL_read` and `SSL_write`, and takes it again (`PyGILState_Ensure`) in the
//! callbacks for the server name, for key logs and for messages. OpenSSL 1.1.1–3.x: `SSL_set_bio(ssl, bio, bio)`
//! takes over one reference of the BIO, and `SSL_free` gives it back.
//!
//! # Rules
//! Every `unsafe` block of this folder cites one of these, or a rule of [`crate::python`].
//!
//! - **T1 same library.** Functions are resolved from the shared object that `_ssl` was linked to (`dlopen` of
//!   `_ssl.__file__` with `RTLD_NOLOAD`, `dlsym` in its tree), and only used if `OpenSSL_version_num()` there
//!   answers what `_ssl.OPENSSL_VERSION_NUMBER` says, that is one of the versions named above, and
//!   `_ssl.OPENSSL_VERSION` names OpenSSL itself, not a relative. The handle is never closed. Their types are those of
//!   the OpenSSL manual, the same in all these versions.
//! - **T2 verified pointer.** An `SSL *` is read out of an object only if the object is exactly an
//!   `_ssl._SSLSocket` of at least the known size; and it is followed only if the word behind it is the address of
//!   the object's own context (so the layout is the known one) and `SSL_get_SSL_CTX` gives the `SSL_CTX *` in that
//!   context. This is done for each object, when it was made. A server name callback may switch the context later;
//!   that changes neither pointer.
//! - **T3 who owns, who frees.** The `SSL` belongs to the `_SSLSocket`; the engine holds a strong reference to that
//!   object for as long as it may use the pointer. Our BIO belongs to the `SSL`, and [`bio::Records`] to the BIO:
//!   its destroy callback frees them. So a program that keeps `ssl_object` after the connection is gone keeps a
//!   working BIO with it, and the order in which the objects are dropped does not matter.
//! - **T4 one at a time.** The records are looked at from three places: a callback of the BIO, which runs inside an
//!   OpenSSL call; and the engine, only while no OpenSSL call of this connection is under way ([`Turn`]). A
//!   reference to them lives inside one of these and never spans a call into OpenSSL or Python. Callbacks of the
//!   BIO touch no Python object: `_ssl` calls OpenSSL without holding the interpreter.
//! - **T5 lent memory.** Received bytes are lent to the BIO for one turn ([`direct::Direct::lend`]) and taken back
//!   before the buffer is used again, whatever happens in between; what was not consumed is copied.
//! - **T6 callbacks into Python.** An OpenSSL call can run Python code that closes the transport, drops every
//!   reference, or runs another loop. The caller holds references of its own to all that it uses afterwards (A2),
//!   and looks at the state again. A second OpenSSL operation on the same connection does not start meanwhile: it
//!   is noted and done when the first has ended. A daemon thread that CPython ends there goes no further (A7, `Hang`).
//! - **T7 threads.** The engine works with the interpreter held, from the loop's thread. The `SSLObject`'s methods
//!   that only look (`cipher()`, `getpeercert()`, `version()`, …) hold it, too, and may be called from any thread;
//!   those that do I/O (`read`, `write`, `do_handshake`, `unwrap`) must not overlap with the loop's work, as with
//!   asyncio's own transport: `_ssl` has no lock for it before 3.13, and from then on the engine does not take it.

mod bio;
mod direct;
mod library;
mod memory;
pub(crate) mod names;
mod verify;

use std::cell::Cell;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::python::Ref;
use crate::python::make::Words;
pub(crate) use names::names;

/// One of the two engines.
pub(crate) enum Engine {
    /// OpenSSL called directly.
    Direct(direct::Direct),
    /// The methods of the `SSLObject` over two `MemoryBIO`s.
    Memory(memory::Memory),
}

/// Why reading stopped.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// The memory is full; there may be more.
    Full,
    /// More records are needed.
    Drained,
    /// The peer has sent close_notify.
    Closed,
}

/// What one call for plain text brought: `count` bytes of the memory are filled, from its start.
#[derive(Debug)]
pub(crate) struct Progress {
    pub(crate) count: usize,
    pub(crate) end: End,
}

/// Whether an OpenSSL operation of a connection is under way, and whether another was wanted meanwhile (T6).
#[derive(Default)]
pub(crate) struct Turn {
    taken: Cell<bool>,
    wanted: Cell<bool>,
}

/// An operation that is under way, until it is dropped.
pub(crate) struct Taken<'a>(&'a Cell<bool>);

impl Turn {
    /// Says that an operation begins; `None` if one is under way already.
    fn begin(&self) -> Option<Taken<'_>> {
        if self.taken.replace(true) {
            self.want();
            return None;
        }
        Some(Taken(&self.taken))
    }

    /// Says that an operation is wanted that cannot be done now.
    pub(crate) fn want(&self) {
        self.wanted.set(true);
    }

    /// Whether an operation is under way.
    pub(crate) fn is_taken(&self) -> bool {
        self.taken.get()
    }

    /// Whether another one was wanted during the last, and none is under way now.
    pub(crate) fn take_wanted(&self) -> bool {
        !self.taken.get() && self.wanted.take()
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

impl Engine {
    /// Who may call OpenSSL now.
    pub(crate) fn turn(&self) -> &Turn {
        match self {
            Self::Direct(direct) => &direct.turn,
            Self::Memory(memory) => &memory.turn,
        }
    }

    /// Says that an operation begins that the caller does on the `SSLObject`; `None` if one is under way already, and
    /// then it is noted that another is wanted.
    pub(crate) fn begin(&self) -> Option<Taken<'_>> {
        match self {
            Self::Direct(direct) => direct.begin(),
            Self::Memory(memory) => memory.turn.begin(),
        }
    }

    /// Every Python object that the engine refers to.
    pub(crate) fn for_each_reference(&self, look: &mut dyn FnMut(&Ref)) {
        match self {
            Self::Direct(direct) => direct.for_each_reference(look),
            Self::Memory(memory) => memory.for_each_reference(look),
        }
    }

    /// Chooses the engine for an object made by `context.wrap_bio(incoming, outgoing)`.
    ///
    /// # Errors
    /// `RuntimeError` if `HOTLOOP_TLS=direct` asks for what is not possible here, or its value is unknown.
    pub(crate) fn new(
        object: &Bound<'_, PyAny>,
        incoming: &Bound<'_, PyAny>,
        outgoing: &Bound<'_, PyAny>,
    ) -> PyResult<Self> {
        let memory = || Self::Memory(memory::Memory::new(object, incoming, outgoing));
        let forced = std::env::var_os("HOTLOOP_TLS").filter(|value| !value.is_empty());
        let must = match forced.as_deref().map(|value| value.to_string_lossy()) {
            None => false,
            Some(value) if value == "direct" => true,
            Some(value) if value == "bio" => return Ok(memory()),
            Some(value) => {
                return Err(PyRuntimeError::new_err(Words(format!(
                    "HOTLOOP_TLS must be 'direct' or 'bio', not '{value}'"
                ))));
            }
        };
        if let Some(direct) = direct::Direct::new(object)? {
            return Ok(Self::Direct(direct));
        }
        // Objects that are not the ssl module's own (a test's mock) have no `SSL` that could be driven, and what the
        // program has put in the place of a method is to be called.
        if must && verify::may_be_driven(object)? {
            return Err(PyRuntimeError::new_err(Words(
                "HOTLOOP_TLS=direct, but the running Python's _ssl module does not allow it",
            )));
        }
        Ok(memory())
    }

    /// What `get_extra_info("tls_engine")` answers.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Direct(_) => "direct",
            Self::Memory(_) => "bio",
        }
    }

    /// Gives received bytes to the engine for one turn; [`Engine::take_back`] ends it.
    ///
    /// # Safety
    /// `data` stays valid until [`Engine::take_back`] was called, which happens in every case (T5).
    pub(crate) unsafe fn lend(&self, py: Python<'_>, data: &[u8]) -> PyResult<()> {
        match self {
            // SAFETY: T5, by the caller.
            Self::Direct(direct) => unsafe { direct.lend(data) },
            Self::Memory(memory) => return memory.feed(py, data),
        }
        Ok(())
    }

    /// Ends the turn: what was not consumed is kept.
    pub(crate) fn take_back(&self) {
        if let Self::Direct(direct) = self {
            direct.take_back();
        }
    }

    /// Keeps received bytes for later.
    pub(crate) fn keep(&self, py: Python<'_>, data: &[u8]) -> PyResult<()> {
        match self {
            Self::Direct(direct) => direct.keep(data),
            Self::Memory(memory) => return memory.feed(py, data),
        }
        Ok(())
    }

    /// Goes on with the handshake, if that can be done without the object: whether the peer has to send now. Otherwise
    /// the object's `do_handshake()` is to be called.
    pub(crate) fn handshake_waits(&self, py: Python<'_>, server_side: bool) -> bool {
        matches!(self, Self::Direct(direct) if direct.handshake_waits(py, server_side))
    }

    /// The same for the shutdown, and the object's `unwrap()`.
    pub(crate) fn shutdown_waits(&self, py: Python<'_>) -> bool {
        matches!(self, Self::Direct(direct) if direct.shutdown_waits(py))
    }

    /// How many received bytes were not decrypted yet.
    pub(crate) fn waiting_in(&self, py: Python<'_>) -> PyResult<usize> {
        match self {
            Self::Direct(direct) => Ok(direct.waiting_in()),
            Self::Memory(memory) => memory.waiting_in(py),
        }
    }

    /// How many bytes of records wait to be handed to the transport.
    pub(crate) fn waiting_out(&self, py: Python<'_>) -> PyResult<usize> {
        match self {
            Self::Direct(direct) => Ok(direct.waiting_out()),
            Self::Memory(memory) => memory.waiting_out(py),
        }
    }

    /// Decrypts into `memory` until it is full or records run out.
    ///
    /// # Errors
    /// The exception of `SSLObject.read`.
    pub(crate) fn read(
        &self,
        py: Python<'_>,
        memory: &mut [std::mem::MaybeUninit<u8>],
    ) -> PyResult<Progress> {
        match self {
            Self::Direct(direct) => direct.read(py, memory),
            Self::Memory(engine) => engine.read(py, memory),
        }
    }

    /// Encrypts `data`; returns how much of it was taken (less than all only if OpenSSL has to read first).
    ///
    /// # Errors
    /// The exception of `SSLObject.write`.
    pub(crate) fn write(&self, py: Python<'_>, data: &[u8]) -> PyResult<usize> {
        match self {
            Self::Direct(direct) => direct.write(py, data),
            Self::Memory(memory) => memory.write(py, data),
        }
    }

    /// Takes the records out, with the buffer that they are in.
    pub(crate) fn take_records(&self, py: Python<'_>) -> PyResult<Vec<u8>> {
        match self {
            Self::Direct(direct) => Ok(direct.take_records()),
            Self::Memory(memory) => memory.take_records(py),
        }
    }

    /// Gives the engine an empty buffer to fill, if it has none and can use one.
    pub(crate) fn offer_buffer(&self, buffer: impl FnOnce() -> Vec<u8>) {
        if let Self::Direct(direct) = self {
            direct.offer_buffer(buffer);
        }
    }

    /// The two `MemoryBIO`s, if that is the engine.
    pub(crate) fn memory_bios(&self) -> Option<(&Ref, &Ref)> {
        match self {
            Self::Direct(_) => None,
            Self::Memory(memory) => Some(memory.bios()),
        }
    }
}
