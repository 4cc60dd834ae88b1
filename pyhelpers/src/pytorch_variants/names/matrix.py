"""The matrix of all variants, GPU by instruction set, filtered by system, GPU, instruction set and CUDA."""

from collections.abc import Sequence
from dataclasses import dataclass

from pytorch_variants.errors import UserError
from pytorch_variants.hardware.spelling import (
    parse_cpu,
    parse_gpu,
    version,
)
from pytorch_variants.hardware.table import (
    Gpu,
    cpus,
    driver_floors,
)
from pytorch_variants.names.variant import variants


@dataclass(frozen=True)
class Entry:
    """One variant: its package's name, where it is built, its GPU ("sm90", or "cpu") and instruction set."""

    name: str
    system: str
    gpu: str
    cpu: str


def systems() -> list[str]:
    """The systems that some instruction set of the table is for."""
    return sorted({platform for cpu in cpus().values() for platform in cpu.platforms}, reverse=True)


def targets(cuda: str, gpu: Gpu) -> bool:
    """Whether a CUDA release ("12.8") has code for a GPU."""
    last = version(gpu.cuda_max) if gpu.cuda_max else (10**6,)
    return version(gpu.cuda_min) <= version(cuda) <= last


def _read_cuda(text: str) -> str:
    release = version(text.replace("_", "."))
    if len(release) != 2 or str(release[0]) not in driver_floors():
        known = " or ".join(driver_floors())
        raise UserError(f'"{text}" is no CUDA release of this project; write one of CUDA {known}, as in 12.8')
    return f"{release[0]}.{release[1]}"


def _read_system(text: str) -> str:
    if text not in systems():
        raise UserError(f'"{text}" is no system that variants are built on; write {" or ".join(systems())}')
    return text


def entries(
    system: Sequence[str] = (), gpu: Sequence[str] = (), cpu: Sequence[str] = (), cuda: str | None = None
) -> list[Entry]:
    """The variants that all filters let through, in the table's order; an empty filter lets all through.

    GPUs and instruction sets are read in any spelling, "cpu" is the build without a GPU. With a CUDA
    release the names spell it out, and GPUs that it cannot target are left out.

    Raises UserError for what names nothing, and where nothing is left.
    """
    in_systems = {_read_system(text) for text in system}
    in_gpus = {text if text == "cpu" else parse_gpu(text).name for text in gpu}
    in_cpus = {parse_cpu(text).name for text in cpu}
    release = None if cuda is None else _read_cuda(cuda)
    found = [
        Entry(
            name=variant.name.replace("-", f"-cuda{release.replace('.', '_')}-", 1)
            if release and variant.gpus
            else variant.name,
            system=platform,
            gpu=variant.gpus[0].name if variant.gpus else "cpu",
            cpu=variant.cpu.name,
        )
        for variant in variants()
        for platform in variant.cpu.platforms
        if all(
            platform in one.platforms and (release is None or targets(release, one)) for one in variant.gpus
        )
    ]
    left = [
        entry
        for entry in found
        if (not in_systems or entry.system in in_systems)
        and (not in_gpus or entry.gpu in in_gpus)
        and (not in_cpus or entry.cpu in in_cpus)
    ]
    if not left:
        raise UserError("no variant is all of that; leave out one of --system, --gpu, --cpu and --cuda")
    return left
