"""Runs a benchmark in the project's own environment, whatever Python it was called with: import this first."""

import importlib.util
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHON = Path(os.environ.get("LEANFORMER_VENV", ROOT / ".venv")) / "bin" / "python"

sys.path.insert(0, str(ROOT / "src"))
if importlib.util.find_spec("torch") is None:
    if not PYTHON.exists() or Path(sys.prefix) == PYTHON.parents[1]:
        sys.exit(
            f"{sys.argv[0]}: error: this needs torch, which is not there; run scripts/test once, which installs it"
        )
    os.execv(PYTHON, [str(PYTHON), *sys.argv])
