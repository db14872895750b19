"""Numbers that a config accepts, by their range."""

from typing import Annotated, TypeVar

from pydantic import AfterValidator, Field

PositiveInt = Annotated[int, Field(gt=0)]
NotNegativeInt = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0.0)]
NotNegative = Annotated[float, Field(ge=0.0)]
Probability = Annotated[float, Field(ge=0.0, lt=1.0)]
"""A probability at which something still happens at times, such as keeping a channel."""
Share = Annotated[float, Field(ge=0.0, le=1.0)]

_Pair = TypeVar("_Pair", tuple[int, int], tuple[float, float])


def _rising(pair: _Pair) -> _Pair:
    if pair[0] > pair[1]:
        raise ValueError(f"{list(pair)} should be a range, its lower end first")
    return pair


FloatRange = Annotated[tuple[float, float], AfterValidator(_rising)]
IntRange = Annotated[tuple[PositiveInt, PositiveInt], AfterValidator(_rising)]
