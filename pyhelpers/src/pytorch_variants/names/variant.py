"""Read the name of a variant, as lib/parseName.nix does."""

import platform
import re
from dataclasses import dataclass
from functools import cache

from pytorch_variants.errors import UserError
from pytorch_variants.hardware.spelling import (
    match_cpu,
    match_gpu,
    nearest,
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

_NAME = re.compile(
    "(?P<package>pytorch|torchvision|torchaudio)"
    "(?:-python3(?P<python>[0-9]+))?(?:-cuda(?P<cuda>[0-9]+_[0-9]+))?"
    "-(?P<gpus>cpu|sm[0-9]+[af]?(?:-sm[0-9]+[af]?)*)-(?P<cpu>.+)",
    re.ASCII,
)
_BIN = re.compile("pytorch-(?:python3(?P<python>[0-9]+)-)?bin-(?P<gpu>sm[0-9]+)", re.ASCII)
_START = re.compile(
    "(?:(?:pytorch|torchvision|torchaudio)(?:-python3[0-9]+)?(?:-cuda[0-9]+_[0-9]+)?)?", re.ASCII
)


@dataclass(frozen=True)
class Variant:
    """What a variant's name says; `python` and `cuda` are None where the name leaves them out.

    `gpus` is empty for a CPU build and has several members for a multi-architecture build. The package
    "pytorch-bin" is an official wheel cut down to what one GPU runs of it, for every CPU of the platform:
    `cpu` is the least set that such CPUs have.
    """

    name: str
    package: str
    python: str | None
    cuda: str | None
    gpus: tuple[Gpu, ...]
    cpu: Cpu


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
    """The name of a table's entry or "cpu", for a target as "sm90a" has no short name."""
    if text == "cpu":
        return text
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
    package, the Python and the CUDA at its start stay.

    >>> nearest_names("torchvision-rtx4090-AVX-512")
    ['torchvision-sm89-avx512']
    """
    start = _START.match(name)
    prefix = start[0] if start else ""
    parts = [part for part in re.split("[- ]+", name[len(prefix) :]) if part]
    texts = ["cpu"] if "cpu" in parts else [" ".join(parts), *parts]
    gpu = next(filter(None, map(_gpu_name, texts)), None)
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

    Raises UserError, which names the nearest variants.
    """
    official = _BIN.fullmatch(name)
    if official and official["gpu"] in gpus():
        return Variant(
            name=name,
            package="pytorch-bin",
            python=official["python"] and f"3.{official['python']}",
            cuda=None,
            gpus=(parse_gpu(official["gpu"]),),
            cpu=_least_set(),
        )
    parts = _NAME.fullmatch(name)
    problem = None
    if parts is None:
        problem = "not a variant's name, which is pytorch-[python3XX-][cudaXX_Y-]<smXX|cpu>-<instruction set>"
    else:
        gpu_names = [] if parts["gpus"] == "cpu" else parts["gpus"].split("-")
        unknown = [gpu for gpu in gpu_names if gpu.rstrip("af") not in gpus()]
        if unknown:
            problem = f"no GPU architecture {', '.join(unknown)}"
        elif parts["cpu"] not in cpus():
            problem = f"no CPU instruction set {parts['cpu']}"
        else:
            cpu = cpus()[parts["cpu"]]
            for gpu in (gpus()[name.rstrip("af")] for name in gpu_names):
                if not set(gpu.platforms) & set(cpu.platforms):
                    problem = (
                        f"{gpu.name} exists on {', '.join(gpu.platforms)} only, "
                        f"and {cpu.name} on {', '.join(cpu.platforms)}"
                    )
    if parts is None or problem:
        raise UserError(f"{name}: {problem}; nearest: {', '.join(nearest_names(name))}")
    return Variant(
        name=name,
        package=parts["package"],
        python=parts["python"] and f"3.{parts['python']}",
        cuda=parts["cuda"] and parts["cuda"].replace("_", "."),
        gpus=tuple(parse_gpu(gpu) for gpu in gpu_names),
        cpu=parse_cpu(parts["cpu"]),
    )
