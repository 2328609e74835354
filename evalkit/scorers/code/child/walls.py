"""The walls around a program: namespaces where they are granted, limits, and the filter.

With namespaces the process has a network without any interface, and a file system of which it can
read the interpreter and the system's libraries, and write one small folder in memory. Without
them it can write nothing at all, and read what its user can read.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import signal
import struct
import sys
from pathlib import Path

from evalkit.scorers.code.child import seccomp, syscalls

WORK = "/sandbox"
"""The only folder that can be written to, where there are namespaces."""

_NEW_MOUNTS, _NEW_USER, _NEW_NETWORK = 0x00020000, 0x10000000, 0x40000000
_NEW_NAMES, _NEW_IPC = 0x04000000, 0x08000000
_NOSUID, _NODEV, _NOEXEC, _BIND, _RECURSIVE, _PRIVATE = 2, 4, 8, 4096, 16384, 1 << 18
_AT_FDCWD, _AT_RECURSIVE, _DETACH = -100, 0x8000, 2
_ATTR_RDONLY, _ATTR_NOSUID, _ATTR_NODEV = 1, 2, 4
_PR_SET_PDEATHSIG = 1

_SYSTEM = ("/usr", "/lib", "/lib32", "/lib64", "/nix/store", "/gnu/store", "/etc/ld.so.cache")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom")
_NOBODY = 65534
_OPEN_FILES = 64
_SPARE = 32 * 2**20  # bytes of memory in which to tell that there was no more


def enter(folder: str) -> None:
    """Leave for namespaces of the process's own, with `folder`, empty, as where its root begins.

    Raises OSError where the machine does not grant them.
    """
    user, group = os.getuid(), os.getgid()
    _check("unshare", _libc().unshare(
        _NEW_USER | _NEW_MOUNTS | _NEW_NETWORK | _NEW_IPC | _NEW_NAMES
    ))  # fmt: skip
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{_NOBODY} {user} 1")
    _write("/proc/self/gid_map", f"{_NOBODY} {group} 1")
    _mount("none", "/", "", _RECURSIVE | _PRIVATE)
    _mount("tmpfs", folder, "tmpfs", _NOSUID | _NODEV, "size=1m,nr_inodes=1k,mode=0755")
    for path in readable():
        _bind(path, folder)
    for path in filter(os.path.exists, _DEVICES):
        _bind(path, folder, device=True)
    Path(folder + WORK).mkdir()
    options = "size=64m,nr_inodes=4k,mode=0700"
    _mount("tmpfs", folder + WORK, "tmpfs", _NOSUID | _NODEV | _NOEXEC, options)
    _set_attributes(folder, _ATTR_RDONLY, recursive=False)
    os.chdir(folder)
    _call("pivot_root", b".", b".")
    _check("umount2", _libc().umount2(b".", _DETACH))
    os.chdir(WORK)


def readable() -> list[str]:
    """What a program needs to find: the system's libraries and the interpreter with its own."""
    interpreter = {sys.base_prefix, sys.base_exec_prefix, str(Path(os.__file__).parent)}
    known: list[str] = []
    for path in (*_SYSTEM, *sorted(interpreter, key=len)):
        if os.path.lexists(path) and not any(Path(path).is_relative_to(one) for one in known):
            known.append(path)
    if "/" in known:
        raise OSError("the interpreter's prefix is the whole file system")
    return known


def _bind(path: str, folder: str, *, device: bool = False) -> None:
    """Show `path` below `folder` at the same place, for reading."""
    target = Path(folder + path)
    target.parent.mkdir(parents=True, exist_ok=True)
    if path in _SYSTEM and Path(path).is_symlink():  # /lib is usr/lib
        target.symlink_to(Path(path).readlink())
        return
    if Path(path).is_dir():
        target.mkdir(exist_ok=True)
    else:
        target.touch()
    _mount(path, str(target), "", _BIND | _RECURSIVE)
    attributes = _ATTR_RDONLY | _ATTR_NOSUID | (0 if device else _ATTR_NODEV)
    _set_attributes(str(target), attributes, recursive=True)


def limit(seconds: int, memory: int, file_size: int) -> None:
    """Limit this process: CPU time in seconds, address space and the size of a file in bytes."""
    _at_most(resource.RLIMIT_CPU, seconds, seconds + 1)
    _at_most(resource.RLIMIT_AS, memory, memory + _SPARE)
    _at_most(resource.RLIMIT_FSIZE, file_size)
    _at_most(resource.RLIMIT_NOFILE, _OPEN_FILES)
    _at_most(resource.RLIMIT_CORE, 0)
    _at_most(resource.RLIMIT_MEMLOCK, 0)


def _at_most(what: int, soft: int, hard: int | None = None) -> None:
    _, most = resource.getrlimit(what)
    wanted = [soft, soft if hard is None else hard]
    if most != resource.RLIM_INFINITY:
        wanted = [min(one, most) for one in wanted]
    resource.setrlimit(what, (wanted[0], wanted[1]))


def spare_memory() -> None:
    """Let the process have the little that was kept back, to tell what happened."""
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def shut(parent: int, *, writes: bool) -> None:
    """Give up every privilege, end with the process `parent`, and install the filter."""
    _drop_capabilities()
    seccomp.control(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # it ended before we could say that we would
    seccomp.install(writes=writes)


def _drop_capabilities() -> None:
    header = ctypes.create_string_buffer(struct.pack("=Ii", 0x20080522, 0), 8)
    nothing = ctypes.create_string_buffer(bytes(24), 24)
    _call("capset", header, nothing)


def _set_attributes(path: str, attributes: int, *, recursive: bool) -> None:
    told = ctypes.create_string_buffer(struct.pack("=QQQQ", attributes, 0, 0, 0), 32)
    flags = _AT_RECURSIVE if recursive else 0
    _call("mount_setattr", _AT_FDCWD, os.fsencode(path), flags, told, ctypes.c_size_t(32))


def _mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    given = (os.fsencode(one) or None for one in (source, target, kind))
    done = _libc().mount(*given, ctypes.c_ulong(flags), options.encode() or None)
    _check(f"mount {target}", done)


def _write(path: str, text: str) -> None:
    Path(path).write_text(text, encoding="ascii")


def _call(name: str, *values: object) -> None:
    number = syscalls.setup(platform.machine())[name]
    _check(name, _libc().syscall(ctypes.c_long(number), *values))


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _check(what: str, result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
