"""From a checkpoint to a bundle: fuse, trace, quantise, verify, write."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

import onnx

from leanformer.compress.fuse import fuse
from leanformer.config_toml import to_toml
from leanformer.errors import ExportError
from leanformer.export.bundle import (
    CARD,
    CONFIG,
    FP32,
    INT8,
    LICENCE,
    Model,
    Passes,
    check_target,
    graph_file,
    staged,
    write_manifest,
)
from leanformer.export.card import licence_notes, model_card
from leanformer.export.depths import at_depths, cut_off
from leanformer.export.graph import export_step
from leanformer.export.quantize import quantize
from leanformer.export.speech import SAMPLE, Clip, read_clips
from leanformer.export.steps import SecondStep, StatefulStep, Step
from leanformer.export.transducer import export_transducer
from leanformer.export.verify import (
    AGREES,
    Check,
    require_passed,
    verify_fp32,
    verify_int8,
)
from leanformer.export.verify_second import Sessions, verify_second_fp32, verify_second_int8
from leanformer.export.verify_transducer import verify_transducer
from leanformer.features.spec import FeatureSpec
from leanformer.layers.streaming import Context
from leanformer.runtime.bundle import Bundle, Pass
from leanformer.runtime.manifest import CTC, TOKENIZER, TRANSDUCER
from leanformer.runtime.session import Session
from leanformer.text.tokenizer import Tokenizer
from leanformer.train.checkpoint import Trained
from leanformer.train.recipe import Recipe

MAX_CHUNK_MS = 10_240
DEFAULT_CHUNK_MS = 640
NO_LICENCE = "not stated"
FUSED_NOTE = """\
# This is the model as it runs: its norms are fused into the weights, so it says norm = "none".
# It was trained with norm = "batch"; to train such a model again, set that.
"""

ALL_PASSES = get_args(Pass)

Tell = Callable[[str], None]
Graphs = dict[tuple[str, Pass | int], onnx.ModelProto]
"""By precision, and pass or lesser depth."""


@dataclass(frozen=True)
class Settings:
    """Choices of an export. `name` and `left_context` (encoder frames) default to the recipe's."""

    name: str = ""
    chunk_ms: int = DEFAULT_CHUNK_MS
    max_chunk_ms: int = MAX_CHUNK_MS
    """The longest chunk that the bundle takes. One as long as a recording hears it in full context."""
    left_context: int | None = None
    keep_fp32: bool = True
    licence: str = NO_LICENCE
    licence_notes: str = ""
    """The text of LICENCE.md; empty for a short one made from `licence`."""
    notes: str = ""
    """Sections of the model card, in Markdown: what it was trained on, and what it cannot do."""
    int8_agreement: float | None = None
    """Share of frames in which int8 must say what float32 says, if not the usual one: less, where what int8 loses is
    measured anyway."""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    """What `leanformer evaluate --json` wrote."""
    depths: Sequence[int] = ()
    """Layers to run, of the depths at which an output may be taken: by default the most of these, any other by choice
    when the bundle is loaded. None named: all layers."""
    force: bool = False


@dataclass(frozen=True)
class Exported:
    """What came out: `sizes` in bytes and `nodes` by precision, `quantized` nodes in int8; passes added up,
    but not the lesser depths, of which one runs in place of the first pass."""

    model: Model
    checks: tuple[Check, ...]
    sizes: Mapping[str, int]
    nodes: Mapping[str, int]
    quantized: int


def export(
    trained: Trained,
    target: Path,
    settings: Settings = Settings(),
    speech: Sequence[str | Path] = (SAMPLE,),
    tell: Tell = lambda line: None,
) -> Exported:
    """Write the bundle of a trained model into the folder `target`, all of it or nothing.

    A model with `norm = "batch"` is fused first, and verified against what it was before.

    Args:
        trained: the model with its recipe and tokenizer.
        target: a folder that does not exist yet, or with `settings.force` a bundle.
        settings: see there.
        speech: recordings to verify the export on.
        tell: is called with a line at the beginning of each stage.

    Raises:
        ExportError: the target is taken, a setting does not fit the model, or the export fails its checks.
        AudioError: a recording cannot be read.
        CompressError: the norms cannot be fused, or the model has no output at one of the depths.
    """
    check_target(target, settings.force)
    trained, depths = at_depths(trained, settings.depths)
    model = _describe(trained, settings)
    clips = read_clips(speech, model.features)
    context = Context(model.max_chunk_ms // _frame_ms(trained), model.left_context_frames)
    fused = _fused(trained)
    given, passes = _passes(trained, context, depths), _passes(fused, context, depths)
    tell("tracing the model")
    graphs = _trace(passes)
    tell("quantising")
    quantized = _quantize(graphs)
    with staged(target) as folder:
        _write_parts(folder, fused, model, graphs, settings, "" if fused is trained else FUSED_NOTE)
        if passes.decoder is not None:
            passes.decoder.save(folder)
        write_manifest(folder, model, passes, {})
        tell(f"verifying on {len(clips)} recording{'s' * (len(clips) != 1)}")
        checks = _verify(Bundle.open(folder), given, clips, trained.tokenizer)
        checks = tuple(_bound(check, settings.int8_agreement) for check in checks)
        require_passed(checks)
        if not settings.keep_fp32:
            for which in (*ALL_PASSES, *depths):
                (folder / graph_file(FP32, which)).unlink(missing_ok=True)
        sizes = _sizes(folder)
        card = model_card(fused, model, sizes, checks, settings.metrics, settings.notes)
        (folder / CARD).write_text(card, encoding="utf-8")
        write_manifest(folder, model, passes, _metrics(settings.metrics, checks))
        Bundle.open(folder)
    return Exported(model, checks, sizes, _nodes(graphs), quantized)


def _passes(trained: Trained, context: Context, depths: Sequence[int]) -> Passes:
    model = trained.model
    objective, decoder = trained.recipe.objective, None
    if model.transducer is not None:
        decoder = export_transducer(model.transducer, model.config.encoder.model_dim)
    found = {
        CTC: objective.ctc_weight > 0.0,
        TRANSDUCER: decoder is not None and objective.transducer_weight > 0.0,
    }
    return Passes(
        Step(model, context),
        None if model.second is None else SecondStep(model),
        decoder,
        tuple(name for name, trained in found.items() if trained),
        {depth: Step(cut_off(trained, depth).model, context) for depth in depths},
    )


def _trace(passes: Passes) -> Graphs:
    """The float32 graph of each pass and lesser depth."""
    steps: list[tuple[Pass | int, StatefulStep | None]] = [
        ("first", passes.first),
        ("second", passes.second),
        *passes.shallow.items(),
    ]
    return {(FP32, which): export_step(step) for which, step in steps if step is not None}


def _quantize(graphs: Graphs) -> int:
    """Add each graph in int8; returns how many nodes of the passes were quantised."""
    count = 0
    for _, which in tuple(graphs):
        graphs[INT8, which], quantized = quantize(graphs[FP32, which])
        count += quantized * (which in ALL_PASSES)
    return count


def _sizes(folder: Path) -> dict[str, int]:
    """Bytes of the graphs that there are, of both passes, by precision."""
    paths = {kind: [folder / graph_file(kind, which) for which in ALL_PASSES] for kind in (FP32, INT8)}
    sizes = {kind: sum(path.stat().st_size for path in some if path.exists()) for kind, some in paths.items()}
    return {kind: size for kind, size in sizes.items() if size}


def _nodes(graphs: Graphs) -> dict[str, int]:
    """Nodes of the graphs of both passes, by precision."""
    nodes = dict.fromkeys((FP32, INT8), 0)
    for (kind, which), graph in graphs.items():
        nodes[kind] += len(graph.graph.node) * (which in ALL_PASSES)
    return nodes


def _write_parts(
    folder: Path,
    trained: Trained,
    model: Model,
    graphs: Graphs,
    settings: Settings,
    note: str,
) -> None:
    """Every part but the model card and the manifest, which need the checks; `note` goes before the config."""
    for (precision, which), graph in graphs.items():
        onnx.checker.check_model(graph)
        onnx.save(graph, folder / graph_file(precision, which))
    (folder / TOKENIZER).write_bytes(trained.tokenizer.to_bytes())
    (folder / CONFIG).write_text(note + to_toml(_portable(trained.recipe)), encoding="utf-8")
    (folder / LICENCE).write_text(settings.licence_notes or licence_notes(model), encoding="utf-8")


def _verify(bundle: Bundle, given: Passes, clips: Sequence[Clip], tokenizer: Tokenizer) -> tuple[Check, ...]:
    """What the runtime makes of a bundle, against torch."""
    chunk_frames = round(bundle.manifest.default_chunk_ms / bundle.manifest.features.shift_ms)
    fp32, int8 = Session(bundle, "fp32"), Session(bundle, "int8")
    checks = [
        *verify_fp32(given.first, fp32, clips, chunk_frames),
        *verify_int8(fp32, int8, clips, chunk_frames, tokenizer),
    ]
    if given.second is not None:
        both = Sessions(fp32, Session(bundle, "fp32", which="second"))
        small = Sessions(int8, Session(bundle, "int8", which="second"))
        checks += verify_second_fp32(given.first, given.second, both, clips, chunk_frames)
        checks += verify_second_int8(both, small, clips, chunk_frames, tokenizer)
    if given.first.model.transducer is not None:
        checks += verify_transducer(given.first, bundle, clips, chunk_frames)
    for depth, step in given.shallow.items():
        found = _verify(bundle.at_depth(depth, True), Passes(step, None), clips, tokenizer)
        checks += [
            replace(one, key=f"depth_{depth}_{one.key}", title=f"depth {depth}: {one.title}") for one in found
        ]
    return tuple(checks)


def _bound(check: Check, int8_agreement: float | None) -> Check:
    """A check whose bound is the setting's, if there is one and it is about that."""
    if int8_agreement is None or not check.key.endswith(AGREES):
        return check
    return replace(check, at_least=int8_agreement)


def _describe(trained: Trained, settings: Settings) -> Model:
    """The model as its manifest will; raises ExportError for a setting that does not fit it."""
    frame_ms = _frame_ms(trained)
    longest = settings.max_chunk_ms // frame_ms * frame_ms
    chunk_ms = settings.chunk_ms
    if not frame_ms <= chunk_ms <= longest or chunk_ms % frame_ms:
        raise ExportError(
            f"chunk of {chunk_ms} ms: this model takes multiples of {frame_ms} ms, from {frame_ms} to {longest} ms"
        )
    left = trained.recipe.context.dev_left_context if settings.left_context is None else settings.left_context
    if left < 1:
        raise ExportError(f"left context of {left} frames: a stream must remember at least one")
    return Model(
        name=settings.name or trained.recipe.name,
        licence=settings.licence,
        features=FeatureSpec(),
        vocabulary_size=len(trained.tokenizer),
        subsampling_factor=trained.recipe.model.encoder.subsampling.factor,
        chunk_ms=chunk_ms,
        max_chunk_ms=longest,
        left_context_frames=left,
    )


def _frame_ms(trained: Trained) -> int:
    """Milliseconds that one encoder frame stands for."""
    return round(trained.recipe.model.encoder.subsampling.factor * FeatureSpec().shift_ms)


def _fused(trained: Trained) -> Trained:
    """What is traced: the model without its norms if they can be fused, and the recipe that builds it."""
    if trained.recipe.model.encoder.norm != "batch":
        return trained
    model = fuse(trained.model)
    return replace(trained, model=model, recipe=trained.recipe.model_copy(update={"model": model.config}))


def _portable(recipe: Recipe) -> Recipe:
    """The recipe with file names for paths: those of the machine that trained mean nothing elsewhere."""
    corpora, tokenizer, text = recipe.corpora, recipe.tokenizer, recipe.text
    return recipe.model_copy(
        update={
            "corpora": corpora.model_copy(update={"alignments": tuple(map(_file_name, corpora.alignments))}),
            "tokenizer": tokenizer.model_copy(update={"path": TOKENIZER}),
            "text": text.model_copy(update={"files": tuple(map(_file_name, text.files))}),
        }
    )


def _file_name(path: str) -> str:
    return Path(path).name


def _metrics(evaluation: Mapping[str, Any], checks: Sequence[Check]) -> dict[str, Any]:
    """What a manifest says: figures, but not the utterances that `leanformer evaluate` lists with their paths."""
    figures = {key: value for key, value in evaluation.items() if key not in ("worst", "failures", "skipped")}
    return {**figures, "export": {check.key: round(check.value, 6) for check in checks}}
