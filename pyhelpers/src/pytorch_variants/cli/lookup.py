"""The command `lookup`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytorch_variants.cli.frame import argument, command
from pytorch_variants.cli.options import as_json, complete_what
from pytorch_variants.cli.output import console, print_json
from pytorch_variants.hardware.table import Cpu, Gpu

if TYPE_CHECKING:
    from rich.console import Console

    from pytorch_variants.cli.facts import Value
    from pytorch_variants.names.lookup import Match


def _range(first: str, last: str | None) -> str:
    return f"{first} to {last}" if last else f"{first} and later"


def _gpu_facts(gpu: Gpu) -> list[tuple[str, "Value"]]:
    return [
        ("name", gpu.name),
        ("gpuTargets", gpu.target),
        ("CUDA", _range(gpu.cuda_min, gpu.cuda_max)),
        ("cuDNN", f"up to {gpu.cudnn_max}" if gpu.cudnn_max else ""),
        ("PyTorch", _range(gpu.pytorch_min, None)),
        ("platforms", gpu.platforms),
        ("products", gpu.products),
    ]


def _cpu_facts(cpu: Cpu) -> list[tuple[str, "Value"]]:
    return [
        ("name", cpu.name),
        ("first", cpu.first),
        ("cpuinfo", " ".join(cpu.cpuinfo)),
        ("flags", " ".join(cpu.flags)),
        ("off", " ".join(cpu.disable)),
        ("without", cpu.without),
        ("GCC", _range(cpu.gcc_min, None)),
        ("platforms", cpu.platforms),
    ]


def print_match(console: "Console", match: "Match") -> None:
    """All that the table knows of what a text names."""
    from pytorch_variants.cli.facts import print_facts

    entry = match.entry
    if isinstance(entry, Gpu):
        what = f"NVIDIA {entry.architecture}, compute capability {entry.capability}"
        title = f"{match.product}: {what}" if match.product else what
        facts = _gpu_facts(entry)
    else:
        title, facts = f"{entry.title}, a CPU instruction set", _cpu_facts(entry)
    print_facts(
        console,
        title,
        [
            *facts,
            (
                "variants",
                match.variants or f'none by name; lib.mkPytorchVariant {{ gpu = "{entry.name}"; … }}',
            ),
            ("other", match.similar),
            *(("note", note) for note in match.notes),
        ],
    )


def print_matches(console: "Console", matches: Sequence["Match"]) -> None:
    """The matches one below the other."""
    for index, match in enumerate(matches):
        if index:
            console.print()
        print_match(console, match)


@command
@argument(
    "what",
    nargs=-1,
    required=True,
    shell_complete=complete_what,
    help="GPUs and instruction sets, in any spelling; what is one name needs no quotes.",
)
@as_json
def lookup(what: Sequence[str], json: bool) -> None:
    """Say what the name of a GPU, an architecture or an instruction set stands for.

    Example: pytorch-variants lookup "NVIDIA H100 80GB HBM3" sm_89 RTX4090 avx512
    """
    from pytorch_variants.names.lookup import (
        find_all,
        to_json,
    )

    matches = find_all(what)
    if json:
        print_json(to_json(matches))
    else:
        print_matches(console(), matches)
