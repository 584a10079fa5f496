"""What a network costs, layer by layer: activations, weights, biases, multiply-accumulates, bytes kept for training.

Nothing is computed: a copy of the network runs without data (:mod:`lib.without_data`), which takes about a second even
for a thousand million weights.

Conventions
-----------
For one example (batch size 1), in evaluation mode:

- *weights*, *biases*: trainable or not, every parameter is one or the other; buffers, such as running means, are none.
  A parameter is a bias if its name is ``bias``, begins with ``bias_`` or ends with ``_bias``, and a weight otherwise.
  Each is counted once, with the call that reads it first, or with its module if none does.
- *macs*: multiply-accumulates, one for each product that is added to a sum: half of the operations that
  :mod:`torch.utils.flop_counter` counts. Convolutions and matrix products have them, also inside attention and
  recurrent layers, and Euclidean distances, one for each difference that is squared; adding a bias, normalisations,
  activation functions, pooling, interpolation and residual sums have none. Products with padding zeros count, as they
  do in every published figure.
- *activations*: the numbers that convolutions, matrix products, poolings and embedding lookups write, and the input.
  Activation functions, dropout, normalisations, residual sums, copies and reshapes add none, because they can work in
  place; nor does an adaptive pooling to the size that its input has. Attention counts the scores that it computes, a
  recurrent layer both products of each of its gates.
- A complex number is one weight or one activation, and the product of two is one multiply-accumulate.

Modules and the functions of the same name give the same sums: ``nn.MaxPool2d`` and ``functional.max_pool2d``. So does a
matrix product or a distance written by broadcasting, ``(x[:, None] * w).sum(-1)``. The same result computed in another
way may not: a mean over positions is no pooling, indexing a table no embedding lookup.
"""

from __future__ import annotations

import warnings
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

from lib.arguments import whole_number
from lib.products import Products
from lib.without_data import Call, Calls, Dtypes, Shape, evaluating, run_without_data

_QUANTITIES = ["activations", "weights", "biases", "macs"]
_POOLINGS = ("avg_pool", "max_pool", "adaptive_", "lp_pool", "fractional_max_pool")  # how their functions' names begin
_LOOKUPS = ("embedding", "embedding_bag")


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
        Any module, on any device, in any mode, initialised or not; it is not changed, and hooks do not run.
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
        A row for each input and each call of a layer, in order, then one for each module whose parameters nothing
        reads, such as a head for training only. The sums of the columns are the model's (:func:`totals`).

        ========================= ======= ==============================================================================
        layer                     str     name of the module within the model, ``"(model)"`` for the model itself
        kind                      str     class of the module; ``"Input"`` in the first row
        output_shape              tuple   of the first output, without the batch axis; None if never called
        activations, weights,     int     as the conventions say
        biases, macs
        ========================= ======= ==============================================================================

    Raises
    ------
    ArgumentError
        If `model` is no module or `input_shape` no shape; if the model refuses it, cannot be copied, holds a
        TorchScript module, gets the batch where a layer with ``batch_first=False`` does not look for it, or depends on
        numbers (``.item()``, NumPy, a branch on a value), so that it cannot run without data.

    Warns
    -----
    UserWarning
        If an operation may have products but has no formula, such as a Fourier transform, a kernel of one's own, or one
        of a later PyTorch that reads a parameter: it counts nothing until
        :func:`torch.utils.flop_counter.register_flop_formula` gives it one.

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
    calls = run_without_data(model, input_shape, dtype, _counting)
    _name_uncounted(calls)
    _add_parameters(calls)
    columns = ["layer", "kind", "output_shape", *_QUANTITIES]
    rows = [[getattr(call, column) for column in columns] for call in calls.made]
    # a ReLU, or a container, has nothing to count
    return pd.DataFrame([row for row in rows if row[1] == "Input" or any(row[3:])], columns=columns)


def _name_uncounted(calls: Calls) -> None:
    """Warn of each operation that has no formula, with the layers and parameters that it meets."""
    for operation in dict.fromkeys(operation for call in calls.made for operation in call.uncounted):
        meets = [call for call in calls.made if operation in call.uncounted]
        layers = dict.fromkeys(call.layer for call in meets)  # each once and in order
        parameters = dict.fromkeys(name for call in meets for name in call.uncounted[operation])
        reading = f" and parameter {', '.join(parameters)}" if parameters else ""
        warnings.warn(
            f"torch.ops.{operation} has no formula, so that its multiply-accumulates and activations count 0 (layer "
            f"{', '.join(layers)}{reading}): torch.utils.flop_counter.register_flop_formula gives it one",
            stacklevel=3,
        )


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

    PyTorch's automatic differentiation says what it saves (:class:`torch.autograd.graph.saved_tensors_hooks`). Memory
    that two layers save is counted once, with the first of them; parameters and buffers, which are kept anyway, are
    not. What a loss function saves comes on top. Where a device has one kernel for several operations, more or less
    may be kept there: attention may keep less, and an LSTM on the CPU keeps about three times as much.

    Parameters and errors are those of :func:`count_layers`, and `batch_size`, the number of examples, at least 1.

    Returns
    -------
    DataFrame
        A row for each call of a module that saves something, in order: `layer` and `kind` (str), `saved_bytes` (int).

    Warns
    -----
    UserWarning
        If a layer runs under autocast, whose narrower types do not show without data.

    Examples
    --------
    A convolution saves its input (192 numbers of 4 bytes), and ReLU in place its output, where the convolution wrote:

    >>> model = nn.Sequential(nn.Conv2d(3, 64, 3, padding=1), nn.ReLU(inplace=True))
    >>> print(count_saved_bytes(model, (3, 8, 8)).to_string(index=False))
    layer   kind  saved_bytes
        0 Conv2d          768
        1   ReLU        16384
    """
    calls = run_without_data(model, input_shape, dtype, _saving, whole_number("batch_size", batch_size))
    if mixed := dict.fromkeys(call.layer for call in calls.made if call.mixed):
        warnings.warn(
            f"autocast changes nothing without data, so that layer {', '.join(mixed)} is counted in the types of its "
            "input and weights, without the copies that autocast makes: cast the model to count it in another type",
            stacklevel=2,
        )
    rows = [(call.layer, call.kind, call.saved_bytes) for call in calls.made if call.saved_bytes]
    return pd.DataFrame(rows, columns=["layer", "kind", "saved_bytes"])


@contextmanager
def _counting(calls: Calls) -> Iterator[None]:
    """Evaluation mode; writes down activations, multiply-accumulates, and which parameters a call reads."""
    with evaluating(calls), _Operations(calls), _Functions(calls):
        yield


class _Operations(TorchDispatchMode):
    """Adds the products of each operation of PyTorch's, and what products write, to the call that it runs in."""

    def __init__(self, calls: Calls) -> None:
        super().__init__()
        self.calls, self.products = calls, Products(calls.model)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        with self:  # in inference mode, operations that are made of others come here whole: count the others
            output = func.decompose(*args, **kwargs)
        if output is not NotImplemented:
            return output
        output = func(*args, **kwargs)
        call, given = self.calls.running[-1], [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        call.reads += [x for x in given if isinstance(x, nn.Parameter)]
        macs = self.products.of(func, args, kwargs, output)
        if macs is None:
            call.uncounted.setdefault(str(func.overloadpacket), []).extend(self.products.parameters_among(given))
        elif macs:
            call.macs += macs
            # the first output: attention's fused kernels also return what only the backward pass wants
            call.activations += next(x.numel() for x in tree_leaves(output) if isinstance(x, Tensor))
        return output


class _Functions(TorchFunctionMode):
    """Counts what poolings and embedding lookups write, and lets complex convolutions count like other layers.

    One level above the operations: there a pooling cannot be told from a mean, nor a lookup from an index.
    """

    def __init__(self, calls: Calls) -> None:
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


def _add_parameters(calls: Calls) -> None:
    """Each parameter to the call that read it first; where none did, to its module's first call or to a new row."""
    # reversed, so that the first call stays in the dictionary
    readers = {id(parameter): call for call in reversed(calls.made) for parameter in call.reads}
    by_layer = {call.layer: call for call in reversed(calls.made)}
    for full_name, parameter in calls.model.named_parameters():  # a shared one comes once
        owner, _, name = full_name.rpartition(".")
        layer = owner or "(model)"
        call = readers.get(id(parameter)) or by_layer.get(layer)
        if call is None:
            call = by_layer[layer] = Call(layer, type(calls.model.get_submodule(owner)).__name__)
            calls.made.append(call)
        size = 0 if is_lazy(parameter) else parameter.numel()
        if name == "bias" or name.startswith("bias_") or name.endswith("_bias"):
            call.biases += size
        else:
            call.weights += size


@contextmanager
def _saving(calls: Calls) -> Iterator[None]:
    """Training mode; writes down the memory that automatic differentiation holds on to."""
    saved: dict[int, tuple[torch.UntypedStorage, Call]] = {}

    def save(x: Tensor) -> Tensor:
        # by their memory and not as tensors: a view, or a second layer that saves the same, keeps nothing more
        calls.running[-1].mixed |= torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda")
        storage = x.untyped_storage()  # in the dictionary too: alive, so that no other takes its place
        saved.setdefault(storage._cdata, (storage, calls.running[-1]))
        return x

    calls.model.train()
    with torch.enable_grad(), saved_tensors_hooks(save, lambda x: x):
        yield
    for x in (*calls.model.parameters(), *calls.model.buffers()):
        if not is_lazy(x):
            saved.pop(x.untyped_storage()._cdata, None)
    for storage, call in saved.values():
        call.saved_bytes += storage.nbytes()
