"""Lookups, the matrix and what was detected, for people: printed to fit a terminal of any width."""

import textwrap
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.text import Text

from pytorch_variants.advice import Advice
from pytorch_variants.hardware import Cpu, Gpu, generation, gpus
from pytorch_variants.lookup import Match
from pytorch_variants.matrix import Entry
from pytorch_variants.names import parse_name

Value = str | Sequence[str]


def _range(first: str, last: str | None) -> str:
    return f"{first} to {last}" if last else f"{first} and later"


def _lines(value: Value, width: int) -> list[str]:
    """A text, or items with commas between them that are not broken, as lines of some width."""
    if not isinstance(value, str):
        value = ", ".join(item.replace(" ", "\N{NO-BREAK SPACE}") for item in value)
    lines = textwrap.wrap(value, width, break_on_hyphens=False)
    return [line.replace("\N{NO-BREAK SPACE}", " ") for line in lines]


def print_facts(console: Console, title: str, facts: Iterable[tuple[str, Value]]) -> None:
    """A title and below it names and values; those without a value are left out."""
    given = [(name, value) for name, value in facts if value]
    indent = 4 + max((len(name) for name, _ in given), default=0)
    width = max(console.width - indent, 12)
    for line in textwrap.wrap(title, max(console.width, 12)):
        console.print(Text(line, style="bold"), soft_wrap=True)
    for name, value in given:
        for number, line in enumerate(_lines(value, width)):
            label = Text(f"  {'' if number else name}".ljust(indent), style="dim")
            console.print(label + Text(line), soft_wrap=True)


def _gpu_facts(gpu: Gpu) -> list[tuple[str, Value]]:
    return [
        ("name", gpu.name),
        ("gpuTargets", gpu.target),
        ("CUDA", _range(gpu.cuda_min, gpu.cuda_max)),
        ("cuDNN", f"up to {gpu.cudnn_max}" if gpu.cudnn_max else ""),
        ("PyTorch", _range(gpu.pytorch_min, None)),
        ("platforms", gpu.platforms),
        ("products", gpu.products),
    ]


def _cpu_facts(cpu: Cpu) -> list[tuple[str, Value]]:
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


def print_match(console: Console, match: Match) -> None:
    """All that the table knows of what a text names."""
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


def print_matches(console: Console, matches: Sequence[Match]) -> None:
    """The matches one below the other."""
    for index, match in enumerate(matches):
        if index:
            console.print()
        print_match(console, match)


def print_advice(console: Console, advice: Advice) -> None:
    """The best variant for a machine, the reasons, the second choice and what to type."""
    second = parse_name(advice.second) if advice.second else None
    facts = [("why" if number == 0 else "", reason) for number, reason in enumerate(advice.reasons)]
    if second:
        facts.append(("second", f"{second.name}, for CPUs from {' and '.join(second.cpu.first)} on"))
    if advice.problem:
        facts.append(("problem", advice.problem))
    print_facts(console, advice.variant or "no variant", facts)
    if advice.command:
        # On one line, however narrow the terminal, to be copied.
        console.print(Text(f"\n{advice.command}"), soft_wrap=True)


def print_matrix(console: Console, entries: Sequence[Entry]) -> None:
    """The variants as a table of GPUs and instruction sets; where it does not fit, the names, one a line."""
    # Half of a lookup's time.
    from rich.measure import Measurement
    from rich.table import Table

    by_pair = {(entry.gpu, entry.cpu): entry for entry in entries}
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, style="dim")
    sets = list(dict.fromkeys(entry.cpu for entry in entries))
    for name in sets:
        table.add_column(name, justify="center", no_wrap=True)
    mark = "✓" if console.encoding.startswith("utf") else "x"
    for name in dict.fromkeys(entry.gpu for entry in entries):
        marks = [mark if (name, cpu) in by_pair else "" for cpu in sets]
        table.add_row(name, generation(gpus()[name]) if name in gpus() else "no GPU", *marks)
    unbounded = console.options.update(max_width=1000)
    if console.is_terminal and Measurement.get(console, unbounded, table).maximum <= console.width:
        console.print(table)
        console.print(f"{len(entries)} variants, the first is {entries[0].name}", style="dim")
    else:
        for entry in entries:
            print(entry.name)
