"""A model run without data: a copy on PyTorch's meta device, and a record of the calls of its modules.

Tensors of the meta device have shapes but no numbers, so that a pass takes no memory and little time. The caller's
model is not touched: what runs is a copy of its structure with meta tensors in place of the weights.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from lib.arguments import ArgumentError, whole_number

Shape = Sequence[int]
Dtypes = torch.dtype | Sequence[torch.dtype | None] | None

# PyTorch's sentences about tensors without data, and about devices that the model names
_NEEDS_DATA = re.compile(r"(?i)\bmeta (tensor|device)|\bdevice meta\b|register_meta|devices,.*\bmeta\b|NVIDIA|CUDA")


@dataclass
class Call:
    """One call of a module, and what happens in it but not in the calls that it makes."""

    layer: str
    kind: str
    output_shape: tuple[int, ...] | None = None  # without the batch axis
    time_steps: int | None = None  # length of the axis that a module with batch_first=False takes for time
    activations: int = 0
    weights: int = 0
    biases: int = 0
    macs: int = 0
    saved_bytes: int = 0
    mixed: bool = False  # whether it ran under autocast
    reads: list[nn.Parameter] = field(default_factory=list)
    uncounted: dict[str, list[str]] = field(default_factory=dict)  # operation without a formula -> parameters it reads


class Calls:
    """The calls of all modules of a model, in order, the inputs first, and a stack of those that are running."""

    def __init__(self, model: nn.Module, shapes: Sequence[tuple[int, ...]]) -> None:
        self.model = model
        self.made = [Call("input", "Input", shape, activations=math.prod(shape)) for shape in shapes]
        self.running: list[Call] = []
        self.batch_axes = (0,) if _batch_always_first(model) else (0, 1)
        for name, module in model.named_modules():
            # what PyTorch calls, if it is there, in place of `forward` and of all hooks, those on all modules too
            module._compiled_call_impl = partial(self._call, name or "(model)", module)

    def _call(self, layer: str, module: nn.Module, *args: object, **kwargs: object) -> object:
        call = Call(layer, type(module).__name__)
        self.running.append(call)
        self.made.append(call)
        if not getattr(module, "batch_first", True):
            tensors = (x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor))
            call.time_steps = next((len(x) for x in tensors if x.ndim), None)
        for key, hook in list(module._forward_pre_hooks.items()):
            # PyTorch's own compute a weight or find a shape; those of others may do anything, and do not run
            if (getattr(hook, "__module__", None) or "").startswith("torch."):
                hook(module, args, *([kwargs] if key in module._forward_pre_hooks_with_kwargs else []))
        output = module.forward(*args, **kwargs)
        self.running.pop()
        call.kind = type(module).__name__  # a lazy module has become another
        shape = next((tuple(x.shape) for x in tree_leaves(output) if isinstance(x, Tensor)), None)
        # the batch of one; none in what a parametrisation returns, which is a weight
        batch = next((axis for axis in self.batch_axes if shape and shape[axis : axis + 1] == (1,)), None)
        call.output_shape = shape if batch is None else shape[:batch] + shape[batch + 1 :]
        return output


Watching = Callable[[Calls], AbstractContextManager]


def run_without_data(
    model: nn.Module, input_shape: Shape | Sequence[Shape], dtype: Dtypes, watching: Watching, batch_size: int = 1
) -> Calls:
    """The calls of a run of `model`, in a context that sets its mode and writes down what they do.

    The other parameters and the errors are those of :func:`lib.layer_counts.count_layers`, which are checked here.
    """
    if not isinstance(model, nn.Module):
        way_out = "call it to get a module" if callable(model) else "give a module"
        raise ArgumentError(f"model must be a torch.nn.Module, got {model!r}: {way_out}")
    model = getattr(model, "_orig_mod", model)  # torch.compile's wrapper would only add its name in front of all others
    inputs = _inputs(model, input_shape, dtype)
    return _run(model, inputs, _batch_axis(model, inputs), batch_size, watching)


@contextmanager
def evaluating(calls: Calls) -> Iterator[None]:
    """Evaluation mode, without gradients."""
    calls.model.eval()
    with torch.no_grad():
        yield


def _inputs(model: nn.Module, input_shape: object, dtype: object) -> list[tuple[tuple[int, ...], torch.dtype]]:
    """Shape and type of each input, without the batch axis."""
    try:
        shapes = input_shape if isinstance(input_shape[0], Sequence) else [input_shape]
        shapes = [tuple(whole_number("input_shape", size) for size in shape) for shape in shapes]
    except (TypeError, LookupError):  # neither numbers nor sequences of them
        shapes = [()]
    if not all(shapes):
        raise ArgumentError(
            f"input_shape must be whole numbers of at least 1, got {input_shape!r}: give the shape of one example "
            "without the batch axis, such as (3, 224, 224)"
        )
    # not those of whole numbers, as quantised weights are, which say nothing about the input
    own = next((p.dtype for p in model.parameters() if p.is_floating_point() or p.is_complex()), torch.float32)
    dtypes = list(dtype) if isinstance(dtype, Sequence) else [dtype] * len(shapes)
    if len(dtypes) != len(shapes) or not all(t is None or isinstance(t, torch.dtype) for t in dtypes):
        raise ArgumentError(f"dtype must be a torch.dtype, or one for each of the input shapes, got {dtype!r}")
    return [(shape, t or own) for shape, t in zip(shapes, dtypes, strict=True)]


def _batch_always_first(model: nn.Module) -> bool:
    return all(getattr(module, "batch_first", True) for module in model.modules())


def _batch_axis(model: nn.Module, inputs: list) -> int:
    """Where the model looks for the batch: first, unless that misleads a layer that has ``batch_first=False``.

    Such a layer takes what stands first for time. It is misled if that grows with the batch, which runs with two and
    with three examples tell, whatever the model does with its input before.
    """
    if _batch_always_first(model):
        return 0
    problems = []
    for axis in (0, 1):
        # not one and two: a batch of one is what models squeeze away
        try:
            two, three = (_run(model, inputs, axis, n, evaluating).made for n in (2, 3))
        except ArgumentError as error:
            problems.append(error)
            continue
        misled = next((a for a, b in zip(two, three, strict=False) if a.time_steps != b.time_steps), None)
        if misled is None:
            return axis
        problems.append(
            ArgumentError(
                f"layer {misled.layer} ({misled.kind}) has batch_first=False, so it reads the batch from the second "
                "axis, where the model does not put it: build it with batch_first=True, or transpose its input"
            )
        )
    raise problems[0]  # what is wrong with the batch first, as it is everywhere else


@torch.inference_mode(False)  # whatever the caller's mode: in it, nothing is saved for a backward pass
def _run(model: nn.Module, inputs: list, batch_axis: int, batch_size: int, watching: Watching) -> Calls:
    shapes = [shape for shape, _ in inputs]
    calls = Calls(_copy_without_data(model), shapes)  # a new copy, since a model may change as it runs
    given = [
        torch.empty((*shape[:batch_axis], batch_size, *shape[batch_axis:]), dtype=dtype, device="meta")
        for shape, dtype in inputs
    ]
    try:
        with (
            torch.random.fork_rng(devices=[]),  # the caller's random numbers stay the next ones
            torch.device("meta"),  # what the model creates is there too
            watching(calls),
        ):
            calls.model(*given)
    except Exception as error:
        raise ArgumentError(_explanation(calls, shapes, error)) from error
    return calls


def _explanation(calls: Calls, shapes: list[tuple[int, ...]], error: Exception) -> str:
    name, reason = type(calls.model).__name__, f"{type(error).__name__}: {error}"
    where = f" in layer {calls.running[-1].layer} ({calls.running[-1].kind})" if calls.running else ""
    if isinstance(error, RuntimeError | TypeError) and _NEEDS_DATA.search(reason):
        return (
            f"model {name} cannot run on the meta device{where}: {reason}\nTensors have no data there: the model may "
            "not depend on a number (.item(), NumPy, a branch on a value) or name another device; count it with the "
            "part that does so replaced by its outcome"
        )
    return (
        f"model {name} refuses input_shape {shapes if len(shapes) > 1 else shapes[0]!r}{where}: {reason}\nGive the "
        "shape of one example without the batch axis, such as (3, 224, 224), and dtype=torch.long if the input is "
        "tokens (one dtype for each shape if they differ)"
    )


class _WithoutData(TorchFunctionMode):
    """While it is on, the deep copy of a tensor is a tensor of the same shape on the meta device."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in (Tensor.__deepcopy__, Tensor.clone):  # parameters copy themselves by cloning their data
            return torch.empty_like(args[0], device="meta")
        return func(*args, **(kwargs or {}))


def _copy_without_data(model: nn.Module) -> nn.Module:
    """A copy of a module with everything in it, but with its tensors on the meta device."""
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            what = f"layer {name}" if name else "model"
            raise ArgumentError(f"{what} is a TorchScript module, which hides its layers: count what was scripted")
    # parameters that wait for their shape keep their device when they are copied
    waiting = [x for x in (*model.parameters(), *model.buffers()) if is_lazy(x)]
    try:
        with _WithoutData():
            return copy.deepcopy(model, {id(x): type(x)(requires_grad=x.requires_grad, device="meta") for x in waiting})
    except Exception as error:
        raise ArgumentError(
            f"model {type(model).__name__} cannot be copied: {type(error).__name__}: {error}\nCount a part of it that "
            "can, such as the module inside a wrapper"
        ) from error
