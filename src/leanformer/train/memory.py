"""Memory that training frees stays with the process, to be used again in the next step.

By default glibc asks the kernel for each large block anew and gives it back when it is freed. The kernel clears every
page of a block when it is first touched, and a training step makes thousands of tensors of some megabytes.
"""

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # numbers of mallopt's parameters, in glibc's malloc.h
_KEEP = (2**31 - 1, 2**30)
_GIVE_BACK = (64 * 2**20, 32 * 2**20)
"""Where glibc's own thresholds end up after some large blocks have been freed."""


def keep_freed_memory(keep: bool = True) -> bool:
    """Have the C library keep what is freed, or give it back as it usually does; whether it can be told so."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # not glibc
        return False
    trim, mmap = _KEEP if keep else _GIVE_BACK
    return bool(mallopt(_TRIM_THRESHOLD, trim)) and bool(mallopt(_MMAP_THRESHOLD, mmap))
