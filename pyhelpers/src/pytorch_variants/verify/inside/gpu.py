"""What a torch computes on this machine, held against float64 on the CPU.

The question: `device`, "cuda" or "cpu", and the `capabilities` of GPUs that
the tests are for. The answer has `unavailable` with the reason where there is no such device; else what the
device is and, if it is one of these, per test the error and what is allowed, or what torch said instead.
"""

import contextlib
import importlib
import importlib.util
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytorch_variants.verify.inside.channel import end, question, say
from pytorch_variants.verify.inside.operators import (
    EPS32,
    Operator,
    distance,
    operators,
    use_tf32,
)

Json = dict[str, Any]


def _attempt(test: Callable[[], Json]) -> Json:
    try:
        return test()
    except Exception as error:
        # The cause of what torch.compile says is in its second line.
        lines = str(error).strip().splitlines()[:2]
        return {"error": f"{type(error).__name__}: {' '.join(map(str.strip, lines))}"}


def _first_kernel(torch: Any, device: str) -> Json:
    start = time.perf_counter()
    (torch.ones(1, device=device) + 1).cpu()
    return {"seconds": round(time.perf_counter() - start, 3)}


def _operator(torch: Any, operator: Operator, device: str) -> Json:
    use_tf32(torch, operator.tf32)
    result = operator.function(*(x.to(device) for x in operator.inputs)).cpu()
    reference = operator.function(*(x.double() for x in operator.inputs))
    return {"distance": distance(result, reference), "tolerance": operator.tolerance}


def _random_numbers(torch: Any, device: str) -> Json:
    """Mean and variance of 2^20 normal numbers, in standard deviations of these figures."""
    count = 1 << 20

    def draw() -> Any:
        generator = torch.Generator(device=device).manual_seed(7)
        return torch.randn(count, device=device, generator=generator)

    numbers = draw()
    if not torch.equal(numbers, draw()):
        return {"error": "the same seed gave other numbers"}
    numbers = numbers.double()
    mean = abs(numbers.mean().item()) * count**0.5
    variance = abs(numbers.var().item() - 1) * (count / 2) ** 0.5
    return {"distance": max(mean, variance), "tolerance": 6.0}


def _compiled(torch: Any) -> Json:
    """torch.compile: Inductor writes a Triton kernel, Triton makes a cubin for this very GPU."""
    if not any(shutil.which(name) for name in (os.environ.get("CC", "cc"), "gcc", "clang")):
        return {"skipped": "no C compiler on PATH, which Triton needs"}
    if importlib.util.find_spec("triton") is None:
        return {"skipped": "no Triton in this environment"}
    x, y = torch.randn(512, 1024), torch.randn(512, 1024)

    def function(x: Any, y: Any) -> Any:
        return torch.softmax(x * 2 + torch.sin(y), -1)

    result = torch.compile(function)(x.cuda(), y.cuda()).cpu()
    cubins = len(list(Path(os.environ["TRITON_CACHE_DIR"]).rglob("*.cubin")))
    if not cubins:
        return {"error": "Triton has left no cubin"}
    return {
        "distance": distance(result, function(x.double(), y.double())),
        "tolerance": 1024 * EPS32,
        "detail": f"{cubins} cubins by Triton",
    }


def _two_streams(torch: Any) -> Json:
    inputs = [torch.randn(1024, 1024) for _ in range(2)]
    on_gpu = [x.cuda() for x in inputs]
    streams = [torch.cuda.Stream() for _ in inputs]
    torch.cuda.synchronize()
    results = []
    for stream, x in zip(streams, on_gpu, strict=True):
        with torch.cuda.stream(stream):
            results.append((x @ x) @ x)
    torch.cuda.synchronize()
    errors = [
        distance(r.cpu(), x.double() @ x.double() @ x.double()) for r, x in zip(results, inputs, strict=True)
    ]
    return {"distance": max(errors), "tolerance": 2 * 1024 * EPS32}


def _graph(torch: Any) -> Json:
    first, second = torch.randn(256, 256), torch.randn(256, 256)
    x = first.cuda()

    def function(x: Any) -> Any:
        return torch.relu(x @ x).sum(-1)

    warm_up = torch.cuda.Stream()
    warm_up.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(warm_up):
        function(x)
    torch.cuda.current_stream().wait_stream(warm_up)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = function(x)
    # The graph is recorded with one input and replayed with another.
    x.copy_(second)
    graph.replay()
    return {"distance": distance(result.cpu(), function(second.double())), "tolerance": 256 * 256 * EPS32}


def _run(torch: Any, device: str) -> Json:
    # Not on Windows, where the package can be imported all the same.
    import resource

    first = _attempt(lambda: _first_kernel(torch, device))
    if "error" in first:
        return {"tests": {"first kernel": first}}
    torch.manual_seed(20)
    tests = {
        name: _attempt(lambda operator=operator: _operator(torch, operator, device))  # type: ignore[misc]
        for name, operator in operators(torch).items()
    }
    use_tf32(torch, False)
    tests["random numbers"] = _attempt(lambda: _random_numbers(torch, device))
    if device == "cuda":
        tests["torch.compile"] = _attempt(lambda: _compiled(torch))
        tests["two streams"] = _attempt(lambda: _two_streams(torch))
        tests["CUDA graph"] = _attempt(lambda: _graph(torch))
    memory = {"resident": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10}
    if device == "cuda":
        # A kernel that went out of its bounds has made every call fail.
        with contextlib.suppress(RuntimeError):
            free, total = torch.cuda.mem_get_info()
            memory |= {"device": (total - free) >> 20, "tensors": torch.cuda.max_memory_allocated() >> 20}
    return {"tests": tests, "first_kernel_s": first["seconds"], "memory_mb": memory}


def main() -> None:
    """Answer."""
    asked: Json = question()
    device = asked["device"]
    with tempfile.TemporaryDirectory(prefix="pytorch-variants-") as cache:
        os.environ |= {"TRITON_CACHE_DIR": f"{cache}/triton", "TORCHINDUCTOR_CACHE_DIR": f"{cache}/inductor"}
        start = time.perf_counter()
        torch: Any = importlib.import_module("torch")
        answer: Json = {
            "torch": torch.__version__,
            "cuda": torch.version.cuda,
            "import_s": round(time.perf_counter() - start, 3),
        }
        if device == "cuda" and torch.version.cuda:
            try:
                torch.cuda.init()
                major, minor = torch.cuda.get_device_capability()
                answer |= {"device": torch.cuda.get_device_name(), "capability": f"{major}.{minor}"}
            except (RuntimeError, AssertionError) as error:
                answer["unavailable"] = str(error).splitlines()[0].split(". ")[0]
        if device == "cpu" or answer.get("capability") in asked["capabilities"]:
            answer |= _run(torch, device)
    say(**answer)
    end()
