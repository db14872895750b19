"""The manifest of a bundle: what `manifest.json` says, checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from leanformer.errors import BundleError, ConfigError
from leanformer.features.spec import FeatureSpec
from leanformer.runtime.word_fit import KEY as WORDS
from leanformer.runtime.word_fit import UNFITTED, WordFit, word_fit

FORMAT = "leanformer-bundle"
VERSION = 1
FILE_NAME = "manifest.json"
TOKENIZER = "tokenizer.model"
CTC, TRANSDUCER = "ctc", "transducer"

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class StateTensor:
    """One float32 tensor of streaming state. `shape` is without the leading batch axis."""

    input: str
    output: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SecondPart:
    """The second pass of a cascade, which reads the encoder frames that the first gives.

    A step takes `chunk_frames` of them, or fewer at the end, and the `lookahead_frames` after these; `graphs` and
    `state` as in the manifest.
    """

    graphs: Mapping[str, str]
    state: tuple[StateTensor, ...]
    chunk_frames: int
    lookahead_frames: int


@dataclass(frozen=True, slots=True)
class TransducerPart:
    """The graphs of a transducer's predictor, with its state, and joiner; both read what the last pass gives."""

    predictor: str
    joiner: str
    state: tuple[StateTensor, ...]


@dataclass(frozen=True, slots=True)
class ShallowPart:
    """The first pass cut off at some depth; `graphs` and `state` as in the manifest, of the layers that still run."""

    graphs: Mapping[str, str]
    state: tuple[StateTensor, ...]


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a runtime must know of a model.

    `graphs` names the ONNX file of each precision, `parts` the sha256 of every file. A step takes chunks of
    at most `max_chunk_ms`; `default_chunk_ms` is what the model was chosen for. Attention sees `left_context_frames`
    encoder frames back. `second` is None for a model of one pass. `decoders` are those that the model was trained for,
    the first of them by default. `words` is what was fitted for the times and confidence of words. `depth` is how many
    layers the first pass has, None where an older export did not say; `shallow` has the lesser depths it may run at.
    """

    name: str
    licence: str
    features: FeatureSpec
    blank_id: int
    vocabulary_size: int
    subsampling_factor: int
    default_chunk_ms: int
    max_chunk_ms: int
    left_context_frames: int
    graphs: Mapping[str, str]
    state: tuple[StateTensor, ...]
    parts: Mapping[str, str]
    second: SecondPart | None = None
    decoders: tuple[str, ...] = (CTC,)
    transducer: TransducerPart | None = None
    words: WordFit = UNFITTED
    depth: int | None = None
    shallow: Mapping[int, ShallowPart] = dataclass_field(default_factory=dict)

    @property
    def gives_encoder_out(self) -> bool:
        """Whether a step gives encoder frames beside log-probabilities."""
        return self.second is not None or self.transducer is not None

    @property
    def step_ms(self) -> int:
        """Milliseconds that one encoder frame stands for; a chunk is a multiple of it."""
        return round(self.subsampling_factor * self.features.shift_ms)


def read_manifest(folder: Path) -> Manifest:
    """Read and check the manifest of the bundle in `folder`.

    Raises:
        BundleError: no manifest, not JSON, another format or version, or a value that is missing or wrong.
    """
    path = folder / FILE_NAME
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BundleError(
            f"{path}: cannot be read ({error.strerror}); expected a folder that `leanformer export` wrote"
        ) from error
    except ValueError as error:
        raise BundleError(f"{path}: not valid JSON ({error}); export the bundle again") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise BundleError(f'{path}: not a bundle of Leanformer (no "format": "{FORMAT}")')
    if values.get("version") != VERSION:
        raise BundleError(
            f"{path}: bundle version {values.get('version')!r}, but this Leanformer reads version {VERSION}; "
            "upgrade leanformer, or export the model again with this one"
        )
    return _manifest(values, path)


def _manifest(values: Mapping[str, Any], path: Path) -> Manifest:
    def field(key: str, kind: type[_T]) -> _T:
        return _value(values, key, kind, path)

    try:
        features = FeatureSpec.from_dict(field("features", dict))
    except ConfigError as error:
        raise BundleError(f"{path}: {error}; export the bundle again") from error
    manifest = Manifest(
        name=field("name", str),
        licence=field("licence", str),
        features=features,
        blank_id=field("blank_id", int),
        vocabulary_size=field("vocabulary_size", int),
        subsampling_factor=field("subsampling_factor", int),
        default_chunk_ms=field("default_chunk_ms", int),
        max_chunk_ms=field("max_chunk_ms", int),
        left_context_frames=field("left_context_frames", int),
        graphs=_graphs(values, path),
        state=_state(values, path),
        parts={_file_name(name, path): str(digest) for name, digest in field("parts", dict).items()},
        second=_second(field("second", dict), path) if "second" in values else None,
        decoders=tuple(map(str, field("decoders", list))),
        transducer=_transducer(field("transducer", dict), path) if TRANSDUCER in values else None,
        words=word_fit(values[WORDS], path) if WORDS in values else UNFITTED,
        depth=field("depth", int) if "depth" in values else None,
        shallow=_shallow(values, path) if "shallow" in values else {},
    )
    _check(manifest, path)
    return manifest


def _second(values: Mapping[str, Any], path: Path) -> SecondPart:
    chunk, lookahead = (_value(values, key, int, path) for key in ("chunk_frames", "lookahead_frames"))
    if chunk < 1 or lookahead < 0:
        raise BundleError(
            f"{path}: a second pass with chunks of {chunk} frames and {lookahead} of lookahead cannot be; "
            "export the bundle again"
        )
    return SecondPart(_graphs(values, path), _state(values, path), chunk, lookahead)


def _shallow(values: Mapping[str, Any], path: Path) -> dict[int, ShallowPart]:
    parts = {
        _value(one, "depth", int, path): ShallowPart(_graphs(one, path), _state(one, path))
        for one in _value(values, "shallow", list, path)
    }
    full = _value(values, "depth", int, path)
    if wrong := [depth for depth in parts if not 1 <= depth < full]:
        raise BundleError(
            f"{path}: a model of {full} layers cannot be cut off at depth {wrong[0]}; export the bundle again"
        )
    return parts


def _transducer(values: Mapping[str, Any], path: Path) -> TransducerPart:
    predictor, joiner = (_file_name(_value(values, key, str, path), path) for key in ("predictor", "joiner"))
    return TransducerPart(predictor, joiner, _state(values, path))


def _graphs(values: Mapping[str, Any], path: Path) -> dict[str, str]:
    return {
        precision: _file_name(_value(graph, "file", str, path), path)
        for precision, graph in _value(values, "graphs", dict, path).items()
    }


def _state(values: Mapping[str, Any], path: Path) -> tuple[StateTensor, ...]:
    return tuple(_state_tensor(tensor, path) for tensor in _value(values, "state", list, path))


def _check(manifest: Manifest, path: Path) -> None:
    second = {} if manifest.second is None else manifest.second.graphs
    transducer = manifest.transducer
    parts = () if transducer is None else (transducer.predictor, transducer.joiner)
    shallow = [name for part in manifest.shallow.values() for name in part.graphs.values()]
    known = {CTC, TRANSDUCER} if parts else {CTC}
    if not manifest.decoders or not known.issuperset(manifest.decoders):
        raise BundleError(
            f"{path}: 'decoders' is {list(manifest.decoders)}, but this Leanformer knows {CTC!r}, and {TRANSDUCER!r} "
            "where the bundle has one; upgrade leanformer, or export the model again"
        )
    for needed in (TOKENIZER, *manifest.graphs.values(), *second.values(), *parts, *shallow):
        if needed not in manifest.parts:
            raise BundleError(f"{path}: 'parts' does not list {needed}; export the bundle again")
    if not manifest.graphs:
        raise BundleError(f"{path}: 'graphs' is empty, so there is no model; export the bundle again")
    if manifest.second is not None and (lacking := sorted(manifest.graphs.keys() - second.keys())):
        raise BundleError(f"{path}: the second pass has no {lacking[0]} graph; export the bundle again")
    default, longest, step = manifest.default_chunk_ms, manifest.max_chunk_ms, manifest.step_ms
    if manifest.subsampling_factor < 1 or not step <= default <= longest or default % step:
        raise BundleError(
            f"{path}: chunks of {default} ms (at most {longest} ms) do not fit steps of {step} ms; "
            "export the bundle again"
        )


def _state_tensor(tensor: object, path: Path) -> StateTensor:
    shape = _value(tensor, "shape", list, path)
    fixed = shape[1:]
    if shape[:1] != ["batch"] or not all(type(size) is int and size > 0 for size in fixed):
        raise BundleError(f"{path}: state shape {shape}, expected 'batch' and then positive sizes")
    if _value(tensor, "dtype", str, path) != "float32":
        raise BundleError(f"{path}: a state tensor is not float32; export the bundle again")
    return StateTensor(_value(tensor, "input", str, path), _value(tensor, "output", str, path), tuple(fixed))


def _value(values: object, key: str, kind: type[_T], path: Path) -> _T:
    value = values.get(key) if isinstance(values, dict) else None
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        found = "is missing" if value is None else f"is {value!r}"
        raise BundleError(f"{path}: {key!r} {found}, expected {kind.__name__}; export the bundle again")
    return value


def _file_name(name: str, path: Path) -> str:
    # A manifest may come from anywhere; it shall not reach out of its own folder.
    if not name or PurePosixPath(name).name != name or "\\" in name:
        raise BundleError(f"{path}: part {name!r} is not a plain file name; do not trust this bundle")
    return name
