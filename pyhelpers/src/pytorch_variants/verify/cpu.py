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
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytorch_variants.binary.elf import (
    SHT_DYNSYM,
    STT_FUNC,
    Elf,
    open_elf,
)
from pytorch_variants.binary.instructions import (
    allowed,
    arm_features,
    characteristic,
    x86_feature,
    x86_instructions,
)
from pytorch_variants.errors import UserError
from pytorch_variants.findings import (
    COMPILED,
    Finding,
)
from pytorch_variants.hardware.table import Cpu

# Bounds per library: symbols looked at, bytes disassembled of one function and of all.
MOST_SYMBOLS = 6000
MOST_OF_A_FUNCTION = 1 << 14
MOST_BYTES = 800_000

_OWN = re.compile(r"_ZNK?(2at|3c10|5torch|6caffe2)")
_DISPATCHED = re.compile("avx|amx|sve|vec256|vec512|vectorized", re.IGNORECASE)
_LIBRARIES = ("libc10.so", "libc10_cuda.so", "libtorch_cpu.so", "libtorch_cuda.so", "libtorch_python.so")


@dataclass
class Sample:
    """What was disassembled of one library, and one example of each feature: function and place."""

    library: str
    functions: int = 0
    instructions: int = 0
    features: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)


def _features(elf: Elf, decoder: Any, code: bytes, address: int) -> Iterator[tuple[int, str | None, str]]:
    if elf.machine == "aarch64":
        needs = dict(arm_features(code))
        for offset in range(0, len(code), 4):
            yield address + offset, needs.get(offset), ""
    else:
        for place, instruction, mnemonic in x86_instructions(decoder, code, address):
            yield place, x86_feature(instruction), mnemonic


def take_sample(path: Path) -> Sample:
    """Disassemble a bounded, always equal sample of a library's functions. Raises ElfError."""
    import capstone  # Not where the GPU alone is tested.

    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    sample = Sample(path.name)
    seen: set[int] = set()
    left = MOST_BYTES
    with open_elf(path) as elf:
        for symbol in elf.symbols(SHT_DYNSYM, MOST_SYMBOLS):
            if symbol.kind != STT_FUNC or not symbol.section or not symbol.size or symbol.address in seen:
                continue
            if not _OWN.match(symbol.name) or _DISPATCHED.search(symbol.name):
                continue
            seen.add(symbol.address)
            start = elf.offset_of(symbol.address)
            code = bytes(elf.data[start : start + min(symbol.size, left, MOST_OF_A_FUNCTION)])
            left -= len(code)
            sample.functions += 1
            for place, feature, mnemonic in _features(elf, decoder, code, symbol.address):
                sample.instructions += 1
                if feature:
                    sample.features[feature] += 1
                    where = f"{mnemonic} at {place:#x} in {symbol.name}"
                    sample.examples.setdefault(feature, where)
            if left <= 0:
                break
        elf.forget()
    return sample


def check_instructions(torch: Path, cpu: Cpu, origin: str) -> Iterator[Finding]:
    """Nothing beyond the set, and where PyTorch was compiled for the set, code that needs it."""
    permitted = allowed(cpu.cpuinfo)
    samples = []
    for name in _LIBRARIES:
        if (path := torch / "lib" / name).is_file():
            try:
                samples.append(take_sample(path))
            except UserError:
                continue  # check_gpu_code has a row for it.
    functions, instructions = (sum(getattr(s, key) for s in samples) for key in ("functions", "instructions"))
    where = f"{instructions} instructions of {functions} functions of {', '.join(s.library for s in samples)}"
    found: Counter[str] = sum((sample.features for sample in samples), Counter())
    text = " ".join(f"{name} ({count})" for name, count in sorted(found.items())) or "the platform's own"
    beyond = False
    for sample in samples:
        for feature in sorted(sample.features.keys() - permitted):
            beyond = True
            place = f"{sample.library}: {sample.examples[feature]}"
            yield Finding("wrong", "instructions", f"none beyond {cpu.name}", feature, place[:300])
    if not functions:
        yield Finding("wrong", "instructions", f"code for {cpu.name}", "no function to look at", str(torch))
    elif not beyond:
        yield Finding("ok", "instructions", f"none beyond {cpu.name}", text, where)
    wanted = characteristic(cpu.cpuinfo)
    if origin == COMPILED and functions:
        yield Finding("ok" if found[wanted] else "wrong", "instruction set in use", wanted, text, where)
