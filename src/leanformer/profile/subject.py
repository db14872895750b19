"""What is to be profiled: a preset, a recipe or a bundle, found by what the user wrote."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from leanformer.compress.fuse import fused_config
from leanformer.compress.shallow import shallow_config
from leanformer.config import ModelConfig
from leanformer.config_toml import load_toml
from leanformer.errors import ConfigError
from leanformer.presets import base_name, names, preset
from leanformer.runtime.bundle import DEFAULT, Bundle, Pass
from leanformer.runtime.manifest import FILE_NAME
from leanformer.train.overrides import load_recipe
from leanformer.train.recipe import Recipe

DEFAULT_CHUNK_MS = 640
DEFAULT_LEFT_CONTEXT = 64
_CONFIG = "config.toml"


@dataclass(frozen=True)
class Subject:
    """A model to profile, as a config; a bundle has graphs too, for each pass by precision.

    A config with `norm = "batch"` becomes that of the fused model, which is what runs.
    """

    name: str
    config: ModelConfig
    chunk_ms: float = DEFAULT_CHUNK_MS
    left_context: int = DEFAULT_LEFT_CONTEXT
    plain: ModelConfig | None = None
    graphs: tuple[dict[str, Path], ...] = ()
    is_bundle: bool = False

    def __post_init__(self) -> None:
        if self.config.encoder.norm == "batch":
            object.__setattr__(self, "config", fused_config(self.config))


def find_subject(text: str, depth: int | None = None) -> Subject:
    """What a name, a recipe's path or a bundle's folder stands for; cut off at `depth` if that is given.

    Raises:
        ConfigError: it is none of them, or it cannot be cut off there; a bundle, where it was not exported for it.
        BundleError: the folder is no sound bundle.
    """
    subject = _find(text, depth)
    if depth is None or subject.is_bundle:
        return subject
    known = subject.config.output_depths
    if depth not in known:
        raise ConfigError(
            f"--depth {depth}: {subject.name} gives an output at {', '.join(map(str, known))}; choose one of these"
        )
    return replace(
        subject, name=f"{subject.name} at depth {depth}", config=shallow_config(subject.config, depth)
    )


def _find(text: str, depth: int | None) -> Subject:
    if base_name(text) in names():
        found = preset(text)
        return Subject(text, found.config, plain=found.plain)
    path = Path(text)
    if path.suffix == ".toml":
        recipe = load_recipe(path)
        return Subject(recipe.name, recipe.model, left_context=recipe.context.dev_left_context)
    if text == DEFAULT or path.is_dir():
        return _bundle(text, depth)
    try:
        preset(text)
    except ConfigError as error:
        raise ConfigError(f"{error} (a recipe ends in .toml, and a bundle is a folder)") from None
    raise AssertionError


def _bundle(text: str, depth: int | None) -> Subject:
    bundle = Bundle.open(text).at_depth(depth, first_pass_only=True)
    recipe = load_toml(Recipe, bundle.folder / _CONFIG)
    changes: dict[str, object] = {"vocabulary_size": bundle.manifest.vocabulary_size}
    if bundle.manifest.second is None:
        changes["second"] = None  # trained, perhaps, but not in the bundle
    config = recipe.model.model_copy(update=changes)
    if depth is not None:
        config = shallow_config(config, depth)
    manifest = json.loads((bundle.folder / FILE_NAME).read_text(encoding="utf-8"))
    return Subject(
        bundle.manifest.name,
        config,
        chunk_ms=bundle.manifest.default_chunk_ms,
        left_context=int(manifest.get("left_context_frames", recipe.context.dev_left_context)),
        graphs=_graphs(bundle),
        is_bundle=True,
    )


def _graphs(bundle: Bundle) -> tuple[dict[str, Path], ...]:
    """Its graphs by precision, for each pass."""
    passes: tuple[Pass, ...] = ("first",) if bundle.manifest.second is None else ("first", "second")
    return tuple({kind: bundle.graph_path(kind, one) for kind in bundle.manifest.graphs} for one in passes)
