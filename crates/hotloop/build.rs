//! Passes the version of the Python that is built for (`cfg(Py_3_12)`, ...) on to this crate.

fn main() {
    pyo3_build_config::use_pyo3_cfgs();
}
