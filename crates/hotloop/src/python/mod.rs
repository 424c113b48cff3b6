//! The only place that speaks the raw C-API: references, calls, contexts and types that PyO3 does not offer.
//!
//! # Rules
//!
//! Every `unsafe` block in this crate cites one of these.
//!
//! - **A1 attached.** A `Python<'py>` token is in scope, so this thread holds the interpreter; every function
//!   below that touches an object takes one, or is called by the interpreter itself (type slots, methods).
//! - **A2 alive.** A pointer is dereferenced only while a reference to its object is held: by the caller of a
//!   method for `self` and the arguments, by a [`Ref`] otherwise. What Python code could drop while we call it
//!   is held by a reference of our own for as long as the call lasts.
//! - **A3 checked.** A C-API call that can fail is followed by a look at its result; a null or negative result
//!   means that an exception is set, and it is taken at once (`PyErr::fetch`).
//! - **A4 layout.** A pointer is cast to one of our `repr(C)` object structs only when the object's type is the
//!   type made for that struct (exact, final types). That the struct agrees with the running Python's layout
//!   of the base class is compared at import, which fails with an `ImportError` otherwise.
//! - **A5 no borrow across.** No Rust borrow of loop, transport or queue state is alive while Python code can
//!   run: a call, a dropped reference, an allocation of a tracked object. Take out, call, look again.
//! - **A6 no unwind.** A function called by the interpreter runs its body inside [`guard`], so that a panic
//!   becomes a Python exception. There, and in `guard::attached`, which is for finalizers, PyO3 knows that the thread is
//!   attached; elsewhere nothing of PyO3's may be dropped, as it would only be noted down: no `Py`, no `PyErr`.
//! - **A7 no other unwinding.** A call that runs a program's code may be where CPython ends a daemon thread by
//!   unwinding its stack (up to 3.13). A thread that runs a loop is not unwound at all ([`thread_end`]); for others, the
//!   hot calls go through [`raw`], which stops the unwinding before it reaches other frames.
//! - **A8 descriptors.** A bare number is borrowed as a descriptor only if it is not negative, and while the object
//!   that owns it is held (A2). Python code can close it all the same, and the number be another's then: so the owner is
//!   asked for it after the last code of a program that can run before the call, and what is borrowed goes into system
//!   calls alone. Another thread that closes it meanwhile gets what `os.read` would give.

pub(crate) mod arguments;
pub(crate) mod buffer;
pub(crate) mod bytes;
pub(crate) mod call;
pub(crate) mod guard;
pub(crate) mod heap_type;
pub(crate) mod interpreter;
pub(crate) mod make;
pub(crate) mod raw;
pub(crate) mod references;
pub(crate) mod snapshot;
pub(crate) mod thread_end;

pub(crate) use arguments::FastArguments;
pub(crate) use buffer::Buffer;
pub(crate) use bytes::{copied, filled_bytes};
pub(crate) use guard::guard;
pub(crate) use references::{Ref, RefSlot};
pub(crate) use snapshot::{LastSnapshot, Snapshot};
