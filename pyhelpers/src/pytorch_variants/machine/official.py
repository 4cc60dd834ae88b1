"""Which of PyTorch's official wheels runs on a machine, for whoever installs them with pip or uv."""

from collections.abc import Sequence
from dataclasses import dataclass

from pytorch_variants.hardware.compatibility import nearest_code
from pytorch_variants.hardware.spelling import version
from pytorch_variants.hardware.table import Gpu, Wheel, driver_floors, wheels


@dataclass(frozen=True)
class Official:
    """The last release of PyTorch whose official wheel runs on these GPUs and on the machine's driver.

    `gpus` are names ("sm89"), `code` says in their order whose machine code each runs, which may be an
    earlier one's ("sm86"). `driver` is the first that runs it, `pip` and `uv` are the lines that install it.
    Where no wheel runs, `code` is empty, and all that follows it is None.
    """

    gpus: tuple[str, ...]
    code: tuple[str, ...] = ()
    torch: str | None = None
    cuda: str | None = None
    python_min: str | None = None
    python_max: str | None = None
    driver: str | None = None
    pip: str | None = None
    uv: str | None = None


def runs_cuda(driver: str) -> tuple[str, ...]:
    """The major releases of CUDA that a driver runs."""
    return tuple(major for major, floor in driver_floors().items() if version(driver) >= version(floor))


def requirement(torch: str) -> str:
    """What pip and uv take for a release of PyTorch: with its later corrections."""
    return f"'torch=={torch}.*'"


def _code(wheel: Wheel, gpu: Gpu, platform: str) -> int | None:
    """Whose machine code of a wheel a GPU runs; no official wheel has PTX."""
    if gpu.target.endswith("+PTX"):
        return None
    return nearest_code(
        (int(target.replace(".", "")) for target in wheel.targets.get(platform, ())), gpu.number
    )


def _last(gpus: Sequence[Gpu], platform: str, driver: str | None) -> Wheel | None:
    for wheel in reversed(wheels().values()):
        known = driver is None or wheel.cuda.partition(".")[0] in runs_cuda(driver)
        if known and all(_code(wheel, gpu, platform) for gpu in gpus):
            return wheel
    return None


def _official(gpus: Sequence[Gpu], wheel: Wheel | None, platform: str) -> Official:
    names = tuple(gpu.name for gpu in gpus)
    if wheel is None:
        return Official(names)
    install = f"pip install {requirement(wheel.release)}"
    return Official(
        gpus=names,
        code=tuple(f"sm{_code(wheel, gpu, platform)}" for gpu in gpus),
        torch=wheel.release,
        cuda=wheel.cuda,
        python_min=wheel.python_min,
        python_max=wheel.python_max,
        driver=driver_floors()[wheel.cuda.partition(".")[0]],
        pip=install,
        uv=f"uv {install}",
    )


def official(gpus: Sequence[Gpu], platform: str, driver: str | None) -> tuple[Official, ...]:
    """What to install for some GPUs of one machine: one wheel if one has code for all, else one for each.

    GPUs that have the same last wheel share it. Tegra modules count their drivers otherwise: leave them out.
    """
    if not gpus:
        return ()
    together = _last(gpus, platform, driver)
    if together:
        return (_official(gpus, together, platform),)
    apart: dict[Wheel | None, list[Gpu]] = {}
    for gpu in gpus:
        apart.setdefault(_last([gpu], platform, driver), []).append(gpu)
    return tuple(_official(some, wheel, platform) for wheel, some in apart.items())
