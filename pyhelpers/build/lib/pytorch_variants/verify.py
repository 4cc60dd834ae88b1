"""Static verification: is a build what its name says? Reads files and imports torch; needs no GPU."""

import json
import os
import re
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pytorch_variants.elf import open_elf
from pytorch_variants.errors import UserError
from pytorch_variants.fatbin import Container, Entry, read_fatbins
from pytorch_variants.names import Variant
from pytorch_variants.report import Finding, Report, expect
from pytorch_variants.retarget import select

COMPILED = "compiled from source"
MAIN_LIBRARY = "libtorch_cuda.so"

# torch.cuda.get_arch_list() is empty on a machine without a GPU; the flags behind it are not.
_PROBE = """
import json, platform, torch
product = torch.ones(64, 64, dtype=torch.float64) @ torch.eye(64, dtype=torch.float64)
flags = getattr(torch._C, "_cuda_getArchFlags", lambda: None)()
print(json.dumps({
    "python": ".".join(platform.python_version_tuple()[:2]),
    "torch": torch.__version__,
    "computes": bool((product == 1).all()),
    "arch_flags": flags.split() if flags else [],
    "cuda": torch.version.cuda,
    "cudnn": torch._C._has_cudnn,
    "config": torch.__config__.show(),
}))
"""


def _torch_directory(environment: Path) -> Path:
    found = sorted(environment.glob("lib/python3*/site-packages/torch"))
    if len(found) != 1:
        raise UserError(
            f"{environment}: {len(found)} torch packages below lib/python3*/site-packages, one is wanted; "
            "name the environment, as in result"
        )
    return found[0]


def _libraries(torch: Path) -> Iterator[Path]:
    # nixpkgs links torch/lib to another output, hence followlinks.
    for directory, _, files in os.walk(torch, followlinks=True):
        yield from (Path(directory) / file for file in sorted(files) if re.search(r"\.so(\.[0-9.]+)?$", file))


def _names(entries: Iterable[Entry]) -> str:
    # sm_90a belongs to a build for sm_90: PyTorch adds such kernels by itself.
    kinds = {(entry.kind, entry.arch) for entry in entries}
    names = [f"{'sm' if kind == 'cubin' else 'PTX'}_{arch}" for kind, arch in sorted(kinds)]
    return " ".join(names) or "none"


def _check_library(
    name: str, containers: Sequence[Container], variant: Variant, origin: str
) -> Iterator[Finding]:
    """Nothing is missing and nothing superfluous in one library's GPU code."""
    targets = {gpu.number for gpu in variant.gpus}
    with_ptx = any(gpu.target.endswith("+PTX") for gpu in variant.gpus)
    entries = [entry for container in containers for entry in container.entries]
    chosen = [e for c in containers for e in select(c.entries, targets, with_ptx)]
    stray = [entry for entry in entries if entry not in chosen]
    own = {entry.arch for entry in chosen if entry.kind == "cubin"} & targets
    # A library that PyTorch links (MAGMA) may lack an architecture and still have code that runs on it.
    borrowed = not stray and chosen and name != MAIN_LIBRARY and own != targets
    expected = " ".join(f"sm_{target}" for target in sorted(targets)) or "none"
    where = f"{name}, {sum(entry.size for entry in entries) / 1e6:.1f} MB"
    if stray and targets and own == targets and origin == COMPILED:
        yield Finding("note", "GPU code", expected, f"{_names(entries)}: linked from the shared set", where)
    elif borrowed:
        yield Finding("ok", "GPU code", expected, f"{_names(entries)}, which {expected} runs", where)
    else:
        yield expect("GPU code", expected, _names(entries), where)


def _check_gpu_code(torch: Path, variant: Variant, origin: str) -> Iterator[Finding]:
    with_code = set()
    for library in _libraries(torch):
        try:
            with open_elf(library) as elf:
                containers = read_fatbins(elf)
        except UserError as error:
            yield Finding("wrong", "GPU code", "readable", str(error), library.name)
            continue
        if containers:
            with_code.add(library.name)
            yield from _check_library(library.name, containers, variant, origin)
    yield expect(
        "CUDA build",
        "yes" if variant.gpus else "no",
        "yes" if MAIN_LIBRARY in with_code else "no",
        MAIN_LIBRARY,
    )


def _probe(environment: Path) -> dict[str, Any] | str:
    """What torch says of itself, or the last line of why it does not import."""
    python = environment / "bin" / "python"
    # A library path or user packages of the caller would be found before the environment's own.
    clean = {
        name: value
        for name, value in os.environ.items()
        if name not in {"LD_LIBRARY_PATH", "LD_PRELOAD", "PYTHONPATH", "PYTHONHOME"}
    }
    try:
        result = subprocess.run(
            [python, "-s", "-B", "-c", _PROBE],
            capture_output=True,
            text=True,
            check=False,
            env=clean,
            timeout=600,
        )
    except OSError as error:
        raise UserError(f"{python}: {error.strerror}; name an environment, as in result") from error
    if result.returncode:
        lines = result.stderr.strip().splitlines()
        return lines[-1] if lines else f"ended by signal {-result.returncode}"
    data: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return data


def _check_import(environment: Path, variant: Variant, origin: str) -> Iterator[Finding]:
    probe = _probe(environment)
    if isinstance(probe, str):
        yield Finding("wrong", "import torch", "imports", probe)
        return
    yield expect(
        "import torch",
        "imports and computes",
        "imports and computes" if probe["computes"] else "wrong product",
    )
    if variant.python:
        yield expect("Python", variant.python, probe["python"])
    flags = " ".join(f"sm_{gpu.target.replace('.', '').removesuffix('+PTX')}" for gpu in variant.gpus)
    found_flags = " ".join(flag for flag in probe["arch_flags"] if flag.startswith("sm_"))
    yield expect(
        "architecture flags",
        flags or "none",
        found_flags or "none",
        "torch._C._cuda_getArchFlags()",
    )
    if variant.cuda or not variant.gpus:
        yield expect("CUDA version", variant.cuda or "none", probe["cuda"] or "none", "torch.version.cuda")
    yield Finding("note", "cuDNN", "", "present" if probe["cudnn"] else "absent", "torch._C._has_cudnn")
    if origin == COMPILED:
        missing = [flag for flag in variant.cpu.flags if flag not in probe["config"].split()]
        yield expect(
            "CPU flags",
            "all",
            f"without {' '.join(missing)}" if missing else "all",
            "torch.__config__",
        )
    else:
        yield Finding("note", "CPU flags", " ".join(variant.cpu.flags), "not applied")


def verify(environment: Path, variant: Variant, origin: str = COMPILED) -> Report:
    """Hold an environment's torch against what a variant's name says.

    `environment` is a directory with bin/python and lib/python3.X/site-packages/torch. `origin` says how
    the build was made; one that is not compiled from source is not asked for its CPU flags. Raises
    UserError where there is nothing to check.
    """
    torch = _torch_directory(environment)
    return Report(
        variant=variant.name,
        origin=origin,
        findings=(
            *_check_gpu_code(torch, variant, origin),
            *_check_import(environment, variant, origin),
        ),
    )
