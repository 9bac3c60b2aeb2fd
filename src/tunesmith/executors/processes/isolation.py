"""What the kernel does for isolation, and whether forking is safe. Linux calls that are no-ops elsewhere."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from pathlib import Path

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_OOM_SCORE_RAISE = 200
_IS_LINUX = sys.platform == "linux"
#: Names of native threads that sit idle and survive a fork of their process without harm.
_HARMLESS_THREADS = ("jemalloc_bg_thd", "openblas")

_libc = ctypes.CDLL(None, use_errno=True) if _IS_LINUX else None

#: One thread each where a runtime reads these at load time; a trial with more CPUs raises its own limit.
ONE_THREAD_ENV = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
}
THREAD_COUNT_VARIABLES = tuple(name for name in ONE_THREAD_ENV if name.endswith("_THREADS"))


def die_with_parent(parent: int) -> None:
    """SIGKILL this process when its parent ends; at once if that has happened. To be called after every fork."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends, so that none leaves this process's tree."""
    if _libc is not None:
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)


def be_killed_first() -> None:
    """Where memory runs out, let the kernel choose this process before its driver and template (F17)."""
    try:
        fd = os.open("/proc/self/oom_score_adj", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return
    try:
        os.pwrite(fd, b"%d" % min(1000, int(os.pread(fd, 16, 0)) + _OOM_SCORE_RAISE), 0)
    except (OSError, ValueError):
        pass
    finally:
        os.close(fd)


def flush_output() -> None:
    """Write out what Python's and C's buffers hold."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            continue  # closed or replaced by the user's code
    if _libc is not None:
        _libc.fflush(None)


def why_not_fork() -> str | None:
    """Why forking this process now could deadlock or corrupt the child; None if it is safe.

    Unsafe are Python threads, a used OpenMP pool and a used CUDA runtime. Idle native threads (allocators, BLAS pools
    with fork handlers) are not.
    """
    if not hasattr(os, "fork") or sys.platform == "darwin":
        return f"forking is not safe on {sys.platform}"
    names = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    if names:
        return f"the import of the training code started Python threads ({', '.join(sorted(names))})"
    if any(target.startswith("/dev/nvidia") and target[11:].isdigit() for target in _open_files()):
        return "the import of the training code used CUDA"
    if _has_openmp() and _n_busy_native_threads() > 0:
        return "the import of the training code used OpenMP with several threads"
    return None


def _open_files() -> list[str]:
    found = []
    for name in os.listdir("/proc/self/fd") if _IS_LINUX else ():
        try:
            found.append(str(Path("/proc/self/fd", name).readlink()))
        except OSError:
            continue
    return found


def _has_openmp() -> bool:
    try:
        maps = Path("/proc/self/maps").read_text()
    except OSError:
        return False
    return any(name in maps for name in ("libgomp", "libiomp", "libomp"))


def _n_busy_native_threads() -> int:
    """Native threads that are not known to be harmless; Python threads were excluded before."""
    n = 0
    for task in os.listdir("/proc/self/task"):
        if int(task) == os.getpid():
            continue
        try:
            name = Path("/proc/self/task", task, "comm").read_text().strip()
        except OSError:
            continue
        n += not name.startswith(_HARMLESS_THREADS)
    return n
