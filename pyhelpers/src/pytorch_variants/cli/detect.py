"""The command `detect`."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pytorch_variants.cli.frame import PATH, command
from pytorch_variants.cli.options import as_json, flake, gpus, nixpkgs
from pytorch_variants.cli.output import console, print_json

if TYPE_CHECKING:
    from rich.console import Console

    from pytorch_variants.machine.advise import Advice
    from pytorch_variants.machine.official import Official


def _wheel_facts(wheels: Sequence["Official"]) -> Iterator[tuple[str, str]]:
    """The official wheels for pip and uv, in words."""
    if len(wheels) > 1:
        yield "wheels", "no official PyTorch runs on all of these GPUs: make an environment for each of these"
    for wheel in wheels:
        title = "wheel" if len(wheels) == 1 else ", ".join(wheel.gpus)
        if not wheel.torch:
            yield title, "no official PyTorch runs there"
            continue
        others = [
            f"{code} code for {gpu}" for gpu, code in zip(wheel.gpus, wheel.code, strict=True) if code != gpu
        ]
        what = f"PyTorch {wheel.torch} is the last official one: CUDA {wheel.cuda}"
        pythons = f"Python {wheel.python_min} to {wheel.python_max}"
        yield title, ", ".join([what, f"driver {wheel.driver} or later", pythons, *others])
        yield "pip", str(wheel.pip)
        yield "uv", str(wheel.uv)


def print_advice(console: "Console", advice: "Advice") -> None:
    """The best variant for a machine, the reasons, the second choice and what to type."""
    from rich.text import Text

    from pytorch_variants.cli.facts import print_facts
    from pytorch_variants.names.variant import parse_name

    second = parse_name(advice.second) if advice.second else None
    facts = [("why" if number == 0 else "", reason) for number, reason in enumerate(advice.reasons)]
    if second:
        facts.append(("second", f"{second.name}, for CPUs from {' and '.join(second.cpu.first)} on"))
    facts += _wheel_facts(advice.wheels)
    if advice.problem:
        facts.append(("problem", advice.problem))
    print_facts(console, advice.variant or "no variant", facts)
    if advice.command:
        # On one line, however narrow the terminal, to be copied.
        console.print(Text(f"\n{advice.command}"), soft_wrap=True)


@command
@gpus("A GPU of another machine, in any spelling")
@click.option("--cpuinfo", type=PATH, help="A copy of another machine's /proc/cpuinfo.")
@click.option("--driver", help="The driver's version on another machine, as in 570.86.15.")
@nixpkgs
@flake
@as_json
def detect(
    gpu: Sequence[str],
    cpuinfo: Path | None,
    driver: str | None,
    nixpkgs: str,
    flake: Path,
    json: bool,
) -> None:
    """Find the best variant for this machine's GPUs, driver and CPU, or for another's.

    It also says what to install with pip or uv: the last official PyTorch that all of the GPUs run.

    Exit code 1: as the machine is, that variant would not run there.

    Example: pytorch-variants detect --gpu "RTX 4090" --cpuinfo cpuinfo.txt --driver 570.86.15
    """
    from dataclasses import asdict

    from pytorch_variants import nix
    from pytorch_variants.machine.advise import advise
    from pytorch_variants.machine.command import find_place
    from pytorch_variants.machine.detect import find_machine

    found, cpu = find_machine(gpu, cpuinfo, driver)
    nix.package_set(nixpkgs, flake)
    targets: Sequence[str] = ()
    if nixpkgs == "embedded":
        from pytorch_variants.hardware.spelling import version
        from pytorch_variants.pins import wheels
        from pytorch_variants.pins.update import wheels_file

        releases = wheels.read(wheels_file(flake))["releases"]
        targets = sorted(
            {
                target
                for release in releases
                if release["system"] == cpu.platform
                for target in release.get("gpuTargets", [])
            },
            key=version,
        )
    advice = advise(found, cpu, targets, find_place(flake))
    if json:
        machine = {**asdict(found), "cpu": {"model": cpu.model, "platform": cpu.platform}}
        print_json({"schema": 1, "machine": machine, **asdict(advice)})
    else:
        print_advice(console(), advice)
    raise click.exceptions.Exit(1 if advice.problem else 0)
