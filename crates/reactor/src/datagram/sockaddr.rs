//! Socket addresses in the kernel's form, for the calls that rustix does not make.

#![allow(unsafe_code)]

use std::io;
use std::mem::offset_of;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};

use rustix::io::Errno;

use crate::{Address, UnixName};

/// `sizeof(struct sockaddr_storage)`.
pub(super) const SIZE: libc::socklen_t = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
/// Where the path of a `sockaddr_un` begins, and how long it may be.
const PATH: usize = offset_of!(libc::sockaddr_un, sun_path);
const LONGEST_PATH: usize = size_of::<libc::sockaddr_un>() - PATH;

/// The address in the first `length` bytes; `None` if there is none.
pub(super) fn decode(name: &libc::sockaddr_storage, length: usize) -> Option<Address> {
    if length < size_of::<libc::sa_family_t>() {
        return None;
    }
    let length = length.min(SIZE as usize);
    match i32::from(name.ss_family) {
        libc::AF_INET if length >= size_of::<libc::sockaddr_in>() => {
            // SAFETY: rule 4: so many bytes are there.
            let v4 = unsafe { &*(&raw const *name).cast::<libc::sockaddr_in>() };
            let host = Ipv4Addr::from_bits(u32::from_be(v4.sin_addr.s_addr));
            let port = u16::from_be(v4.sin_port);
            Some(Address::V4(SocketAddrV4::new(host, port)))
        }
        libc::AF_INET6 if length >= size_of::<libc::sockaddr_in6>() => {
            // SAFETY: rule 4: so many bytes are there.
            let v6 = unsafe { &*(&raw const *name).cast::<libc::sockaddr_in6>() };
            let host = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            let (port, flow) = (u16::from_be(v6.sin6_port), u32::from_be(v6.sin6_flowinfo));
            Some(Address::V6(SocketAddrV6::new(
                host,
                port,
                flow,
                v6.sin6_scope_id,
            )))
        }
        libc::AF_UNIX => {
            // SAFETY: rule 4: `length` bytes are there, at most as many as the struct has.
            let bytes =
                unsafe { std::slice::from_raw_parts((&raw const *name).cast::<u8>(), length) };
            Some(Address::Unix(unix_name(&bytes[PATH..])))
        }
        _ => Some(Address::Other),
    }
}

/// Writes the address; returns its length.
pub(super) fn encode(
    address: &Address,
    name: &mut libc::sockaddr_storage,
) -> io::Result<libc::socklen_t> {
    let length = match address {
        Address::V4(v4) => {
            // SAFETY: rule 4.
            let raw = unsafe { &mut *(&raw mut *name).cast::<libc::sockaddr_in>() };
            raw.sin_family = libc::AF_INET as libc::sa_family_t;
            raw.sin_port = v4.port().to_be();
            raw.sin_addr.s_addr = v4.ip().to_bits().to_be();
            size_of::<libc::sockaddr_in>()
        }
        Address::V6(v6) => {
            // SAFETY: rule 4.
            let raw = unsafe { &mut *(&raw mut *name).cast::<libc::sockaddr_in6>() };
            raw.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            raw.sin6_port = v6.port().to_be();
            raw.sin6_flowinfo = v6.flowinfo().to_be();
            raw.sin6_addr.s6_addr = v6.ip().octets();
            raw.sin6_scope_id = v6.scope_id();
            size_of::<libc::sockaddr_in6>()
        }
        Address::Unix(UnixName::Path(path)) => encode_unix(name, &[], path, &[0])?,
        Address::Unix(UnixName::Abstract(rest)) => encode_unix(name, &[0], rest, &[])?,
        Address::Unix(UnixName::Unnamed) => return Err(Errno::INVAL.into()),
        Address::Other => return Err(Errno::AFNOSUPPORT.into()),
    };
    Ok(length as libc::socklen_t)
}

fn unix_name(name: &[u8]) -> UnixName {
    match name.split_first() {
        None => UnixName::Unnamed,
        Some((0, rest)) => UnixName::Abstract(rest.to_vec()),
        Some(_) => {
            // The kernel counts the terminating NUL, also where it lies behind `sun_path`.
            let end = name.iter().position(|&byte| byte == 0);
            UnixName::Path(name[..end.unwrap_or(name.len())].to_vec())
        }
    }
}

/// The path may fill `sun_path`; then it goes without a NUL.
fn encode_unix(
    name: &mut libc::sockaddr_storage,
    before: &[u8],
    text: &[u8],
    after: &[u8],
) -> io::Result<usize> {
    if before.len() + text.len() > LONGEST_PATH {
        return Err(Errno::NAMETOOLONG.into());
    }
    // SAFETY: rule 4; plain bytes of a struct that is larger than `sockaddr_un`.
    let bytes = unsafe {
        std::slice::from_raw_parts_mut(
            (&raw mut *name).cast::<u8>(),
            size_of::<libc::sockaddr_un>(),
        )
    };
    bytes[..PATH].copy_from_slice(&(libc::AF_UNIX as libc::sa_family_t).to_ne_bytes());
    let mut length = PATH;
    for &byte in before.iter().chain(text).chain(after) {
        if length < bytes.len() {
            bytes[length] = byte;
            length += 1;
        }
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there_and_back(address: &Address) -> Option<Address> {
        // SAFETY: rule 3.
        let mut name = unsafe { std::mem::zeroed() };
        let length = encode(address, &mut name).ok()?;
        decode(&name, length as usize)
    }

    #[test]
    fn addresses_survive_the_kernels_form() {
        for address in [
            Address::V4(SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 65535)),
            Address::V6(SocketAddrV6::new(Ipv6Addr::LOCALHOST, 443, 0x000f_1234, 3)),
            Address::Unix(UnixName::Path(b"/a".to_vec())),
            Address::Unix(UnixName::Path(vec![b'p'; 108])),
            Address::Unix(UnixName::Abstract(b"a\0b".to_vec())),
            Address::Unix(UnixName::Abstract(vec![b'a'; 107])),
        ] {
            assert_eq!(there_and_back(&address), Some(address));
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for address in [
            Address::Other,
            Address::Unix(UnixName::Unnamed),
            Address::Unix(UnixName::Path(vec![b'p'; 109])),
            Address::Unix(UnixName::Abstract(vec![b'a'; 108])),
        ] {
            assert_eq!(there_and_back(&address), None);
        }
    }

    #[test]
    fn a_sender_without_a_name_is_nobody() {
        // SAFETY: rule 3.
        let mut name: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
        assert_eq!(decode(&name, 0), None);
        name.ss_family = libc::AF_UNIX as libc::sa_family_t;
        assert_eq!(decode(&name, 2), Some(Address::Unix(UnixName::Unnamed)));
        name.ss_family = libc::AF_NETLINK as libc::sa_family_t;
        assert_eq!(decode(&name, 12), Some(Address::Other));
    }
}
