"""The model card: what a bundle holds, from the recipe, the export's checks and an evaluation."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from leanformer.export.bundle import Model
from leanformer.export.verify import Check
from leanformer.train.checkpoint import Trained


def model_card(
    trained: Trained,
    model: Model,
    sizes: Mapping[str, int],
    checks: Sequence[Check],
    metrics: Mapping[str, Any],
    notes: str = "",
) -> str:
    """Markdown for people.

    `sizes` are bytes by graph; `metrics` as `leanformer evaluate --json` writes them; `notes` are sections on what
    it was trained on and what it cannot do, in place of those that the recipe can tell.
    """
    sections = [
        f"# {model.name}",
        "A streaming speech recogniser made with Leanformer: 16 kHz speech in, text out, on a CPU.",
        "\n".join(_facts(trained, model, sizes)),
        "## Word error rate",
        "\n".join(_scores(metrics)),
        notes.strip() or "\n\n".join(_notes(trained)),
        "## Checked at export",
        "\n".join(_checks(checks)),
        "## Licence",
        f"{model.licence}; see LICENCE.md.",
    ]
    return "\n\n".join(sections) + "\n"


def licence_notes(model: Model) -> str:
    """What LICENCE.md says when nobody wrote one."""
    return (
        f"# Licence of {model.name}\n\n"
        f"The weights: {model.licence}.\n\n"
        "The code that made and runs them, Leanformer, is under the Apache License 2.0. "
        "The speech that a model was trained on has licences of its own, which may ask to be named: "
        'see "Trained on" in MODEL_CARD.md.\n'
    )


def _facts(trained: Trained, model: Model, sizes: Mapping[str, int]) -> Iterator[str]:
    encoder = trained.recipe.model.encoder
    parameters = sum(parameter.numel() for parameter in trained.model.parameters())
    frame_ms = round(model.subsampling_factor * model.features.shift_ms)
    graphs = ", ".join(f"{kind} {size / 1e6:.1f} MB" for kind, size in sizes.items())
    yield "| | |"
    yield "|---|---|"
    yield f"| parameters | {parameters / 1e6:.2f} million |"
    yield f"| encoder | {encoder.depth} layers of {encoder.model_dim}, one frame for {frame_ms} ms |"
    yield f"| output | CTC over {model.vocabulary_size} {_UNITS[trained.recipe.tokenizer.kind]}, the blank among them |"
    yield f"| chunk | {model.chunk_ms} ms by default, {frame_ms} to {model.max_chunk_ms} ms in steps of {frame_ms} |"
    yield f"| left context | {model.left_context_frames} frames, {model.left_context_frames * frame_ms / 1000:g} s |"
    if (second := trained.recipe.model.second) is not None:
        depth = trained.recipe.model.second_layers.depth
        chunk, ahead = second.chunk_size * frame_ms, second.lookahead * frame_ms
        yield f"| second pass | {depth} layers, chunks of {chunk} ms, and {ahead} ms of lookahead |"
    yield f"| graphs | {graphs} |"


def _scores(metrics: Mapping[str, Any]) -> Iterator[str]:
    corpora = metrics.get("corpora")
    scores = dict(corpora) if isinstance(corpora, Mapping) else {}
    if isinstance(metrics.get("total"), Mapping):
        scores["total"] = metrics["total"]
    if not scores:
        yield "Not measured yet: `leanformer evaluate` does it, and `leanformer export --metrics` puts it here."
        return
    setup = [f"{label} {metrics[key]}" for key, label in _SETUP.items() if key in metrics]
    if setup:
        yield f"Greedy search, {', '.join(setup)}."
        yield ""
    yield "| corpus | WER | 95 % interval | CER | utterances |"
    yield "|---|---|---|---|---|"
    for name, score in scores.items():
        low, high = score.get("wer_interval") or (None, None)
        interval = f"{_percent(low)} to {_percent(high)}" if low is not None else ""
        cells = (
            name,
            _percent(score.get("wer")),
            interval,
            _percent(score.get("cer")),
            score.get("utterances", ""),
        )
        yield f"| {' | '.join(map(str, cells))} |"


_UNITS = {"unigram": "word-pieces", "bpe": "word-pieces", "char": "letters"}
_SETUP = {"split": "split", "precision": "precision", "chunk_ms": "chunk in ms"}


def _notes(trained: Trained) -> Iterator[str]:
    yield "## Trained on"
    yield "\n".join(_training(trained))
    yield "## What it cannot do"
    yield (
        "Recognise other languages than it was trained on, tell speakers apart, or write punctuation, capitals "
        "and digits. Expect more errors than above with noise, distant microphones and accents that the training "
        "data lack."
    )


def _training(trained: Trained) -> Iterator[str]:
    recipe = trained.recipe
    left_out = f", without {', '.join(recipe.corpora.exclude)}" if recipe.corpora.exclude else ""
    yield f"- recipe `{recipe.name}` (config.toml), {trained.step} steps"
    yield f"- split `{recipe.corpora.train_split}` of the data given to `leanformer train`{left_out}"
    yield f"- chosen on split `{recipe.corpora.dev_split}`"


def _checks(checks: Sequence[Check]) -> Iterator[str]:
    yield "| on real speech | found | must be |"
    yield "|---|---|---|"
    for check in checks:
        yield f"| {check.title} | {check.value:.3g} | {check.bound} |"


def _percent(share: object) -> str:
    return f"{share:.1%}".replace("%", " %") if isinstance(share, int | float) else ""
