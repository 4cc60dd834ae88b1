"""Which GPUs, driver and CPU a machine has: asked of NVIDIA's library or tool, read from /proc/cpuinfo."""

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pytorch_variants.errors import UserError
from pytorch_variants.hardware.spelling import (
    match_gpu,
    read_capability,
    version,
)

CPUINFO = Path("/proc/cpuinfo")
# More than any machine's; a file without an end is none of /proc/cpuinfo.
_CPUINFO_LIMIT = 32 * 1024 * 1024


@dataclass(frozen=True)
class FoundGpu:
    """A GPU by the name that its driver or a person gives it; the capability ("9.0") if that is known."""

    name: str
    capability: str | None = None


@dataclass(frozen=True)
class FoundGpus:
    """The GPUs of a machine in the driver's order, the driver's version ("570.86.15"), how it was asked."""

    gpus: tuple[FoundGpu, ...]
    driver: str | None
    source: str


@dataclass(frozen=True)
class FoundCpu:
    """A CPU: its model name, its platform as Nix writes it, and the flags that all its cores have."""

    model: str
    platform: str
    flags: frozenset[str]


def _by_nvml() -> FoundGpus:
    import pynvml

    pynvml.nvmlInit()
    try:
        found = []
        for index in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
            found.append(FoundGpu(pynvml.nvmlDeviceGetName(handle), f"{major}.{minor}"))
        return FoundGpus(tuple(found), pynvml.nvmlSystemGetDriverVersion(), "NVML")
    finally:
        pynvml.nvmlShutdown()


def _number(field: str) -> str | None:
    """A version of nvidia-smi's, None for its "[N/A]"."""
    return field.strip() if re.fullmatch(r"[0-9.]+", field.strip()) else None


def parse_smi(text: str) -> FoundGpus:
    """The GPUs of nvidia-smi's lines "name, compute_cap, driver_version".

    Jetson's nvidia-smi knows no compute capability and answers "[N/A]".
    """
    rows = [line.rsplit(",", 2) for line in text.splitlines() if line.count(",") >= 2]
    found = tuple(FoundGpu(name.strip(), _number(capability)) for name, capability, _ in rows)
    return FoundGpus(found, _number(rows[0][2]) if rows else None, "nvidia-smi")


def _by_smi() -> FoundGpus:
    result = subprocess.run(
        ["nvidia-smi", "--query-gpu=name,compute_cap,driver_version", "--format=csv,noheader"],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=60,
        check=True,
    )
    return parse_smi(result.stdout)


def name_gpus(texts: Sequence[str], driver: str | None) -> FoundGpus:
    """The GPUs of another machine, in any spelling: a number may be that of a GPU which the table lacks."""

    def named(text: str) -> FoundGpu:
        number = read_capability(text)
        return FoundGpu(text, None if match_gpu(text) or not number else number[0])

    return FoundGpus(tuple(named(text) for text in texts), driver, "as asked for")


def find_machine(
    gpus: Sequence[str] = (), cpuinfo: Path | None = None, driver: str | None = None
) -> tuple[FoundGpus, FoundCpu]:
    """The GPUs, the driver and the CPU of this machine, or of another as far as that is said.

    Raises UserError.
    """
    found = name_gpus(gpus, driver) if gpus else find_gpus()
    if driver is not None:
        version(driver)
        found = replace(found, driver=driver)
    return found, find_cpu(cpuinfo) if cpuinfo else find_cpu()


def find_gpus() -> FoundGpus:
    """The GPUs of this machine, by NVML, else by nvidia-smi; none where neither answers, and then why."""
    import pynvml

    try:
        return _by_nvml()
    except pynvml.NVMLError as error:
        reason = str(error)
    try:
        return _by_smi()
    except (OSError, subprocess.SubprocessError):
        return FoundGpus((), None, f"NVML: {reason}; nvidia-smi: no answer")


def parse_cpuinfo(text: str, source: str) -> FoundCpu:
    """The CPU of a /proc/cpuinfo: "flags" are x86's, "Features" Arm's; what not all cores have is left out.

    Raises UserError if there is neither.
    """
    fields: dict[str, list[str]] = {}
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            fields.setdefault(name.strip(), []).append(value.strip())
    for key, platform in (("flags", "x86_64-linux"), ("Features", "aarch64-linux")):
        if key in fields:
            flags = frozenset.intersection(*(frozenset(value.split()) for value in fields[key]))
            parts = [
                f"{name} {fields[name][0]}" for name in ("CPU implementer", "CPU part") if name in fields
            ]
            return FoundCpu(fields.get("model name", [", ".join(parts)])[0] or "unnamed", platform, flags)
    raise UserError(f"{source}: no flags and no Features of a CPU; write the path of a copy of /proc/cpuinfo")


def find_cpu(path: Path = CPUINFO) -> FoundCpu:
    """The CPU of this machine, or of the one whose /proc/cpuinfo was copied to a file.

    Raises UserError if the file cannot be read or is none.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_CPUINFO_LIMIT)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(
            f"{path}: {reason}; write --cpuinfo and a copy of a machine's /proc/cpuinfo"
        ) from None
    return parse_cpuinfo(content.decode(errors="replace"), str(path))
