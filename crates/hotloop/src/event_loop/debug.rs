//! Debug mode: source tracebacks of handles, and the warning about slow callbacks.

use pyo3::intern;
use pyo3::prelude::*;

use crate::imports::imports;
use crate::python::Ref;
use crate::tasks;

use super::Loop;

impl Loop {
    /// In debug mode a handle remembers where it was made.
    pub(super) fn add_source_traceback(&self, py: Python<'_>, handle: &Ref) -> PyResult<()> {
        if !self.debug.get() {
            return Ok(());
        }
        let imports = imports(py)?;
        // A native method has no frame of its own: frame 0 is the caller's.
        let frame = imports.get_frame.bind(py).call1((0,))?;
        let traceback = imports.extract_stack.bind(py).call1((frame,))?;
        handle
            .bind(py)
            .setattr(intern!(py, "_source_traceback"), traceback)
    }

    /// Runs one entry, in debug mode under the clock; `named` is what the warning names.
    pub(super) fn run_timed(
        &self,
        this: &Bound<'_, Loop>,
        named: &Ref,
        run: impl FnOnce() -> PyResult<()>,
    ) -> PyResult<()> {
        if !self.debug.get() {
            return run();
        }
        let py = this.py();
        this.setattr(intern!(py, "_current_handle"), named.bind(py))?;
        let began = self.now(this)?;
        let result = run();
        let took = self.now(this)? - began;
        let limit: f64 = this
            .getattr(intern!(py, "slow_callback_duration"))?
            .extract()?;
        this.setattr(intern!(py, "_current_handle"), py.None())?;
        result?;
        if took >= limit {
            let imports = imports(py)?;
            let text = match tasks::of_callback(&named.bind(py).getattr(intern!(py, "_callback"))?)
            {
                Some(task) => task.repr()?.into_any(),
                None => imports.format_handle.bind(py).call1((named.bind(py),))?,
            };
            let message = "Executing %s took %.3f seconds";
            let namespace = imports.base_events_namespace.bind(py).as_any();
            let logger = namespace.get_item(intern!(py, "logger"))?;
            logger.call_method1(intern!(py, "warning"), (message, text, took))?;
        }
        Ok(())
    }
}
