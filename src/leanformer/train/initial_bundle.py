"""The weights of a bundle, to train on from."""

import logging
import tomllib

import onnx
from torch import Tensor

from leanformer.config_toml import from_dict
from leanformer.errors import ConfigError, ExportError
from leanformer.export.bundle import CONFIG, FP32, INT8
from leanformer.export.recover import recover_weights
from leanformer.layers.streaming import Context
from leanformer.runtime.bundle import Bundle
from leanformer.text.tokenizer import Tokenizer
from leanformer.train.recipe import Recipe

_LOG = logging.getLogger(__name__)


def read_bundle(bundle: Bundle) -> tuple[str, dict[str, Tensor], Tokenizer]:
    """Where it is, its weights by name, and its tokenizer.

    Weights are those of the float32 graph if the bundle has it; int8 ones have lost little that training will not mend.

    Raises:
        ConfigError: the bundle was exported by a version with which this one has too little in common.
    """
    manifest = bundle.manifest
    precision = FP32 if FP32 in manifest.graphs else INT8
    text = (bundle.folder / CONFIG).read_text(encoding="utf-8")
    recipe = from_dict(Recipe, tomllib.loads(text), str(bundle.folder / CONFIG))
    context = Context(round(manifest.max_chunk_ms / manifest.step_ms), manifest.left_context_frames)
    _LOG.info("%s: reading the weights out of the %s graph", bundle.folder, precision)
    first, second = onnx.load(bundle.graph_path(precision)), None
    if manifest.second is not None:
        second = onnx.load(bundle.graph_path(precision, "second"))
    try:
        weights = recover_weights(first, recipe.model, context, second)
    except ExportError as error:
        raise ConfigError(f"{bundle.folder}: {error}") from None
    return str(bundle.folder), weights, Tokenizer.from_bytes(bundle.tokenizer_path.read_bytes())
