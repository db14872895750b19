"""A pre-trained model out of its checkpoint."""

from dataclasses import dataclass
from pathlib import Path

from leanformer.errors import CheckpointError
from leanformer.pretrain.model import PretrainModel
from leanformer.pretrain.recipe import PretrainRecipe
from leanformer.train.checkpoint import (
    fill_in,
    find_checkpoint,
    is_recogniser,
    read_checkpoint,
    stored_recipe,
)


@dataclass(frozen=True)
class Pretrained:
    """A pre-trained model in evaluation mode, with what it was trained by."""

    model: PretrainModel
    recipe: PretrainRecipe
    step: int


def load_pretrained(path: Path) -> Pretrained:
    """Read a checkpoint of `leanformer pretrain`, or the best one (on dev) of a run's folder.

    Raises:
        CheckpointError: there is none, it is damaged, or it is not one of `leanformer pretrain`.
    """
    path = find_checkpoint(path)
    stored = read_checkpoint(path)
    if is_recogniser(stored):
        raise CheckpointError(f"{path}: is of `leanformer train`, expected one of `leanformer pretrain`")
    recipe = stored_recipe(PretrainRecipe, stored, path)
    model = PretrainModel(recipe.encoder, recipe.objective)
    fill_in(model, stored, path)
    return Pretrained(model.eval(), recipe, int(stored["global_step"]))
