"""Does a retargeted PyTorch compute what the official one computes? Asked of a real GPU.

Run with the Python that has the official CUDA wheel; needs no network, writes to a scratch directory only:

    PYTHONPATH=pyhelpers/src python benchmarks/retarget_gpu.py --out retarget.json

Copies of the installed torch (hard links, where the file system allows) are retargeted to the GPU's own
architecture and to others. Each runs in a process of its own, lazily and eagerly loading its GPU code.
Results must equal the official ones bit for bit, and a float64 computation on the CPU within tolerances;
a copy without code for the GPU must say so. Exit code: 0 all as it should be, 1 not, 2 nothing to check.
"""

import argparse
import ctypes
import hashlib
import importlib
import importlib.util
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from pytorch_variants.retarget import Retargeted, architectures, retarget_directory, retarget_file

Json = dict[str, Any]
NO_CODE = "no kernel image is available"


def stop(message: str) -> NoReturn:
    """End where there is nothing to compare."""
    print(message, file=sys.stderr)
    sys.exit(2)


def operators(torch: Any) -> dict[str, tuple[Callable[..., Any], tuple[Any, ...], float]]:
    """Per operator: the function, its float32 inputs on the CPU, and the error that its type allows.

    The error is the largest absolute difference over the largest absolute value of the reference.
    """
    functional = torch.nn.functional
    generator = torch.Generator().manual_seed(20)

    def random(*shape: int) -> Any:
        return torch.randn(*shape, generator=generator)

    def bf16(function: Callable[..., Any]) -> Callable[..., Any]:
        def apply(*inputs: Any) -> Any:
            # The reference is computed from the same rounded inputs.
            rounded = [x.to(torch.bfloat16) for x in inputs]
            return function(*(rounded if inputs[0].dtype == torch.float32 else [x.double() for x in rounded]))

        return apply

    square = (random(1024, 1024), random(1024, 1024))
    heads = tuple(random(4, 8, 256, 64) for _ in range(3))
    image, filters = random(8, 32, 64, 64), random(64, 32, 3, 3)
    rows = random(512, 4096)
    order = torch.randperm(512, generator=generator)
    return {
        "matmul fp32": (torch.matmul, square, 1e-5),
        "matmul bf16": (bf16(torch.matmul), square, 1e-2),
        "conv2d": (lambda x, w: functional.conv2d(x, w, padding=1), (image, filters), 1e-5),
        "attention": (functional.scaled_dot_product_attention, heads, 1e-5),
        "attention bf16": (bf16(functional.scaled_dot_product_attention), heads, 2e-2),
        "sort": (lambda x: torch.sort(x, dim=-1).values, (rows,), 0.0),
        "cumsum": (lambda x: torch.cumsum(x, -1), (rows,), 1e-5),
        "softmax": (lambda x: torch.softmax(x, -1), (rows,), 1e-5),
        # LAPACK's bound: the number of rows times the machine epsilon.
        "svdvals": (torch.linalg.svdvals, (square[0][:128, :128],), 128 * 2**-23),
        "gelu": (functional.gelu, (rows,), 1e-5),
        "indexing": (lambda x: x[order.to(x.device)] * 2, (rows,), 0.0),
    }


def run_operators(device: str) -> Json:
    """What this process's torch computes: per operator a digest of the bits, or what it said instead."""
    start = time.perf_counter()
    torch: Any = importlib.import_module("torch")
    imported = time.perf_counter() - start
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    report: Json = {
        "torch": torch.__version__,
        "file": torch.__file__,
        "arch_flags": torch._C._cuda_getArchFlags(),
        "import_s": round(imported, 3),
        "operators": {},
    }
    try:
        if device == "cuda":
            report["device"] = torch.cuda.get_device_name()
            major, minor = torch.cuda.get_device_capability()
            report["arch"] = 10 * major + minor
        start = time.perf_counter()
        (torch.ones(1, device=device) + 1).cpu()
        report["first_kernel_s"] = round(time.perf_counter() - start, 3)
    except RuntimeError as failure:
        report["error"] = str(failure).splitlines()[0]
    for name, (function, inputs, tolerance) in operators(torch).items():
        try:
            result = function(*(x.to(device) for x in inputs)).cpu().contiguous()
        except RuntimeError as failure:
            report["operators"][name] = {"error": str(failure).splitlines()[0]}
            continue
        reference = function(*(x.double() for x in inputs))
        error = ((result.double() - reference).abs().max() / reference.abs().max()).item()
        digest = hashlib.sha256(ctypes.string_at(result.data_ptr(), result.nbytes)).hexdigest()
        report["operators"][name] = {"sha256": digest, "error": error, "close": error <= tolerance}
    report["resident_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return report


def copy_torch(packages: Path, target: Path) -> Path:
    """A torch of its own in `target`, beside links to the other packages: RPATHs name ../../nvidia."""
    target.mkdir()
    for path in packages.iterdir():
        if path.name not in ("torch", "__pycache__"):
            (target / path.name).symlink_to(path)

    def link(source: str, copy: str) -> None:
        try:
            os.link(source, copy)
        except OSError:
            shutil.copy2(source, copy)

    # Retargeting replaces files and never writes into one: the original's are safe.
    shutil.copytree(packages / "torch", target / "torch", copy_function=link, symlinks=True)
    return target / "torch"


def run(packages: Path, device: str, loading: str = "LAZY") -> Json:
    """Run the operators with the torch of a site-packages directory."""
    environment = {name: value for name, value in os.environ.items() if name != "LD_LIBRARY_PATH"}
    environment |= {
        "PYTHONPATH": os.pathsep.join([str(packages), environment.get("PYTHONPATH", "")]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "CUDA_MODULE_LOADING": loading,
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    }
    command = [sys.executable, "-s", __file__, "--operators", "--device", device]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if result.returncode:
        lines = result.stderr.strip().splitlines()
        return {"error": lines[-1] if lines else f"signal {-result.returncode}", "operators": {}}
    report: Json = json.loads(result.stdout.splitlines()[-1])
    if not Path(report["file"]).is_relative_to(packages):
        stop(f"torch came from {report['file']}, not from {packages}")
    return report


def differences(official: Json, other: Json) -> list[str]:
    """The operators that do not give the official bits, or not what float64 gives."""
    return [
        name
        for name, wanted in official["operators"].items()
        if not wanted.get("close") or other["operators"].get(name, {}).get("sha256") != wanted["sha256"]
    ]


def sizes(results: tuple[Retargeted, ...]) -> list[Json]:
    """The account of a retargeting, for JSON."""
    return [vars(result) | {"path": result.path.name} for result in results]


def compare(packages: Path, scratch: Path, device: str) -> tuple[Json, list[str]]:
    """The whole comparison: a report, and one line for each thing that is not as it should be."""
    official = run(packages, device)
    if "error" in official:
        stop(f"the official torch does not run here: {official['error']}")
    available = architectures(packages / "torch")
    arch = official.get("arch", available[-1])
    report: Json = {"official": official, "runs": {}, "sizes": {}, "seconds": {}}
    wrong = [f"official: {name} is far from float64" for name in differences(official, official)]

    def retargeted(name: str, keep: int) -> Path:
        torch = copy_torch(packages, scratch / name)
        start = time.perf_counter()
        report["sizes"][name] = sizes(retarget_directory(torch, [keep]))
        report["seconds"][name] = round(time.perf_counter() - start, 3)
        return torch

    def check_same(name: str, result: Json) -> None:
        report["runs"][name] = result
        if differing := differences(official, result):
            wrong.append(f"{name}: differs in {', '.join(differing)} {result.get('error', '')}".strip())

    own = retargeted(f"sm_{arch}", arch)
    for loading in ("LAZY", "EAGER"):
        check_same(f"sm_{arch} {loading.lower()}", run(own.parent, device, loading))
    if (flags := report["runs"][f"sm_{arch} lazy"].get("arch_flags")) != f"sm_{arch}":
        wrong.append(f"sm_{arch}: PyTorch says that it is built for {flags}")

    # Containers that lost every entry are loaded like the others: the linear algebra has nothing else here.
    linalg = own / "lib" / "libtorch_cuda_linalg.so"
    retarget_file(linalg, linalg, frozenset())
    for loading in ("LAZY", "EAGER"):
        check_same(f"sm_{arch}, empty linalg, {loading.lower()}", run(own.parent, device, loading))

    for other in [a for a in available if a // 10 != arch // 10 and a in (80, 90, 120)]:
        name = f"sm_{other}"
        result = report["runs"][name] = run(retargeted(name, other).parent, device)
        said = result.get("error", "nothing")
        if device == "cuda" and NO_CODE not in said:
            wrong.append(f"{name}: should have no code for this GPU, but said {said}")
    return report, wrong


def show(report: Json) -> None:
    """Print the tables."""
    official = report["official"]
    print(f"torch {official['torch']} on {official.get('device', 'the CPU')}\n")
    print(f"{'retargeted to':14}{'library':28}{'before, MB':>12}{'after, MB':>12}{'GPU code':>12}")
    for name, libraries in report["sizes"].items():
        for item in libraries:
            figures = (item["before"], item["after"], item["gpu_code_after"])
            print(f"{name:14}{item['path']:28}" + "".join(f"{figure / 1e6:12.1f}" for figure in figures))
        print(f"{name:14}{report['seconds'][name]} s")
    print(f"\n{'run':30}{'import, s':>10}{'first, s':>10}{'memory, MB':>12}{'same bits':>11}  said")
    for name, result in {"official": official, **report["runs"]}.items():
        same = len(official["operators"]) - len(differences(official, result))
        times = (result.get("import_s", ""), result.get("first_kernel_s", ""), result.get("resident_mb", ""))
        print(
            f"{name:30}{times[0]:>10}{times[1]:>10}{times[2]:>12}"
            f"{same:>8}/{len(official['operators'])}  {result.get('error', '')}"
        )


def main() -> None:
    """Read the command line, compare, report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="where to write the report as JSON")
    parser.add_argument("--scratch", type=Path, help="a directory on the file system that torch is on")
    parser.add_argument(
        "--device", default="cuda", choices=["cuda", "cpu"], help="cpu tries the script itself"
    )
    parser.add_argument("--operators", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.operators:
        print(json.dumps(run_operators(arguments.device)))
        return
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        stop("no torch is installed here")
    packages = Path(spec.origin).resolve().parent.parent
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as scratch:
        report, wrong = compare(packages, Path(scratch).resolve(), arguments.device)
    report["wrong"] = wrong
    show(report)
    if arguments.out:
        arguments.out.write_text(json.dumps(report, indent=2) + "\n")
    print("\n" + ("\n".join(wrong) or "everything is as it should be"))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
