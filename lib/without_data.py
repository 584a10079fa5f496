"""A model run without data: a copy on PyTorch's meta device, and a record of the calls of its modules.

Tensors of the meta device have shapes but no numbers, so that a pass takes no memory and little time. The caller's
model is not touched: what runs is a copy of its structure, with meta tensors in place of the weights and without hooks.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules import module as module_hooks
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from lib.arguments import ArgumentError, whole_number

Shape = Sequence[int]
Dtypes = torch.dtype | Sequence[torch.dtype | None] | None

# PyTorch's sentences about tensors without data, and about devices that the model names
_NEEDS_DATA = re.compile(r"(?i)\bmeta (tensor|device)|\bdevice meta\b|register_meta|devices,.*\bmeta\b|NVIDIA|CUDA")


@dataclass(eq=False)  # each call is another, also with equal counts
class Call:
    """One call of a module, and what happens in it but not in the calls that it makes."""

    layer: str
    kind: str
    module: nn.Module | None = None
    output_shape: tuple[int, ...] | None = None  # without the batch axis
    time_steps: int | None = None  # length of the axis that a module with batch_first=False takes for time
    activations: int = 0
    weights: int = 0
    biases: int = 0
    flops: int = 0
    saved_bytes: int = 0


class Calls:
    """The calls of all modules of a model, in order, the inputs first, and a stack of those that are running."""

    def __init__(self, model: nn.Module, shapes: Sequence[tuple[int, ...]]):
        self.model = model
        self.made = [Call("input", "Input", None, shape, activations=math.prod(shape)) for shape in shapes]
        self.running: list[Call] = []
        self.names = {module: name or "(model)" for name, module in model.named_modules()}
        self.batch_axes = (0,) if _batch_always_first(model) else (0, 1)
        for module in self.names:
            # before all other hooks: those of PyTorch that compute a weight read parameters already
            module.register_forward_pre_hook(self._enter, prepend=True, with_kwargs=True)
            module.register_forward_hook(self._leave)

    def _enter(self, module: nn.Module, arguments: tuple, keywords: dict) -> None:
        call = Call(self.names[module], type(module).__name__, module)
        if not getattr(module, "batch_first", True):
            tensors = (x for x in tree_leaves((arguments, keywords)) if isinstance(x, Tensor))
            call.time_steps = next((len(x) for x in tensors if x.ndim), None)
        self.running.append(call)
        self.made.append(call)

    def _leave(self, module: nn.Module, arguments: tuple, output: object) -> None:
        call = self.running.pop()
        call.kind = type(module).__name__  # a lazy module has become another
        shape = next((tuple(x.shape) for x in tree_leaves(output) if isinstance(x, Tensor)), None)
        # the batch of one; none in what a parametrisation returns, which is a weight
        batch = next((axis for axis in self.batch_axes if shape and shape[axis : axis + 1] == (1,)), None)
        call.output_shape = shape if batch is None else shape[:batch] + shape[batch + 1 :]


@dataclass
class Pass:
    """What is run: a model, the shapes of one example of its inputs, and their types."""

    model: nn.Module
    shapes: list[tuple[int, ...]]
    dtypes: list[torch.dtype]

    @classmethod
    def of(cls, model: nn.Module, input_shape: Shape | Sequence[Shape], dtype: Dtypes) -> Pass:
        """From what a caller hands in: the one place where that is checked."""
        if not isinstance(model, nn.Module):
            way_out = "call it to get a module" if callable(model) else "give a module"
            raise ArgumentError(f"model must be a torch.nn.Module, got {model!r}: {way_out}")
        shapes = _shapes(input_shape)
        own = next((p.dtype for p in model.parameters() if p.is_floating_point() or p.is_complex()), torch.float32)
        dtypes = list(dtype) if isinstance(dtype, Sequence) else [dtype] * len(shapes)
        if len(dtypes) != len(shapes) or not all(t is None or isinstance(t, torch.dtype) for t in dtypes):
            raise ArgumentError(f"dtype must be a torch.dtype, or one for each of the input shapes, got {dtype!r}")
        # torch.compile's wrapper would only add its name in front of all others
        return cls(getattr(model, "_orig_mod", model), shapes, [t or own for t in dtypes])

    def run(self, watching: Callable[[Calls], AbstractContextManager], batch_size: int = 1) -> Calls:
        """The calls of a run, in a context that writes down what they do."""
        return self._run(watching, batch_size, self._batch_axis())

    def _batch_axis(self) -> int:
        """Where the model looks for the batch: first, unless that misleads a layer that has ``batch_first=False``.

        Such a layer takes what stands first for time. It is misled if that grows with the batch, which runs with two
        and with three examples tell, whatever the model does with its input before.
        """
        if _batch_always_first(self.model):
            return 0
        misled = []
        for axis in (0, 1):
            try:
                two, three = (self._run(evaluating, n, axis).made for n in (2, 3))
            except ArgumentError:
                continue
            misled = [a for a, b in zip(two, three, strict=False) if a.time_steps != b.time_steps]
            if not misled:
                return axis
        self._run(evaluating, 1, 0)  # if the model refuses the shape anyway, its own reason says more
        where = f"layer {misled[0].layer} ({misled[0].kind})" if misled else "a layer"
        raise ArgumentError(
            f"{where} has batch_first=False, so it reads the batch from the second axis, where the model does not put "
            "it: build it with batch_first=True, or transpose its input"
        )

    @torch.inference_mode(False)  # whatever the caller's mode: in it, nothing is saved for a backward pass
    def _run(self, watching: Callable[[Calls], AbstractContextManager], batch_size: int, axis: int) -> Calls:
        inputs = [
            torch.empty((*shape[:axis], batch_size, *shape[axis:]), dtype=dtype, device="meta")
            for shape, dtype in zip(self.shapes, self.dtypes, strict=True)
        ]
        calls = Calls(_copy_without_data(self.model), self.shapes)  # a new copy, since a model may change as it runs
        try:
            with (
                torch.random.fork_rng(devices=[]),  # the caller's random numbers stay the next ones
                torch.device("meta"),  # what the model creates is there too
                _without_global_hooks(),
                watching(calls),
            ):
                calls.model(*inputs)
        except Exception as error:
            raise ArgumentError(self._explanation(calls, error)) from error
        return calls

    def _explanation(self, calls: Calls, error: Exception) -> str:
        name, reason = type(self.model).__name__, f"{type(error).__name__}: {error}"
        where = f" in layer {calls.running[-1].layer} ({calls.running[-1].kind})" if calls.running else ""
        if isinstance(error, RuntimeError | TypeError) and _NEEDS_DATA.search(reason):
            return (
                f"model {name} cannot run on the meta device{where}: {reason}\nTensors have no data there: the model "
                "may not depend on a number (.item(), NumPy, a branch on a value) or name another device; count it "
                "with the part that does so replaced by its outcome"
            )
        shapes = self.shapes if len(self.shapes) > 1 else self.shapes[0]
        return (
            f"model {name} refuses input_shape {shapes!r}{where}: {reason}\nGive the shape of one example without "
            "the batch axis, such as (3, 224, 224), and dtype=torch.long if the input is tokens (one dtype for each "
            "shape if they differ)"
        )


@contextmanager
def evaluating(calls: Calls) -> Iterator[None]:
    """Evaluation mode, without gradients."""
    calls.model.eval()
    with torch.no_grad():
        yield


def _batch_always_first(model: nn.Module) -> bool:
    return all(getattr(module, "batch_first", True) for module in model.modules())


def _shapes(input_shape: object) -> list[tuple[int, ...]]:
    """One shape, or several, as a list of shapes."""

    def is_sequence(value: object) -> bool:
        return isinstance(value, Sequence) and not isinstance(value, str | bytes) and len(value) > 0

    several = is_sequence(input_shape) and all(map(is_sequence, input_shape))
    shapes = input_shape if several else [input_shape]
    try:
        if not all(map(is_sequence, shapes)):
            raise ArgumentError("no sequence, or an empty one")
        return [tuple(whole_number("input_shape", size) for size in shape) for shape in shapes]
    except ArgumentError as error:
        raise ArgumentError(
            f"input_shape must be whole numbers of at least 1, got {input_shape!r}: give the shape of one example "
            "without the batch axis, such as (3, 224, 224)"
        ) from error


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
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            what = f"layer {name}" if name else "model"
            raise ArgumentError(f"{what} is a TorchScript module, which hides its layers: count what was scripted")
    waiting = [x for x in (*model.parameters(), *model.buffers()) if is_lazy(x)]  # for their shape
    memo = {id(x): type(x)(requires_grad=x.requires_grad, device="meta") for x in waiting}
    try:
        with _WithoutData():
            copied = copy.deepcopy(model, memo)
    except Exception as error:
        raise ArgumentError(
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
def _without_global_hooks() -> Iterator[None]:
    """Nobody's hooks on all modules (``register_module_forward_hook``) see the copy run."""
    registries = [
        getattr(module_hooks, f"_global_{name}_hooks")
        for name in ("forward_pre", "forward", "backward_pre", "backward")
    ]
    kept = [dict(hooks) for hooks in registries]
    for hooks in registries:
        hooks.clear()
    try:
        yield
    finally:
        for hooks, before in zip(registries, kept, strict=True):
            hooks.update(before)
