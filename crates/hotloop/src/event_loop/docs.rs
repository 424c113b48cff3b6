//! The docstrings of the loop's hottest methods, which stand in a table: what they take, in which units, what they raise,
//! and where the behaviour comes from. Each begins with the signature, as `inspect.signature` reads it.

use std::ffi::CStr;

pub(super) const CALL_SOON: &CStr = c"call_soon($self, /, callback, *args, context=None)
--

Call callback(*args) in the next iteration, in the order of the calls; return an asyncio.Handle.

context is a contextvars.Context, None for the current one. Raises RuntimeError if the loop is
closed; in debug mode TypeError for a coroutine or what cannot be called, and RuntimeError in
another thread than the loop's. As asyncio's.";

pub(super) const CALL_SOON_THREADSAFE: &CStr =
    c"call_soon_threadsafe($self, /, callback, *args, context=None)
--

Call callback(*args) in the next iteration, from any thread; return an asyncio.Handle.

Wakes the loop if it sleeps. Raises RuntimeError if the loop is closed; in debug mode TypeError for
a coroutine or what cannot be called. As asyncio's.";

pub(super) const CALL_LATER: &CStr = c"call_later($self, /, delay, callback, *args, context=None)
--

Call callback(*args) after a delay, never earlier; return an asyncio.TimerHandle.

delay is in seconds, an int or a float; 0 or less means one of the next iterations. Raises what
call_soon() raises, and TypeError for a delay of None. As asyncio's.";

pub(super) const CALL_AT: &CStr = c"call_at($self, /, when, callback, *args, context=None)
--

Call callback(*args) at a time, never earlier; return an asyncio.TimerHandle.

when is a time of loop.time(), in seconds. Equal times keep the order of the calls. Raises what
call_soon() raises, and TypeError for a time of None. As asyncio's.";

pub(super) const TIME: &CStr = c"time($self, /)
--

Return the time of the loop's clock, time.monotonic(), in seconds, a float.

A subclass may have another clock: the timers follow it. As asyncio's.";

pub(super) const RUN_IN_EXECUTOR: &CStr = c"run_in_executor($self, /, executor, func, *args)
--

Call func(*args) in a thread or process of an executor; return a future of the result.

executor is a concurrent.futures.Executor, None for the loop's default one, which is made when it is
first needed. Raises RuntimeError if the loop or its default executor is closed; in debug mode
TypeError for a coroutine or what cannot be called. As asyncio's.";

pub(super) const GET_DEBUG: &CStr = c"get_debug($self, /)
--

Return True if the loop is in debug mode. As asyncio's, but always a bool.";

pub(super) const CREATE_FUTURE: &CStr = c"create_future($self, /)
--

Return a new asyncio.Future of the loop; a hotloop.Future with EventLoop(native_tasks=True).";

/// The signature is that of the version: the task's own keywords are passed on from 3.14 on.
#[cfg(Py_3_14)]
pub(super) const CREATE_TASK: &CStr = c"create_task($self, /, coro, **kwargs)
--

Schedule the steps of a coroutine object; return its task, which the task factory makes.

The keywords go to the task: name, a str, and context, a contextvars.Context. Raises RuntimeError if
the loop is closed, TypeError for what is no coroutine. As asyncio's.";

#[cfg(not(Py_3_14))]
pub(super) const CREATE_TASK: &CStr = c"create_task($self, /, coro, *, name=None, context=None)
--

Schedule the steps of a coroutine object; return its task, which the task factory makes.

name is a str, None for one with a number; context is a contextvars.Context, None for a copy of the
current one. Raises RuntimeError if the loop is closed, TypeError for what is no coroutine. As
asyncio's.";
