"""Runs a command in a network of its own: `python foreign_box.py COMMAND [ARGUMENT...]`.

The facts (network_namespaces(7), mount_namespaces(7)): a process that unshares its network sees a
loopback interface that is down, and nothing else. So the tests of other projects can neither reach
an address outside this machine nor meet each other on a port that they name; and their `localhost`
has both addresses, which /etc/hosts does not give it everywhere. A look-up with `AI_ADDRCONFIG`
finds nothing where 127.0.0.1 and ::1 are the only addresses (getaddrinfo(3)), so there are two more.
Only root may do all this: for anybody else the command runs as it is, and a line on standard error
says so.

A shell starts what it runs in the background with SIGINT ignored, and Python leaves that as it is
(`signal`, "default_int_handler"): tests of Ctrl-C need it back.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import socket
import struct
import sys
import tempfile

HOSTS = f"127.0.0.1 localhost {socket.gethostname()}\n::1 localhost ip6-localhost ip6-loopback\n"

_IPV4 = socket.inet_pton(socket.AF_INET, "127.0.0.2")
_IPV6 = socket.inet_pton(socket.AF_INET6, "fd00::2")

# <sched.h>, <sys/mount.h>, <linux/sockios.h>, <net/if.h>
_CLONE_NEWNS, _CLONE_NEWNET = 0x00020000, 0x40000000
_MS_BIND, _MS_REC, _MS_PRIVATE = 0x1000, 0x4000, 0x40000
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1
_SIOCSIFADDR = 0x8916
_IFREQ = "16sh22x"
_IFREQ_ADDRESS = "16sHH4s16x"  # struct sockaddr_in in it
_IN6_IFREQ = "16sIi"  # <linux/ipv6.h>: address, length of the prefix, index of the interface


def isolate() -> None:
    """Moves this process into a network of its own, with a working loopback interface.

    Raises:
        OSError: this process may not do that.
    """
    libc = ctypes.CDLL(None, use_errno=True)

    def check(result: int) -> None:
        if result != 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error))

    check(libc.unshare(_CLONE_NEWNET | _CLONE_NEWNS))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = fcntl.ioctl(sock, _SIOCGIFFLAGS, struct.pack(_IFREQ, b"lo", 0))
        name, flags = struct.unpack(_IFREQ, request)
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack(_IFREQ, name, flags | _IFF_UP))
        second = struct.pack(_IFREQ_ADDRESS, b"lo:1", socket.AF_INET, 0, _IPV4)
        fcntl.ioctl(sock, _SIOCSIFADDR, second)
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        index = socket.if_nametoindex("lo")
        fcntl.ioctl(sock, _SIOCSIFADDR, struct.pack(_IN6_IFREQ, _IPV6, 128, index))
    # What is mounted from here on stays in this namespace.
    check(libc.mount(b"none", b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None))
    with tempfile.NamedTemporaryFile("w", suffix=".hosts") as hosts:
        hosts.write(HOSTS)
        hosts.flush()
        os.chmod(hosts.name, 0o644)
        source = os.fsencode(hosts.name)
        check(libc.mount(source, b"/etc/hosts", None, ctypes.c_ulong(_MS_BIND), None))


def main() -> None:
    """Isolates this process if it can, and becomes the command."""
    try:
        isolate()
    except OSError as error:
        print(f"foreign_box: no network of its own: {error}", file=sys.stderr)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
