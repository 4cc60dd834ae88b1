"""Verification of what torch says of itself once it is imported."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytorch_variants.findings import (
    Finding,
    Origin,
    expect,
    note,
    ok,
    wrong,
)
from pytorch_variants.hardware.compatibility import nearest_code
from pytorch_variants.names.variant import Variant
from pytorch_variants.verify.distributions import Distribution


def _cudnn(variant: Variant, found: int | None) -> Finding:
    """CuDNN is there, but for GPUs that it has dropped and for builds without CUDA."""
    # 91002 is 9.10.2.
    version = f"{found // 10000}.{found % 10000 // 100}.{found % 100}" if found else None
    last = [gpu for gpu in variant.gpus if gpu.cudnn_max]
    where = "torch.backends.cudnn.version()"
    if not variant.gpus:
        return expect("cuDNN", "absent", version or "absent", where)
    if not last:
        return (ok if found else wrong)("cuDNN", "present", version or "absent", where)
    # Dropped by later releases: an earlier one, or none.
    bound = min((gpu.cudnn_max or "" for gpu in last), key=lambda text: [int(n) for n in text.split(".")])
    too_new = found and [found // 10000, found % 10000 // 100] > [int(n) for n in bound.split(".")]
    expected = f"absent, or {bound} at most"
    return (wrong if too_new else ok)("cuDNN", expected, version or "absent", where)


def _compiler_options(config: str) -> list[str]:
    """The words of `torch.__config__.show()`; the first option has no blank before it.

    >>> _compiler_options("COMPILER=c++, CXX_FLAGS=-mavx2 -mfma -O2, MPI=0")[1:4]
    ['-mavx2', '-mfma', '-O2,']
    """
    return config.replace("CXX_FLAGS=", " ").split()


def _flags(variant: Variant, said: Sequence[str]) -> Finding:
    """PyTorch says that it is built for the variant's GPUs; an official wheel may for one that they run."""
    expected = tuple(f"sm_{gpu.target.replace('.', '').removesuffix('+PTX')}" for gpu in variant.gpus)
    cubins = tuple(flag for flag in said if flag.startswith("sm_"))
    where = "torch._C._cuda_getArchFlags()"
    if variant.package == "pytorch-bin" and cubins != expected:
        numbers = [int(re.sub(r"\D", "", flag)) for flag in cubins]
        if numbers == [nearest_code(numbers, gpu.number) for gpu in variant.gpus]:
            return ok("architecture flags", expected, cubins, where, "which the GPU runs")
    return expect("architecture flags", expected, cubins, where)


def _version(text: str, where: str, torch: Distribution) -> Iterator[Finding]:
    """PyTorch says its metadata's version; wheels on PyPI leave out there what they are built for."""
    wanted, found = torch.version, text
    if "+" not in wanted:
        found = found.partition("+")[0]
    yield expect("version", wanted, found, where, "" if found == text else text)


def _identity(answer: Mapping[str, Any], torch: Path, distribution: Distribution | None) -> Iterator[Finding]:
    """What `import torch` gives is the package that was looked at, and no part of another."""
    place = answer.get("file")
    elsewhere = answer.get("elsewhere") or ()
    expected = str(torch)
    if not place:
        yield wrong("torch imported", expected, (), detail="it has no file: a directory without __init__.py")
    elif elsewhere:
        more = len(elsewhere) - 3
        yield wrong("torch imported", expected, elsewhere[:3], detail=f"and {more} more" if more > 0 else "")
    else:
        yield ok("torch imported", expected, expected)
    if distribution:
        yield from _version(str(answer.get("torch")), distribution.directory.name, distribution)


def check_import(
    variant: Variant,
    origin: Origin,
    answer: Mapping[str, Any],
    torch: Path,
    distribution: Distribution | None,
) -> Iterator[Finding]:
    """The rows about an answer of `pytorch_variants.verify.inside.imports`.

    `torch` is the directory that was looked at, `distribution` its metadata.
    """
    if "error" not in answer or answer["error"]:
        error = answer.get("error") or answer.get("end", "")
        first = error.splitlines()[0] if error else "no answer"
        yield wrong("import torch", "imports and computes", (), detail=first)
        return
    yield from _identity(answer, torch, distribution)
    yield expect(
        "import torch",
        "imports and computes",
        "imports and computes" if answer["computes"] else "wrong product",
    )
    if variant.python:
        yield expect("Python", variant.python, answer["python"])
    yield _flags(variant, answer["arch_flags"])
    if variant.cuda or not variant.gpus:
        yield expect("CUDA version", variant.cuda or "none", answer["cuda"] or "none", "torch.version.cuda")
    yield _cudnn(variant, answer["cudnn"])
    if origin is Origin.SOURCE:
        options = _compiler_options(answer["config"])
        given = tuple(flag for flag in variant.cpu.flags if flag in options)
        yield expect("CPU flags", variant.cpu.flags, given, "torch.__config__")
    else:
        yield note("CPU flags", variant.cpu.flags, (), "torch.__config__", "not applied")
