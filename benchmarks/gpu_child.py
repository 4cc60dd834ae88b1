"""What one PyTorch does: run by retarget_gpu.py in a process of its own per PyTorch.

Prints lines of JSON, two for each operator case, so that a case that ends the process loses no other.
"""

import argparse
import ctypes
import hashlib
import importlib
import itertools
import json
import random
import resource
import sys
import time
import types
import unittest
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Json = dict[str, Any]
DTYPES = ("float32", "bfloat16")


def emit(line: Json) -> None:
    """One line of JSON on standard output, at once."""
    print(json.dumps(line), flush=True)


def resident_mb() -> int:
    """Resident memory of the process now, in MiB."""
    [line] = [x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmRSS")]
    return int(line.split()[1]) // 1024


def timing(device: str) -> None:
    """How long importing PyTorch and the first kernels take, and what memory they need."""
    start = time.perf_counter()
    torch: Any = importlib.import_module("torch")
    imported = time.perf_counter()
    if device == "cuda":
        torch.cuda.init()
        torch.cuda.synchronize()
    context = time.perf_counter()
    (torch.ones(1, device=device) + 1).cpu()
    kernel = time.perf_counter()
    x = torch.randn(256, 256, device=device)
    torch.softmax(x @ x, -1).sort().values.cumsum(-1).cpu()
    several = time.perf_counter()
    emit(
        {
            "torch": torch.__version__,
            "file": torch.__file__,
            "arch_flags": torch._C._cuda_getArchFlags(),
            "device": torch.cuda.get_device_name() if device == "cuda" else "the CPU",
            "capability": "".join(map(str, torch.cuda.get_device_capability())) if device == "cuda" else "90",
            "import_s": imported - start,
            "context_s": context - imported,
            "first_kernel_s": kernel - context,
            "several_kernels_s": several - kernel,
            "resident_mb": resident_mb(),
            "most_resident_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        }
    )


def refusal(device: str) -> None:
    """What PyTorch says where its code does not fit the card, and whether any number it gives is wrong."""
    torch: Any = importlib.import_module("torch")
    report: Json = {"warnings": [], "errors": {}, "wrong": []}
    a = torch.arange(64, dtype=torch.float32).reshape(8, 8)
    calls: dict[str, Callable[[], tuple[Any, Any]]] = {
        "initialisation": lambda: (torch.zeros(1), torch.cuda.init() or torch.zeros(1)),
        "fill": lambda: (torch.ones(4), torch.ones(4, device=device)),
        "add": lambda: (a + 1, a.to(device) + 1),
        # These are NVIDIA's libraries, which have code for the card.
        "matmul": lambda: (a @ a, a.to(device) @ a.to(device)),
        "conv2d": lambda: (
            torch.nn.functional.conv2d(a[None, None], a[None, None, :3, :3]),
            torch.nn.functional.conv2d(a[None, None].to(device), a[None, None, :3, :3].to(device)),
        ),
        "sort": lambda: (a.sort(descending=True).values, a.to(device).sort(descending=True).values),
    }
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for name, call in calls.items():
            try:
                expected, found = call()
                if not torch.allclose(found.cpu(), expected, rtol=1e-2):
                    report["wrong"].append(name)
            except RuntimeError as error:
                report["errors"][name] = str(error).splitlines()[0]
        report["warnings"] = [" ".join(str(warning.message).split()) for warning in caught]
    emit(report)


def digest(torch: Any, value: Any) -> str:
    """SHA-256 of the bits of a result: all its tensors with types and shapes, and the rest as text."""
    result = hashlib.sha256()

    def add(item: Any) -> None:
        if not isinstance(item, torch.Tensor):
            result.update(repr(item).encode())
            return
        if item.layout != torch.strided:
            item = item.to_dense()
        item = item.detach().resolve_conj().resolve_neg()
        if item.is_quantized:
            item = item.int_repr()
        item = item.cpu().contiguous()
        result.update(f"{item.dtype} {tuple(item.shape)}".encode())
        if item.numel():
            result.update(ctypes.string_at(item.data_ptr(), item.nbytes))

    for leaf in torch.utils._pytree.tree_flatten(value)[0]:
        add(leaf)
    return result.hexdigest()[:16]


def operators(torch: Any, device: str, samples: int) -> Iterator[tuple[str, Callable[[], Iterator[Any]]]]:
    """PyTorch's own operator cases: a name and a function that yields the results of the first samples."""
    try:
        importlib.import_module("expecttest")
    except ImportError:
        # Only a base class of PyTorch's test cases, of which none is run here.
        sys.modules["expecttest"] = module = types.ModuleType("expecttest")
        vars(module)["TestCase"] = unittest.TestCase
    methods: Any = importlib.import_module("torch.testing._internal.common_methods_invocations")

    def results(op: Any, dtype: Any) -> Iterator[Any]:
        for sample in itertools.islice(op.sample_inputs(device, dtype, requires_grad=False), samples):
            yield op(sample.input, *sample.args, **sample.kwargs)

    for op in methods.op_db:
        for name in DTYPES:
            dtype = getattr(torch, name)
            if dtype in op.supported_dtypes(device):
                full = f"{op.name}{'.' if op.variant_test_name else ''}{op.variant_test_name} {name}"
                yield full, lambda op=op, dtype=dtype: results(op, dtype)  # type: ignore[misc]


def companions(torch: Any, device: str) -> Iterator[tuple[str, Callable[[], Iterator[Any]]]]:
    """Operators of torchvision and torchaudio that have kernels of their own."""
    generator = torch.Generator().manual_seed(20)

    def random_tensor(*shape: int) -> Any:
        return torch.rand(*shape, generator=generator).to(device)

    def vision(name: str) -> Iterator[Any]:
        ops: Any = importlib.import_module("torchvision.ops")
        image, corners = random_tensor(2, 8, 32, 32), random_tensor(64, 2) * 16
        boxes = torch.cat([corners, corners + 1 + random_tensor(64, 2) * 15], 1)
        rois = torch.cat([torch.arange(64, device=device)[:, None] % 2, boxes], 1)
        calls: dict[str, Callable[[], Any]] = {
            "nms": lambda: ops.nms(boxes, random_tensor(64), 0.3),
            "roi_align": lambda: ops.roi_align(image, rois, 4),
            "roi_pool": lambda: ops.roi_pool(image, rois, 4),
            "ps_roi_align": lambda: ops.ps_roi_align(image, rois, 2),
            "ps_roi_pool": lambda: ops.ps_roi_pool(image, rois, 2),
            "deform_conv2d": lambda: ops.deform_conv2d(
                image, random_tensor(2, 18, 30, 30), random_tensor(4, 8, 3, 3)
            ),
        }
        yield calls[name]()

    def audio(name: str) -> Iterator[Any]:
        functional: Any = importlib.import_module("torchaudio.functional")
        scores, waves = random_tensor(1, 50, 8).log_softmax(-1), random_tensor(2, 4000)
        targets = torch.tensor([[1, 2, 3, 3, 4]], dtype=torch.int32, device=device)
        if name == "forced_align":
            yield functional.forced_align(scores, targets)
        elif name == "lfilter":
            one = torch.tensor([1.0, -0.5, 0.25], device=device)
            yield functional.lfilter(waves, one, one.flip(0), clamp=False)
        else:
            lengths = torch.tensor([20], dtype=torch.int32, device=device)
            sizes = torch.tensor([5], dtype=torch.int32, device=device)
            logits = random_tensor(1, 20, 6, 8)
            yield functional.rnnt_loss(logits, targets, lengths, sizes, blank=0)

    for name in ("nms", "roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool", "deform_conv2d"):
        yield f"torchvision.{name} float32", lambda name=name: vision(name)  # type: ignore[misc]
    for name in ("forced_align", "lfilter", "rnnt_loss"):
        yield f"torchaudio.{name} float32", lambda name=name: audio(name)  # type: ignore[misc]


def parity(device: str, samples: int, first: int, only: int, deadline: float) -> None:
    """Digests of the results of every operator case from number `first` on, until the deadline."""
    end = time.monotonic() + deadline
    torch: Any = importlib.import_module("torch")
    warnings.simplefilter("ignore")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    cases = itertools.chain(companions(torch, device), operators(torch, device, samples))
    for number, (name, results) in enumerate(itertools.islice(cases, only or None)):
        if number < first:
            continue
        if time.monotonic() > end:
            emit({"stopped": number})
            return
        emit({"case": number, "name": name})
        seed = zlib.crc32(name.encode())
        random.seed(seed)
        torch.manual_seed(seed)
        importlib.import_module("numpy").random.seed(seed)
        digests: list[str] = []
        line: Json = {"case": number, "name": name, "digests": digests}
        try:
            digests.extend(digest(torch, result) for result in results())
        except Exception as error:  # whatever a case raises is its result
            line["error"] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        emit(line)
        # After one of these every later call fails: the rest needs a new process.
        if "CUDA error" in line.get("error", "") or "device-side assert" in line.get("error", ""):
            return
    emit({"stopped": None})


def main() -> None:
    """Read the command line and run one part."""
    parser = argparse.ArgumentParser()
    parser.add_argument("part", choices=["timing", "refusal", "parity"])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--only", type=int, default=0)
    parser.add_argument("--deadline", type=float, default=300)
    arguments = parser.parse_args()
    # PyTorch's test utilities read the command line too.
    sys.argv = sys.argv[:1]
    if arguments.part == "timing":
        timing(arguments.device)
    elif arguments.part == "refusal":
        refusal(arguments.device)
    else:
        parity(arguments.device, arguments.samples, arguments.first, arguments.only, arguments.deadline)


if __name__ == "__main__":
    main()
