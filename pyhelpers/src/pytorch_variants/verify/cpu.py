"""Verification of CPU code: the instructions in PyTorch's own functions are those of the variant's set.

PyTorch, oneDNN, FBGEMM and XNNPACK carry kernels for several instruction sets and choose at run time; these
prove nothing and forbid nothing. PyTorch compiles its own ones (CPU_CAPABILITY DEFAULT, AVX2, AVX512) in
unnamed namespaces, or under names with the set in them. So what is looked at are the functions that its
libraries export from at, c10, torch and caffe2 by other names: in libtorch_cpu.so of the official PyTorch
2.10 and 2.15 that is 24 000 functions of 3.5 million instructions, of which none is beyond x86-64, where the
unexported ones have hundreds of thousands that are.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytorch_variants.binary.elf import (
    SHT_DYNSYM,
    STT_FUNC,
    Elf,
)
from pytorch_variants.binary.instructions import (
    allowed,
    arm_features,
    characteristic,
    x86_features,
    x86_instructions,
)
from pytorch_variants.findings import (
    Finding,
    Origin,
    ok,
    wrong,
)
from pytorch_variants.names.variant import Variant

if TYPE_CHECKING:
    from pytorch_variants.verify.facts import LibraryFacts

# Bounds per library: symbols looked at, bytes disassembled of one function and of all.
MOST_SYMBOLS = 6000
MOST_OF_A_FUNCTION = 1 << 14
MOST_BYTES = 800_000

_OWN = re.compile(r"_ZNK?(2at|3c10|5torch|6caffe2)")
_DISPATCHED = re.compile("avx|amx|sve|vec256|vec512|vectorized", re.IGNORECASE)
_LIBRARIES = ("libc10.so", "libc10_cuda.so", "libtorch_cpu.so", "libtorch_cuda.so", "libtorch_python.so")


@dataclass(frozen=True)
class CpuFacts:
    """What was disassembled: how often each feature is needed, and one example each, function and place."""

    functions: int = 0
    instructions: int = 0
    features: tuple[tuple[str, int], ...] = ()
    examples: tuple[tuple[str, str], ...] = ()


def _features(elf: Elf, decoder: Any, code: bytes, address: int) -> Iterator[tuple[int, str | None, str]]:
    if elf.machine == "aarch64":
        needs = dict(arm_features(code))
        for offset in range(0, len(code), 4):
            yield address + offset, needs.get(offset), ""
    else:
        for place, instruction, mnemonic in x86_instructions(decoder, code, address):
            yield place, min(x86_features(instruction), default=None), mnemonic


def read_cpu(elf: Elf, name: str) -> CpuFacts:
    """Disassemble a bounded, always equal sample of a library's functions. Raises ElfError."""
    if name not in _LIBRARIES:
        return CpuFacts()
    import capstone  # Not where the GPU alone is tested.

    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    functions = instructions = 0
    features: Counter[str] = Counter()
    examples: dict[str, str] = {}
    seen: set[int] = set()
    left = MOST_BYTES
    for symbol in elf.symbols(SHT_DYNSYM, MOST_SYMBOLS):
        if symbol.kind != STT_FUNC or not symbol.section or not symbol.size or symbol.address in seen:
            continue
        if not _OWN.match(symbol.name) or _DISPATCHED.search(symbol.name):
            continue
        seen.add(symbol.address)
        start = elf.offset_of(symbol.address)
        code = bytes(elf.data[start : start + min(symbol.size, left, MOST_OF_A_FUNCTION)])
        left -= len(code)
        functions += 1
        for place, feature, mnemonic in _features(elf, decoder, code, symbol.address):
            instructions += 1
            if feature:
                features[feature] += 1
                examples.setdefault(feature, f"{mnemonic} at {place:#x} in {symbol.name}")
        if left <= 0:
            break
    elf.forget()
    return CpuFacts(functions, instructions, tuple(sorted(features.items())), tuple(sorted(examples.items())))


def check_cpu(libraries: Sequence["LibraryFacts"], variant: Variant, origin: Origin) -> Iterator[Finding]:
    """Nothing beyond the set, and where PyTorch was compiled for the set, code that needs it."""
    cpu = variant.cpu
    permitted = allowed(cpu.cpuinfo)
    samples = [library for library in libraries if library.role == "torch" and library.cpu.functions]
    functions, instructions = (
        sum(getattr(s.cpu, key) for s in samples) for key in ("functions", "instructions")
    )
    names = ", ".join(sample.path.name for sample in samples)
    where = f"{instructions} instructions of {functions} functions of {names}"
    found: Counter[str] = Counter()
    for sample in samples:
        found.update(dict(sample.cpu.features))
    texts = [f"{name} ({count})" for name, count in sorted(found.items())] or ["the platform's own"]
    beyond = False
    for sample in samples:
        for feature, example in sample.cpu.examples:
            if feature not in permitted:
                beyond = True
                place = f"{sample.path.name}: {example}"
                yield wrong("instructions", f"none beyond {cpu.name}", feature, place[:300])
    if not functions:
        yield wrong("instructions", f"code for {cpu.name}", "no function to look at")
    elif not beyond:
        yield ok("instructions", f"none beyond {cpu.name}", texts, where)
    wanted = characteristic(cpu.cpuinfo)
    if origin is Origin.SOURCE and functions:
        yield (ok if found[wanted] else wrong)("instruction set in use", wanted, texts, where)
