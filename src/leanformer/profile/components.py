"""Which part of a model each module belongs to; norms are a part of their own, wherever they stand."""

from torch import nn

from leanformer.encoder.block import Sublayer
from leanformer.encoder.subsampling import Subsampling
from leanformer.layers.attention import SoftmaxAttention
from leanformer.layers.convolution import Convolution
from leanformer.layers.feed_forward import FeedForward
from leanformer.layers.folding import Folded
from leanformer.layers.lookahead import Lookahead
from leanformer.layers.normalization import BatchNorm, LayerNorm
from leanformer.layers.performer import Performer
from leanformer.model import PhoneHead

COMPONENTS = (
    "front_end",
    "feed_forward",
    "attention",
    "convolution",
    "normalisation",
    "phone_head",
    "lookahead",
    "output",
)

_KINDS: tuple[tuple[str, tuple[type[nn.Module], ...]], ...] = (
    ("normalisation", (LayerNorm, BatchNorm)),
    ("front_end", (Subsampling,)),
    ("feed_forward", (FeedForward,)),
    ("attention", (SoftmaxAttention, Performer)),
    ("convolution", (Convolution,)),
    ("phone_head", (PhoneHead,)),
    ("lookahead", (Lookahead,)),
)


def components_of(model: nn.Module) -> dict[nn.Module, str]:
    """The component of every module of a model; one that is used in several places has that of the first.

    Linear layers outside all known parts are the output's. What belongs to the model itself (the normalisation
    of features) is the front end's.
    """
    found: dict[nn.Module, str] = {}
    _visit(model, "front_end", found)
    return found


def _visit(module: nn.Module, inherited: str, found: dict[nn.Module, str]) -> None:
    if module in found:
        return
    component = found[module] = _kind(module) or inherited
    known = component != inherited or _kind(module) is not None
    for child in module.children():
        outside = component == "front_end" and not known and isinstance(child, nn.Linear)
        _visit(child, "output" if outside else component, found)


def _kind(module: nn.Module) -> str | None:
    if isinstance(module, Folded | Sublayer):  # whose own sums and reshapings belong to what they wrap
        return _kind(module.inner)
    return next((name for name, classes in _KINDS if isinstance(module, classes)), None)
