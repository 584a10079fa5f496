"""Multiply-accumulates of one operation of PyTorch's: by a formula, or as the sum of products written by broadcasting.

:class:`torch.utils.flop_counter.FlopCounterMode` uses the same table of formulas, but adds up by module.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry
from torch.utils.weak import WeakTensorKeyDictionary

# what PyTorch's table, `flop_registry`, lacks: from the output and the arguments
_MACS = {
    "aten.dot": lambda out, a, b: a.numel(),
    "aten.vdot": lambda out, a, b: a.numel(),
    "aten.mv": lambda out, a, b: a.numel(),
    "aten.addmv": lambda out, c, a, b, **_: a.numel(),
    "aten.addr": lambda out, c, a, b, **_: out.numel(),
    "aten.addbmm": lambda out, c, a, b, **_: a.numel() * b.shape[-1],
    "aten._trilinear": lambda out, a, weight, b, *_: a.shape[0] * weight.numel(),  # nn.Bilinear
    "aten.conv_tbc": lambda out, x, weight, *_: out.shape[:2].numel() * weight.numel(),
    # distances: only the Euclidean ones add up products
    "aten._euclidean_dist": lambda out, a, b: out.numel() * a.shape[-1],
    "aten._cdist_forward": lambda out, a, b, p, *_: out.numel() * a.shape[-1] * (p == 2),
    "aten._pdist_forward": lambda out, a, p=2: out.numel() * a.shape[-1] * (p == 2),
    "aten.dist": lambda out, a, b, p=2: torch.broadcast_shapes(a.shape, b.shape).numel() * (p == 2),
    # those of the convolution, none of the interpolation that feeds it
    "torchvision.deform_conv2d": lambda out, x, weight, *_: out.numel() * weight.shape[1:].numel(),
}

# how one knows PyTorch's other operations with products: by their names, held against all those of PyTorch 2.14
_PRODUCTS = re.compile(
    r"mm(?![aiy])|mv|dot|addr|matmul|conv(?!ert)|linear$|lstm|gru|rnn|attention|transformer"
    r"|_fft_|linalg_(?!.*norm|cross)|(?<!re)solve|cholesky|geqrf|ormqr"
)
# and those that read a parameter and other numbers without adding up products of them
_NO_PRODUCTS = re.compile(
    r"norm|relu|softmax|loss|cross|grid_sampler|embedding|index|scatter|gather|select|take|put|cat|stack|diag|copy|fill"
    r"|mask|pool|where|search|bucketize|set_|bernoulli"
)
# what sums numbers along an axis, and what it calls them; a norm sums their squares
_SUMS = {"sum": "self", "nansum": "self", "cumsum": "self", "mean": "self", "index_add": "source", "scatter_add": "src"}
_NORMS = {"norm": "self", "linalg_vector_norm": "self"}
# what leaves products products: scaled, masked, moved to other memory, or with something added
_HAND_ON = ("mul", "div", "neg", "add", "sub", "masked_fill", "where", "clone", "_to_copy")


class Products:
    """Counts one operation after another, and remembers products and differences until they are summed.

    What is multiplied number by number and then summed is a matrix product, ``(x[:, None] * w).sum(-1)``, if both
    factors vary along an axis of the sum; if only one does, the other is a scale. Squared differences are a distance
    in the same way.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        # a tensor -> "product" or "difference", and the two that it was made of, expanded to its shape: where they are
        # constant, their stride is 0
        self._made = WeakTensorKeyDictionary()

    def of(self, func: torch._ops.OpOverload, args: tuple, kwargs: dict, output: object) -> int | None:
        """Multiply-accumulates of an operation; None if it may have some and has no formula."""
        operation = str(func.overloadpacket)  # such as "aten.mm"
        if operation in _MACS:
            return _MACS[operation](output, *args, **kwargs)
        if func.overloadpacket in flop_registry:
            return flop_registry[func.overloadpacket](*args, **kwargs, out_val=output) // 2
        if func.namespace not in ("aten", "prim", "prims", "profiler") or _PRODUCTS.search(operation):
            return None  # a kernel that is not PyTorch's may do anything
        if isinstance(output, Tensor) and args:
            if (summed := self._summed_products(func, args, kwargs)) is not None:
                return summed.numel()
            self._remember(func, args, kwargs, output)
        harmless = torch.Tag.pointwise in func.tags or func.is_view or _NO_PRODUCTS.search(operation)
        given = [] if harmless else [x for x in tree_leaves((args, kwargs)) if _holds_numbers(x)]
        return None if len(given) > 1 and self.parameters_among(given) else 0

    def parameters_among(self, tensors: Iterable[Tensor]) -> list[str]:
        """The names of the parameters that tensors are, or show in another shape."""
        names = {p.untyped_storage()._cdata: name for name, p in self._model.named_parameters() if not is_lazy(p)}
        return [names[key] for x in tensors if (key := x.untyped_storage()._cdata) in names]

    def _remember(self, func: torch._ops.OpOverload, args: tuple, kwargs: dict, output: Tensor) -> None:
        """Write down what the operation multiplies or subtracts, or which products it hands on."""
        name, made = _name(func), self._made
        operands = args[1:3] if name == "addcmul" else args[:2]
        x, *others = [x for x in operands if _holds_numbers(x) and x.numel() > 1] or [None]  # one number only scales
        if name in ("mul", "addcmul", "sub") and others and others[0] is not x:
            kind = "difference" if name == "sub" else "product"
            made[output] = kind, x.expand(output.shape), others[0].expand(output.shape)
            return
        source = next((t for t in (x, *others) if t in made), None)
        if source is None:
            return
        kind, *factors = made[source]
        if kind == "difference" and ((name == "mul" and others) or (name == "pow" and _is_two(args[1]))):
            made[output] = "product", *factors  # its square
        elif name in ("view", "_unsafe_view"):
            made[output] = kind, *(factor.reshape(output.shape) for factor in factors)
        elif func.is_view:
            made[output] = kind, *(func(factor, *args[1:], **kwargs) for factor in factors)
        elif name in _HAND_ON and output.shape == source.shape and (not others or name == "add"):
            made[output] = made[source]
        elif output is source:
            del made[source]  # an activation function in place makes something else of it

    def _summed_products(self, func: torch._ops.OpOverload, args: tuple, kwargs: dict) -> Tensor | None:
        """What the operation sums, if these are products and both factors vary along the sum."""
        name = _name(func)
        given = dict(zip((argument.name for argument in func._schema.arguments), args, strict=False)) | kwargs
        x = given.get((_SUMS | _NORMS).get(name))
        if not isinstance(x, Tensor) or x not in self._made:
            return None
        kind, *factors = self._made[x]
        if name in _NORMS and not _is_two(given.get("p", given.get("ord", 2))):
            return None
        if kind != ("difference" if name in _NORMS else "product"):
            return None
        dim = given.get("dim")
        axes = range(x.ndim) if dim in (None, []) else [dim] if isinstance(dim, int) else dim
        a, b = ({axis for axis in range(x.ndim) if t.shape[axis] > 1 and t.stride(axis)} for t in factors)
        if not a & b & {axis % x.ndim for axis in axes}:
            return None  # one of them stands for the whole sum: a scale
        # the mean of what is gated number by number, such as x * sigmoid(x), is a pooling
        gated = name == "mean" and not (a - b and b - a) and not self.parameters_among(factors)
        return None if gated else x


def _is_two(exponent: object) -> bool:
    return isinstance(exponent, int | float) and exponent == 2


def _name(func: torch._ops.OpOverload) -> str:
    return func.overloadpacket.__name__.rstrip("_")  # the same where it works in place


def _holds_numbers(x: object) -> bool:
    return isinstance(x, Tensor) and (x.is_floating_point() or x.is_complex())
