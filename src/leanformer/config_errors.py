"""What is wrong with a config, in one line, for people who write TOML and have never heard of pydantic."""

import dataclasses
import difflib
import json
from collections.abc import Sequence
from typing import Any, get_args, get_type_hints

from pydantic import BaseModel

Place = tuple[str | int, ...]
"""Where a value stands: keys, and indices into arrays."""


def explain(cls: type[BaseModel], errors: Sequence[Any]) -> str:
    """One line on the most telling of pydantic's errors: key, value, what was expected."""
    unknown = [e for e in errors if e["type"] in ("extra_forbidden", "unexpected_keyword_argument")]
    if unknown:  # first, since a misspelt key is often why another one is missing
        place = _without_tags(cls, unknown[0]["loc"])
        known = _known_keys(cls, place[:-1])
        near = difflib.get_close_matches(str(place[-1]), known, n=1, cutoff=0.5)
        hint = f"did you mean `{near[0]}`?" if near else f"known here: {', '.join(known)}"
        return f"unknown key `{name(place)}`; {hint}"
    kind, value = errors[0]["type"], errors[0]["input"]
    place = _without_tags(cls, errors[0]["loc"])
    message = errors[0]["msg"].removeprefix("Value error, ")
    if kind == "missing":
        return f"`{name(place)}` is missing; add it"
    if kind == "value_error":  # a config's own check, whose text names the values
        return f"`{name(place)}`: {message}" if place else message
    if kind == "union_tag_invalid":
        place, value = (*place, "kind"), value["kind"]
        message = f"it should be one of {errors[0]['ctx']['expected_tags']}"
    for pydantic_says, we_say in _WORDS:
        message = message.replace(pydantic_says, we_say)
    if isinstance(value, str) and kind in ("int_type", "float_type", "bool_type"):
        message += ", without quotes"
    return f"`{name(place)}` = {show(value)}: {message}"


_WORDS = (
    ("Input should be ", "it should be "),
    ("Tuple should have ", "it should have "),
    (" after validation", ""),
    ("an object", "a table"),
    ("a valid array", "an array, as in [1, 2]"),
    ("a valid integer", "an integer"),
    ("a valid number", "a number"),
    ("a valid string", "a string"),
    ("a valid boolean", "true or false"),
)
"""Pydantic's words for people who write TOML."""


def name(place: Place) -> str:
    """`encoder.blocks[0].order`, as a person would write it."""
    parts = (
        f"[{p}]" if isinstance(p, int) else f".{p}" if p.isidentifier() else f".{show(p)}" for p in place
    )
    return "".join(parts).removeprefix(".")


def show(value: Any) -> str:
    """A value as TOML writes it, cut to one short line."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _known_keys(cls: type[Any], place: Place) -> list[str]:
    """Keys at a place in the config tree, sorted; indices and the tags of unions lead no deeper."""
    current = [cls]
    for part in place:
        current = [n for c in current for n in _nested(_annotations(c).get(str(part)))] or current
    return sorted({key for c in current for key in _annotations(c)})


def _without_tags(cls: type[Any], place: Place) -> Place:
    """A place without the tags of unions that pydantic puts between the keys."""
    current, kept = [cls], []
    for index, part in enumerate(place):
        last = index == len(place) - 1
        if isinstance(part, str) and not last and not any(part in _annotations(c) for c in current):
            current = [c for c in current if part in get_args(_annotations(c).get("kind"))] or current
            continue
        kept.append(part)
        current = [n for c in current for n in _nested(_annotations(c).get(str(part)))] or current
    return tuple(kept)


def _annotations(cls: type[Any]) -> dict[str, Any]:
    if issubclass(cls, BaseModel):
        return {name: field.annotation for name, field in cls.model_fields.items()}
    hints = get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def _nested(annotation: Any) -> list[type[Any]]:
    """The config classes in an annotation: models and dataclasses, alone, in tuples or in unions."""
    if isinstance(annotation, type) and (
        issubclass(annotation, BaseModel) or dataclasses.is_dataclass(annotation)
    ):
        return [annotation]
    return [found for argument in get_args(annotation) for found in _nested(argument)]
