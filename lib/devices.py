"""Where and how arithmetic is done: device, precision, memory layout, and random numbers that come back."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import NamedTuple

import torch

from lib.arguments import choice

PRECISIONS = ("auto", "float32", "bfloat16")
_GENERATORS_IN_USE = threading.RLock()


class Precision(NamedTuple):
    """How the arithmetic is done: `dtype` of the convolutions (float32 or bfloat16), layout, and the rule's reason."""

    dtype: str
    channels_last: bool
    reason: str

    @property
    def memory_format(self) -> torch.memory_format:
        return torch.channels_last if self.channels_last else torch.contiguous_format


def default_device() -> torch.device:
    """CUDA where there is a device for it, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def choose_precision(
    device: torch.device | str, precision: str = "auto", *, channels_last: bool | None = None
) -> Precision:
    """Precision and memory layout by what the hardware gains from.

    bfloat16 autocast where the device multiplies bfloat16 matrices natively: a CUDA device that says so, or a CPU with
    AMX or AVX-512 BF16 instructions; elsewhere it would be emulated, and slower than float32. Channels last on both
    kinds of device, because their convolution libraries work in that layout and would convert at every layer. Any
    `precision` but "auto", and any `channels_last` but None, overrides the rule.
    """
    choice("precision", precision, PRECISIONS)
    device = torch.device(device)
    if precision != "auto":
        dtype, reason = precision, "asked for"
    elif device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        dtype = "bfloat16" if native else "float32"
        reason = f"CUDA device {'with' if native else 'without'} native bfloat16"
    else:
        capabilities = getattr(torch.cpu, "get_capabilities", dict)()  # older versions of torch cannot tell
        instructions = [name for name in ("amx_bf16", "avx512_bf16") if capabilities.get(name)]
        dtype = "bfloat16" if device.type == "cpu" and instructions else "float32"
        reason = f"{device.type} with {', '.join(instructions) or 'no known bfloat16 instructions'}"
    return Precision(dtype, device.type in ("cpu", "cuda") if channels_last is None else channels_last, reason)


@contextlib.contextmanager
def seeded(seed: int, device: torch.device | str = "cpu") -> Iterator[None]:
    """Seed torch's global generators, ask for repeatable kernels, and undo both afterwards.

    Not for threads: new layers draw their weights, and dropout its masks, from generators that all threads of a process
    share. What is to run side by side needs processes; RuntimeError in a second thread, which would silently get other
    numbers than alone.
    """
    device = torch.device(device)
    devices = [device] if device.type == "cuda" else []
    if not _GENERATORS_IN_USE.acquire(blocking=False):
        raise RuntimeError(
            "another thread of this process is training, and threads share torch's random numbers: "
            "run trainings side by side in processes"
        )
    try:
        with torch.random.fork_rng(devices), torch.backends.cudnn.flags(benchmark=False, deterministic=True):
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed devices too, which nobody restores
            for own in devices:
                with torch.cuda.device(own):
                    torch.cuda.manual_seed(seed)
            yield
    finally:
        _GENERATORS_IN_USE.release()


def random_state(device: torch.device) -> list[torch.Tensor]:
    """State of torch's global generators: the CPU's, and CUDA's if the run is there."""
    return [torch.get_rng_state()] + ([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])


def set_random_state(states: list[torch.Tensor], device: torch.device) -> None:
    """Put back what `random_state` gave."""
    torch.set_rng_state(states[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states[1], device)
