//! The docstrings of `hotloop.Future`, `hotloop.Task` and the task factories: what the methods take, what they raise,
//! and where the behaviour comes from. Each begins with the signature, as `inspect.signature` reads it.

use std::ffi::CStr;

pub(super) const RESULT: &CStr = c"result($self, /)
--

Return the result, or raise the exception that the future ended with.

Raises asyncio.InvalidStateError if it is not done, CancelledError if it was cancelled. As
asyncio.Future.result().";

pub(super) const EXCEPTION: &CStr = c"exception($self, /)
--

Return the exception that the future ended with, None if it has a result.

Raises asyncio.InvalidStateError if it is not done, CancelledError if it was cancelled. As
asyncio.Future.exception().";

pub(super) const SET_RESULT: &CStr = c"set_result($self, result, /)
--

End the future with a result, any object, and schedule its callbacks.

Raises asyncio.InvalidStateError if it is done. As asyncio.Future.set_result().";

pub(super) const SET_EXCEPTION: &CStr = c"set_exception($self, exception, /)
--

End the future with an exception, an instance or a class, and schedule its callbacks.

Raises asyncio.InvalidStateError if it is done, TypeError for what is no exception and for
StopIteration. As asyncio.Future.set_exception().";

pub(super) const ADD_DONE_CALLBACK: &CStr = c"add_done_callback($self, fn, /, *, context=None)
--

Have the loop call fn(future) when the future is done, or soon if it is.

context is a contextvars.Context, None for the current one. Raises TypeError for another form of
call, RuntimeError if the future is done and its loop closed. As asyncio.Future.add_done_callback().";

pub(super) const REMOVE_DONE_CALLBACK: &CStr = c"remove_done_callback($self, fn, /)
--

Remove a callback wherever it was added; return how often, an int.

Callbacks are compared by ==. As asyncio.Future.remove_done_callback().";

pub(super) const CANCEL: &CStr = c"cancel($self, /, msg=None)
--

End the future as cancelled and schedule its callbacks; return False if it is done.

msg, any object, becomes the argument of the CancelledError. Raises nothing of its own. As
asyncio.Future.cancel().";

pub(super) const CANCELLED: &CStr = c"cancelled($self, /)
--

Return True if the future was cancelled. As asyncio.Future.cancelled().";

pub(super) const DONE: &CStr = c"done($self, /)
--

Return True if there is a result or an exception, or the future was cancelled. As asyncio.Future.done().";

pub(super) const GET_LOOP: &CStr = c"get_loop($self, /)
--

Return the event loop of the future.

Raises RuntimeError if __init__() was not called. As asyncio.Future.get_loop().";

pub(super) const TASK_SET_RESULT: &CStr = c"set_result($self, result, /)
--

Raise RuntimeError: a task ends with its coroutine. As asyncio.Task.set_result().";

pub(super) const TASK_SET_EXCEPTION: &CStr = c"set_exception($self, exception, /)
--

Raise RuntimeError: a task ends with its coroutine. As asyncio.Task.set_exception().";

pub(super) const TASK_CANCEL: &CStr = c"cancel($self, /, msg=None)
--

Have a CancelledError raised in the coroutine at its next step; return False if the task is done.

msg, any object, becomes the argument of the error. The coroutine may catch it and go on. Raises
nothing of its own. As asyncio.Task.cancel().";

pub(super) const CANCELLING: &CStr = c"cancelling($self, /)
--

Return the number of requests to cancel, less those taken back, an int. As asyncio.Task.cancelling().";

pub(super) const UNCANCEL: &CStr = c"uncancel($self, /)
--

Take back a request to cancel; return how many are left, an int.

From Python 3.13 on the last one also keeps a CancelledError that was not raised yet from being
raised. As asyncio.Task.uncancel().";

pub(super) const GET_STACK: &CStr = c"get_stack($self, /, *, limit=None)
--

Return the frames of the coroutine, or of its exception's traceback, as a list.

limit is the most frames to return, an int; None for all. As asyncio.Task.get_stack().";

pub(super) const PRINT_STACK: &CStr = c"print_stack($self, /, *, limit=None, file=None)
--

Print the frames of get_stack() like a traceback.

limit is the most frames to print, None for all; file is a text file, None for sys.stderr. As
asyncio.Task.print_stack().";

pub(super) const GET_CORO: &CStr = c"get_coro($self, /)
--

Return the coroutine; None if the task ended in its first, eager step. As asyncio.Task.get_coro().";

pub(super) const GET_NAME: &CStr = c"get_name($self, /)
--

Return the name, a str. As asyncio.Task.get_name().";

pub(super) const SET_NAME: &CStr = c"set_name($self, value, /)
--

Set the name: the value, any object, as a str. As asyncio.Task.set_name().";

pub(super) const GET_CONTEXT: &CStr = c"get_context($self, /)
--

Return the contextvars.Context in which the coroutine runs. As asyncio.Task.get_context(), from 3.12 on.";

pub(super) const TASK_FACTORY: &CStr =
    c"task_factory(loop, coro, *, name=None, context=None, eager_start=None)
--

Return a hotloop.Task: a factory for loop.set_task_factory() of any asyncio loop.

coro is a coroutine object, name a str or None, context a contextvars.Context or None for a copy of
the current one; eager_start is a bool (Python 3.12 and later). Raises TypeError for what is no
coroutine and for other keywords, as asyncio.Task does.";

pub(super) const EAGER_TASK_FACTORY: &CStr =
    c"eager_task_factory(loop, coro, *, name=None, context=None, eager_start=None)
--

Return a hotloop.Task whose first step has been run, if the loop is the running one.

A factory for loop.set_task_factory(), on Python 3.12 and later; arguments and errors are those of
task_factory(). As asyncio.eager_task_factory().";
