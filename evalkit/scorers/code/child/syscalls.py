"""The system calls that a program in the sandbox may make, by name and by their numbers.

Each is written as its name, its number on x86_64 and that on aarch64 ("-" where there is none).
"""

from __future__ import annotations

from collections.abc import Mapping

MACHINES = ("x86_64", "aarch64")

_PLAIN = """
read 0 63, write 1 64, readv 19 65, writev 20 66, pread64 17 67, pwrite64 18 68, preadv 295 69,
pwritev 296 70, preadv2 327 286, pwritev2 328 287, close 3 57, close_range 436 436, fstat 5 80,
stat 4 -, lstat 6 -, newfstatat 262 79, statx 332 291, access 21 -, faccessat 269 48,
faccessat2 439 439, readlink 89 -, readlinkat 267 78, getdents 78 -, getdents64 217 61,
getcwd 79 17, chdir 80 49, fchdir 81 50, lseek 8 62, dup 32 23, dup2 33 -, dup3 292 24,
pipe 22 -, pipe2 293 59, poll 7 -, ppoll 271 73, select 23 -, pselect6 270 72,
epoll_create 213 -, epoll_create1 291 20, epoll_ctl 233 21, epoll_wait 232 -,
epoll_pwait 281 22, epoll_pwait2 441 441, eventfd 284 -, eventfd2 290 19,
timerfd_create 283 85, timerfd_settime 286 86, timerfd_gettime 287 87, signalfd4 289 74,
statfs 137 43, fstatfs 138 44, umask 95 166, fadvise64 221 223, readahead 187 213, fsync 74 82,
fdatasync 75 83, flock 73 32, sendfile 40 71, copy_file_range 326 285, splice 275 76,
tee 276 77, sendto 44 206, recvfrom 45 207, sendmsg 46 211, recvmsg 47 212, shutdown 48 210,
getsockopt 55 209, getsockname 51 204, getpeername 52 205, mmap 9 222,
munmap 11 215, mprotect 10 226, mremap 25 216, madvise 28 233, mincore 27 232, msync 26 227,
brk 12 214, membarrier 324 283, futex 202 98, futex_waitv 449 449, set_robust_list 273 99,
get_robust_list 274 100, set_tid_address 218 96, rseq 334 293, sched_yield 24 124,
sched_getaffinity 204 123, sched_getparam 143 121, sched_getscheduler 145 120, getcpu 309 168,
getpriority 140 141, arch_prctl 158 -, rt_sigaction 13 134, rt_sigprocmask 14 135,
rt_sigreturn 15 139, rt_sigpending 127 136, rt_sigtimedwait 128 137, rt_sigsuspend 130 133,
sigaltstack 131 132, alarm 37 -, setitimer 38 103, getitimer 36 102, pause 34 -,
restart_syscall 219 128, clock_gettime 228 113, clock_getres 229 114, clock_nanosleep 230 115,
nanosleep 35 101, gettimeofday 96 169, time 201 -, times 100 153, getrusage 98 165,
getrlimit 97 163, sysinfo 99 179, uname 63 160, getrandom 318 278, getpid 39 172,
getppid 110 173, gettid 186 178, getuid 102 174, geteuid 107 175, getgid 104 176,
getegid 108 177, getresuid 118 148, getresgid 120 150, getgroups 115 158, getpgid 121 155,
getpgrp 111 -, getsid 124 156, wait4 61 260, waitid 247 95, exit 60 93, exit_group 231 94
"""

_CHANGING = """
unlink 87 -, unlinkat 263 35, rename 82 -, renameat 264 38, renameat2 316 276, mkdir 83 -,
mkdirat 258 34, rmdir 84 -, truncate 76 45, ftruncate 77 46, fallocate 285 47, chmod 90 -,
fchmod 91 52, fchmodat 268 53, link 86 -, linkat 265 37, symlink 88 -, symlinkat 266 36,
utime 132 -, utimes 235 -, futimesat 261 -, utimensat 280 88
"""

_RULED = """
open 2 -, openat 257 56, clone 56 220, kill 62 129, tgkill 234 131, socketpair 53 199,
prlimit64 302 261, ioctl 16 29, fcntl 72 25
"""

_REFUSED = """
socket 41 198, connect 42 203, bind 49 200, listen 50 201, accept 43 202, accept4 288 242,
execve 59 221, execveat 322 281, fork 57 -, vfork 58 -, ptrace 101 117, tkill 200 130
"""

_SETUP = "mount_setattr 442 442, pivot_root 155 41, capset 126 91"


def numbers(group: str, machine: str) -> Mapping[str, int]:
    """The calls of a group that a machine has."""
    column = 1 + MACHINES.index(machine)
    rows = [one.split() for one in group.replace("\n", " ").split(",")]
    return {row[0]: int(row[column]) for row in rows if row[column] != "-"}


def plain(machine: str) -> Mapping[str, int]:
    """What touches only the process itself and what it has open, or looks at files."""
    return numbers(_PLAIN, machine)


def changing(machine: str) -> Mapping[str, int]:
    """What changes files by their names; harmless only where all but its own are out of reach."""
    return numbers(_CHANGING, machine)


def ruled(machine: str) -> Mapping[str, int]:
    """What may be done with some arguments only; the rules are in `seccomp`."""
    return numbers(_RULED, machine)


def refused(machine: str) -> Mapping[str, int]:
    """What ends in "not permitted", so that a program is told why; the rest is just not there."""
    return numbers(_REFUSED, machine)


def setup(machine: str) -> Mapping[str, int]:
    """What builds the walls; the C library has no functions for it."""
    return numbers(_SETUP, machine)
