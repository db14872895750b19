"""Configs in and out of TOML. An entry of an array of tables may carry `repeat = N`, read and written alike."""

import json
import tomllib
from pathlib import Path
from typing import Any, TypeVar

import tomli_w
from pydantic import ValidationError

from leanformer.config import Frozen
from leanformer.config_errors import Place, explain, name, show
from leanformer.errors import ConfigError

MAX_REPEAT = 1000

C = TypeVar("C", bound=Frozen)


def from_dict(cls: type[C], values: dict[str, Any], source: str) -> C:
    """Build a config from plain values; an entry of an array of tables may carry `repeat = N`.

    Raises:
        ConfigError: naming `source`, the key, what was found, and what was expected.
    """
    try:
        # JSON mode is strict about types, yet takes arrays for tuples, as TOML writes them.
        return cls.model_validate_json(json.dumps(_expand_repeats(values, ())))
    except ValidationError as error:
        raise ConfigError(f"{source}: {explain(cls, error.errors())}") from None
    except ConfigError as error:  # from here, or from a nested dataclass's own check
        raise ConfigError(f"{source}: {error}") from None


def load_toml(cls: type[C], path: Path) -> C:
    """Read a config from a TOML file (ConfigError on anything wrong with it)."""
    return from_dict(cls, read_toml(path), str(path))


def read_toml(path: Path) -> dict[str, Any]:
    """The plain values of a TOML file (ConfigError if it is missing or not TOML)."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; pass the path of a TOML file") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not text in UTF-8; pass the path of a TOML file") from None
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read ({error.strerror}); pass the path of a TOML file"
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: is not valid TOML: {error}; correct it there") from None


def to_toml(config: Frozen) -> str:
    """Write a config as TOML that `from_dict` reads back to an equal config."""
    values = config.model_dump(mode="json", exclude_none=True)
    return tomli_w.dumps(_fold_repeats(values))


def _expand_repeats(value: Any, place: Place) -> Any:
    if isinstance(value, dict):
        return {key: _expand_repeats(item, (*place, key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items: list[Any] = []
        for index, item in enumerate(value):
            count, rest = _repeat(item, (*place, index))
            items.extend([_expand_repeats(rest, (*place, index))] * count)
        return items
    if value is None or isinstance(value, str | int | float):
        return value
    raise ConfigError(f"`{name(place)}` = {value}: it should not be a date or time; no key takes one")


def _repeat(item: Any, place: Place) -> tuple[int, Any]:
    """How often an item of an array stands there, and the item without `repeat`."""
    if not isinstance(item, dict) or "repeat" not in item:
        return 1, item
    count = item["repeat"]
    if type(count) is not int or not 1 <= count <= MAX_REPEAT:
        where = name((*place, "repeat"))
        raise ConfigError(f"`{where}` = {show(count)}: it should be an integer from 1 to {MAX_REPEAT}")
    return count, {key: value for key, value in item.items() if key != "repeat"}


def _fold_repeats(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _fold_repeats(item) for key, item in value.items()}
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        return value
    items: list[dict[str, Any]] = []
    for item in value:
        if items and {**items[-1], "repeat": 1} == {**item, "repeat": 1} and _count(items[-1]) < MAX_REPEAT:
            items[-1]["repeat"] = _count(items[-1]) + 1
        else:
            items.append(dict(item))
    return items


def _count(item: dict[str, Any]) -> int:
    return int(item.get("repeat", 1))
