"""Read the name of a variant, as lib/parseName.nix does."""

import platform
import re
from dataclasses import dataclass
from functools import cache
from typing import Literal

from pytorch_variants.errors import UserError
from pytorch_variants.hardware.spelling import (
    match_cpu,
    match_gpu,
    nearest,
    other_maker,
    parse_cpu,
    parse_gpu,
)
from pytorch_variants.hardware.table import (
    Cpu,
    Gpu,
    common_sets,
    cpus,
    gpus,
)

_VERSIONS = r"(?:-python3(?P<python>[0-9]+))?(?:-cuda(?P<cuda>[0-9]+_[0-9]+))?"
_PLAIN_GPUS = "(?P<gpus>sm[0-9]+(?:-sm[0-9]+)*)"
_COMPILED = re.compile(
    f"(?P<package>pytorch|torchvision|torchaudio){_VERSIONS}"
    "-(?P<gpus>cpu|sm[0-9]+[af]?(?:-sm[0-9]+[af]?)*)-(?P<cpu>.+)",
    re.ASCII | re.DOTALL,
)
# Python is named before "-bin" or after it.
_WHEEL = re.compile(
    f"pytorch(?:-python3(?P<first>[0-9]+)(?=-bin(?!-python)))?-bin{_VERSIONS}-{_PLAIN_GPUS}", re.ASCII
)
_CACHED = re.compile(f"pytorch{_VERSIONS}-{_PLAIN_GPUS}", re.ASCII)
# What it says of the wheel is not there.
_WHEEL_OF_MORE = re.compile(
    r"(?P<start>pytorch(?:-python3[0-9]+)?-bin(?:-python3[0-9]+)?(?:-cuda[0-9]+_[0-9]+)?-)"
    r"(?P<gpus>cpu|sm[0-9]+(?:-sm[0-9]+)*)(?:-.*)?",
    re.ASCII | re.DOTALL,
)
_START = re.compile(
    "(?:pytorch(?:-python3[0-9]+)?(?P<wheel>-bin)(?:-python3[0-9]+)?(?:-cuda[0-9]+_[0-9]+)?"
    "|(?:pytorch|torchvision|torchaudio)(?:-python3[0-9]+)?(?:-cuda[0-9]+_[0-9]+)?)?",
    re.ASCII,
)


@dataclass(frozen=True)
class Variant:
    """What a variant's name says; `python` and `cuda` are None where the name leaves them out.

    `gpus` is empty for a CPU build and has several members for a multi-architecture build. `kind` is
    "compiled"; or "wheel" for an official wheel ("pytorch-bin-sm90"), or "cached" for nixpkgs' own CUDA build
    ("pytorch-sm90"), cut down to what the GPUs run of it. These two are for every CPU of the platform: `cpu`
    is the least set that such CPUs have.
    """

    name: str
    package: str
    python: str | None
    cuda: str | None
    gpus: tuple[Gpu, ...]
    cpu: Cpu
    kind: Literal["compiled", "wheel", "cached"] = "compiled"


@cache
def variants() -> tuple[Variant, ...]:
    """Every GPU, and none, with each instruction set that some platform has beside it, by the short name.

    The same as lib/variants.nix: package "pytorch", at most one GPU, Python and CUDA left out.
    """
    return tuple(
        Variant(
            name=f"pytorch-{gpu.name if gpu else 'cpu'}-{cpu.name}",
            package="pytorch",
            python=None,
            cuda=None,
            gpus=(gpu,) if gpu else (),
            cpu=cpu,
        )
        for gpu in (*gpus().values(), None)
        for cpu in cpus().values()
        if gpu is None or set(gpu.platforms) & set(cpu.platforms)
    )


def short_names() -> list[str]:
    """The names of `variants`."""
    return [variant.name for variant in variants()]


def _gpu_name(text: str) -> str | None:
    """The name of a table's entry: a target as "sm90a" has no short name."""
    try:
        gpu = match_gpu(text)
    except UserError:
        return None
    return f"sm{gpu.number}" if gpu else None


def _least_set() -> Cpu:
    """What every CPU of this machine's platform has; the table's first where it has none of the platform."""
    here = f"{platform.machine()}-linux"
    return min(cpus().values(), key=lambda cpu: here not in cpu.platforms)


def nearest_names(name: str) -> list[str]:
    """The names of variants that a text is nearest to, as lib/nearestNames.nix finds them.

    Those of the GPU that it, or a part of it between dashes, names in any spelling, with the instruction set
    at its end, else with the common ones; where it names no GPU, those that are spelled most like it. The
    package, the Python and the CUDA at its start stay. A text that begins as an official wheel's name gets
    such names.

    >>> nearest_names("torchvision-rtx4090-AVX-512")
    ['torchvision-sm89-avx512']
    >>> nearest_names("pytorch-bin-rtx4090")
    ['pytorch-bin-sm89']
    """
    start = _START.match(name)
    prefix = start[0] if start else ""
    parts = [part for part in re.split("[- ]+", name[len(prefix) :]) if part]
    gpu = next(filter(None, map(_gpu_name, [" ".join(parts), *parts])), None)
    if start and start["wheel"]:
        return [f"{prefix}-{gpu}"] if gpu else nearest(name, [f"{prefix}-{entry}" for entry in gpus()])
    if "cpu" in parts:
        gpu = "cpu"
    if gpu is None:
        return nearest(name, short_names())
    ends = ("-".join(parts[count:]) for count in range(len(parts)))
    cpu = next(filter(None, map(match_cpu, ends)), None)
    sets = [variant.cpu.name for variant in variants() if variant.name.split("-")[1] == gpu]
    if cpu and cpu.name in sets:
        chosen = [cpu.name]
    elif parts[0] == gpu and len(parts) > 1:
        chosen = nearest("-".join(parts[1:]), sets)
    else:
        chosen = [name for name in common_sets() if name in sets]
    return [f"{prefix or 'pytorch'}-{gpu}-{name}" for name in chosen]


def parse_name(name: str) -> Variant:
    """Read a variant's name, short or spelled out.

    >>> parse_name("pytorch-python313-cuda12_8-sm90-avx512").cuda
    '12.8'
    >>> parse_name("pytorch-bin-cuda13_0-sm90").kind
    'wheel'

    Raises UserError, which names the nearest variants.
    """
    # "pytorch-sm80-sm90" is no "pytorch-sm80" with an instruction set of that name.
    wheel, cached = _WHEEL.fullmatch(name), _CACHED.fullmatch(name)
    parts = wheel or cached or _COMPILED.fullmatch(name)
    if parts is None and (maker := other_maker(name)):
        raise UserError(f"{name}: this GPU is {maker}")
    if parts is None and (more := _WHEEL_OF_MORE.fullmatch(name)):
        if more["gpus"] == "cpu":
            raise UserError(
                f"{name}: the official wheel is here for CUDA alone, and runs without a GPU too: "
                f"write {more['start']}sm80, or pytorch-cpu-avx2 to compile one without CUDA"
            )
        raise UserError(
            f"{name}: the official wheel is for no instruction set, it picks AVX2 or AVX-512 when it runs: "
            f"write {more['start']}{more['gpus']}"
        )
    if parts is None:
        raise _unknown(
            name,
            "not a variant's name, which is pytorch-[python3XX-][cudaXX_Y-]<smXX|cpu>-<instruction set>, "
            "or pytorch-bin-<smXX> for the official wheel",
        )
    gpu_names = [] if parts["gpus"] == "cpu" else parts["gpus"].split("-")
    if unknown := [gpu for gpu in gpu_names if gpu.rstrip("af") not in gpus()]:
        raise _unknown(name, f"no GPU architecture {', '.join(unknown)}")
    if not wheel and not cached:
        _check_cpu(name, gpu_names, parts["cpu"])
    found = parts.groupdict()
    python = found.get("first") or parts["python"]
    return Variant(
        name=name,
        package="pytorch-bin" if wheel else found.get("package", "pytorch"),
        python=python and f"3.{python}",
        cuda=parts["cuda"] and parts["cuda"].replace("_", "."),
        gpus=tuple(parse_gpu(gpu) for gpu in gpu_names),
        cpu=_least_set() if wheel or cached else parse_cpu(parts["cpu"]),
        kind="wheel" if wheel else "cached" if cached else "compiled",
    )


def refuse_unbuilt(variant: Variant) -> None:
    """Raise UserError for a name that is read and that no build has yet: what it promises is not settled."""
    if variant.kind != "cached":
        return
    platforms = set.intersection(*(set(gpu.platforms) for gpu in variant.gpus))
    sets = [name for name in common_sets() if platforms & set(cpus()[name].platforms)]
    compiled = f"{variant.name}-{(*sets, *common_sets())[0]}"
    raise UserError(
        f"{variant.name}: nothing has this name yet, for nixpkgs' own build cannot be cut down to one GPU; "
        f"write {compiled}, or another instruction set, for what was compiled, "
        f"or {variant.name.replace('pytorch', 'pytorch-bin', 1)} for the official wheel"
    )


def _check_cpu(name: str, gpu_names: list[str], cpu_name: str) -> None:
    """That there is such an instruction set, and a platform that has it and the GPUs."""
    if cpu_name not in cpus():
        raise _unknown(name, f"no CPU instruction set {cpu_name}")
    cpu = cpus()[cpu_name]
    for gpu_name in gpu_names:
        gpu = gpus()[gpu_name.rstrip("af")]
        if not set(gpu.platforms) & set(cpu.platforms):
            raise _unknown(
                name,
                f"{gpu_name} exists on {', '.join(gpu.platforms)} only, "
                f"and {cpu.name} on {', '.join(cpu.platforms)}",
            )


def _unknown(name: str, why: str) -> UserError:
    return UserError(f"{name}: {why}; nearest: {', '.join(nearest_names(name))}")
