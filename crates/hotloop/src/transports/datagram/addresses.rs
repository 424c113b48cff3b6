//! What the datagram transports of a loop share: memory to receive into, and the addresses seen last in both their
//! forms.
//!
//! A server answers to the address that it was given with the datagram, and a few peers send most of what arrives. So
//! an address tuple is made once and given again while its place is not needed for another one, and a tuple that is
//! the very object seen before is not read again. Both tables hold exact tuples of exact strings and ints only, which
//! cannot change and refer to nothing else.

use std::cell::{Cell, RefCell};

use hotloop_reactor::{Address, Family, ReceiveBatch};
use pyo3::prelude::*;

use crate::address::{from_python, sender_to_python, to_python};
use crate::python::Ref;

/// The number of places in each table, a power of two.
const PLACES: usize = 64;

type Table = RefCell<Vec<Option<(Address, Ref)>>>;

/// One for each loop.
#[derive(Default)]
pub(crate) struct Shared {
    batch: Cell<Option<Box<ReceiveBatch>>>,
    /// By the bits of the address: the tuple to deliver.
    senders: Table,
    /// By the identity of the tuple: the address to send to.
    destinations: Table,
}

impl Shared {
    /// Lends the memory that receives share. A receive inside another one gets its own.
    pub(super) fn take_batch(&self) -> Box<ReceiveBatch> {
        self.batch.take().unwrap_or_default()
    }

    /// Takes the memory back.
    pub(super) fn return_batch(&self, batch: Box<ReceiveBatch>) {
        self.batch.set(Some(batch));
    }

    /// The address of a sender as Python sees it; None for one without a name.
    pub(super) fn sender(&self, py: Python<'_>, address: Option<Address>) -> PyResult<Ref> {
        let place = match &address {
            Some(Address::V4(v4)) => v4.ip().to_bits() ^ u32::from(v4.port()),
            Some(Address::V6(v6)) => {
                let bits = v6.ip().to_bits();
                (bits as u32) ^ (bits >> 64) as u32 ^ v6.scope_id() ^ u32::from(v6.port())
            }
            _ => return sender_to_python(py, address.as_ref()),
        };
        let place = spread(u64::from(place));
        let Some(address) = address else {
            return sender_to_python(py, None);
        };
        if let Some(Some((known, object))) = self.senders.borrow().get(place)
            && *known == address
        {
            return Ok(object.clone_ref(py));
        }
        let object = to_python(py, &address)?;
        store(&self.senders, place, address, object.clone_ref(py));
        Ok(object)
    }

    /// The address that a Python object names, if it is one that needs no look-up.
    pub(super) fn destination(&self, family: Family, object: &Bound<'_, PyAny>) -> Option<Address> {
        if family == Family::Unix {
            return from_python(family, object);
        }
        let place = spread((object.as_ptr() as u64) >> 4);
        if let Some(Some((address, known))) = self.destinations.borrow().get(place)
            && known.as_ptr() == object.as_ptr()
            && is_of(family, address)
        {
            return Some(address.clone());
        }
        let address = from_python(family, object)?;
        store(&self.destinations, place, address.clone(), object.into());
        Some(address)
    }

    /// Forgets everything: the loop is closed.
    pub(crate) fn clear(&self) {
        let taken = (self.senders.take(), self.destinations.take());
        drop((taken, self.batch.take()));
    }
}

fn store(table: &Table, place: usize, address: Address, object: Ref) {
    let before = {
        let mut places = table.borrow_mut();
        if places.is_empty() {
            places.resize_with(PLACES, || None);
        }
        places[place].replace((address, object))
    };
    drop(before); // A5: outside of the borrow
}

fn is_of(family: Family, address: &Address) -> bool {
    matches!(
        (family, address),
        (Family::V4, Address::V4(_)) | (Family::V6, Address::V6(_))
    )
}

/// A place for a number whose low bits may be alike (Fibonacci hashing).
fn spread(bits: u64) -> usize {
    (bits.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - PLACES.trailing_zeros())) as usize
}
