"""Taking from this process, for good, everything that a computation does not need: system calls, memory, files."""

import contextlib
import ctypes
import os
import platform
import resource
import sys

_NOBODY = 65534
_PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 4, 22, 38
_MODE_FILTER = 2
_ALLOW, _KILL = 0x7FFF0000, 0x80000000  # SECCOMP_RET_ALLOW, SECCOMP_RET_KILL_PROCESS
_PROT_EXEC = 4

# What a running interpreter asks of the kernel once everything is imported (names: syscalls(2)).
_CALLS = {
    "x86_64": {
        "read": 0, "write": 1, "munmap": 11, "brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14,
        "rt_sigreturn": 15, "sched_yield": 24, "mremap": 25, "madvise": 28, "setitimer": 38,
        "getpid": 39, "exit": 60, "gettimeofday": 96, "gettid": 186, "time": 201, "futex": 202,
        "restart_syscall": 219, "clock_gettime": 228, "clock_getres": 229, "exit_group": 231,
        "getrandom": 318,
    },
    "aarch64": {
        "read": 63, "write": 64, "munmap": 215, "brk": 214, "rt_sigaction": 134,
        "rt_sigprocmask": 135, "rt_sigreturn": 139, "sched_yield": 124, "mremap": 216,
        "madvise": 233, "setitimer": 103, "getpid": 172, "exit": 93, "gettimeofday": 169,
        "gettid": 178, "futex": 98, "restart_syscall": 128, "clock_gettime": 113,
        "clock_getres": 114, "exit_group": 94, "getrandom": 278,
    },
}  # fmt: skip
_MAPPING_CALLS = {"x86_64": (9, 10), "aarch64": (222, 226)}  # mmap, mprotect: never executable
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # AUDIT_ARCH_*


class CannotLockDown(Exception):
    """This kernel does not allow it; the text says what was missing."""


class _Filter(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_uint16),
        ("jt", ctypes.c_uint8),
        ("jf", ctypes.c_uint8),
        ("k", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("filter", ctypes.POINTER(_Filter)))


def limit_resources(extra_bytes: int, cpu_seconds: int) -> None:
    """Cap memory at what is mapped now plus `extra_bytes`, CPU time, and files and processes at none.

    As root, become nobody first, for whom the cap on processes counts. Where memory runs out for
    the whole machine, the kernel is to look here first.
    """
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:
        score.write("1000")
    if os.geteuid() == 0:
        with contextlib.suppress(PermissionError):  # root of a container that dropped these rights
            os.setgroups([])
            os.setresgid(_NOBODY, _NOBODY, _NOBODY)
            os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    for kind, limit in (
        (resource.RLIMIT_AS, _mapped_bytes() + extra_bytes),
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (limit, limit))


def forbid_system_calls() -> None:
    """Kill this process at any system call that is not on the list above. Raises CannotLockDown."""
    machine = platform.machine()
    if sys.platform != "linux" or machine not in _CALLS:
        raise CannotLockDown(f"no list of system calls for {sys.platform} on {machine}")
    libc = ctypes.CDLL(None, use_errno=True)
    steps = _program(machine)
    program = _Program(len(steps), ctypes.cast(steps, ctypes.POINTER(_Filter)))
    for name, *arguments in (
        ("no_new_privs", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        ("dumpable", _PR_SET_DUMPABLE, 0, 0, 0, 0),
        ("seccomp filter", _PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(program), 0, 0),
    ):
        longs = [ctypes.c_ulong(each) if isinstance(each, int) else each for each in arguments]
        if libc.prctl(*longs) != 0:
            raise CannotLockDown(f"{name}: {os.strerror(ctypes.get_errno())}")


def _program(machine: str) -> ctypes.Array[_Filter]:
    """Classic BPF: the architecture, then the number of the call, then PROT_EXEC where it matters."""
    load, equal, any_bit, answer = 0x20, 0x15, 0x45, 0x06
    number, architecture, third_argument = 0, 4, 32  # offsets in struct seccomp_data
    steps = [
        (load, 0, 0, architecture),
        (equal, 1, 0, _ARCHITECTURES[machine]),
        (answer, 0, 0, _KILL),
        (load, 0, 0, number),
    ]
    for call in sorted(_CALLS[machine].values()):
        steps += [(equal, 0, 1, call), (answer, 0, 0, _ALLOW)]
    mmap, mprotect = _MAPPING_CALLS[machine]
    steps += [
        (equal, 2, 0, mmap),
        (equal, 1, 0, mprotect),
        (answer, 0, 0, _KILL),
        (load, 0, 0, third_argument),
        (any_bit, 0, 1, _PROT_EXEC),
        (answer, 0, 0, _KILL),
        (answer, 0, 0, _ALLOW),
    ]
    return (_Filter * len(steps))(*(_Filter(*step) for step in steps))


def _mapped_bytes() -> int:
    try:
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[0]) * resource.getpagesize()
    except OSError:  # no /proc: a generous guess at a bare interpreter
        return 256 << 20
