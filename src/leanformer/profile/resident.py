"""Peak memory of streaming with a graph or two, in a process of its own with nothing but the runtime in it.

python -m leanformer.profile.resident GRAPH.onnx FRAMES [SECOND.onnx FRAMES]
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

STEPS = 3


def peak_memory(*graphs: tuple[bytes, int]) -> dict[str, int]:
    """Bytes: `peak`, and how much of it was there `before` a graph was loaded (Python and the runtime).

    Each graph is given with the frames of a step.
    """
    with tempfile.TemporaryDirectory(prefix="leanformer-") as folder:
        command = [sys.executable, "-m", __name__]
        for index, (graph, frames) in enumerate(graphs):
            path = Path(folder) / f"{index}.onnx"
            path.write_bytes(graph)
            command += [str(path), str(frames)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, int] = json.loads(done.stdout)
    return found


def main() -> None:
    """Load all, run a few steps of each, and print both numbers as JSON."""
    from leanformer.profile.runner import Runner

    before = peak_bytes()
    runners = [Runner(path, int(frames)) for path, frames in zip(sys.argv[1::2], sys.argv[2::2], strict=True)]
    for _ in range(STEPS):
        for runner in runners:
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
