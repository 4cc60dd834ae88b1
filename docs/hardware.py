"""Write docs/hardware.md from lib/hardware.toml: python docs/hardware.py."""

from collections.abc import Iterable
from pathlib import Path

from pytorch_variants.hardware.table import (
    cpus,
    driver_floors,
    gpus,
    wheels,
)

PAGE = Path(__file__).with_name("hardware.md")

HEAD = """# The hardware table

Written by `python docs/hardware.py` from [lib/hardware.toml](../lib/hardware.toml), which has the sources."""


def _table(titles: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(titles)
    lines = [head, ["---"] * len(head), *map(list, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _since(first: str, last: str | None = None) -> str:
    return f"{first} to {last}" if last else f"{first} and later"


def _systems(platforms: Iterable[str]) -> str:
    return ", ".join(platform.removesuffix("-linux") for platform in platforms)


def page() -> str:
    """The whole page."""
    of_gpus = (
        (
            f"`{gpu.name}`",
            f"{gpu.architecture} {gpu.capability}",
            _since(gpu.cuda_min, gpu.cuda_max),
            f"up to {gpu.cudnn_max}" if gpu.cudnn_max else "all",
            _since(gpu.pytorch_min),
            _systems(gpu.platforms),
            ", ".join(gpu.products),
        )
        for gpu in gpus().values()
    )
    of_cpus = (
        (
            f"`{cpu.name}`",
            f"`{' '.join(cpu.flags + cpu.disable)}`",
            " ".join(cpu.cpuinfo),
            ", ".join(cpu.without) or "nothing",
            _since(cpu.gcc_min),
            "; ".join(cpu.first),
        )
        for cpu in cpus().values()
    )
    drivers = ((major, _since(floor)) for major, floor in driver_floors().items())
    of_wheels = (
        (
            wheel.release,
            wheel.cuda,
            f"{wheel.python_min} to {wheel.python_max}",
            *(", ".join(wheel.targets.get(system, ())) for system in ("x86_64-linux", "aarch64-linux")),
        )
        for wheel in wheels().values()
    )
    parts = (
        HEAD,
        "## GPU architectures",
        _table(("name", "architecture", "CUDA", "cuDNN", "PyTorch", "systems", "products"), of_gpus),
        "## CPU instruction sets",
        _table(("name", "flags", "/proc/cpuinfo shows", "without", "GCC", "first CPUs"), of_cpus),
        "## Drivers",
        _table(("CUDA", "Linux driver"), drivers),
        "## Official wheels",
        "Those with CUDA. For Arm there are some since 2.11; what 2.15's have code for was not read.",
        _table(("PyTorch", "CUDA", "Python", "machine code, x86_64", "machine code, aarch64"), of_wheels),
    )
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
