"""A seccomp filter: the kernel itself refuses what a program in the sandbox has no business with.

What is not named is "not implemented", so that C libraries fall back as on an older kernel.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from evalkit.scorers.code.child import syscalls

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

# struct seccomp_data: the number, the architecture, the address, six arguments of 64 bits.
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
_LOAD, _AND, _EQUAL, _RETURN = 0x20, 0x54, 0x15, 0x06
_KILL, _ERRNO, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_ALL = 0xFFFFFFFF

_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _MODE_FILTER = 22, 38, 2

_CLONE_THREAD = 0x00010000
_AF_UNIX, _SOCK_STREAM, _SOCK_TYPE = 1, 1, 0xF
# Commands that only look, and none that make the kernel send signals to others (F_SETOWN).
_FCNTL = (0, 1, 2, 3, 4, 5, 6, 7, 36, 37, 38, 1030, 1032)
# Is it a terminal, how wide; how much is there to read; blocking; close on exec.
_IOCTL = (0x5401, 0x802C542A, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
_CREATES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | 0o20000000  # the last: O_TMPFILE


class Condition(NamedTuple):
    """An argument that, under a mask, is one of some values."""

    argument: int
    values: tuple[int, ...]
    mask: int = _ALL


def rules(pid: int, *, writes: bool) -> Mapping[str, tuple[Condition, ...]]:
    """What the ruled system calls of the process `pid` must fulfil.

    Threads, but no processes; signals to itself alone; pairs of sockets, but none that reach
    anybody; files opened for writing only with `writes`.
    """
    opening = () if writes else (_CREATES,)
    return {
        "clone": (Condition(0, (_CLONE_THREAD,), _CLONE_THREAD),),
        "kill": (Condition(0, (pid,)),),
        "tgkill": (Condition(0, (pid,)),),
        "prlimit64": (Condition(0, (0,)),),
        "socketpair": (Condition(0, (_AF_UNIX,)), Condition(1, (_SOCK_STREAM,), _SOCK_TYPE)),
        "fcntl": (Condition(1, _FCNTL),),
        "ioctl": (Condition(1, _IOCTL),),
        "open": tuple(Condition(1, (0,), bits) for bits in opening),
        "openat": tuple(Condition(2, (0,), bits) for bits in opening),
    }


def program(machine: str, pid: int, *, writes: bool) -> bytes:
    """The filter as the kernel's BPF instructions, of eight bytes each."""
    allowed = dict(syscalls.plain(machine))
    if writes:
        allowed |= syscalls.changing(machine)
    steps = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, _ARCHITECTURES[machine]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
    ]
    # The most frequent calls stand first: each is compared with one after the other.
    for number in allowed.values():
        steps += _when(number, [(_RETURN, 0, 0, _ALLOW)])
    held = rules(pid, writes=writes)
    for name, number in syscalls.ruled(machine).items():
        steps += _when(number, _conditions(held[name]))
    for number in syscalls.refused(machine).values():
        steps += _when(number, [(_RETURN, 0, 0, _ERRNO | errno.EPERM)])
    steps.append((_RETURN, 0, 0, _ERRNO | errno.ENOSYS))
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


_Step = tuple[int, int, int, int]


def _when(number: int, then: Sequence[_Step]) -> list[_Step]:
    return [(_EQUAL, 0, len(then), number), *then]


def _conditions(conditions: Sequence[Condition]) -> list[_Step]:
    steps: list[_Step] = []
    for one in conditions:
        steps += [(_LOAD, 0, 0, _ARGUMENTS + 8 * one.argument), (_AND, 0, 0, one.mask)]
        left = len(one.values)
        steps += [(_EQUAL, left - place, 0, value) for place, value in enumerate(one.values)]
        steps.append((_RETURN, 0, 0, _ERRNO | errno.EPERM))
    return [*steps, (_RETURN, 0, 0, _ALLOW)]


class _Filter(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_char_p))


def install(*, writes: bool) -> None:
    """Put this process, for good, under the filter; raises OSError where that is not granted."""
    machine = platform.machine()
    if machine not in _ARCHITECTURES:
        raise OSError(errno.ENOSYS, f"seccomp filters are written for no {machine!r}")
    steps = program(machine, os.getpid(), writes=writes)
    told = _Filter(len(steps) // 8, steps)
    control(_PR_SET_NO_NEW_PRIVS, 1)
    control(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.addressof(told))


def control(option: int, *values: int) -> None:
    """prctl(2); raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    given = [ctypes.c_ulong(value) for value in (*values, 0, 0, 0, 0)[:4]]
    if libc.prctl(ctypes.c_int(option), *given) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}): {os.strerror(number)}")
