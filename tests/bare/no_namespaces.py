"""Writes a filter for `bwrap --seccomp` that forbids namespaces, as containers do by default."""

from __future__ import annotations

import errno
import os
import struct
import sys

# Of each architecture: its number in the kernel's audit, and those of the calls `unshare`, `clone`, and `clone3`.
ARCHITECTURES = {"x86_64": (0xC000003E, 272, 56, 435), "aarch64": (0xC00000B7, 97, 220, 435)}
# CLONE_NEWTIME is not among the flags of `clone`: its bit is one of the signal's.
NEW_NAMESPACE = 0x7E020000

# Where `struct seccomp_data` has the call's number, the architecture, and the lower half of the first argument.
NUMBER, ARCHITECTURE, FLAGS = 0, 4, 16
LOAD, EQUAL, ANY_BIT, RETURN = 0x20, 0x15, 0x45, 0x06
ALLOW, ERROR = 0x7FFF0000, 0x00050000


def main() -> None:
    """Writes the program, whose instructions are code, jump if true, jump if false, and operand."""
    architecture, unshare, clone, clone3 = ARCHITECTURES[os.uname().machine]
    program = [
        (LOAD, 0, 0, ARCHITECTURE),
        (EQUAL, 0, 6, architecture),
        (LOAD, 0, 0, NUMBER),
        (EQUAL, 5, 0, unshare),
        # Its flags are behind a pointer, where no filter sees them. Libraries take `clone` instead.
        (EQUAL, 5, 0, clone3),
        (EQUAL, 0, 2, clone),
        (LOAD, 0, 0, FLAGS),
        (ANY_BIT, 1, 0, NEW_NAMESPACE),
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, ERROR | errno.EPERM),
        (RETURN, 0, 0, ERROR | errno.ENOSYS),
    ]
    for instruction in program:
        sys.stdout.buffer.write(struct.pack("=HBBI", *instruction))


if __name__ == "__main__":
    main()
