//! Look-ups of names in threads of the reactor's own, which need no interpreter: `loop.getaddrinfo`'s slow half.
//!
//! asyncio sends each look-up to the default executor, whose thread has to take the interpreter twice. Here the thread
//! only calls getaddrinfo(3) and leaves the answer in the loop's inbox; the loop makes Python objects of it. Which
//! questions can go this way is said by [`question`]; the others, and programs that have put something of their own in
//! the way, go through the executor (`_dns.py`).

use std::collections::HashMap;
use std::collections::hash_map::Values;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use hotloop_reactor::{Inbox, Lookup, Question, Waker};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyInt, PyString};

use crate::handles;
use crate::imports::imports;
use crate::python::guard::none;
use crate::python::{Ref, make};

use super::{Entry, FORKS, Kernel, Loop, dns};

/// `AI_CANONNAME` of `netdb.h`, which the resolver does not answer.
const CANONICAL_NAME: i32 = 0x2;
/// The longest label of a name (RFC 1035, section 2.3.4); Python refuses longer ones in words of its own.
const LONGEST_LABEL: usize = 63;

/// What other threads have of a loop: where answers go, and what wakes it.
pub(super) struct Post {
    pub(super) waker: Waker,
    /// Each answer with the number of its question.
    pub(super) answers: Inbox<(u64, Lookup)>,
}

/// Who waits for which answer.
#[derive(Default)]
pub(super) struct Waiting {
    callbacks: HashMap<u64, Ref>,
    last: u64,
}

impl Waiting {
    pub(super) fn is_empty(&self) -> bool {
        self.callbacks.is_empty()
    }

    pub(super) fn callbacks(&self) -> Values<'_, u64, Ref> {
        self.callbacks.values()
    }
}

#[pymethods]
impl Loop {
    /// Look a name up in a thread; the loop then calls `callback(list, None)` or `callback(None, exception)`.
    ///
    /// Returns the look-up's number, or None if the question has to go another way.
    #[allow(clippy::too_many_arguments)]
    #[pyo3(signature = (callback, host, port, family, r#type, proto, flags))]
    fn _look_up<'py>(
        slf: &Bound<'py, Self>,
        callback: &Bound<'py, PyAny>,
        host: &Bound<'py, PyAny>,
        port: &Bound<'py, PyAny>,
        family: &Bound<'py, PyAny>,
        r#type: &Bound<'py, PyAny>,
        proto: &Bound<'py, PyAny>,
        flags: &Bound<'py, PyAny>,
    ) -> PyResult<Option<u64>> {
        let py = slf.py();
        let Some(question) = question(host, port, [family, r#type, proto, flags]) else {
            return Ok(None);
        };
        let this = slf.get();
        let kernel = this.kernel(py)?;
        imports(py)?
            .dns
            .announce(host, port, family, r#type, proto)?;
        let number = {
            let mut lookups = this.lookups.borrow_mut();
            lookups.last += 1;
            let number = lookups.last;
            lookups.callbacks.insert(number, callback.into());
            number
        };
        // The thread does not keep a loop's descriptor open that is closed meanwhile.
        let post = Arc::downgrade(&kernel.post);
        let asked = kernel.resolver.ask(question, move |lookup| {
            if let Some(post) = post.upgrade() {
                post.answers.push((number, lookup));
                // The eventfd is open as long as the post is there: nothing can fail.
                let _ = post.waker.wake();
            }
        });
        if asked.is_err() {
            this._forget_lookup(number);
            return Ok(None);
        }
        Ok(Some(number))
    }

    /// Nobody waits for the answer any more.
    fn _forget_lookup(&self, number: u64) {
        let callback = self.lookups.borrow_mut().callbacks.remove(&number);
        drop(callback);
    }
}

impl Loop {
    /// Makes a callback of each answer that has come.
    pub(super) fn take_answers(&self, this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        let kernel = self.kernel(py)?;
        for (number, lookup) in kernel.post.answers.drain() {
            let callback = self.lookups.borrow_mut().callbacks.remove(&number);
            let Some(callback) = callback else {
                continue; // forgotten
            };
            let args = match imports(py)?.dns.answer(py, lookup) {
                Ok(entries) => make::tuple(py, [entries.into_any(), py.None().into_bound(py)])?,
                Err(error) => {
                    let error = error.into_value(py).into_bound(py).into_any();
                    make::tuple(py, [none(py).bind(py).to_owned(), error])?
                }
            };
            let handle = handles::new_handle(py, this, callback, args.into(), None)?;
            self.push_ready(Entry::Handle(handles::Queued::new(handle)));
        }
        Ok(())
    }
}

impl Drop for Kernel {
    /// Closes the descriptors before it returns, also if a thread is just bringing an answer: that one lets go of them
    /// after a write that does not block. In a forked child there is no such thread.
    fn drop(&mut self) {
        while self.forks == FORKS.load(Ordering::Relaxed) && Arc::strong_count(&self.post) > 1 {
            std::thread::yield_now();
        }
    }
}

/// The question in the C library's terms; `None` for what the socket module would convert first, refuse, or answer
/// with a canonical name, and for kinds of sockets beyond stream, datagram and raw.
fn question(
    host: &Bound<'_, PyAny>,
    port: &Bound<'_, PyAny>,
    numbers: [&Bound<'_, PyAny>; 4],
) -> Option<Question> {
    let [family, kind, protocol, flags] = numbers.map(dns::number);
    let hints = [family?, kind?, protocol?, flags?];
    if !(0..=3).contains(&hints[1]) || hints[3] & CANONICAL_NAME != 0 {
        return None;
    }
    Some(Question {
        host: Some(host_name(host)?),
        service: service(port)?,
        hints,
    })
}

fn host_name(host: &Bound<'_, PyAny>) -> Option<String> {
    let name = text(host)?;
    // What is not ASCII goes through Python's `idna` codec.
    let mut labels = name.split('.').rev();
    let last = labels.next()?;
    let plain = name.is_ascii()
        && !name.is_empty()
        && last.len() <= LONGEST_LABEL
        && labels.all(|label| (1..=LONGEST_LABEL).contains(&label.len()));
    plain.then_some(name)
}

fn service(port: &Bound<'_, PyAny>) -> Option<Option<String>> {
    if port.is_none() {
        return Some(None);
    }
    if let Ok(number) = port.cast_exact::<PyInt>() {
        return Some(Some(number.extract::<u16>().ok()?.to_string()));
    }
    text(port).map(Some)
}

fn text(object: &Bound<'_, PyAny>) -> Option<String> {
    let text = if let Ok(text) = object.cast_exact::<PyString>() {
        text.to_str().ok()?
    } else {
        std::str::from_utf8(object.cast_exact::<PyBytes>().ok()?.as_bytes()).ok()?
    };
    (!text.contains('\0')).then(|| text.to_owned())
}
