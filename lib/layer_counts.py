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
  attention and recurrent layers; adding a bias, normalisations, activation functions, pooling and residual sums have
  none. Products with padding zeros count, as they do in every published figure.
- *activations*: the numbers that convolutions, matrix products, poolings and embedding lookups write, and the input.
  Activation functions, dropout, normalisations, residual sums, copies and reshapes add none, because they can work in
  place; nor does an adaptive pooling to the size that its input has. Attention counts the scores that it computes.

How a model is written makes no difference: ``nn.ReLU`` and ``functional.relu``, ``nn.MaxPool2d`` and
``functional.max_pool2d`` give the same sums.
"""

from __future__ import annotations

import copy
import math
import numbers
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

Shape = Sequence[int]

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
    aten.addbmm: lambda c, a, b, **_: 2 * math.prod(a) * b[-1],
    aten._trilinear: lambda a, weight, b, *_, **__: 2 * a[0] * math.prod(weight),  # nn.Bilinear
}


def count_layers(
    model: nn.Module, input_shape: Shape | Sequence[Shape], *, dtype: torch.dtype | None = None
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
        several inputs. A batch axis of 1, ``(1, 3, 224, 224)``, is understood where the module takes no further axis.
    dtype : torch.dtype, optional
        Type of the input: by default that of the parameters. ``torch.long`` for a network that looks up tokens.

    Returns
    -------
    DataFrame
        A row for each input and for each call of a layer, in the order of the calls, then a row for each module that
        has parameters but is never called, such as a head that is for training only.

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
    TypeError
        If `model` is not a module.
    ValueError
        If `input_shape` is not a shape, or the model refuses it; if the model cannot be copied; or if its
        result depends on numbers (``.item()``, NumPy, a branch on a value) so that it cannot run on the meta device.

    Notes
    -----
    An operation without a formula, such as a Fourier transform or a kernel of one's own, counts no multiply-accumulates
    (:func:`torch.utils.flop_counter.register_flop_formula` gives it one). Hooks do not run, except those by which
    ``torch`` itself computes weights, such as weight normalisation.

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
    return _table(_run(model, input_shape, dtype, 1, _counting))


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
    dtype: torch.dtype | None = None,
) -> pd.DataFrame:
    """Bytes that each layer keeps after the forward pass of training, because its backward pass needs them.

    The model runs in training mode on the meta device, and PyTorch's automatic differentiation says what it saves
    (:class:`torch.autograd.graph.saved_tensors_hooks`). Memory that two layers save is counted once, with the first of
    them; parameters and buffers are not counted, since they are kept anyway. What a loss function saves comes on top,
    and where a device has one kernel for several operations, such as attention, less may be kept there.

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
    TypeError, ValueError
        As :func:`count_layers`; ValueError also if `batch_size` is not a whole number of at least 1.

    Examples
    --------
    A convolution saves its input (192 numbers of 4 bytes), and ReLU in place its output, where the convolution wrote:

    >>> model = nn.Sequential(nn.Conv2d(3, 64, 3, padding=1), nn.ReLU(inplace=True))
    >>> print(count_saved_bytes(model, (3, 8, 8)).to_string(index=False))
    layer   kind  saved_bytes
        0 Conv2d          768
        1   ReLU        16384
    """
    calls = _run(model, input_shape, dtype, _batch_size(batch_size), _saving).made
    rows = [(call.layer, call.kind, call.saved_bytes) for call in calls if call.saved_bytes]
    return pd.DataFrame(rows, columns=["layer", "kind", "saved_bytes"])


@dataclass
class _Call:
    """One call of a module, and what happens in it but not in the calls that it makes."""

    layer: str
    kind: str
    module: nn.Module | None = None
    output_shape: tuple[int, ...] | None = None
    activations: int = 0
    weights: int = 0
    biases: int = 0
    flops: int = 0
    saved_bytes: int = 0


class _Calls:
    """The calls of all modules of a model, in order, the inputs first, and a stack of those that are running."""

    def __init__(self, model: nn.Module, inputs: Sequence[Tensor]):
        self.model = model
        self.made = [_Call("input", "Input", None, tuple(x.shape[1:]), math.prod(x.shape[1:])) for x in inputs]
        self.running: list[_Call] = []
        self.readers: dict[int, _Call] = {}  # by the id of a parameter: the call that read it first
        self.names = {module: name or "(model)" for name, module in model.named_modules()}
        for module in self.names:
            module.register_forward_pre_hook(self._enter, prepend=True)
            module.register_forward_hook(self._leave)

    def _enter(self, module: nn.Module, arguments: object) -> None:
        self.running.append(_Call(self.names[module], type(module).__name__, module))
        self.made.append(self.running[-1])

    def _leave(self, module: nn.Module, arguments: object, output: object) -> None:
        call = self.running.pop()
        call.kind = type(module).__name__  # a lazy module has become another
        call.output_shape = next((_without_batch(x) for x in tree_leaves(output) if isinstance(x, Tensor)), None)


def _without_batch(x: Tensor) -> tuple[int, ...]:
    return tuple(x.shape[1:] if x.ndim and x.shape[0] == 1 else x.shape)


def measure_peak_bytes(
    build: Callable[[], nn.Module],
    input_shape: Shape,
    *,
    batch_size: int = 1,
    training: bool = True,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> int:
    """By how much one real pass raises the peak memory of a process, as its operating system reports it.

    A new process builds the model, draws normal inputs, and then runs a forward pass, with `training` also the backward
    pass of the sum of the outputs. The figure includes what the libraries below PyTorch allocate, and differs from
    machine to machine. Not on Windows, which reports no such figure.

    Parameters
    ----------
    build : callable
        What builds the model, such as ``torchvision.models.vgg19``; the new process imports it by its name.
    input_shape : sequence of int
        Shape of one example, without the batch axis.
    batch_size : int
        Number of examples.
    training : bool
        Forward and backward pass in training mode; else the forward pass in evaluation mode without gradients.
    memory_format : torch.memory_format
        Of the weights and the input, such as ``torch.channels_last``.

    Returns
    -------
    int
        Bytes, beyond those of the process with its model and inputs.

    Raises
    ------
    ValueError
        If `input_shape` is not one shape, `batch_size` is not a whole number of at least 1, or `build` cannot be
        imported, such as a lambda or what is defined in a notebook.
    RuntimeError
        If the new process fails, with its message.
    """
    if len(shapes := _input_shapes(input_shape)) > 1:
        raise ValueError(f"input_shape must be one shape, got {input_shape!r}: wrap the model in one with one input")
    try:
        task = pickle.dumps((build, (_batch_size(batch_size), *shapes[0]), training, memory_format))
    except (pickle.PicklingError, AttributeError) as error:
        raise ValueError(f"build {build!r} cannot be imported by a new process: define it in a module") from error
    command = [sys.executable, "-c", f"from {__name__} import _measure_in_this_process as m; m()"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, input=task, capture_output=True, env=environment)
    if done.returncode:
        raise RuntimeError(f"the process that measures failed:\n{done.stderr.decode(errors='replace').strip()}")
    return int(done.stdout.split()[-1])


def _measure_in_this_process() -> None:
    print(_peak_bytes_of_pass(*pickle.load(sys.stdin.buffer)))


def _peak_bytes_of_pass(
    build: Callable[[], nn.Module], shape: Shape, training: bool, memory_format: torch.memory_format
) -> int:
    model, x = (
        build().train(training).to(memory_format=memory_format),
        torch.randn(shape).to(memory_format=memory_format),
    )
    before = _peak_resident_bytes()
    with torch.set_grad_enabled(training):
        output = model(x)
        if training:
            output.sum().backward()
    return _peak_resident_bytes() - before


def _peak_resident_bytes() -> int:
    """The most memory that this process has had so far."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux, where getrusage also knows the process that started this one
        return 1024 * int(re.search(r"VmHWM:\s*(\d+) kB", status.read_text())[1])
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


@torch.inference_mode(False)  # whatever the caller's mode: in it, nothing is saved for a backward pass
def _run(
    model: nn.Module,
    input_shape: Shape | Sequence[Shape],
    dtype: torch.dtype | None,
    batch_size: int,
    watching: Callable[[_Calls], AbstractContextManager],
) -> _Calls:
    """The calls of a run of the model's copy on the meta device, in a context that writes down what they do."""
    if not isinstance(model, nn.Module):
        way_out = "call it to get a module" if callable(model) else "give a module"
        raise TypeError(f"model must be a torch.nn.Module, got {model!r}: {way_out}")
    shapes = _input_shapes(input_shape)
    batches = [[(batch_size, *shape) for shape in shapes]]
    if all(len(shape) > 1 and shape[0] == 1 for shape in shapes):  # perhaps given with a batch axis
        batches.append([(batch_size, *shape[1:]) for shape in shapes])
    refusals = []
    for batch in batches:
        copied = _copy_without_data(model)
        type_of_input = dtype or next((p.dtype for p in copied.parameters() if p.is_floating_point()), torch.float32)
        inputs = [torch.empty(shape, dtype=type_of_input, device="meta") for shape in batch]
        calls = _Calls(copied, inputs)
        try:
            with (
                torch.random.fork_rng(devices=[]),
                torch.device("meta"),  # what the model creates is there too
                watching(calls),
            ):
                copied(*inputs)
            return calls
        except Exception as error:
            refusals.append((calls, error))
    calls, error = refusals[0]
    raise ValueError(_explanation(calls, error, input_shape)) from error


def _explanation(calls: _Calls, error: Exception, input_shape: object) -> str:
    name, reason = type(calls.model).__name__, f"{type(error).__name__}: {error}"
    where = f" in layer {calls.running[-1].layer} ({calls.running[-1].kind})" if calls.running else ""
    if isinstance(error, NotImplementedError) or "meta" in reason.lower():
        return (
            f"model {name} cannot run on the meta device{where}: {reason}\nTensors have no data there: the model may "
            "not depend on a number (.item(), NumPy, a branch on a value) or name another device; count it with the "
            "part that does so replaced by its outcome"
        )
    return (
        f"model {name} refuses input_shape {input_shape!r}{where}: {reason}\nGive the shape of one example without "
        "the batch axis, such as (3, 224, 224), and dtype=torch.long if the input is tokens"
    )


def _input_shapes(input_shape: Shape | Sequence[Shape]) -> list[tuple[int, ...]]:
    """One shape, or several, as a list of shapes."""
    several = _is_sequence(input_shape) and len(input_shape) > 0 and all(map(_is_sequence, input_shape))
    shapes = list(input_shape) if several else [input_shape]
    for shape in shapes:
        if not _is_sequence(shape) or len(shape) == 0 or not all(map(_is_size, shape)):
            raise ValueError(
                f"input_shape must be whole numbers of at least 1, got {input_shape!r}: give the shape of one example "
                "without the batch axis, such as (3, 224, 224)"
            )
    return [tuple(map(int, shape)) for shape in shapes]


def _batch_size(value: int) -> int:
    if not _is_size(value):
        raise ValueError(f"batch_size must be a whole number of at least 1, got {value!r}")
    return int(value)


def _is_sequence(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _is_size(value: object) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool) and value >= 1


class _WithoutData(TorchFunctionMode):
    """While it is on, the deep copy of a tensor is a tensor of the same shape on the meta device."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is Tensor.__deepcopy__:
            tensor, memo = args
            if id(tensor) not in memo:
                memo[id(tensor)] = torch.empty_like(tensor, device="meta")
            return memo[id(tensor)]
        if func is Tensor.clone:  # parameters copy themselves by cloning their data
            return torch.empty_like(args[0], device="meta")
        return func(*args, **(kwargs or {}))


def _copy_without_data(model: nn.Module) -> nn.Module:
    """A copy of a module with everything in it, but with its tensors on the meta device and without foreign hooks."""
    model = getattr(model, "_orig_mod", model)  # of torch.compile
    if isinstance(model, torch.jit.ScriptModule):
        raise ValueError("model is a TorchScript module, which hides its layers: count the module that was scripted")
    waiting = [x for x in (*model.parameters(), *model.buffers()) if is_lazy(x)]  # for their shape
    memo = {id(x): type(x)(requires_grad=x.requires_grad, device="meta") for x in waiting}
    try:
        with _WithoutData():
            copied = copy.deepcopy(model, memo)
    except Exception as error:
        raise ValueError(
            f"model {type(model).__name__} cannot be copied: {type(error).__name__}: {error}\nCount a part of it that "
            "can, such as the module inside a wrapper"
        ) from error
    for module in copied.modules():
        for hooks in (module._forward_pre_hooks, module._forward_hooks, module._backward_hooks):
            for key in [key for key, hook in hooks.items() if not _is_of_torch(hook)]:
                del hooks[key]
    return copied


def _is_of_torch(hook: Callable) -> bool:
    """Whether a hook is PyTorch's own, such as those that compute a weight or find a shape."""
    home = getattr(hook, "__module__", None) or ""  # of a function or method; of an object it is that of its class
    return home.split(".")[0] == "torch"


@contextmanager
def _counting(calls: _Calls) -> Iterator[None]:
    """Evaluation mode; writes down activations, operations, and which call reads each parameter first."""
    calls.model.eval()
    counter = FlopCounterMode(display=False, custom_mapping=_MORE_FORMULAS)
    with torch.no_grad(), counter, _Products(calls, counter), _Poolings(calls):
        yield


class _Products(TorchDispatchMode):
    """Writes down the operations that PyTorch's counter counts, and what they write."""

    def __init__(self, calls: _Calls, counter: FlopCounterMode):
        super().__init__()
        self.calls, self.counter = calls, counter

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        call = self.calls.running[-1]
        for argument in tree_leaves(args):
            if isinstance(argument, nn.Parameter):
                self.calls.readers.setdefault(id(argument), call)
        before = self.counter.get_total_flops()
        output = func(*args, **(kwargs or {}))
        flops = self.counter.get_total_flops() - before
        if flops:
            call.flops += flops
            call.activations += next(x.numel() for x in tree_leaves(output) if isinstance(x, Tensor))
        return output


class _Poolings(TorchFunctionMode):
    """Writes down what poolings and embedding lookups write."""

    def __init__(self, calls: _Calls):
        super().__init__()
        self.calls = calls

    def __torch_function__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        if name.startswith(_POOLINGS) or name in _LOOKUPS:
            values = next(x for x in tree_leaves(output) if isinstance(x, Tensor))
            if not (name.startswith("adaptive_") and values.shape == args[0].shape):
                self.calls.running[-1].activations += values.numel()
        return output


def _table(calls: _Calls) -> pd.DataFrame:
    """One row for each input and each call with something to count, then one for each unused owner of parameters."""
    counted: set[int] = set()

    def add_parameters(call: _Call, module: nn.Module) -> None:
        for name, parameter in module._parameters.items():
            if parameter is not None and id(parameter) not in counted:
                counted.add(id(parameter))
                is_bias = name == "bias" or name.startswith("bias_") or name.endswith("_bias")
                size = 0 if is_lazy(parameter) else parameter.numel()
                call.biases += size * is_bias
                call.weights += size * (not is_bias)

    for call in calls.made:
        if call.module is not None:
            add_parameters(call, call.module)
    unused = []
    for module, name in calls.names.items():  # those that are never called
        reader = next((calls.readers[id(p)] for p in module._parameters.values() if id(p) in calls.readers), None)
        if reader is None:
            unused.append(reader := _Call(name, type(module).__name__))
        add_parameters(reader, module)
    rows = [
        (call.layer, call.kind, call.output_shape, call.activations, call.weights, call.biases, call.flops // 2)
        for call in calls.made + unused
    ]
    rows = [row for row in rows if row[1] == "Input" or any(row[3:])]
    return pd.DataFrame(rows, columns=["layer", "kind", "output_shape", *_QUANTITIES])


@contextmanager
def _saving(calls: _Calls) -> Iterator[None]:
    """Training mode; writes down the memory that automatic differentiation holds on to."""
    calls.model.train()
    kept = {x.untyped_storage()._cdata: x for x in [*calls.model.parameters(), *calls.model.buffers()]}

    def save(x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        if storage._cdata not in kept:
            kept[storage._cdata] = storage  # alive, so that no other takes its place
            calls.running[-1].saved_bytes += storage.nbytes()
        return x

    with torch.enable_grad(), saved_tensors_hooks(save, lambda x: x):
        yield
