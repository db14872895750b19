"""What one streaming step does, watched as it runs: multiply-accumulates, weights read, activations moved.

The real module runs once, and every operation passes by here, whatever the layers are. Formulas of operations are
torch's own (torch.utils.flop_counter). Conventions, all of them ours:

- a multiply-accumulate (MAC) is one product and its sum, in matrix products and convolutions; other arithmetic is
  not counted;
- a weight is read once for each call of an operation on it, whatever the number of frames;
- matrix products, convolutions, normalisations, softmax and activation functions read their inputs and write their
  outputs once, 4 bytes a number; sums, scalings and copies are taken to be part of their neighbours.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

ATEN = torch.ops.aten
MATRIX_PRODUCTS = {ATEN.mm, ATEN.addmm, ATEN.bmm, ATEN.baddbmm}
CONVOLUTIONS = {ATEN.convolution, ATEN._convolution}
MOVING = (
    MATRIX_PRODUCTS
    | CONVOLUTIONS
    | {ATEN.native_layer_norm, ATEN._softmax, ATEN._log_softmax, ATEN.silu, ATEN.relu, ATEN.glu, ATEN.sigmoid}
)
FLOAT_BYTES = 4


@dataclass
class Work:
    """Sums over one step. `linear_macs` are products with a matrix of weights, which int8 covers."""

    linear_macs: int = 0
    other_macs: int = 0
    activation_bytes: int = 0
    operations: int = 0
    """Operations that computed something from activations: what a runtime pays for one by one."""

    @property
    def macs(self) -> int:
        """All multiply-accumulates."""
        return self.linear_macs + self.other_macs


@dataclass
class Reading:
    """What the meter saw: work by component, names of weights in the order read, and which are matrices."""

    work: dict[str, Work] = field(default_factory=lambda: defaultdict(Work))
    reads: list[str] = field(default_factory=list)
    matrices: set[str] = field(default_factory=set)


class Meter(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch does not say its types
    """Watches a model run; use it as a context. `components` tells the part that each module belongs to."""

    def __init__(self, model: nn.Module, components: Mapping[nn.Module, str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.reading = Reading()
        self._model = model
        self._components = components
        self._stack = [components[model]]
        # Names of the weights that a tensor was made of, and nothing else; the tensors are kept, so that no id is
        # used twice.
        self._constant: dict[int, tuple[Tensor, frozenset[str]]] = {}
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            self._constant[id(tensor)] = tensor, frozenset({name})
        self._weights = {key: name for key, (_, (name,)) in self._constant.items()}
        self._hooks: list[Any] = []

    def __enter__(self) -> "Meter":
        for module, component in self._components.items():
            self._hooks.append(module.register_forward_pre_hook(self._entering(component)))
            self._hooks.append(module.register_forward_hook(self._leaving))
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *reason: Any) -> None:
        super().__exit__(*reason)  # type: ignore[no-untyped-call]
        for hook in self._hooks:
            hook.remove()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and note what it did."""
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        given = [value for value in _flat((*args, *kwargs.values())) if isinstance(value, Tensor)]
        made = [
            value
            for value in _flat(out if isinstance(out, tuple | list) else (out,))
            if isinstance(value, Tensor)
        ]
        self.reading.reads += [self._weights[id(one)] for one in given if id(one) in self._weights]
        if all(id(one) in self._constant for one in given):
            names = frozenset[str]().union(*(self._constant[id(one)][1] for one in given))
            self._constant.update((id(one), (one, names)) for one in made if id(one) not in self._constant)
        self._note(func._overloadpacket, args, kwargs, given, made)
        return out

    def _note(self, packet: Any, args: Any, kwargs: Any, given: list[Tensor], made: list[Tensor]) -> None:
        work = self.reading.work[self._stack[-1]]
        if made and not all(id(one) in self._constant for one in given) and not _is_view(made[0], given):
            work.operations += 1
        if packet in flop_registry:
            macs = int(flop_registry[packet](*args, **kwargs, out_val=made[0])) // 2
            matrices = [one for one in given if one.dim() == 2 and self._made_of(one)]
            if packet in MATRIX_PRODUCTS and matrices:
                work.linear_macs += macs
                self.reading.matrices |= self._made_of(matrices[-1])
            else:
                work.other_macs += macs
        if packet in MOVING:
            activations = [one for one in given if id(one) not in self._constant]
            work.activation_bytes += FLOAT_BYTES * sum(one.numel() for one in (*activations, made[0]))

    def _made_of(self, tensor: Tensor) -> frozenset[str]:
        """The weights that a constant was made of."""
        return self._constant[id(tensor)][1] if id(tensor) in self._constant else frozenset()

    def _entering(self, component: str) -> Any:
        def enter(module: nn.Module, inputs: Any) -> None:
            self._stack.append(component)

        return enter

    def _leaving(self, module: nn.Module, inputs: Any, output: Any) -> None:
        self._stack.pop()


def _is_view(tensor: Tensor, given: list[Tensor]) -> bool:
    return any(tensor.untyped_storage().data_ptr() == one.untyped_storage().data_ptr() for one in given)


def _flat(values: Any) -> list[Any]:
    return [
        one for value in values for one in (_flat(value) if isinstance(value, tuple | list) else (value,))
    ]
