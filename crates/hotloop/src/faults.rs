//! Plans faults of system calls from Python (`hotloop_reactor::faults`): only in a build with the feature `faults`,
//! which the tests use and no wheel has.

use hotloop_reactor::faults::{self, Call};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use rustix::io::Errno;

use crate::python::make::Words;

/// Let the call of this name fail at its `position`-th time from now: with the error number, or by moving one byte.
#[pyfunction]
#[pyo3(signature = (name, position, error=None))]
fn _faults_arm(name: &str, position: u64, error: Option<i32>) -> PyResult<()> {
    faults::arm(call(name)?, position, error.map(Errno::from_raw_os_error));
    Ok(())
}

/// Let every call fail so many times in a million, chosen from a seed.
#[pyfunction]
fn _faults_scatter(seed: u64, per_million: u64) {
    faults::scatter(seed, per_million);
}

/// No faults from now on.
#[pyfunction]
fn _faults_disarm() {
    faults::disarm();
}

/// How often each call was made since counting began, by name.
#[pyfunction]
fn _faults_seen(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let seen = PyDict::new(py);
    for (call, count) in Call::ALL.iter().zip(faults::seen()) {
        seen.set_item(call.name(), count)?;
    }
    Ok(seen)
}

/// The error numbers that can be injected into a call.
#[pyfunction]
fn _faults_errors(name: &str) -> PyResult<Vec<i32>> {
    let errors = call(name)?.errors();
    Ok(errors.iter().map(|error| error.raw_os_error()).collect())
}

/// Puts the functions into the module, but not into `__all__`: the stub is that of the product.
pub(crate) fn add_functions(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let functions = [
        wrap_pyfunction!(_faults_arm, module)?,
        wrap_pyfunction!(_faults_scatter, module)?,
        wrap_pyfunction!(_faults_disarm, module)?,
        wrap_pyfunction!(_faults_seen, module)?,
        wrap_pyfunction!(_faults_errors, module)?,
    ];
    for function in functions {
        let name = function.getattr("__name__")?.extract::<String>()?;
        module.setattr(name.as_str(), function)?;
    }
    Ok(())
}

fn call(name: &str) -> PyResult<Call> {
    let mut calls = Call::ALL.into_iter();
    calls
        .find(|call| call.name() == name)
        .ok_or_else(|| PyValueError::new_err(Words(format!("no call is named {name:?}"))))
}
