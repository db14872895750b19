"""What benchmarks/layer_consistency found, as tables in Markdown, and a verdict on each of the paper's figures."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from layer_finetuning import Heard
from layer_rows import BASE, FULL, MAIN, UNTRAINED
from paired import Counted, difference, gap, with_interval

from leanformer.profile.costs import Cost

FEWER_PARAMETERS, TRAINING_SAVED, INFERENCE_SAVED = 7.8, 41.9, 37.7
"""The paper's: times, and two shares of time in %."""
DEAF = 95.0
"""A control that gets so many words wrong, in %, has learnt no words that another could fail to reach."""


@dataclass(frozen=True)
class Findings:
    """All that was measured; `analyses` are those of `layer_pretraining.read`, the rest is by row's name and depth."""

    analyses: list[dict[str, Any]]
    steps: dict[str, dict[int, float]]
    heard: list[Heard] = field(default_factory=list)
    chunks: dict[str, dict[int, Cost]] = field(default_factory=dict)

    @property
    def depth(self) -> int:
        """The full depth."""
        return int(self.analyses[0]["probe"]["depths"][-1]["depth"])

    def phones(self, row: str, seed: int) -> dict[int, Counted]:
        """Frames that a row's probe gets wrong, by depth."""
        (found,) = (one["probe"] for one in self.analyses if (one["name"], one["seed"]) == (row, seed))
        return {
            one["depth"]: Counted.of(one["wrong"], found["test"], found["units"]) for one in found["depths"]
        }

    def at(self, row: str, labels: str, seed: int, depth: int) -> Heard:
        """What a row's recogniser heard at a depth."""
        wanted = (row, labels, seed, depth)
        return next(one for one in self.heard if (one.row, one.labels, one.seed, one.depth) == wanted)

    @property
    def trained(self) -> list[tuple[str, int]]:
        """Pairs of labels and seed that all recognisers were trained with, in order."""
        return list(dict.fromkeys((one.labels, one.seed) for one in self.heard))

    def saved(self, depth: int) -> float:
        """Time of a chunk that the shared layers save at a depth, in %, against all unshared ones."""
        return 100 * (1 - self.chunks[MAIN.name][depth].step_ms / self.chunks[BASE.name][self.depth].step_ms)

    def to_dict(self) -> dict[str, Any]:
        """As plain values, verdicts among them."""
        return {**asdict(self), "verdicts": [asdict(one) for one in verdicts(self)]}


@dataclass(frozen=True)
class Verdict:
    """Whether a target is met, or None where the study cannot tell; and by which figures."""

    target: str
    met: bool | None
    why: str

    def __str__(self) -> str:
        word = {True: "met", False: "missed", None: "cannot be told"}[self.met]
        return f"- {self.target}: **{word}**; {self.why}"


def report(found: Findings) -> str:
    """All tables and verdicts that the findings allow."""
    parts = [encoders(found), phones(found)]
    if found.chunks:
        parts.append(chunks(found))
    parts += [recognition(found, labels, seed) for labels, seed in found.trained]
    parts.append("\n".join(map(str, verdicts(found))))
    return "\n\n".join(parts)


def encoders(found: Findings) -> str:
    """What each encoder costs to train, and how alike its layers are."""
    parameters = {row["name"]: row["parameters"] for row in found.analyses}
    lines = [
        "| encoder | seed | parameters, M | times fewer | step, CPU s | time saved | mean CKA | Frechet (floor) |",
        "|" + "---|" * 8,
    ]
    base = statistics.mean(found.steps[BASE.name].values())
    for row in found.analyses:
        alike, count, steps = row["consistency"], row["parameters"], found.steps.get(row["name"])
        fewer = f"{parameters[BASE.name] / count:.2f}" if BASE.name in parameters else ""
        seconds = None if steps is None else statistics.mean(steps.values())
        cost = " | " if seconds is None else f"{seconds:.3f} | {1 - seconds / base:.1%}"
        floor = statistics.mean(alike["frechet_floor"])
        lines.append(
            f"| {row['name']} | {row['seed']} | {count / 1e6:.2f} | {fewer} | {cost} | "
            f"{alike['mean_cka']:.3f} | {alike['mean_frechet']:.3f} ({floor:.4f}) |"
        )
    return "\n".join(lines)


def phones(found: Findings) -> str:
    """What a linear probe reads out of each layer of each encoder."""
    depths = [one["depth"] for one in found.analyses[0]["probe"]["depths"]]
    lines = ["| phone accuracy, % | seed | log-mel | " + " | ".join(map(str, depths)) + " |"]
    lines.append("|" + "---|" * (len(depths) + 3))
    for row in found.analyses:
        cells = [_accuracy(one) for one in (row["probe"]["input"], *row["probe"]["depths"])]
        lines.append(f"| {row['name']} | {row['seed']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _accuracy(one: dict[str, Any]) -> str:
    interval = "" if one["low"] is None else f" ({100 * one['low']:.1f}-{100 * one['high']:.1f})"
    return f"{100 * one['accuracy']:.1f}{interval}"


def chunks(found: Findings) -> str:
    """What running so many layers costs: measured time and modelled energy, against all unshared ones."""
    base = found.chunks[BASE.name][found.depth]
    lines = [
        "| layers run | depth | ms a chunk, int8 | time saved | modelled energy, mJ/s | energy saved |",
        "|" + "---|" * 6,
    ]
    for name, costs in found.chunks.items():
        for depth, cost in costs.items():
            lines.append(
                f"| {name.partition(',')[0]} | {depth} | {cost.step_ms:.3f} | {1 - cost.step_ms / base.step_ms:.1%} | "
                f"{cost.energy_mj:.3f} | {1 - cost.energy_mj / base.energy_mj:.1%} |"
            )
    return "\n".join(lines)


def recognition(found: Findings, labels: str, seed: int) -> str:
    """Errors of every recogniser at every depth, and how far each is from all unshared layers."""
    base = found.at(BASE.name, labels, seed, found.depth)
    known = found.phones(BASE.name, seed)[found.depth].complement
    far = f"from {BASE.name} {found.depth}"
    lines = [
        f"Labelled speech: {labels}; seed {seed}. In brackets, 95 % intervals.",
        "",
        f"| encoder | depth | WER, % | {far} | CER, % | {far} | phone accuracy, % | {far} |",
        "|" + "---|" * 8,
    ]
    for one in found.heard:
        if (one.labels, one.seed) == (labels, seed):
            right = found.phones(one.row, seed)[one.depth].complement
            cells = [one.row, str(one.depth)]
            for value, against in ((one.wer, base.wer), (one.cer, base.cer), (right, known)):
                cells += [with_interval(value), gap(value, against)]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def verdicts(found: Findings) -> list[Verdict]:
    """One for each target and, where recognisers decide, for each seed and amount of labelled speech."""
    parameters = {row["name"]: row["parameters"] for row in found.analyses}
    every = []
    if {MAIN.name, BASE.name} <= set(parameters):
        fewer = parameters[BASE.name] / parameters[MAIN.name]
        target = f"{FEWER_PARAMETERS} times fewer parameters"
        every.append(
            Verdict(target, fewer >= FEWER_PARAMETERS, f"{fewer:.1f} times fewer at {found.depth} layers")
        )
    sampled, full, base = (statistics.mean(found.steps[row.name].values()) for row in (MAIN, FULL, BASE))
    saved = 100 * (1 - sampled / full)
    target = f"{TRAINING_SAVED} % of training time saved"
    also = 100 * (1 - sampled / base)
    why = f"{saved:.1f} % of a step of all shared layers, {also:.1f} % of one of {BASE.name} layers"
    every.append(Verdict(target, saved >= TRAINING_SAVED, why))
    return [*every, *_recognised(found)]


def _recognised(found: Findings) -> Iterator[Verdict]:
    for labels, seed in found.trained:
        yield _inference(found, labels, seed)
        yield _pays(found, labels, seed)


def _inference(found: Findings, labels: str, seed: int) -> Verdict:
    """The least depth of the shared layers that is no worse than the interval of all unshared ones, and its time."""
    where = f"labelled speech {labels}, seed {seed}"
    target = f"{INFERENCE_SAVED} % of inference time saved on a par ({where})"
    base = found.at(BASE.name, labels, seed, found.depth)
    if base.wer.rate >= DEAF:
        return Verdict(
            target, None, f"{BASE.name} layers get {base.wer.rate:.1f} % of words wrong themselves"
        )
    worst = (base.wer.interval or (0.0, base.wer.rate))[1]
    misread = found.phones(BASE.name, seed)[found.depth]
    most = (misread.interval or (0.0, misread.rate))[1]
    own = found.phones(MAIN.name, seed)
    for depth in sorted(found.chunks[MAIN.name]):
        one = found.at(MAIN.name, labels, seed, depth)
        if one.wer.rate <= worst and own[depth].rate <= most:
            saved = found.saved(depth)
            why = (
                f"{saved:.1f} % at depth {depth}, the least with a WER of at most {worst:.1f} % ({one.wer.rate:.1f}) "
                f"and a phone accuracy of at least {100 - most:.1f} % ({100 - own[depth].rate:.1f})"
            )
            return Verdict(target, saved >= INFERENCE_SAVED, why)
    why = (
        f"no such depth exists: none has a WER of at most {worst:.1f} % and a phone accuracy of at least "
        f"{100 - most:.1f} %"
    )
    return Verdict(target, False, why)


def _pays(found: Findings, labels: str, seed: int) -> Verdict:
    """Whether the pre-trained encoder is better than the same one without, at full depth."""
    one, other = (found.at(row.name, labels, seed, found.depth) for row in (MAIN, UNTRAINED))
    target = f"pre-training pays (labelled speech {labels}, seed {seed})"
    low, high = difference(one.cer, other.cer)[1:]
    wer, cer = gap(one.wer, other.wer), gap(one.cer, other.cer)
    why = f"WER {wer} and CER {cer} from the same fine-tuning of an untrained encoder"
    if low <= 0 <= high:
        return Verdict(target, None, why)
    return Verdict(target, high < 0 and difference(one.wer, other.wer)[1] <= 0, why)
