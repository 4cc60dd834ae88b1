"""Which variant is the best for a machine, and why."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pytorch_variants.errors import UserError
from pytorch_variants.hardware.compatibility import nearest_code, runs_on
from pytorch_variants.hardware.spelling import (
    parse_gpu,
    version,
)
from pytorch_variants.hardware.table import (
    Cpu,
    Gpu,
    cpus,
    driver_floors,
    gpus,
)
from pytorch_variants.machine.command import HERE, Place, command, find_place
from pytorch_variants.machine.detect import (
    FoundCpu,
    FoundGpu,
    FoundGpus,
    find_machine,
)
from pytorch_variants.machine.official import Official, official, runs_cuda


@dataclass(frozen=True)
class Advice:
    """The best variant, the second choice and what to type for the best.

    `variant` is None where no instruction set of the table fits the CPU, `second` where just one does.
    `reasons` say why it is this one; `problem` is what keeps it from running on the machine as it is.
    `wheels` are PyTorch's official ones for pip and uv, more than one if none runs on all GPUs. `runs_cuda`
    has the major releases of CUDA that the driver runs, None if that is not known.
    """

    variant: str | None
    second: str | None
    command: str | None
    reasons: tuple[str, ...]
    problem: str | None
    wheels: tuple[Official, ...] = ()
    runs_cuda: tuple[str, ...] | None = None


@dataclass(frozen=True)
class _Choice:
    """The architecture to build for a GPU, if there is one, and the reason."""

    gpu: Gpu | None
    reason: str


def _nearest_usable(name: str, capability: str, platform: str) -> _Choice:
    """What runs on a GPU that the table lacks: machine code, else PTX, which the driver compiles."""
    known = {gpu.number: gpu for gpu in gpus().values() if platform in gpu.platforms and not gpu.tegra}
    major, minor = version(capability)
    number = 10 * major + minor
    unknown = f"{name}: the hardware table has no compute capability {capability}"
    older = [arch for arch in known if runs_on("ptx", arch, "", number)]
    if not older:
        return _Choice(None, f"{unknown}; all that it has are later: no code runs on it")
    nearest = nearest_code(known, number)
    if nearest:
        return _Choice(known[nearest], f"{unknown}; the nearest that runs on it is {known[nearest].name}")
    newest = known[max(older)]
    if len(older) < len(known):
        return _Choice(None, f"{unknown}; no code for the others runs on it")
    ptx = replace(newest, target=f"{newest.target}+PTX")
    return _Choice(ptx, f"{unknown}; it can run the PTX of the newest one, {ptx.target}")


def _choose_gpu(found: FoundGpu, platform: str) -> _Choice:
    if found.capability is None:
        gpu = parse_gpu(found.name)
    else:
        known = next((gpu for gpu in gpus().values() if gpu.capability == found.capability), None)
        if known is None:
            return _nearest_usable(found.name, found.capability, platform)
        gpu = known
    if platform not in gpu.platforms:
        raise UserError(
            f"{found.name} ({gpu.name}) exists on {', '.join(gpu.platforms)} only, and the CPU is of "
            f"{platform}; write --gpu and --cpuinfo of one machine"
        )
    return _Choice(gpu, f"{found.name} is {gpu.name}, {gpu.architecture} {gpu.capability}")


def lacking(cpu: FoundCpu, wanted: Cpu) -> tuple[str, ...]:
    """What a CPU lacks of an instruction set of the table, as /proc/cpuinfo names it."""
    return tuple(flag for flag in wanted.cpuinfo if flag not in cpu.flags)


def fitting(cpu: FoundCpu) -> tuple[Cpu, ...]:
    """The instruction sets of the table that a CPU has, from the most common to the most demanding."""
    return tuple(
        candidate
        for candidate in cpus().values()
        if cpu.platform in candidate.platforms and not lacking(cpu, candidate)
    )


def _cpu_reason(cpu: FoundCpu, sets: Sequence[Cpu]) -> str:
    """The set that was taken, and what the CPU lacks of the next one."""
    names = list(cpus())
    following = (cpus()[name] for name in names[names.index(sets[-1].name) + 1 :])
    missing = next(
        (
            f"{candidate.name} needs {', '.join(lacking(cpu, candidate))}"
            for candidate in following
            if cpu.platform in candidate.platforms
        ),
        "the table has none that asks for more",
    )
    return f"{cpu.model} has {sets[-1].name}; {missing}"


def _driver(chosen: Iterable[Gpu], driver: str | None) -> tuple[str, str | None]:
    """What CUDA the driver runs, and the problem if it runs none for these GPUs."""
    first = max((version(gpu.cuda_min) for gpu in chosen), default=(0,))
    last = min((version(gpu.cuda_max) for gpu in chosen if gpu.cuda_max), default=(10**6,))
    if first > last:
        names = ", ".join(gpu.name for gpu in chosen)
        return "", f"no CUDA targets all of {names}: build for one of them"
    majors = [major for major in driver_floors() if first[0] <= int(major) <= last[0]]
    floors = {major: f"CUDA {major} needs driver {driver_floors()[major]} or later" for major in majors}
    if driver is None:
        return "; ".join(floors.values()), None
    runs = [major for major in majors if version(driver) >= version(driver_floors()[major])]
    needs = "; ".join(text for major, text in floors.items() if major not in runs)
    if not runs:
        return "", f"driver {driver} is too old: {needs}"
    return f"driver {driver} runs CUDA {' and '.join(runs)}" + (needs and f"; {needs}"), None


def _of_wheel(gpus: Sequence[Gpu], targets: Iterable[str]) -> tuple[str | None, list[str], str | None]:
    """The official wheel's package for GPUs of which it is not built for all, and why; else nothing.

    The third is the problem if it has no code for one.
    """
    have = [int(target.replace(".", "")) for target in targets]
    reasons = []
    for gpu in gpus:
        near = nearest_code(have, gpu.number)
        if near is None:
            problem = (
                f"the official wheel has no code that {gpu.name} runs: write --nixpkgs locked or the path of "
                "a nixpkgs, which compiles"
            )
            return None, [], problem
        if near != gpu.number:
            it = gpu.name if len(gpus) > 1 else "it"
            reasons.append(f"the official wheel has sm{near} code for {it}")
    return (f"pytorch-bin-{'-'.join(gpu.name for gpu in gpus)}" if reasons else None), reasons, None


def advise(found: FoundGpus, cpu: FoundCpu, wheel_targets: Sequence[str] = (), place: Place = HERE) -> Advice:
    """The best variant for some GPUs and a CPU: the GPUs' own architectures, the CPU's most demanding set.

    `wheel_targets` ("9.0") are what the official wheel is built for, where that takes the place of compiling.
    `place` is where the command is to work.

    Raises UserError for a GPU that is known by name only and to nobody, and for one that is on no machine
    with such a CPU.
    """
    sets = fitting(cpu)
    choices = {_choose_gpu(gpu, cpu.platform): count for gpu, count in Counter(found.gpus).items()}
    reasons = [
        f"{count} x {choice.reason}" if count > 1 else choice.reason for choice, count in choices.items()
    ]
    if not found.gpus:
        reasons.append(f"no NVIDIA GPU ({found.source})")
    by_target = {choice.gpu.target: choice.gpu for choice in choices if choice.gpu}
    chosen = sorted(by_target.values(), key=lambda gpu: version(gpu.capability))
    # Jetsons count their drivers otherwise.
    driver = None if any(gpu.tegra for gpu in chosen) else found.driver
    wheels = official(chosen, cpu.platform, driver)
    advice = Advice(
        None, None, None, tuple(reasons), None, wheels, runs_cuda(driver) if driver is not None else None
    )
    if not sets:
        return replace(advice, problem=f"{cpu.model} has no instruction set of the table")
    reasons.append(_cpu_reason(cpu, sets))
    problem = None
    if chosen and not any(gpu.tegra for gpu in chosen):
        reason, problem = _driver(chosen, driver)
        reasons.extend([reason] if reason else [])
    names = [f"pytorch-{'-'.join(gpu.name for gpu in chosen) or 'cpu'}-{fit.name}" for fit in sets]
    if wheel_targets and not chosen:
        problem = "the official wheel is built for CUDA: write --gpu, or --nixpkgs locked, which compiles"
    elif wheel_targets:
        wheel, why, lacking_code = _of_wheel(chosen, wheel_targets)
        if lacking_code:
            return replace(advice, reasons=tuple(reasons), problem=lacking_code)
        names = [wheel] if wheel else names
        reasons.extend(why)
    return replace(
        advice,
        variant=names[-1],
        second=names[-2] if len(names) > 1 else None,
        command=command(place, names[-1], chosen, sets[-1], wheels),
        reasons=tuple(reasons),
        problem=problem,
    )


def detect(gpus: Sequence[str] = (), cpuinfo: Path | None = None, driver: str | None = None) -> Advice:
    """The best variant for this machine, or for another whose GPUs, /proc/cpuinfo or driver are given.

    GPUs are named in any spelling. Raises UserError for what is no GPU, and where the CPU cannot be read, as
    on systems other than Linux: there, copy another machine's /proc/cpuinfo.
    """
    return advise(*find_machine(gpus, cpuinfo, driver), place=find_place())
