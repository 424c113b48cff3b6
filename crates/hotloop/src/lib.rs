//! `hotloop._core`: the native half of hotloop.
//!
//! [`event_loop`] is the loop, [`handles`] what it schedules, [`transports`] what it serves; [`python`] is the
//! only room that speaks the raw C-API and has the rules for it. The mechanics (poller, timers, queues, sockets)
//! are in the crate `hotloop-reactor`, which knows nothing of Python.

mod address;
mod errors;
mod event_loop;
#[cfg(feature = "faults")]
mod faults;
mod handles;
mod imports;
mod python;
mod streams;
mod tasks;
mod tls;
mod transports;

use pyo3::prelude::*;

/// How this library was built, for reports of measurements: `checked` (with the debug assertions), `release`,
/// or what the builder named it by `$HOTLOOP_BUILD` (tools/wheels.py: `profile-guided`).
const BUILD: &str = match (cfg!(debug_assertions), option_env!("HOTLOOP_BUILD")) {
    (true, _) => "checked",
    (false, Some(named)) => named,
    (false, None) => "release",
};

/// The extension module.
#[pymodule(gil_used = true)]
mod _core {
    use super::*;

    #[pymodule_export]
    use crate::event_loop::Loop;

    #[pymodule_export]
    use crate::event_loop::_after_fork_in_child;

    #[pymodule_export]
    use crate::event_loop::_note_loop_class;
    #[pymodule_export]
    use crate::streams::{_register_streams, Protocol, Reader, Writer};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        let py = module.py();
        crate::python::interpreter::refuse_subinterpreter(py)?;
        crate::event_loop::callbacks::add_methods(&py.get_type::<Loop>())?;
        crate::streams::add_methods(py)?;
        crate::python::snapshot::try_layout(py)?;
        #[cfg(feature = "faults")]
        crate::faults::add_functions(module)?;
        let imports = crate::imports::imports(py)?;
        module.add("Handle", imports.handle_types.handle.bind(py))?;
        module.add("TimerHandle", imports.handle_types.timer.bind(py))?;
        module.add("SocketTransport", imports.stream_type.bind(py))?;
        module.add("SSLProtocol", imports.tls_types.protocol.bind(py))?;
        module.add("SSLTransport", imports.tls_types.transport.bind(py))?;
        module.add("Future", imports.tasks.future_type.bind(py))?;
        module.add("Task", imports.tasks.task_type.bind(py))?;
        module.add("task_factory", imports.tasks.task_factory.bind(py))?;
        module.add(
            "_eager_task_factory",
            imports.tasks.eager_task_factory.bind(py),
        )?;
        #[cfg(Py_3_14)]
        {
            // Not in `__all__`: the stub is the same for all versions.
            let [add, discard] = imports.tasks.await_graph_functions();
            module.setattr("_future_add_to_awaited_by", add.bind(py))?;
            module.setattr("_future_discard_from_awaited_by", discard.bind(py))?;
        }
        module.add("ReadPipeTransport", imports.read_pipe_type.bind(py))?;
        module.add("WritePipeTransport", imports.write_pipe_type.bind(py))?;
        module.add("DatagramTransport", imports.datagram_type.bind(py))?;
        module.add("__build__", BUILD)?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
