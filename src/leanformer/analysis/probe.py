"""Frame-level phone classification by a linear probe on frozen features, at every depth.

The encoder stays as it is; at each depth a linear classifier is fitted to frames of some speakers and judged on
those of others. The label of an encoder frame is the phone that a forced alignment has in its middle. The interval is
a bootstrap over speakers (Bisani & Ney 2004), as that of word error rates.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from lhotse import MonoCut
from numpy.typing import NDArray
from torch import Tensor

from leanformer.analysis.linear import fit_linear
from leanformer.analysis.speech import Phones, batches
from leanformer.analysis.subject import Subject, layer_outputs
from leanformer.data.loader import TrainingBatch
from leanformer.data.phones import UNKNOWN
from leanformer.data.subset import shuffled, until
from leanformer.errors import DataError
from leanformer.evaluate.interval import bootstrap_interval, resampling_units
from leanformer.features.fbank import Fbank
from leanformer.layers.masks import valid_frames
from leanformer.model import NUM_PHONES
from leanformer.pretrain.targets import stack_frames

INPUT = 0
"""In place of a depth: the stacked log-mel features themselves, without any encoder."""
TEST_SHARE = 0.25
Report = Callable[[str], None]


@dataclass(frozen=True)
class Accuracy:
    """Share of the test frames that are classified right at a depth, and its 95 % interval if there is one.

    `wrong` counts the others by utterance, so that two encoders can be compared on the same ones.
    """

    depth: int
    accuracy: float
    low: float | None
    high: float | None
    wrong: tuple[int, ...] = ()


@dataclass(frozen=True)
class Probed:
    """What was found; `majority` is the accuracy of always naming the phone that is most frequent in training.

    `test` has the frames of each utterance that was judged by, and `units` which of these are drawn together.
    """

    train_frames: int
    test_frames: int
    test_speakers: int
    by_speaker: bool
    full_context: bool
    majority: float
    input: Accuracy
    depths: list[Accuracy]
    test: tuple[int, ...]
    units: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Frames:
    """Labelled frames: features (n, D) by depth, labels (n,), and which utterance (n,) each is of."""

    features: dict[int, Tensor]
    labels: Tensor
    utterances: NDArray[np.int64]
    speakers: tuple[str, ...]


def divide(cuts: Sequence[MonoCut], share: float = TEST_SHARE) -> tuple[list[MonoCut], list[MonoCut]]:
    """Cuts for fitting and for judging, with no speaker in both where at least five are known.

    Args:
        cuts: in an order that is not by speaker.
        share: of the cuts that are for judging, about.
    """
    units, _ = resampling_units([speaker_of(cut) for cut in cuts])
    test_units: set[int] = set()
    count = 0
    for unit, size in zip(*np.unique(units, return_counts=True), strict=True):
        if count >= share * len(cuts):
            break
        test_units.add(int(unit))
        count += int(size)
    sides: tuple[list[MonoCut], list[MonoCut]] = [], []
    for cut, unit in zip(cuts, units, strict=True):
        sides[int(unit) in test_units].append(cut)
    return sides


def speaker_of(cut: MonoCut) -> str:
    """A speaker's name that no other corpus has, or "" if unknown."""
    supervision = cut.supervisions[0]
    corpus = (supervision.custom or {}).get("corpus", "")
    return f"{corpus}/{supervision.speaker}" if supervision.speaker else ""


def probe(
    subject: Subject,
    cuts: Iterable[MonoCut],
    phones: Phones,
    depths: Sequence[int],
    sizes: tuple[int, int],
    full: bool = False,
    report: Report = lambda line: None,
) -> Probed:
    """Fit and judge a probe at each depth.

    Args:
        subject: the encoder.
        cuts: recordings, of which those with phones are used.
        phones: utterance id -> the phone of each 10 ms.
        depths: where.
        sizes: about how many encoder frames to fit to, and to judge by.
        full: let attention see whole utterances.
        report: told of each depth as it is done.

    Raises:
        DataError: too few recordings have an alignment.
    """
    known = shuffled((cut for cut in cuts if cut.id in phones), seed=0)
    train_cuts, test_cuts = divide(known)
    if not train_cuts or not test_cuts:
        raise DataError(
            f"{len(known)} recordings with aligned phones are too few to fit a probe and judge it by others; give "
            "the data that the alignments were made from, or more of it"
        )
    per_frame = 0.01 * subject.factor
    wanted = [depth for depth in (INPUT, *depths)]
    train, test = (
        collect(subject, _until_frames(side, phones, size, per_frame), phones, wanted, full)
        for side, size in ((train_cuts, sizes[0]), (test_cuts, sizes[1]))
    )
    found = {}
    for depth in wanted:
        found[depth] = _judge(train, test, depth)
        report(in_words(found[depth]))
    frequent = int(torch.bincount(train.labels).argmax())
    units, by_speaker = resampling_units(test.speakers)
    counts = np.bincount(test.utterances, minlength=len(test.speakers))
    return Probed(
        len(train.labels),
        len(test.labels),
        len(set(test.speakers) - {""}),
        by_speaker,
        full,
        float((test.labels == frequent).float().mean()),
        found[INPUT],
        [found[depth] for depth in depths],
        tuple(counts.tolist()),
        tuple(units.tolist()),
    )


def in_words(one: Accuracy) -> str:
    """A line for a person."""
    interval = "" if one.low is None or one.high is None else f" ({one.low:.1%} to {one.high:.1%})"
    return f"{'input' if one.depth == INPUT else f'depth {one.depth:2d}'}  {one.accuracy:.1%}{interval}"


def _until_frames(cuts: Sequence[MonoCut], phones: Phones, frames: int, per_frame: float) -> list[MonoCut]:
    """The first cuts that hold so many encoder frames of `per_frame` seconds with a phone."""
    return until(cuts, frames, lambda cut: 0.01 * np.count_nonzero(phones[cut.id]) / per_frame)


def collect(
    subject: Subject, cuts: Sequence[MonoCut], phones: Phones, depths: Sequence[int], full: bool
) -> Frames:
    """The labelled frames of some recordings, at some depths."""
    fbank = Fbank()
    speakers = {cut.id: speaker_of(cut) for cut in cuts}
    names = list(speakers)
    places = {name: place for place, name in enumerate(names)}
    features: dict[int, list[Tensor]] = {depth: [] for depth in depths}
    labels, utterances = [], []
    for batch in batches(cuts, phones):
        mel, mel_lengths = fbank(batch.waveforms, batch.lengths)
        outputs, lengths = layer_outputs(subject, mel, mel_lengths, full)
        outputs[INPUT] = stack_frames(subject.model.normalize(mel), subject.factor)
        middle = _labels(batch, subject.factor, outputs[INPUT].shape[1])
        known = (middle != UNKNOWN) & valid_frames(lengths, middle.shape[1])
        for depth in depths:
            features[depth].append(outputs[depth][known])
        labels.append(middle[known])
        rows = torch.tensor([places.get(name, 0) for name in batch.ids])
        utterances.append(rows[:, None].expand_as(known)[known])
    joined = {depth: torch.cat(found) for depth, found in features.items()}
    return Frames(joined, torch.cat(labels), torch.cat(utterances).numpy(), tuple(speakers[n] for n in names))


def _labels(batch: TrainingBatch, factor: int, frames: int) -> Tensor:
    """The phone in the middle of each encoder frame: (B, frames), 0 where unknown."""
    assert batch.phones is not None
    middle = batch.phones[:, factor // 2 :: factor][:, :frames]
    return torch.nn.functional.pad(middle, (0, frames - middle.shape[1]))


def _judge(train: Frames, test: Frames, depth: int) -> Accuracy:
    classifier = fit_linear(train.features[depth], train.labels, NUM_PHONES)
    wrong = (classifier(test.features[depth]) != test.labels).numpy()
    count = len(test.speakers)
    errors = np.bincount(test.utterances, weights=wrong, minlength=count)
    frames = np.bincount(test.utterances, minlength=count)
    interval = bootstrap_interval(errors, frames, resampling_units(test.speakers)[0])
    low, high = (None, None) if interval is None else (1.0 - interval[1], 1.0 - interval[0])
    counted = tuple(errors.astype(int).tolist())
    return Accuracy(depth, float(1.0 - wrong.mean()), low, high, counted)
