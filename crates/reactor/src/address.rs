//! Socket addresses in the form that the loop turns into Python's address tuples and strings.

use std::net::{Ipv6Addr, SocketAddrV4, SocketAddrV6};

use rustix::net::{AddressFamily, SocketAddrAny, SocketAddrUnix};

/// `sizeof(sa_family_t)`: the length of an address without a name (unix(7)).
const UNIX_UNNAMED: u32 = 2;
/// `sizeof(struct sockaddr_un)`.
const UNIX_LONGEST: u32 = 110;

/// The address of one end of a socket.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub enum Address {
    /// `AF_INET`.
    V4(SocketAddrV4),
    /// `AF_INET6`, with flow information and scope in host byte order.
    V6(SocketAddrV6),
    /// `AF_UNIX`.
    Unix(UnixName),
    /// Anything that is not decoded here: other families, and a Unix path that fills `sun_path` to the last byte.
    Other,
}

/// The three kinds of Unix socket addresses (unix(7)).
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub enum UnixName {
    /// Not bound.
    Unnamed,
    /// A path in the file system, without a terminating NUL.
    Path(Vec<u8>),
    /// A name in the abstract namespace, without its leading NUL.
    Abstract(Vec<u8>),
}

impl Address {
    /// The numeric host as glibc's `inet_ntop(3)`, and so Python's `socket` module, writes it; empty for other families.
    #[must_use]
    pub fn ip_text(&self) -> String {
        match self {
            Self::V4(address) => address.ip().to_string(),
            Self::V6(address) => ipv6_text(*address.ip()),
            Self::Unix(_) | Self::Other => String::new(),
        }
    }

    /// The port in host byte order; `None` for other families.
    #[must_use]
    pub const fn port(&self) -> Option<u16> {
        match self {
            Self::V4(address) => Some(address.port()),
            Self::V6(address) => Some(address.port()),
            Self::Unix(_) | Self::Other => None,
        }
    }
}

impl From<SocketAddrAny> for Address {
    fn from(any: SocketAddrAny) -> Self {
        match any.address_family() {
            AddressFamily::INET => any.try_into().map_or(Self::Other, Self::V4),
            AddressFamily::INET6 => any.try_into().map_or(Self::Other, Self::V6),
            AddressFamily::UNIX => match any.addr_len() {
                // Told apart by length before decoding, which makes an empty abstract name of it.
                UNIX_UNNAMED => Self::Unix(UnixName::Unnamed),
                // A path of 108 bytes has its NUL outside of `sun_path`, where the decoding would not expect it.
                length if length > UNIX_LONGEST => Self::Other,
                _ => SocketAddrUnix::try_from(any)
                    .map_or(Self::Other, |unix| Self::Unix(unix_name(&unix))),
            },
            _ => Self::Other,
        }
    }
}

fn unix_name(unix: &SocketAddrUnix) -> UnixName {
    if let Some(name) = unix.abstract_name() {
        UnixName::Abstract(name.to_vec())
    } else if let Some(path) = unix.path_bytes() {
        UnixName::Path(path.to_vec())
    } else {
        UnixName::Unnamed
    }
}

/// Rust and glibc agree but for IPv4-compatible addresses, whose last half glibc writes dotted when it is not below
/// 0x10000.
fn ipv6_text(ip: Ipv6Addr) -> String {
    match ip.segments() {
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => {
            let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
            format!("::{a}.{b}.{c}.{d}")
        }
        _ => ip.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn ipv6_is_written_as_glibc_writes_it() {
        // The right column is what `socket.inet_ntop(AF_INET6, …)` gives on glibc.
        for (bits, text) in [
            (0, "::"),
            (1, "::1"),
            (0xffff, "::ffff"),
            (0x1_0000, "::0.1.0.0"),
            (0x0102_0304, "::1.2.3.4"),
            (0xffff_0102_0304, "::ffff:1.2.3.4"),
            (0xffff_0000_0000, "::ffff:0.0.0.0"),
            (0xfffe_0102_0304, "::fffe:102:304"),
            (0x1_ffff_0102_0304, "::1:ffff:102:304"),
            (
                0x2001_0db8_0000_0000_0001_0000_0000_0001,
                "2001:db8::1:0:0:1",
            ),
            (
                0x2001_0db8_0000_0001_0001_0001_0001_0001,
                "2001:db8:0:1:1:1:1:1",
            ),
            (0x2001_0db8_0000_0000_0000_0000_0000_0000, "2001:db8::"),
            (
                0xfe80_0000_0000_0000_0202_b3ff_fe1e_8329,
                "fe80::202:b3ff:fe1e:8329",
            ),
        ] {
            assert_eq!(ipv6_text(Ipv6Addr::from_bits(bits)), text);
        }
    }

    #[test]
    fn only_ip_addresses_have_a_text_and_a_port() {
        let v4 = Address::V4(SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 80));
        assert_eq!((v4.ip_text().as_str(), v4.port()), ("192.0.2.1", Some(80)));
        // The scope is a field of its own in Python's tuple, not part of the text.
        let v6 = Address::V6(SocketAddrV6::new(Ipv6Addr::LOCALHOST, 443, 7, 3));
        assert_eq!((v6.ip_text().as_str(), v6.port()), ("::1", Some(443)));
        let unix = Address::Unix(UnixName::Abstract(b"x".to_vec()));
        assert_eq!((unix.ip_text().as_str(), unix.port()), ("", None));
    }

    #[test]
    fn ip_addresses_survive_the_kernels_form() {
        let v6 = SocketAddrV6::new(Ipv6Addr::LOCALHOST, 443, 0x000f_1234, 3);
        assert_eq!(Address::from(SocketAddrAny::from(v6)), Address::V6(v6));
        let v4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1);
        assert_eq!(Address::from(SocketAddrAny::from(v4)), Address::V4(v4));
    }
}
