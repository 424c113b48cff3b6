//! The engine that calls the `SSLObject`'s own methods over `ssl.MemoryBIO`, as asyncio's does.

use std::mem::MaybeUninit;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::python::Ref;
use crate::python::make;

use super::names::names;
use super::{End, Progress, Turn};

/// `SSLObject.read(n)` makes `bytes` of this size before it knows how much there is: a TLS record's plain text.
const MOST_AT_ONCE: usize = 16 * 1024;

pub(crate) struct Memory {
    object: Ref,
    incoming: Ref,
    outgoing: Ref,
    pub(super) turn: Turn,
}

impl Memory {
    pub(super) fn new(
        object: &Bound<'_, PyAny>,
        incoming: &Bound<'_, PyAny>,
        outgoing: &Bound<'_, PyAny>,
    ) -> Self {
        Self {
            object: object.into(),
            incoming: incoming.into(),
            outgoing: outgoing.into(),
            turn: Turn::default(),
        }
    }

    /// The two BIOs, for `_incoming` and `_outgoing`.
    pub(crate) fn bios(&self) -> (&Ref, &Ref) {
        (&self.incoming, &self.outgoing)
    }

    pub(super) fn for_each_reference(&self, look: &mut dyn FnMut(&Ref)) {
        [&self.object, &self.incoming, &self.outgoing]
            .into_iter()
            .for_each(look);
    }

    pub(super) fn feed(&self, py: Python<'_>, data: &[u8]) -> PyResult<()> {
        let data = make::bytes(py, data)?;
        let incoming = self.incoming.bind(py);
        incoming
            .call_method1(intern!(py, "write"), (data,))
            .map(drop)
    }

    pub(super) fn waiting_in(&self, py: Python<'_>) -> PyResult<usize> {
        self.incoming
            .bind(py)
            .getattr(intern!(py, "pending"))?
            .extract()
    }

    pub(super) fn waiting_out(&self, py: Python<'_>) -> PyResult<usize> {
        self.outgoing
            .bind(py)
            .getattr(intern!(py, "pending"))?
            .extract()
    }

    pub(super) fn read(
        &self,
        py: Python<'_>,
        memory: &mut [MaybeUninit<u8>],
    ) -> PyResult<Progress> {
        let mut count = 0;
        loop {
            let Some(rest) = memory.get_mut(count..).filter(|rest| !rest.is_empty()) else {
                let end = End::Full;
                return Ok(Progress { count, end });
            };
            let most = rest.len().min(MOST_AT_ONCE);
            let Some(_turn) = self.turn.begin() else {
                let end = End::Drained;
                return Ok(Progress { count, end });
            };
            let data = match self
                .object
                .bind(py)
                .call_method1(intern!(py, "read"), (make::size(py, most)?,))
            {
                Ok(data) => data,
                Err(error) if names(py)?.is_again(py, &error) => {
                    let end = End::Drained;
                    return Ok(Progress { count, end });
                }
                Err(error) => return Err(error),
            };
            let data = data.cast::<PyBytes>()?;
            if data.as_bytes().is_empty() {
                let end = End::Closed;
                return Ok(Progress { count, end });
            }
            for (place, byte) in rest.iter_mut().zip(data.as_bytes()) {
                place.write(*byte);
            }
            count += data.as_bytes().len().min(most);
        }
    }

    pub(super) fn write(&self, py: Python<'_>, data: &[u8]) -> PyResult<usize> {
        let mut count = 0;
        while let Some(rest) = data.get(count..).filter(|rest| !rest.is_empty()) {
            let Some(_turn) = self.turn.begin() else {
                break;
            };
            let written = self
                .object
                .bind(py)
                .call_method1(intern!(py, "write"), (make::bytes(py, rest)?,));
            match written {
                Ok(written) => count += written.extract::<usize>()?.min(rest.len()),
                Err(error) if names(py)?.is_again(py, &error) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(count)
    }

    pub(super) fn take_records(&self, py: Python<'_>) -> PyResult<Vec<u8>> {
        let records = self.outgoing.bind(py).call_method0(intern!(py, "read"))?;
        Ok(records.cast::<PyBytes>()?.as_bytes().to_vec())
    }
}
