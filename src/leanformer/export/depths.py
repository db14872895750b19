"""One bundle for several depths: graphs of a model cut off at exits, beside that of all its layers.

ONNX Runtime runs a whole graph whatever outputs are fetched, so a lesser depth has to be a graph of its own.
"""

from collections.abc import Sequence
from dataclasses import replace

from leanformer.compress.shallow import shallow
from leanformer.config import ModelConfig
from leanformer.train.checkpoint import Trained
from leanformer.train.recipe import Recipe, drawable_depths


def cut_off(trained: Trained, depth: int) -> Trained:
    """The first `depth` layers of a trained model, with the recipe that builds them.

    Raises:
        CompressError: no output can be taken at `depth`; the message names the depths where one can.
    """
    if depth == trained.model.config.encoder.depth:
        return trained
    model = shallow(trained.model, depth)
    return replace(trained, model=model, recipe=_recipe(trained.recipe, model.config))


def at_depths(trained: Trained, depths: Sequence[int]) -> tuple[Trained, tuple[int, ...]]:
    """The model at the deepest of `depths`, and the others, rising; at its full depth without any.

    Raises:
        CompressError: as `cut_off`.
    """
    *others, deepest = sorted({*depths}) or [trained.model.config.encoder.depth]
    for depth in others:
        shallow(trained.model, depth)  # better refused now than after a minute's work
    return cut_off(trained, deepest), tuple(others)


def _recipe(recipe: Recipe, config: ModelConfig) -> Recipe:
    """The recipe for a model cut off: objectives that have nothing left to train would be refused, and are off."""
    objective, text = recipe.objective, recipe.text
    has_exits = len(config.encoder.exits) > 1
    objectives = {
        "exit_weight": objective.exit_weight if has_exits else 0.0,
        "sample_depth": objective.sample_depth and len(drawable_depths(config)) > 1,
        "freeze_first": objective.freeze_first and config.second is not None,
    }
    return recipe.model_copy(
        update={
            "model": config,
            "objective": objective.model_copy(update=objectives),
            "text": text if config.phone_head is not None else text.model_copy(update={"files": ()}),
        }
    )
