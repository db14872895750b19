"""From what the folder of the study holds to one JSON of all rows, from which alone the page is made."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import environment  # noqa: F401 - before whatever needs torch
import onnxruntime
from kept import write_whole
from side_by_side import Score, difference
from study_bench import CHUNKS, PRECISIONS, Setting, StudyBench, pooled
from study_costs import costs, timed
from study_recipes import CHUNK_MS
from study_rows import BASE, Row

from leanformer.train.overrides import load_recipe

ALL = "all"
"""All corpora together, where a corpus is named."""
Values = dict[str, Any]


def read_results(path: Path) -> Values:
    """The results as they were last written; empty ones if there are none."""
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {"rows": {}, "seeds": []}


def write_results(path: Path, results: Values) -> None:
    """Write them whole or not at all: whoever stops the study must not lose them."""
    rows = ",\n".join(
        f"  {json.dumps(name)}: {json.dumps(row, allow_nan=False)}" for name, row in results["rows"].items()
    )
    rest = {key: value for key, value in results.items() if key != "rows"}
    head = json.dumps(rest, indent=1, allow_nan=False).removesuffix("\n}")
    write_whole(path, f'{head},\n "rows": {{\n{rows}\n }}\n}}\n')


def gather(bench: StudyBench, before: Values, size: str, sets: Sequence[str], seeds: Sequence[int]) -> Values:
    """All that is known of all rows.

    A row of which the folder holds nothing keeps what `before` says of it, if its recipe is still the same.
    """
    seeds = sorted({*seeds, *before["seeds"]})
    protocol = load_recipe(bench.protocol, bench.rows[BASE].changes)
    rows = {name: _row(bench, row, before["rows"].get(name, {}), seeds) for name, row in bench.rows.items()}
    corpora = {name: None for row in rows.values() for one in row["readings"] for name in one["corpora"]}
    return {
        "protocol": protocol.name,
        "size": size,
        "sets": list(sets),
        "seeds": seeds,
        "max_steps": protocol.schedule.max_steps,
        "base": BASE,
        "chunks": list(CHUNKS),
        "chunk_ms": CHUNK_MS,
        "precisions": list(PRECISIONS),
        "corpora": list(corpora),
        "latency": before.get("latency"),
        "rows": rows,
    }


def _row(bench: StudyBench, row: Row, before: Values, seeds: Sequence[int]) -> Values:
    key = bench.run_folder(row.model, 0).name
    known = before if before.get("key") == key else {}
    runs = {str(seed): asdict(run) for seed in seeds if (run := bench.run(row, seed)) is not None}
    return {
        "paper": row.paper,
        "claim": row.claim,
        "of": row.of,
        "start": row.start,
        "changes": list(row.changes),
        "variants": [variant.name for variant in row.variants],
        "key": key,
        "costs": known.get("costs") or costs(row, load_recipe(bench.protocol, row.changes)),
        "runs": known.get("runs", {}) | runs,
        "readings": _readings(bench, row, seeds) or known.get("readings", []),
    }


def _readings(bench: StudyBench, row: Row, seeds: Sequence[int]) -> list[Values]:
    """What was heard in each setting, seeds pooled, beside what the baseline heard in the same."""
    scores = {seed: found for seed in seeds if (found := bench.scores(row, seed))}
    bases = {seed: found for seed in scores if (found := bench.scores(bench.rows[BASE], seed))}
    settings = next(iter(scores.values()), {})
    return [
        {
            **asdict(one),
            "seeds": list(scores),
            "corpora": _rates(one, scores, bases if row.name != BASE else {}),
        }
        for one in settings
    ]


def _rates(
    setting: Setting, scores: Mapping[int, dict[Setting, Score]], bases: Mapping[int, dict[Setting, Score]]
) -> Values:
    """By corpus `wer`, and `gap` from the baseline over the seeds of both; each with its interval, in %."""
    score = pooled([one[setting] for one in scores.values()])
    same = Setting("", setting.chunk, setting.precision)
    pair = None
    if bases:
        pair = (
            pooled([scores[seed][setting] for seed in bases]),
            pooled([one[same] for one in bases.values()]),
        )
    found: Values = {}
    for corpus in (*dict.fromkeys(score.corpora), None):
        interval = score.interval(corpus)
        found[corpus or ALL] = {
            "wer": _rounded(score.wer(corpus), *(interval or ())),
            "gap": None if pair is None else _rounded(*difference(*pair, corpus)),
        }
    return found


def _rounded(*values: float) -> list[float]:
    return [round(value, 3) for value in values]


def with_latency(bench: StudyBench, results: Values, rounds: int) -> Values:
    """The results with all exported rows timed anew, if there are others than were timed."""
    seed = results["seeds"][0]
    found = {
        name: (row, folder) for name, row in bench.rows.items() if (folder := bench.bundle_of(row, seed))
    }
    keys = {name: folder.name for name, (_, folder) in found.items()}
    known = results["latency"]
    if not found or (known is not None and known["of"] == keys and known["rounds"] >= rounds):
        return results
    return {
        **results,
        "latency": {
            "rounds": rounds,
            "of": keys,
            "processor": processor(),
            "onnxruntime": onnxruntime.__version__,
            "rows": timed(found, rounds),
        },
    }


def processor() -> str:
    """The processor's name, as far as it is known."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
