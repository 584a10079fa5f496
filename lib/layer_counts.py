"""What a network costs, layer by layer: activations, weights, biases, multiply-accumulates, bytes kept for training.

Nothing is computed: the network runs on PyTorch's meta device, whose tensors have shapes but no data, so that counting
takes no memory and about a second even for a thousand million weights. The caller's model is not touched: what runs is
a copy of its structure with meta tensors in place of the weights.

Conventions
-----------
For one example (batch size 1), in evaluation mode:

- *weights*, *biases*: trainable or not, every parameter is one or the other; buffers, such as running means, are none.
  A parameter is a bias if its name is ``bias``, begins with ``bias_`` or ends with ``_bias``, and a weight otherwise.
  One that several layers share is counted once, with the first of them.
- *macs*: multiply-accumulates, one for each product that is added to a sum: half of the operations that
  :class:`torch.utils.flop_counter.FlopCounterMode` counts. Convolutions and matrix products have them, also inside
  attention and recurrent layers; adding a bias, normalisations, activation functions, pooling, interpolation and
  residual sums have none. Products with padding zeros count, as they do in every published figure.
- *activations*: the numbers that convolutions, matrix products, poolings and embedding lookups write, and the input.
  Activation functions, dropout, normalisations, residual sums, copies and reshapes add none, because they can work in
  place; nor does an adaptive pooling to the size that its input has. Attention counts the scores that it computes, a
  recurrent layer both products of each of its gates.
- A complex number is one weight or one activation, and the product of two is one multiply-accumulate.

Modules and the functions of the same name give the same sums: ``nn.MaxPool2d`` and ``functional.max_pool2d``. The same
result computed in another way may not: a mean over positions is no pooling, indexing a table no embedding lookup,
``cdist`` and the sum of a broadcast product no matrix product.
"""

from __future__ import annotations

import math
import re
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pandas as pd
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.flop_counter import FlopCounterMode

from lib.arguments import whole_number
from lib.without_data import Call, Calls, Dtypes, Pass, Shape, evaluating

_QUANTITIES = ["activations", "weights", "biases", "macs"]
_POOLINGS = ("avg_pool", "max_pool", "adaptive_", "lp_pool", "fractional_max_pool")  # how their functions' names begin
_LOOKUPS = ("embedding", "embedding_bag")

aten = torch.ops.aten
# products for which PyTorch's counter has no formula, from the shapes of their arguments, in operations
_MORE_FORMULAS = {
    aten.dot: lambda a, b, **_: 2 * math.prod(a),
    aten.vdot: lambda a, b, **_: 2 * math.prod(a),
    aten.mv: lambda a, b, **_: 2 * math.prod(a),
    aten.addmv: lambda c, a, b, **_: 2 * math.prod(a),
    aten.addr: lambda c, a, b, **_: 2 * math.prod(a + b),
    aten.addbmm: lambda c, a, b, **_: 2 * math.prod(a) * b[-1],
    aten._trilinear: lambda a, weight, b, *_, **__: 2 * a[0] * math.prod(weight),  # nn.Bilinear
    aten.conv_tbc: lambda x, weight, *_, out_shape, **__: 2 * math.prod(out_shape[:2]) * math.prod(weight),
}


def _deformable(x: Shape, weight: Shape, *_, out_shape: Shape, **__) -> int:
    """Of torchvision.ops.DeformConv2d: those of the convolution, none of the interpolation that feeds it."""
    return 2 * math.prod(out_shape) * math.prod(weight[1:])


# operations without a formula that are known to have no products although they read a parameter, by their names
_NO_PRODUCTS = re.compile(
    r"norm|embedding|prelu|rrelu|glu|loss|pool|upsample|grid_samp|cross"  # layers; an interpolation has none either
    r"|cat|stack|pad|roll|repeat|index|gather|scatter|take|select|copy|clone|set_|reshape|view|flip|rot90|shuffle"
    r"|im2col|col2im|diag|tri[lu]|masked|_to_"  # moving numbers
    r"|sum|mean|var|std|max|min|median|prod|trace|sort|topk|search|bucket|any|all|numeric|item"  # statistics
    r"|empty|full|fill|zero|ones|uniform|normal|bernoulli|multinomial"  # new numbers
)
# and those that have some, whatever they read
_PRODUCTS = re.compile(r"mm|conv|cdist|fft|lstm|gru|rnn|attention|matmul|linear$|linalg_(?!.*norm|cross)|householder")


def count_layers(
    model: nn.Module,
    input_shape: Shape | Sequence[Shape],
    *,
    dtype: Dtypes = None,
) -> pd.DataFrame:
    """Activations, weights, biases and multiply-accumulates of every layer, for one example in evaluation mode.

    A layer is a module that has something to count which belongs to none of its children. The conventions are those
    of this module, :mod:`lib.layer_counts`.

    Parameters
    ----------
    model : torch.nn.Module
        Any module, on any device, in any mode, initialised or not; it is not changed.
    input_shape : sequence of int, or sequence of such
        Shape of one example *without* the batch axis, such as ``(3, 224, 224)``; several shapes for a module that takes
        several inputs. The batch axis is put first, or second for a model whose attention and recurrent layers have
        ``batch_first=False`` and look for it there.
    dtype : torch.dtype, or sequence of one for each shape, optional
        Type of the input: by default that of the parameters. ``torch.long`` for a network that looks up tokens,
        ``[torch.long, None]`` for tokens and an image.

    Returns
    -------
    DataFrame
        A row for each input and for each call of a layer, in the order of the calls, then a row for each module that
        has parameters that no call reads, such as a head that is for training only.

        ========================= ======= ==============================================================================
        layer                     str     name of the module within the model, ``"(model)"`` for the model itself
        kind                      str     class of the module; ``"Input"`` in the first row
        output_shape              tuple   without the batch axis; the first output's if there are several; None if never
                                          called
        activations, weights,     int     as the conventions say; a layer that is called again, or shares its weights,
        biases, macs                      has its weights and biases in the first row only
        ========================= ======= ==============================================================================

        The sums of the columns are the model's totals (:func:`totals`). Layers that have nothing to count, such as
        ReLU, are left out.

    Raises
    ------
    ArgumentError
        A ValueError and TypeError: if `model` is not a module or `input_shape` is not a shape; if the model refuses
        it, cannot be copied, holds a TorchScript module, or gets the batch where a layer with ``batch_first=False``
        does not look for it; or if its result depends on numbers (``.item()``, NumPy, a branch on a value), so that it
        cannot run on the meta device.

    Warns
    -----
    UserWarning
        If an operation may have products but has no formula, such as a Fourier transform, ``cdist`` or a kernel of
        one's own: it is named, and counts nothing. :func:`torch.utils.flop_counter.register_flop_formula` gives it one.

    Notes
    -----
    Hooks do not run, except those by which ``torch`` itself computes weights, such as weight normalisation.

    Examples
    --------
    >>> model = nn.Sequential(nn.Conv2d(3, 64, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(64 * 8 * 8, 10))
    >>> counts = count_layers(model, (3, 8, 8))
    >>> print(counts.to_string(index=False))
    layer   kind output_shape  activations  weights  biases   macs
    input  Input    (3, 8, 8)          192        0       0      0
        0 Conv2d   (64, 8, 8)         4096     1728      64 110592
        3 Linear        (10,)           10    40960      10  40960
    >>> int(totals(counts)["parameters"])
    42762
    """
    readers: dict[int, Call] = {}
    without_formula: dict[str, list[str]] = defaultdict(list)
    calls = Pass.of(model, input_shape, dtype).run(lambda calls: _counting(calls, readers, without_formula))
    for operation, layers in without_formula.items():
        warnings.warn(
            f"torch.ops.{operation} has no formula, so that its multiply-accumulates and activations count 0 (layer "
            f"{', '.join(dict.fromkeys(layers))}): torch.utils.flop_counter.register_flop_formula gives it one",
            stacklevel=2,
        )
    return _table(calls, readers)


def totals(counts: pd.DataFrame) -> pd.Series:
    """The sums of a table of :func:`count_layers`; `parameters` is weights and biases together.

    >>> totals(count_layers(nn.Linear(784, 10), (784,))).to_dict()
    {'activations': 794, 'weights': 7840, 'biases': 10, 'parameters': 7850, 'macs': 7840}
    """
    sums = counts[_QUANTITIES].sum()
    sums["parameters"] = sums["weights"] + sums["biases"]
    return sums[["activations", "weights", "biases", "parameters", "macs"]]


def count_saved_bytes(
    model: nn.Module,
    input_shape: Shape | Sequence[Shape],
    *,
    batch_size: int = 1,
    dtype: Dtypes = None,
) -> pd.DataFrame:
    """Bytes that each layer keeps after the forward pass of training, because its backward pass needs them.

    The model runs in training mode on the meta device, and PyTorch's automatic differentiation says what it saves
    (:class:`torch.autograd.graph.saved_tensors_hooks`). Memory that two layers save is counted once, with the first of
    them; parameters and buffers are not counted, since they are kept anyway. What a loss function saves comes on top.
    Where a device has one kernel for several operations, more or less may be kept there: attention may keep less, and
    an LSTM on the CPU keeps about three times as much.

    Parameters
    ----------
    model, input_shape, dtype
        As for :func:`count_layers`.
    batch_size : int
        Number of examples, at least 1.

    Returns
    -------
    DataFrame
        One row for each call of a module that saves something, in the order of the calls: `layer`, `kind`,
        `saved_bytes`.

    Raises
    ------
    ArgumentError
        As :func:`count_layers`, and if `batch_size` is not a whole number of at least 1.

    Examples
    --------
    A convolution saves its input (192 numbers of 4 bytes), and ReLU in place its output, where the convolution wrote:

    >>> model = nn.Sequential(nn.Conv2d(3, 64, 3, padding=1), nn.ReLU(inplace=True))
    >>> print(count_saved_bytes(model, (3, 8, 8)).to_string(index=False))
    layer   kind  saved_bytes
        0 Conv2d          768
        1   ReLU        16384
    """
    batch_size = whole_number("batch_size", batch_size)
    calls = Pass.of(model, input_shape, dtype).run(_saving, batch_size)
    rows = [(call.layer, call.kind, call.saved_bytes) for call in calls.made if call.saved_bytes]
    return pd.DataFrame(rows, columns=["layer", "kind", "saved_bytes"])


@contextmanager
def _counting(calls: Calls, readers: dict[int, Call], without_formula: dict[str, list[str]]) -> Iterator[None]:
    """Writes down activations, operations, which call reads each parameter first, and what may go uncounted."""
    formulas = dict(_MORE_FORMULAS)
    if hasattr(torch.ops.torchvision, "deform_conv2d"):  # only where torchvision is imported
        formulas[torch.ops.torchvision.deform_conv2d] = _deformable
    counter = FlopCounterMode(display=False, custom_mapping=formulas)
    with evaluating(calls), counter, _Products(calls, counter, readers, without_formula), _Functions(calls):
        yield


class _Products(TorchDispatchMode):
    """Writes down the operations that PyTorch's counter counts, and what they write.

    The counter's own table by modules would not do: a row here is one call, without what its children do.
    """

    def __init__(self, calls: Calls, counter: FlopCounterMode, readers: dict, without_formula: dict):
        super().__init__()
        self.calls, self.counter, self.readers, self.without_formula = calls, counter, readers, without_formula
        # by their memory: a transposed weight, which is what a product reads, is another tensor
        self.parameters = {p.untyped_storage()._cdata for p in calls.model.parameters() if not is_lazy(p)}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        call, given = self.calls.running[-1], [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        for x in given:
            if isinstance(x, nn.Parameter):
                self.readers.setdefault(id(x), call)  # for weights of modules that are never called themselves
        # the counter is the mode below this one, so that it counts while the operation runs
        before = self.counter.get_total_flops()
        output = func(*args, **(kwargs or {}))
        flops = self.counter.get_total_flops() - before
        if flops:
            call.flops += flops
            # the first output: attention's fused kernels also return what only the backward pass wants
            call.activations += next(x.numel() for x in tree_leaves(output) if isinstance(x, Tensor))
        elif func._overloadpacket not in self.counter.flop_registry:
            reads_parameter = any(x.untyped_storage()._cdata in self.parameters for x in given)
            if _may_have_products(func, reads_parameter):
                self.without_formula[func._overloadpacket._qualified_op_name.replace("::", ".")].append(call.layer)
        return output


def _may_have_products(func: torch._ops.OpOverload, reads_parameter: bool) -> bool:
    """Whether an operation without a formula is one that a count should not pass over in silence."""
    if func.namespace not in ("aten", "prim", "prims", "profiler"):
        return True  # somebody's own
    name = func._overloadpacket.__name__
    harmless = torch.Tag.pointwise in func.tags or func.is_view or _NO_PRODUCTS.search(name)
    return bool(_PRODUCTS.search(name)) or (reads_parameter and not harmless)


class _Functions(TorchFunctionMode):
    """Writes down what poolings and embedding lookups write, and lets complex convolutions count like other layers.

    One level above the operations: there a pooling cannot be told from a mean, nor a lookup from an index.
    """

    def __init__(self, calls: Calls):
        super().__init__()
        self.calls = calls

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name, kwargs = getattr(func, "__name__", ""), kwargs or {}
        if name.startswith("conv") and any(_is_complex(x) for x in tree_leaves((args, kwargs))):
            # PyTorch makes three real convolutions of a complex one; here one of the same shapes stands for it
            args, kwargs = tree_map(lambda x: x.real if _is_complex(x) else x, (args, kwargs))
            return torch.complex(output := func(*args, **kwargs), output)
        output = func(*args, **kwargs)
        if name.startswith(_POOLINGS) or name in _LOOKUPS:
            values = next(x for x in tree_leaves(output) if isinstance(x, Tensor))
            # an adaptive pooling to the size that its input has only hands on
            if not (name.startswith("adaptive_") and values.shape == args[0].shape):
                self.calls.running[-1].activations += values.numel()
        return output


def _is_complex(x: object) -> bool:
    return isinstance(x, Tensor) and x.is_complex()


def _table(calls: Calls, readers: dict[int, Call]) -> pd.DataFrame:
    """One row for each input and each call with something to count, then one for each unused owner of parameters."""
    counted: set[int] = set()

    def add_parameters(call: Call, module: nn.Module) -> None:
        for name, parameter in module._parameters.items():
            if parameter is not None and id(parameter) not in counted:
                counted.add(id(parameter))
                is_bias = name == "bias" or name.startswith("bias_") or name.endswith("_bias")
                size = 0 if is_lazy(parameter) else parameter.numel()
                call.biases += size * is_bias
                call.weights += size * (not is_bias)

    # in the order of the calls, so that a shared parameter is counted with the layer that runs first
    for call in calls.made:
        if call.module is not None:
            add_parameters(call, call.module)
    unused = []
    for module, name in calls.names.items():  # those that are never called
        reader = next((readers[id(p)] for p in module._parameters.values() if id(p) in readers), None)
        if reader is None:
            unused.append(reader := Call(name, type(module).__name__))
        add_parameters(reader, module)
    rows = [
        (call.layer, call.kind, call.output_shape, call.activations, call.weights, call.biases, call.flops // 2)
        for call in calls.made + unused
    ]
    rows = [row for row in rows if row[1] == "Input" or any(row[3:])]
    return pd.DataFrame(rows, columns=["layer", "kind", "output_shape", *_QUANTITIES])


@contextmanager
def _saving(calls: Calls) -> Iterator[None]:
    """Training mode; writes down the memory that automatic differentiation holds on to."""
    calls.model.train()
    # by their memory and not as tensors: a view, or a second layer that saves the same, keeps nothing more
    kept = {x.untyped_storage()._cdata: x for x in [*calls.model.parameters(), *calls.model.buffers()]}

    def save(x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        if storage._cdata not in kept:
            kept[storage._cdata] = storage  # alive, so that no other takes its place
            calls.running[-1].saved_bytes += storage.nbytes()
        return x

    with torch.enable_grad(), saved_tensors_hooks(save, lambda x: x):
        yield
