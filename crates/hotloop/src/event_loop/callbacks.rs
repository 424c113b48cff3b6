//! Callbacks: `call_soon`, `call_soon_threadsafe`, `create_future`, `create_task`.
//!
//! These are the hottest methods of a loop, so they are fastcall methods put on the type by [`add_methods`].
//! Each handles the common form of a call; every other form (no callback, unknown keywords, a closed loop,
//! debug mode) is handed to the running Python's own `BaseEventLoop` method, which raises or does what asyncio
//! does, in its words.

use std::ffi::CStr;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple, PyType};
use pyo3::{Borrowed, intern};

use crate::handles;
use crate::imports::{BaseLoop, imports};
use crate::python::guard::{attached, boolean, guard_alone, none};
use crate::python::heap_type::{method_fast, method_noargs};
use crate::python::{FastArguments, Ref};
use crate::tasks;

use super::hooks::Hooks;
use super::{Entry, Loop, docs};
use crate::python::{make, raw};

/// Puts the fastcall methods on `_core.Loop`.
pub(crate) fn add_methods(class: &Bound<'_, PyType>) -> PyResult<()> {
    put_methods(class, methods())
}

/// Puts the same methods on `hotloop.EventLoop`, as its own.
///
/// The interpreter calls a method directly, without packing and checks, where the object's class is the very one that
/// has the descriptor (`CALL_METHOD_DESCRIPTOR_FAST_WITH_KEYWORDS` and its like, 3.11 to 3.15).
pub(super) fn add_methods_again(class: &Bound<'_, PyType>) -> PyResult<()> {
    let native = class.py().get_type::<Loop>();
    let mut own = Vec::new();
    for method in methods() {
        // SAFETY: A2: the definitions are static, their names C string literals.
        let name = unsafe { CStr::from_ptr(method.ml_name) }.to_string_lossy();
        if class
            .getattr(name.as_ref())?
            .is(&native.getattr(name.as_ref())?)
        {
            own.push(method);
        }
    }
    put_methods(class, own)
}

fn methods() -> Vec<ffi::PyMethodDef> {
    vec![
        method_fast!(c"call_soon", docs::CALL_SOON, call_soon),
        method_fast!(
            c"call_soon_threadsafe",
            docs::CALL_SOON_THREADSAFE,
            call_soon_threadsafe,
            guard_alone
        ),
        method_fast!(c"call_later", docs::CALL_LATER, super::timers::call_later),
        method_fast!(c"call_at", docs::CALL_AT, super::timers::call_at),
        method_noargs!(c"time", docs::TIME, super::timers::time),
        method_fast!(c"create_task", docs::CREATE_TASK, create_task),
        method_fast!(
            c"run_in_executor",
            docs::RUN_IN_EXECUTOR,
            super::executors::run_in_executor
        ),
        method_noargs!(c"get_debug", docs::GET_DEBUG, get_debug),
        method_noargs!(c"create_future", docs::CREATE_FUTURE, create_future),
    ]
}

/// Puts fastcall methods on a class that PyO3 has made.
pub(crate) fn put_methods(
    class: &Bound<'_, PyType>,
    methods: Vec<ffi::PyMethodDef>,
) -> PyResult<()> {
    for definition in Vec::leak(methods) {
        // SAFETY: A1, A2: the class is alive, the definition is leaked; A3 by `from_new`.
        let descriptor = unsafe {
            Ref::from_new(
                class.py(),
                ffi::PyDescr_NewMethod(class.as_type_ptr(), definition),
            )?
        };
        // SAFETY: A2: the definitions are leaked, their names C string literals.
        let name = unsafe { CStr::from_ptr(definition.ml_name) };
        class.setattr(name.to_string_lossy().as_ref(), descriptor.bind(class.py()))?;
    }
    Ok(())
}

/// The loop of a method that the interpreter called on it.
pub(super) fn receiver<'a, 'py>(slf: &'a Borrowed<'_, 'py, PyAny>) -> &'a Bound<'py, Loop> {
    // SAFETY: A4: a method descriptor of `_core.Loop` checks the type of `self` before it calls.
    unsafe { Bound::cast_unchecked::<Loop>(slf) }
}

fn call_soon<'py>(
    py: Python<'py>,
    slf: Borrowed<'_, 'py, PyAny>,
    arguments: FastArguments<'_, 'py>,
) -> PyResult<Ref> {
    let this = receiver(&slf);
    if this.get().hooks.get().any(Hooks::INSIDE_CALL_SOON) {
        return forward(py, slf, arguments, |base| &base.call_soon);
    }
    if let Some(step) = task_step(py, this, arguments)? {
        this.get().push_ready(step);
        return Ok(none(py));
    }
    match Call::parse(py, this, arguments, 0)? {
        Some(call) => {
            let handle = handles::new_handle(py, this, call.callback, call.args, call.context)?;
            this.get()
                .push_ready(Entry::Handle(handles::Queued::new(handle.clone_ref(py))));
            Ok(handle)
        }
        None => forward(py, slf, arguments, |base| &base.call_soon),
    }
}

/// A step or a wake-up that the C task of asyncio schedules for itself: it stands in the queue without a handle.
///
/// `_asyncio` drops what `call_soon` returns, so nobody can miss the handle. A call is one of these if the callback is
/// a task's step object, whose type asyncio does not export, or a built-in method of a C task, and the name of the one
/// keyword is the very string that came with a step object: `_asyncio` makes it once, and does not intern it.
#[inline]
fn task_step(
    py: Python<'_>,
    this: &Bound<'_, Loop>,
    arguments: FastArguments<'_, '_>,
) -> PyResult<Option<Entry>> {
    let (Some((name, context)), 1) = (arguments.keyword(0), arguments.keyword_count()) else {
        return Ok(None);
    };
    let state = this.get();
    let (Some(callback), 1..=2, false, false) = (
        arguments.get(0),
        arguments.positional_count(),
        state.debug.get(),
        state.closed.get(),
    ) else {
        return Ok(None);
    };
    if name.as_ptr() == intern!(py, "context").as_ptr() {
        return Ok(None); // Python code
    }
    let imports = imports(py)?;
    // SAFETY: A2: the callback and what it belongs to are held by the caller; none of this runs Python code.
    let of_task = unsafe {
        if imports.is_task_step(ffi::Py_TYPE(callback.as_ptr())) {
            imports.is_context_of_asyncio(&name, true)
        } else {
            imports.is_context_of_asyncio(&name, false)
                && ffi::PyCFunction_CheckExact(callback.as_ptr()) != 0
                && imports.is_task(ffi::PyCFunction_GetSelf(callback.as_ptr()))
        }
    };
    // SAFETY: A2, as above.
    let is_context = unsafe { ffi::PyContext_CheckExact(context.as_ptr()) } != 0;
    Ok((of_task && is_context).then(|| Entry::Step {
        callback: (&*callback).into(),
        argument: arguments.get(1).map(|argument| (&*argument).into()),
        context: (&*context).into(),
    }))
}

/// Drops nothing of PyO3's but in `forward`, for the sake of [`guard_alone`].
fn call_soon_threadsafe<'py>(
    py: Python<'py>,
    slf: Borrowed<'_, 'py, PyAny>,
    arguments: FastArguments<'_, 'py>,
) -> PyResult<Ref> {
    let this = receiver(&slf);
    match Call::parse(py, this, arguments, 0)? {
        Some(call) if !this.get().hooks.get().any(Hooks::INSIDE_THREADSAFE) => {
            let handle = handles::new_posted(py, this, call.callback, call.args, call.context)?;
            this.get()
                .push_ready(Entry::Handle(handles::Queued::new(handle.clone_ref(py))));
            this.get().wake();
            Ok(handle)
        }
        // SAFETY: A1 by the token.
        _ => unsafe {
            attached(|py| forward(py, slf, arguments, |base| &base.call_soon_threadsafe))
        },
    }
}

/// Asked by every future that is made.
fn get_debug<'py>(py: Python<'py>, slf: Borrowed<'_, 'py, PyAny>) -> PyResult<Ref> {
    Ok(boolean(py, receiver(&slf).get().debug.get()))
}

/// `loop.create_future()`, where nobody has overridden it.
pub(crate) fn create_future<'py>(py: Python<'py>, slf: Borrowed<'_, 'py, PyAny>) -> PyResult<Ref> {
    if receiver(&slf).get().native_futures.get() {
        return tasks::new_future(py, receiver(&slf));
    }
    let imports = imports(py)?;
    let Some(future) = imports
        .futures_namespace
        .bind(py)
        .get_item(intern!(py, "Future"))?
    else {
        return FastArguments::none(py).forward(&imports.base_loop.create_future, slf.as_ptr());
    };
    let named = receiver(&slf).get().loop_keyword(&slf)?;
    // SAFETY: A2: class, arguments and keywords are held; A3 by `from_new`.
    unsafe {
        Ref::from_new(
            py,
            raw::PyObject_Call(future.as_ptr(), PyTuple::empty(py).as_ptr(), named.as_ptr()),
        )
    }
}

fn create_task<'py>(
    py: Python<'py>,
    slf: Borrowed<'_, 'py, PyAny>,
    arguments: FastArguments<'_, 'py>,
) -> PyResult<Ref> {
    let this = receiver(&slf).get();
    let imports = imports(py)?;
    let special = this.closed.get() || this.debug.get() || this.task_factory.is_some();
    // `asyncio.create_task` passes `name=None` from 3.12 on.
    let name = arguments.only_keyword(intern!(py, "name").as_any());
    if let (Some(name), true, Some(coroutine)) = (name, special, arguments.get(0))
        && this.makes_native_tasks(py)?
    {
        let options = tasks::Options {
            event_loop: Some(slf),
            name,
            ..tasks::Options::default()
        };
        return tasks::new_task(py, coroutine, &options);
    }
    let (Some(name), 1, false) = (name, arguments.positional_count(), special) else {
        return arguments.forward(&imports.base_loop.create_task, slf.as_ptr());
    };
    let Some(task) = imports
        .tasks_namespace
        .bind(py)
        .get_item(intern!(py, "Task"))?
    else {
        return arguments.forward(&imports.base_loop.create_task, slf.as_ptr());
    };
    let coroutine = arguments.rest(0)?;
    let mut named = this.loop_keyword(&slf)?;
    if let Some(name) = name.filter(|name| !name.is_none()) {
        let with_name = named.bind(py).cast::<PyDict>()?.copy()?;
        with_name.set_item(intern!(py, "name"), name)?;
        named = with_name.into();
    }
    // SAFETY: as in `create_future`.
    unsafe {
        Ref::from_new(
            py,
            raw::PyObject_Call(task.as_ptr(), coroutine.as_ptr(), named.as_ptr()),
        )
    }
}

/// A callback with its arguments, ready to be made a handle.
pub(super) struct Call {
    pub(super) callback: Ref,
    pub(super) args: Ref,
    pub(super) context: Option<Ref>,
}

impl Call {
    /// Reads `(…, callback, *args, context=None)`, where the callback stands at `position`; `None` if the call
    /// is of another form, or the loop is closed or in debug mode.
    #[inline(always)] // measured: the calls between the few lines of each cost more than the lines
    pub(super) fn parse(
        py: Python<'_>,
        this: &Bound<'_, Loop>,
        arguments: FastArguments<'_, '_>,
        position: usize,
    ) -> PyResult<Option<Self>> {
        if this.get().closed.get() || this.get().debug.get() {
            return Ok(None);
        }
        Self::read(py, arguments, position)
    }

    /// The same without a look at the loop.
    #[inline(always)]
    pub(super) fn read(
        py: Python<'_>,
        arguments: FastArguments<'_, '_>,
        position: usize,
    ) -> PyResult<Option<Self>> {
        let Some(callback) = arguments.get(position) else {
            return Ok(None);
        };
        let Some(context) = arguments.only_keyword(intern!(py, "context").as_any()) else {
            return Ok(None);
        };
        let context = context
            .filter(|context| !context.is_none())
            .map(|context| (&*context).into());
        Ok(Some(Self {
            callback: (&*callback).into(),
            args: arguments.rest(position + 1)?,
            context,
        }))
    }
}

/// Calls the method of `BaseEventLoop` with the same arguments.
pub(super) fn forward<'py>(
    py: Python<'py>,
    slf: Borrowed<'_, 'py, PyAny>,
    arguments: FastArguments<'_, 'py>,
    method: impl FnOnce(&'static BaseLoop) -> &'static Ref,
) -> PyResult<Ref> {
    arguments.forward(method(&imports(py)?.base_loop), slf.as_ptr())
}

#[pymethods]
impl Loop {
    /// Make a handle and put it into the ready queue; what `BaseEventLoop.call_soon` calls in debug mode.
    fn _call_soon<'py>(
        slf: &Bound<'py, Self>,
        callback: &Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
        context: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let context = (!context.is_none()).then(|| context.into());
        let handle = handles::new_handle(py, slf, callback.into(), args.into(), context)?;
        slf.get().add_source_traceback(py, &handle)?;
        slf.get()
            .push_ready(Entry::Handle(handles::Queued::new(handle.clone_ref(py))));
        Ok(handle.into_bound(py))
    }
}

impl Loop {
    /// Puts an entry at the end of the ready queue.
    ///
    /// Other threads do this, too: they hold the interpreter, and the queue is never borrowed across its release.
    /// So the order of posts is the order of calls, whatever thread they come from, as it is with asyncio's deque.
    /// A lock-free inbox beside the queue would cost an allocation more for each post, and lose that order.
    #[inline]
    pub(crate) fn push_ready(&self, entry: Entry) {
        self.ready.borrow_mut().push(entry);
    }

    /// Whether callbacks without a handle may stand on the ready queue: not if `call_soon` is overridden, nor in debug
    /// mode or when closed, where it does more.
    #[inline]
    pub(crate) fn takes_entries(&self) -> bool {
        !self.closed.get() && !self.debug.get() && !self.hooks.get().any(Hooks::CALL_SOON)
    }

    /// Whether a subclass has its own `get_debug()`, which futures ask when they are made.
    pub(crate) fn overrides_get_debug(&self) -> bool {
        self.hooks.get().any(Hooks::GET_DEBUG)
    }

    /// Whether the task factory is `hotloop.task_factory` and nothing else is to be done.
    fn makes_native_tasks(&self, py: Python<'_>) -> PyResult<bool> {
        if self.closed.get() {
            return Ok(false);
        }
        let native = imports(py)?.tasks.task_factory.as_ptr();
        Ok(self
            .task_factory
            .peek(|factory| factory.is_some_and(|factory| factory.as_ptr() == native)))
    }

    /// `{"loop": loop}`, made once: the classes of futures and tasks take keywords as a dict and do not keep it.
    fn loop_keyword(&self, slf: &Bound<'_, PyAny>) -> PyResult<Ref> {
        let py = slf.py();
        if let Some(named) = self.loop_keyword.get(py) {
            return Ok(named);
        }
        let named = make::dict(py)?;
        named.set_item(intern!(py, "loop"), slf)?;
        drop(self.loop_keyword.replace(Some((&named).into())));
        Ok(named.into())
    }
}
