"""Peak memory of streaming with one graph, in a process of its own with nothing but the runtime in it.

python -m leanformer.profile.resident GRAPH.onnx FRAMES
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

STEPS = 3


def peak_memory(graph: bytes, frames: int) -> dict[str, int]:
    """Bytes: `peak`, and how much of it was there `before` the graph was loaded (Python and the runtime)."""
    with tempfile.TemporaryDirectory(prefix="leanformer-") as folder:
        path = Path(folder) / "graph.onnx"
        path.write_bytes(graph)
        command = [sys.executable, "-m", __name__, str(path), str(frames)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, int] = json.loads(done.stdout)
    return found


def main() -> None:
    """Load, run a few steps, and print both numbers as JSON."""
    from leanformer.profile.runner import Runner

    before = peak_bytes()
    runner = Runner(sys.argv[1], int(sys.argv[2]))
    for _ in range(STEPS):
        runner.step()
    print(json.dumps({"peak": peak_bytes(), "before": before}))


def peak_bytes() -> int:
    """The most memory that this process has had resident."""
    status = Path("/proc/self/status")
    if status.exists():  # `getrusage` would tell the parent's there, if that was more
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return 1024 * int(line.split()[1])
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


if __name__ == "__main__":
    main()
