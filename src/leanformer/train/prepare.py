"""From a recipe and data folders to what a run needs: tokenizer, datasets, model."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from lhotse import CutSet

from leanformer.config import ModelConfig
from leanformer.data.alignment import AlignmentTable
from leanformer.data.corpora import load_corpus
from leanformer.data.loader import BatchStream, Dataset, make_dataset
from leanformer.data.places import locate
from leanformer.data.sentences import Sentences
from leanformer.data.subset import only_hours
from leanformer.data.waveforms import WaveformCache, default_cache_folder
from leanformer.errors import DataError
from leanformer.features.fbank import Fbank
from leanformer.model import SpeechModel
from leanformer.text.normalization import normalize, outside_alphabet
from leanformer.text.tokenizer import Tokenizer, train_tokenizer
from leanformer.train.recipe import CorporaConfig, Recipe
from leanformer.train.text_injection import TextSpeaker

_LOG = logging.getLogger(__name__)
STATISTICS_BATCHES = 50


@dataclass(frozen=True)
class Prepared:
    """What a run trains with. `recipe` is the given one with the vocabulary size of the tokenizer."""

    recipe: Recipe
    tokenizer: Tokenizer
    stream: BatchStream
    dev: Dataset | None
    sentences: Sentences | None


def read_split(
    folders: Sequence[Path],
    split: str,
    exclude: Sequence[str] = (),
    unspellable: Callable[[str], set[str]] | None = None,
) -> CutSet:
    """All utterances of a split in several data folders; folders without that split are passed over.

    Raises:
        DataError: if no folder has any.
    """
    found, problems = [], []
    for folder in folders:
        try:
            found.append(
                load_corpus(folder, split, exclude=exclude, normalize=normalize, unspellable=unspellable)
            )
        except DataError as error:
            problems.append(str(error))
    if not found:
        raise DataError("; ".join(problems) or "no data folder given; name one with --data")
    return CutSet.from_cuts(cut for cuts in found for cut in cuts)


def read_train(
    folders: Sequence[Path],
    corpora: CorporaConfig,
    unspellable: Callable[[str], set[str]] | None = None,
) -> CutSet:
    """The utterances to train on: all of the split, or as many hours of it as are asked for.

    Raises:
        DataError: if there are none, or fewer hours than that.
    """
    cuts = read_split(folders, corpora.train_split, corpora.exclude, unspellable)
    if corpora.train_hours is None:
        return cuts
    return only_hours(cuts, corpora.train_hours, corpora.hours_seed)


def prepare(recipe: Recipe, folders: Sequence[Path], tokenizer: Tokenizer | None = None) -> Prepared:
    """Read the corpora, make or load the tokenizer, decode the audio once into the cache.

    Args:
        recipe: what to train.
        folders: data folders, each a corpus or a folder of corpora.
        tokenizer: that of the run being resumed; else the recipe's.

    Raises:
        DataError, TokenizerError: naming what is missing or cannot be used.
    """
    corpora = recipe.corpora
    _warn_of_shared_norms(recipe)
    text = recipe.text.files
    sentences = Sentences(locate(text, folders, "text to inject")) if text else None
    tokenizer = tokenizer or _make_tokenizer(recipe, folders, sentences)
    train = read_train(folders, corpora, tokenizer.unspellable)
    try:
        dev = read_split(folders, corpora.dev_split, corpora.exclude, tokenizer.unspellable)
    except DataError as error:
        _LOG.warning("training goes on without dev passes: %s", error)
        dev = None
    cache = WaveformCache(default_cache_folder())
    aligned = locate(corpora.alignments, folders, "an alignment, which `leanformer align` makes")
    phones = AlignmentTable.load(*aligned) if aligned else None
    model = recipe.model.model_copy(update={"vocabulary_size": len(tokenizer)})
    recipe = recipe.model_copy(update={"model": ModelConfig.model_validate(model.model_dump())})
    stream = BatchStream(
        make_dataset(train, cache.open(train, speeds=recipe.augment.speeds), tokenizer, phones),
        recipe.batch,
        recipe.augment.noise,
        recipe.seed,
    )
    measured = None if dev is None else make_dataset(dev, cache.open(dev, speeds=(1.0,)), tokenizer)
    return Prepared(recipe, tokenizer, stream, measured, sentences)


def _warn_of_shared_norms(recipe: Recipe) -> None:
    encoder, optimizer = recipe.model.encoder, recipe.optimizer
    shared = encoder.depth > len(encoder.blocks) and not encoder.norm_per_depth
    if shared and encoder.norm.startswith("batch") and optimizer.freeze_norms_step is None:
        _LOG.warning(
            "layers share BatchNorms, whose running statistics fit none of them: the model will be far worse in use "
            "than in training; set optimizer.freeze_norms_step to a step well before the end (%d?), or "
            "model.encoder.norm_per_depth = true",
            recipe.schedule.max_steps // 2,
        )


def new_model(prepared: Prepared) -> SpeechModel:
    """A freshly initialised model whose feature statistics are those of the training data."""
    torch.manual_seed(prepared.recipe.seed)
    model = SpeechModel(prepared.recipe.model)
    mean, std = feature_statistics(prepared.stream)
    model.feature_mean.copy_(mean)
    model.feature_std.copy_(std)
    return model


def make_speaker(prepared: Prepared, model: SpeechModel) -> TextSpeaker | None:
    """What makes text batches for a model, if the recipe has text."""
    if prepared.sentences is None or model.phone_head is None:
        return None
    return TextSpeaker(prepared.recipe.text, prepared.sentences, prepared.tokenizer, model.phone_head.slots)


def feature_statistics(stream: BatchStream) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of each log-mel bin over the first batches of training: (80,) each."""
    fbank = Fbank()
    count, total, squares = 0, torch.zeros(80, dtype=torch.float64), torch.zeros(80, dtype=torch.float64)
    for batch in stream.iterate(0, min(STATISTICS_BATCHES, len(stream.epoch(0)))):
        features, lengths = fbank(batch.waveforms, batch.lengths)
        for row, length in zip(features.double(), lengths.tolist(), strict=True):
            total += row[:length].sum(dim=0)
            squares += row[:length].square().sum(dim=0)
            count += length
    mean = total / count
    return mean.float(), (squares / count - mean.square()).clamp(min=1e-4).sqrt().float()


def _make_tokenizer(recipe: Recipe, folders: Sequence[Path], sentences: Sentences | None) -> Tokenizer:
    config = recipe.tokenizer
    if config.path:
        return Tokenizer.load(locate([config.path], folders, "the tokenizer")[0])
    if config.sentences and sentences is None:
        raise DataError(
            "tokenizer.sentences asks for lines of text, but text.files names none; set one of the two"
        )
    train = read_train(folders, recipe.corpora)  # of so many hours, their text alone is known
    texts = [cut.supervisions[0].text for cut in train]
    if sentences is not None:
        texts += sentences.spread(config.sentences)
    # Digits and foreign letters would each take a piece; utterances with them are skipped later, and counted.
    return train_tokenizer(
        (text for text in texts if not outside_alphabet(text)), config.vocabulary_size, config.kind
    )
