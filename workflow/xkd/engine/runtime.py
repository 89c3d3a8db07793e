"""Where and how precisely a process computes: device, number format, memory layout, threads."""

import contextlib
import ctypes
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from xkd.engine.options import EngineOptions
from xkd.errors import Refused

HEAP = 2**30  # bytes by which the heap grows; touched only as far as it is used
HUGE_PAGE = 2**21


@dataclass(frozen=True)
class Runtime:
    """Resolved from the options on the machine at hand."""

    device: torch.device
    precision: str
    compile: bool = False
    threads: int = 1

    @classmethod
    def of(cls, options: EngineOptions) -> "Runtime":
        """Raises Refused for CUDA or a compiler that is absent, or a format that does not fit."""
        cuda = torch.cuda.is_available()
        wants_cuda = options.device == "cuda" or options.backend == "graph"
        if wants_cuda and not cuda:
            asked = "device 'cuda'" if options.device == "cuda" else "backend 'graph'"
            raise Refused(
                f"engine {asked} needs a CUDA device and torch finds none here; take "
                "device 'cpu' and backend 'auto'"
            )
        if options.backend == "graph" and options.device == "cpu":
            raise Refused("engine backend 'graph' runs on CUDA, but device is 'cpu'; drop one")
        on_cuda = cuda and options.device != "cpu" and options.backend != "procs"
        if options.precision == "tf32" and not on_cuda:
            raise Refused("engine precision 'tf32' needs CUDA; take float32 or bf16 on a CPU")
        if options.compile and not has_compiler():
            raise Refused(
                f"engine compile: true needs a C++ compiler, and there is no '{compiler()}' here; "
                "install g++, name another one in CXX, or take compile: false"
            )
        device = torch.device("cuda", torch.cuda.current_device()) if on_cuda else "cpu"
        return cls(
            torch.device(device), options.precision, options.compile, options.threads_per_seed
        )

    @property
    def dtype(self) -> torch.dtype:
        """Format of weights and images; bf16 and tf32 concern the arithmetic only."""
        return torch.float64 if self.precision == "float64" else torch.float32

    @property
    def on_cuda(self) -> bool:
        return self.device.type == "cuda"

    def describe(self) -> str:
        """The device by name."""
        return torch.cuda.get_device_name(self.device) if self.on_cuda else "cpu"

    def prepare(self) -> None:
        """Settings of the whole process. Call once, before anything is computed.

        One thread to begin with: a process that is forked after work on several waits for ever for
        threads that it does not have. Whoever trains takes `threads`.
        """
        torch.set_num_threads(1)
        # A unit that died leaves its momentum decaying into denormals, far slower to add.
        torch.set_flush_denormal(True)
        keep_freed_memory()
        if self.on_cuda:
            tf32 = self.precision == "tf32"
            torch.backends.cuda.matmul.allow_tf32 = tf32
            torch.backends.cudnn.allow_tf32 = tf32
            # Chooses kernels by timing them: runs on a GPU agree up to rounding, not bit for bit.
            torch.backends.cudnn.benchmark = True

    @property
    def layout(self) -> torch.memory_format:
        """Channels last is 1.4 times faster on a CPU, and what CUDA's matrix units expect."""
        if self.on_cuda and self.precision in ("float32", "float64"):
            return torch.contiguous_format
        return torch.channels_last

    def place(self, module: nn.Module) -> nn.Module:
        """Move a network or method to the device, in the number format and memory layout."""
        return module.to(self.device, self.dtype, memory_format=self.layout)

    def autocast(self) -> contextlib.AbstractContextManager:
        if self.precision != "bf16":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    @property
    def rounds_at_once(self) -> bool:
        """Whether weights are copied to bfloat16 all together; compiled code casts as it goes."""
        return self.precision == "bf16" and not self.compile

    @property
    def generator(self) -> torch.Generator:
        """What dropout and random permutations draw from on this device, unless told otherwise."""
        if self.on_cuda:
            return torch.cuda.default_generators[self.device.index]
        return torch.default_generator


def compiler() -> str:
    """The C++ compiler that torch.compile calls."""
    return os.environ.get("CXX", "g++")


def has_compiler() -> bool:
    return shutil.which(compiler()) is not None


def keep_freed_memory() -> None:
    """Let the C library keep the memory of freed activations, in pages of 2 MiB.

    Otherwise every step asks the system for the same megabytes again, page by page: about a tenth
    of the time of a ResNet's step on a CPU. Does nothing where the library is not glibc on Linux.
    """
    trim_threshold, top_pad, mmap_threshold = -1, -2, -3  # names of mallopt's parameters, malloc.h
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(mmap_threshold, HEAP)
        library.mallopt(trim_threshold, 2**31 - 1)
        library.mallopt(top_pad, HEAP)  # grow by this much, so that one advice serves for long
        library.malloc.restype = ctypes.c_void_p
        library.free.argtypes = [ctypes.c_void_p]
        library.free(library.malloc(ctypes.c_size_t(HEAP // 4)))
        _advise_huge_pages(library)


def _advise_huge_pages(library: ctypes.CDLL) -> None:
    """Ask Linux for huge pages: fewer faults, and fewer misses when addresses are looked up."""
    advice = 14  # MADV_HUGEPAGE
    for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines():
        if line.endswith("[heap]"):
            first, last = (int(address, 16) for address in line.split()[0].split("-"))
            first = -(-first // HUGE_PAGE) * HUGE_PAGE
            if first < last:
                library.madvise(ctypes.c_void_p(first), ctypes.c_size_t(last - first), advice)
            return
