"""Freed memory stays with the process if it is told so."""

from __future__ import annotations

import subprocess
import sys

import pytest

from leanformer.train.memory import keep_freed_memory

FREE_64_MB = """
import sys
import numpy as np
from leanformer.train.memory import keep_freed_memory

def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

keep_freed_memory(sys.argv[1] == "keep")
before = resident()
blocks = [np.ones(2**20) for _ in range(8)]  # 8 of 8 MB, written to
del blocks
print(resident() - before)
"""


def left_over(what: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", FREE_64_MB, what], capture_output=True, text=True, check=True, timeout=60
    )
    return int(done.stdout)


@pytest.mark.skipif(not keep_freed_memory(), reason="the C library is not glibc")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_freed_memory_is_kept() -> None:
    assert left_over("keep") > 60 * 2**20
    assert left_over("give back") < 40 * 2**20
