//! What the reader's coroutine methods do: one attempt after another, until the bytes are there.
//!
//! The rules are those of `asyncio.StreamReader`: the limit counts what comes before the separator; a line above it is
//! thrown away if its end is there, and all there is otherwise; the transport is read again when no more than the
//! limit is left.

use std::cell::{Cell, RefCell};
use std::collections::TryReserveError;

use pyo3::Borrowed;
use pyo3::exceptions::{PyMemoryError, PyStopAsyncIteration, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyInt, PyTuple};

use crate::python::guard::none;
use crate::python::make;
use crate::python::{FastArguments, Ref};

use super::names;
use super::operation::{self, Kind, Step};
use super::reader::{Reader, receiver};

const NOT_FOUND: &str = "Separator is not found, and chunk exceed the limit";
const TOO_LONG: &str = "Separator is found, but chunk is longer than limit";

/// The separators of a `readuntil()`, shortest first, and how far the bytes were searched.
pub(super) struct Search {
    separators: Vec<Box<[u8]>>,
    offset: Cell<usize>,
}

/// Where a search stands.
enum Found {
    /// A separator begins at the first and ends before the second.
    At(usize, usize),
    /// None is there, and so many bytes hold none, which is above the limit.
    Overrun(usize),
    /// None is there yet.
    Nothing,
}

/// One attempt at a method of the reader; `resumed` after a wait. The reader's exception is looked at before a wait
/// and not after it: what came before the exception is still delivered.
pub(super) fn attempt(
    py: Python<'_>,
    reader: &Reader,
    kind: &Kind,
    resumed: bool,
) -> PyResult<Step> {
    if !resumed {
        reader.check(py)?;
    }
    match kind {
        Kind::Line { iterates, searched } => line(py, reader, *iterates, searched),
        Kind::Until(search) => until(py, reader, search),
        Kind::Some(count) => some(py, reader, *count, resumed),
        Kind::All(blocks) => all(py, reader, blocks, resumed),
        Kind::Exactly(count) => exactly(py, reader, *count),
        Kind::Drain => Ok(Step::Done(none(py))),
    }
}

pub(super) fn readline<'py>(
    py: Python<'py>,
    slf: Borrowed<'_, 'py, PyAny>,
    arguments: FastArguments<'_, 'py>,
) -> PyResult<Ref> {
    if !arguments.is_empty() || !Reader::is_plain(receiver(&slf)) {
        return by_asyncio(py, slf, "readline", arguments);
    }
    operation::new(py, &slf, Kind::line(false))
}

pub(super) fn readuntil<'py>(
    py: Python<'py>,
    slf: Borrowed<'_, 'py, PyAny>,
    arguments: FastArguments<'_, 'py>,
) -> PyResult<Ref> {
    if Reader::is_plain(receiver(&slf)) && arguments.keyword_count() == 0 {
        let separators = match (arguments.positional_count(), arguments.get(0)) {
            (0, _) => Some(vec![b"\n".as_slice().into()]),
            (1, Some(given)) => separators(&given, names(py)?.takes_tuples),
            _ => None,
        };
        if let Some(separators) = separators {
            let offset = Cell::new(0);
            return operation::new(py, &slf, Kind::Until(Search { separators, offset }));
        }
    }
    by_asyncio(py, slf, "readuntil", arguments)
}

pub(super) fn read<'py>(
    py: Python<'py>,
    slf: Borrowed<'_, 'py, PyAny>,
    arguments: FastArguments<'_, 'py>,
) -> PyResult<Ref> {
    if Reader::is_plain(receiver(&slf)) && arguments.keyword_count() == 0 {
        let count = match (arguments.positional_count(), arguments.get(0)) {
            (0, _) => Some(-1),
            (1, Some(given)) => number(&given),
            _ => None,
        };
        if let Some(count) = count {
            let kind = match usize::try_from(count) {
                Ok(count) => Kind::Some(count),
                Err(_) => Kind::All(RefCell::default()),
            };
            return operation::new(py, &slf, kind);
        }
    }
    by_asyncio(py, slf, "read", arguments)
}

pub(super) fn readexactly<'py>(
    py: Python<'py>,
    slf: Borrowed<'_, 'py, PyAny>,
    arguments: FastArguments<'_, 'py>,
) -> PyResult<Ref> {
    if Reader::is_plain(receiver(&slf))
        && (arguments.positional_count(), arguments.keyword_count()) == (1, 0)
        && let Some(count) = arguments.get(0).and_then(|given| number(&given))
        && let Ok(count) = usize::try_from(count)
    {
        return operation::new(py, &slf, Kind::Exactly(count));
    }
    by_asyncio(py, slf, "readexactly", arguments)
}

fn line(py: Python<'_>, reader: &Reader, iterates: bool, searched: &Cell<usize>) -> PyResult<Step> {
    let limit = reader.limit();
    // Bytes that were searched are not searched again, even if another reader has taken some of them meanwhile.
    let from = searched.get();
    let (length, newline) = reader.with_bytes(py, |bytes| {
        let rest = bytes.get(from..).unwrap_or_default();
        let newline = memchr::memchr(b'\n', rest).map(|at| from + at);
        (bytes.len(), newline)
    });
    let (overrun, thrown_away) = match newline {
        Some(at) if at <= limit => {
            let line = reader.take(py, at + 1)?;
            reader.maybe_resume(py)?;
            return Ok(Step::Done(line));
        }
        Some(at) => (overrun(py, TOO_LONG, at)?, at + 1),
        None if length > from && length > limit => (overrun(py, NOT_FOUND, length)?, length),
        None if reader.is_eof() => {
            if iterates && length == 0 {
                return Err(PyStopAsyncIteration::new_err(()));
            }
            return Ok(Step::Done(reader.take(py, length)?));
        }
        None => {
            searched.set(from.max(length));
            return Ok(Step::Wait("readuntil"));
        }
    };
    reader.consume(py, thrown_away)?;
    reader.maybe_resume(py)?;
    let args = overrun.value(py).getattr(intern!(py, "args"))?;
    let error = PyValueError::new_err((args.get_item(0)?.unbind(),));
    error
        .value(py)
        .setattr(intern!(py, "__context__"), overrun.value(py))?;
    Err(error)
}

fn until(py: Python<'_>, reader: &Reader, search: &Search) -> PyResult<Step> {
    let limit = reader.limit();
    match reader.with_bytes(py, |bytes| search.look(bytes, limit)) {
        Found::At(start, _) if start > limit => Err(overrun(py, TOO_LONG, start)?),
        Found::At(_, end) => {
            let data = reader.take(py, end)?;
            reader.maybe_resume(py)?;
            Ok(Step::Done(data))
        }
        Found::Overrun(offset) => Err(overrun(py, NOT_FOUND, offset)?),
        Found::Nothing if reader.is_eof() => incomplete(py, reader, none(py)),
        Found::Nothing => Ok(Step::Wait("readuntil")),
    }
}

fn some(py: Python<'_>, reader: &Reader, count: usize, resumed: bool) -> PyResult<Step> {
    if count == 0 {
        return Ok(Step::Done(make::bytes(py, b"")?.into()));
    }
    let length = reader.len(py);
    if length == 0 && !reader.is_eof() && !resumed {
        return Ok(Step::Wait("read"));
    }
    let data = reader.take(py, count.min(length))?;
    reader.maybe_resume(py)?;
    Ok(Step::Done(data))
}

/// Takes a limit's worth at a time, as asyncio does: a paused transport goes on as soon as it may.
fn all(
    py: Python<'_>,
    reader: &Reader,
    blocks: &RefCell<Vec<u8>>,
    mut resumed: bool,
) -> PyResult<Step> {
    loop {
        let count = reader.with_bytes(py, |bytes| {
            let count = bytes.len().min(reader.limit());
            let mut blocks = blocks.borrow_mut();
            blocks.try_reserve(count)?;
            blocks.extend_from_slice(&bytes[..count]);
            Ok::<_, TryReserveError>(count)
        });
        let count = count.map_err(|_| PyMemoryError::new_err(()))?;
        if count == 0 && !reader.is_eof() && !resumed {
            return Ok(Step::Wait("read"));
        }
        reader.consume(py, count)?;
        reader.maybe_resume(py)?;
        if count == 0 {
            return Ok(Step::Done(make::bytes(py, &blocks.take())?.into()));
        }
        reader.check(py)?;
        resumed = false;
    }
}

fn exactly(py: Python<'_>, reader: &Reader, count: usize) -> PyResult<Step> {
    if reader.len(py) >= count {
        let data = reader.take(py, count)?;
        if count > 0 {
            reader.maybe_resume(py)?;
        }
        return Ok(Step::Done(data));
    }
    if reader.is_eof() {
        return incomplete(py, reader, make::size(py, count)?.into());
    }
    Ok(Step::Wait("readexactly"))
}

impl Search {
    fn look(&self, bytes: &[u8], limit: usize) -> Found {
        let (Some(shortest), Some(longest)) = (self.separators.first(), self.separators.last())
        else {
            return Found::Nothing;
        };
        let offset = self.offset.get();
        if bytes.len() < offset + shortest.len() {
            return Found::Nothing;
        }
        // What ends first wins; among separators that end at the same place, the shortest.
        let found = self.separators.iter().filter_map(|separator| {
            let start = offset + memchr::memmem::find(&bytes[offset..], separator)?;
            Some((start, start + separator.len()))
        });
        if let Some((start, end)) = found.min_by_key(|&(_, end)| end) {
            return Found::At(start, end);
        }
        let searched = (bytes.len() + 1).saturating_sub(longest.len());
        self.offset.set(searched);
        if searched > limit {
            Found::Overrun(searched)
        } else {
            Found::Nothing
        }
    }
}

/// The separators of a call of the common form.
fn separators(given: &Bound<'_, PyAny>, takes_tuples: bool) -> Option<Vec<Box<[u8]>>> {
    let mut separators: Vec<Box<[u8]>> = if let Ok(one) = given.cast_exact::<PyBytes>() {
        vec![one.as_bytes().into()]
    } else if takes_tuples && let Ok(several) = given.cast_exact::<PyTuple>() {
        several
            .iter()
            .map(|one| Some(one.cast_exact::<PyBytes>().ok()?.as_bytes().into()))
            .collect::<Option<_>>()?
    } else {
        return None;
    };
    separators.sort_by_key(|separator| separator.len());
    let shortest = separators.first()?;
    (!shortest.is_empty()).then_some(separators)
}

fn number(given: &Bound<'_, PyAny>) -> Option<isize> {
    given.is_exact_instance_of::<PyInt>().then_some(())?;
    given.extract().ok()
}

fn incomplete(py: Python<'_>, reader: &Reader, expected: Ref) -> PyResult<Step> {
    let partial = reader.take(py, reader.len(py))?;
    let class = names(py)?.incomplete_read_error.bind(py);
    let error = class.call1((partial.bind(py), expected.bind(py)))?;
    Err(PyErr::from_value(error))
}

fn overrun(py: Python<'_>, message: &str, consumed: usize) -> PyResult<PyErr> {
    let class = names(py)?.limit_overrun_error.bind(py);
    let args = (make::string(py, message)?, make::size(py, consumed)?);
    Ok(PyErr::from_value(class.call1(args)?))
}

/// Calls the method of `asyncio.StreamReader` with the same arguments.
fn by_asyncio<'py>(
    py: Python<'py>,
    slf: Borrowed<'_, 'py, PyAny>,
    name: &str,
    arguments: FastArguments<'_, 'py>,
) -> PyResult<Ref> {
    super::by_method_of(&names(py)?.base_reader, slf, name, arguments)
}
