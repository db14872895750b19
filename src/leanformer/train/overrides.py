"""Recipes with single values changed on the command line, and what differs between two recipes."""

import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from leanformer.config import Frozen
from leanformer.config_toml import from_dict, read_toml
from leanformer.errors import ConfigError
from leanformer.presets import with_preset
from leanformer.train.recipe import Recipe


def load_recipe(path: Path, changes: Sequence[str] = ()) -> Recipe:
    """Read a recipe; each change is "dotted.key=value", the value in TOML, where plain words need no quotes.

    A preset that the recipe or a change names is filled in (see `leanformer.presets.with_preset`).

    Raises:
        ConfigError: naming the file, the key, what was found, and what was expected.
    """
    values = merged(read_toml(path), changes)
    source = f"{path} with --set {' '.join(changes)}" if changes else str(path)
    return from_dict(Recipe, with_preset(values, source), source)


def merged(values: dict[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """Plain values with changes "dotted.key=value" applied (ConfigError if one of these cannot be understood)."""
    for change in changes:
        values = _merge(values, _parse(change), change)
    return values


def differences(old: Frozen | dict[str, Any], new: Frozen | dict[str, Any]) -> list[str]:
    """One line "key: old -> new" for each value that differs."""
    before, after = dict(_leaves(_plain(old))), dict(_leaves(_plain(new)))
    changed = [key for key in before | after if before.get(key) != after.get(key)]
    return [f"{key}: {_told(before, key)} -> {_told(after, key)}" for key in changed]


def _parse(change: str) -> dict[str, Any]:
    key, equals, value = change.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {change}: expected KEY=VALUE, such as optimizer.peak_rate=1e-3")
    try:
        return tomllib.loads(f"{key} = {value}")
    except tomllib.TOMLDecodeError:
        pass
    try:
        nested = tomllib.loads(f"{key} = 0")
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"--set {change}: {key!r} is no dotted key: {error}") from None
    return _with_leaf(nested, value.strip())  # a shell eats quotes, so a word stands for itself


def _with_leaf(nested: dict[str, Any], leaf: str) -> dict[str, Any]:
    return {k: _with_leaf(v, leaf) if isinstance(v, dict) else leaf for k, v in nested.items()}


def _merge(values: dict[str, Any], change: dict[str, Any], told: str) -> dict[str, Any]:
    merged = dict(values)
    for key, value in change.items():
        before = merged.get(key)
        if isinstance(before, dict) and isinstance(value, dict):
            merged[key] = _merge(before, value, told)
        elif isinstance(before, list) and isinstance(value, dict):
            raise ConfigError(f"--set {told}: {key} is a list; give the whole list, as {key}=[...]")
        else:
            merged[key] = value
    return merged


def _plain(recipe: Frozen | dict[str, Any]) -> dict[str, Any]:
    return recipe if isinstance(recipe, dict) else recipe.model_dump(mode="json", exclude_none=True)


def _leaves(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _told(values: dict[str, Any], key: str) -> str:
    return repr(values[key]) if key in values else "left out"
