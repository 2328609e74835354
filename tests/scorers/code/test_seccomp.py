"""The filter: its numbers are the kernel's, and it does what its rules say on every machine."""

from __future__ import annotations

import errno
import re
import struct
from pathlib import Path

import pytest

from evalkit.scorers.code.child import syscalls
from evalkit.scorers.code.child.seccomp import program, rules

GROUPS = (
    syscalls.plain, syscalls.changing, syscalls.ruled, syscalls.refused, syscalls.setup,
)  # fmt: skip
HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}
# aarch64 takes the common table, in which this one has its 32-bit sibling's name.
SIBLINGS = {"newfstatat": "fstatat"}
ALLOW, KILL = 0x7FFF0000, 0x80000000
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}


def refusal(number: int) -> int:
    return 0x00050000 | number


@pytest.mark.parametrize("machine", syscalls.MACHINES)
def test_the_numbers_are_those_of_the_kernels_headers(machine: str) -> None:
    header = HEADERS[machine]
    if not header.is_file():
        pytest.skip(f"needs {header}, of the C library's development files")
    found = re.findall(r"#define __NR(?:3264)?_(\w+) (\d+)\n", header.read_text("utf-8"))
    known = {name: int(number) for name, number in found}
    for group in GROUPS:
        for name, number in group(machine).items():
            assert known.get(name, known.get(SIBLINGS.get(name, ""))) == number, name


@pytest.mark.parametrize("machine", syscalls.MACHINES)
def test_no_number_stands_in_two_groups_and_every_rule_is_of_a_call(machine: str) -> None:
    numbers = [number for group in GROUPS for number in group(machine).values()]
    assert len(set(numbers)) == len(numbers)
    assert set(syscalls.ruled(machine)) <= set(rules(1, writes=True))


def answer(machine: str, number: int, *arguments: int, writes: bool, foreign: bool = False) -> int:
    """What the filter returns, by an interpreter of its few instructions."""
    given = [*arguments, *[0] * (6 - len(arguments))]
    architecture = 1 if foreign else ARCHITECTURES[machine]
    data = struct.pack("=IIQ6Q", number, architecture, 0, *given)
    steps = [*struct.iter_unpack("=HBBI", program(machine, 77, writes=writes))]
    assert len(steps) < 4096  # the kernel takes no more
    accumulator, place = 0, 0
    while True:
        code, yes, no, value = steps[place]
        match code:
            case 0x20:
                (accumulator,) = struct.unpack_from("=I", data, value)
            case 0x54:
                accumulator &= value
            case 0x15:
                place += yes if accumulator == value else no
            case 0x06:
                return int(value)
            case _:
                raise AssertionError(f"{code:#x} is no instruction of ours")
        place += 1


@pytest.mark.parametrize("writes", [True, False])
@pytest.mark.parametrize("machine", syscalls.MACHINES)
def test_what_is_named_is_allowed_and_nothing_else(machine: str, writes: bool) -> None:
    allowed = {*syscalls.plain(machine).values()}
    allowed |= set(syscalls.changing(machine).values()) if writes else set()
    ruled = set(syscalls.ruled(machine).values())
    refused = set(syscalls.refused(machine).values())
    for number in [*range(700), 0x40000000, 0x40000029, 0xFFFFFFFF]:
        if number in ruled:
            continue
        wanted = refusal(errno.EPERM if number in refused else errno.ENOSYS)
        assert answer(machine, number, writes=writes) == (ALLOW if number in allowed else wanted)
    assert answer(machine, 0, writes=writes, foreign=True) == KILL


ALLOWED_WITH = [
    ("clone", (0x3D0F00,), True),  # as the C library starts a thread
    ("clone", (0x1200011,), False),  # as it forks
    ("kill", (77, 9), True),
    ("kill", (1, 9), False),
    ("kill", (0xFFFFFFFF, 9), False),
    ("kill", (0, 9), False),
    ("tgkill", (77, 78, 6), True),
    ("tgkill", (1, 1, 6), False),
    ("socketpair", (1, 1 | 0o2000000, 0), True),
    ("socketpair", (1, 2, 0), False),  # datagrams can be sent to others
    ("socketpair", (16, 1, 0), False),
    ("prlimit64", (0, 7), True),
    ("prlimit64", (1, 7), False),
    ("fcntl", (3, 1030), True),
    ("fcntl", (3, 8), False),  # F_SETOWN
    ("fcntl", (3, 10), False),  # F_SETSIG
    ("ioctl", (0, 0x5401), True),
    ("ioctl", (0, 0x5412), False),  # TIOCSTI types into a terminal
]


@pytest.mark.parametrize(("name", "arguments", "allowed"), ALLOWED_WITH)
@pytest.mark.parametrize("machine", syscalls.MACHINES)
def test_some_are_allowed_with_some_arguments(
    machine: str, name: str, arguments: tuple[int, ...], allowed: bool
) -> None:
    number = syscalls.ruled(machine)[name]
    wanted = ALLOW if allowed else refusal(errno.EPERM)
    assert answer(machine, number, *arguments, writes=False) == wanted


@pytest.mark.parametrize("machine", syscalls.MACHINES)
def test_files_are_opened_for_writing_only_where_all_but_the_own_are_out_of_reach(
    machine: str,
) -> None:
    number = syscalls.ruled(machine)["openat"]
    read, write, create, scratch = 0o2000000, 0o1, 0o100, 0o20200000
    for flags in (write, 0o2, create, 0o1000, scratch):
        assert answer(machine, number, 0, 0, flags, writes=False) == refusal(errno.EPERM)
        assert answer(machine, number, 0, 0, flags, writes=True) == ALLOW
    assert answer(machine, number, 0, 0, read, writes=False) == ALLOW
