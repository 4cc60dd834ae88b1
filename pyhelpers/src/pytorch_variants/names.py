"""Read the name of a variant, as lib/parseName.nix does."""

import platform
import re
from dataclasses import dataclass
from functools import cache

from pytorch_variants.errors import UserError
from pytorch_variants.hardware import Cpu, Gpu, cpus, gpus, nearest, parse_cpu, parse_gpu

_NAME = re.compile(
    "(?P<package>pytorch|torchvision|torchaudio)"
    "(?:-python3(?P<python>[0-9]+))?(?:-cuda(?P<cuda>[0-9]+_[0-9]+))?"
    "-(?P<gpus>cpu|sm[0-9]+[af]?(?:-sm[0-9]+[af]?)*)-(?P<cpu>.+)",
    re.ASCII,
)
_BIN = re.compile("pytorch-(?:python3(?P<python>[0-9]+)-)?bin-(?P<gpu>sm[0-9]+)", re.ASCII)


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
            cpu=next(cpu for cpu in cpus().values() if f"{platform.machine()}-linux" in cpu.platforms),
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
        raise UserError(f"{name}: {problem}; nearest: {', '.join(nearest(name, short_names()))}")
    return Variant(
        name=name,
        package=parts["package"],
        python=parts["python"] and f"3.{parts['python']}",
        cuda=parts["cuda"] and parts["cuda"].replace("_", "."),
        gpus=tuple(parse_gpu(gpu) for gpu in gpu_names),
        cpu=parse_cpu(parts["cpu"]),
    )
