"""From a recipe and folders of audio to what a run of pre-training needs: datasets, model."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from lhotse import CutSet

from leanformer.data.batching import SAMPLE_RATE, BatchConfig, within_limits
from leanformer.data.corpora import read_corpus
from leanformer.data.loader import BatchStream, Dataset
from leanformer.data.waveforms import WaveformCache, Waveforms, default_cache_folder
from leanformer.errors import DataError
from leanformer.features.spec import FeatureSpec
from leanformer.pretrain.model import PretrainModel
from leanformer.pretrain.recipe import PretrainRecipe
from leanformer.train.prepare import feature_statistics
from leanformer.train.summary import describe_batches, in_words

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepared:
    """What a run trains with; `batch` leaves out recordings that no span fits into."""

    recipe: PretrainRecipe
    batch: BatchConfig
    stream: BatchStream
    dev: Dataset | None


def read_audio(folders: Sequence[Path], splits: Sequence[str], exclude: Sequence[str] = ()) -> CutSet:
    """All recordings of some splits in several folders, with or without transcripts.

    Folders and splits without any are passed over.

    Raises:
        DataError: there is none at all.
    """
    found, problems = [], []
    for folder in folders:
        for split in splits:
            try:
                cuts, report = read_corpus(folder, split, exclude=exclude, with_text=False)
            except DataError as error:
                problems.append(str(error))
                continue
            if report.skipped:
                _LOG.warning("%s, split %s: %s", folder, split, report)
            found.append(cuts)
    if not found:
        raise DataError("; ".join(problems) or "no data folder given; name one with --data")
    return CutSet.from_cuts(cut for cuts in found for cut in cuts)


def unlabelled(waveforms: Waveforms) -> Dataset:
    """Waveforms as a dataset in which nothing is to be written down."""
    nothing = np.empty(0, np.int64)
    return Dataset(waveforms, ("",) * len(waveforms), (nothing,) * len(waveforms))


def prepare(recipe: PretrainRecipe, folders: Sequence[Path]) -> Prepared:
    """Read the recordings, decode them once into the cache.

    Raises:
        DataError: nothing can be read, or nothing is longer than a span of masked frames.
    """
    audio = recipe.audio
    train = read_audio(folders, audio.splits, audio.exclude)
    try:
        dev = read_audio(folders, (audio.dev_split,), audio.exclude)
    except DataError as error:
        _LOG.warning("training goes on without dev passes: %s", error)
        dev = None
    cache = WaveformCache(default_cache_folder())
    waveforms = cache.open(train)
    batch = replace(recipe.batch, min_seconds=max(recipe.batch.min_seconds, least_seconds(recipe)))
    require_long_enough(waveforms, recipe)
    stream = BatchStream(unlabelled(waveforms), batch, seed=recipe.seed)
    return Prepared(recipe, batch, stream, None if dev is None else unlabelled(cache.open(dev)))


def least_seconds(recipe: PretrainRecipe) -> float:
    """How long a recording must be for one more encoder frame than a span has."""
    spec = FeatureSpec()
    frames = (recipe.masking.span_frames + 1) * recipe.encoder.subsampling.factor
    return (spec.window_samples + (frames - 1) * spec.shift_samples) / SAMPLE_RATE


def require_long_enough(waveforms: Waveforms, recipe: PretrainRecipe) -> None:
    """Say how many recordings are too short to hide a span in.

    Raises:
        DataError: all of them are.
    """
    least = least_seconds(recipe)
    short = int((waveforms.lengths[:, 0] < least * SAMPLE_RATE).sum())
    if short == len(waveforms):
        raise DataError(
            f"none of {len(waveforms)} recordings lasts {least:.2f} s, one frame more than a masked span; give longer "
            f"recordings, or lower masking.span_frames from {recipe.masking.span_frames}"
        )
    if short:
        _LOG.warning(
            "%d recordings are shorter than %.2f s, too short to mask a span: left out", short, least
        )


def new_model(prepared: Prepared) -> PretrainModel:
    """A freshly initialised model whose feature statistics are those of the training data."""
    torch.manual_seed(prepared.recipe.seed)
    model = PretrainModel(prepared.recipe.encoder, prepared.recipe.objective)
    mean, std = feature_statistics(prepared.stream)
    model.feature_mean.copy_(mean)
    model.feature_std.copy_(std)
    return model


def describe(prepared: Prepared, model: PretrainModel) -> list[str]:
    """The lines that a run begins with."""
    recipe, waveforms = prepared.recipe, prepared.stream.dataset.waveforms
    inside = within_limits(waveforms.lengths, prepared.batch)
    seconds = float(waveforms.lengths[inside, 0].sum()) / SAMPLE_RATE
    encoder = sum(p.numel() for p in model.encoder.parameters())
    head = sum(p.numel() for p in model.objective.parameters())
    lowest, highest = recipe.drawn_depths[0], recipe.drawn_depths[-1]
    depth = f"{lowest} to {highest} run" if lowest < highest else f"{highest} run"
    return [
        f"audio: {int(inside.sum())} of {len(waveforms)} recordings, {seconds / 3600:.2f} h",
        f"encoder: {in_words(encoder)} parameters, {recipe.encoder.depth} layers of {recipe.encoder.model_dim} in "
        f"{len(recipe.encoder.blocks)} blocks, of which {depth} in a step",
        f"objective: {recipe.objective.kind}, {in_words(head)} parameters more",
        describe_batches(prepared.stream),
    ]
