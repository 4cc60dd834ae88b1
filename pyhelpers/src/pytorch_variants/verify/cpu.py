"""Verification of CPU code: no function that runs unasked needs more than the variant's instruction set.

PyTorch, MKL, oneDNN, FBGEMM, XNNPACK, SLEEF and others carry kernels for several instruction sets and choose
at run time. To choose, a library has to ask the CPU. So:

- In a library that never asks, all code runs unasked, exported or not. In the official libtorch_cuda.so and
  libtorch_python.so of PyTorch 2.8 to 2.11 none of it is beyond x86-64.
- In one that asks, as libtorch_cpu.so does, a function counts unless its name, its object file's name
  (CopyKernel.cpp.AVX512.cpp; the symbol table has it) or the library that it is of says that it is chosen.
  That is 262 000 of the 354 000 functions of the official libtorch_cpu.so of 2.10, of which one is beyond
  x86-64: see _LEAKED.
- What nothing names, because the symbol table was stripped from a library that asks, is said and not judged.

Every byte of code is searched for the encodings that AVX-512 and the rarer sets have; where one is found the
function is disassembled. What else functions need comes from an even sample of them.

That a compiled build's objects got the variant's flags is read from what GCC records with
-frecord-gcc-switches, and from the sample: with AVX a compiler no longer writes the older encodings.
"""

import re
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any

from pytorch_variants.binary.elf import Elf
from pytorch_variants.binary.functions import Functions
from pytorch_variants.binary.instructions import (
    CALLS,
    LEAVING,
    RETURNS,
    UNKNOWN,
    allowed,
    arm_features,
    characteristic,
    told_apart,
    x86_decoder,
    x86_features,
    x86_instructions,
    x86_mnemonic,
    x86_patterns,
    x86_telling,
)
from pytorch_variants.findings import Finding, Origin, note, ok, wrong
from pytorch_variants.hardware.table import Cpu
from pytorch_variants.names.variant import Variant

if TYPE_CHECKING:
    from pytorch_variants.verify.facts import LibraryFacts

# Bounds for each library: functions of the sample, bytes disassembled of each; places that are searched for,
# those of them that are disassembled, and bytes of a function that is; names and options read.
MOST_SAMPLED = 500
MOST_OF_A_FUNCTION = 1 << 11
MOST_HITS = 1 << 18
MOST_FOUND = 4000
MOST_OF_A_FOUND = 1 << 14
MOST_CALLED = 500
MOST_IMPORTS = 1 << 16
MOST_OPTIONS = 1 << 20
_MOST_EXAMPLE = 240
# A found instruction is reached from so many bytes before it: decoding falls into step within a few.
_RUN_UP = 160

# Names are made small before the first is searched in them: a pattern without regard to case takes ten times
# as long.
_CHOSEN = re.compile(
    r"avx|amx|vec256|vec512|vectorized|fma[34]|bmi2|vnni|gfni|vaes|aes_?ni|sha_?ni|clmul|"
    r"haswell|skylake|sandybridge|cooperlake|"
    r"sapphirerapids|bulldozer|piledriver|steamroller|excavator|neoverse|thunderx|cortexa|a64fx|dotprod|i8mm"
)
_CHOSEN_AS_WORD = re.compile(r"(?:sve|SVE|sme|SME|xop|XOP|zen|ZEN)(?![a-z])(?<![A-Za-z]...)")
# Libraries that PyTorch links in and that choose among functions which are not named for it.
_CHOOSING = re.compile(
    r"_ZT?V?NK?(6fbgemm|4dnnl)|"
    r"mkl_|MKL_|__intel_|xnn_|nnp_|Sleef_|_ZGV[a-z]|kai_|armpl|openblas_|__aarch64_"
)
_CHOOSING_WITHIN = ("11arm_compute", "8arm_gemm", "8arm_conv")
# A template's instance: of several the linker takes one, whichever object file it comes from. So one that
# was compiled for a later CPU can be what all call. PyTorch 2.10 has one, c10::checked_convert from AVX2's.
_TEMPLATE = re.compile(r"_ZN?K?\w*I\w*E")
_LEAKED = 3

# What libraries call, or read, to learn what the CPU can do.
_ASKS = re.compile(
    r"cpuinfo_|__cpu_model|__cpu_indicator_init|__cpu_features|_*getauxval|elf_aux_info|__x86_get_cpu|"
    r"av_get_cpu_flags|_ZN2at6native18get_cpu_capability|__aarch64_have_lse"
)
_CPUID = re.compile(rb"\x0f\xa2")
_MOST_CPUID = 400

# What is searched for: all that is not everywhere in plain code of some set of the table.
_SEARCHED = told_apart("x86_64") - allowed(("avx2", "sse4a"))
# What shows that a set is made use of, by its characteristic feature.
_FAMILIES = {
    "avx": frozenset({"avx"}),
    "avx2": frozenset({"avx2", "fma", "f16c"}),
    "avx512f": frozenset(name for name in told_apart("x86_64") if name.startswith("avx512")),
    "sve": frozenset({"sve"}),
    "atomics": frozenset({"atomics"}),
}
# tzcnt is bsf where it is not known, and compilers write it for that.
_AS_BSF, _BMI1 = "tzcnt", frozenset({"bmi1"})
_VECTOR = frozenset({0xC4, 0xC5, 0x62})
# What instructions begin with that are searched for; of a library that asks, those with the first two, for
# time's sake. With c5 begin none that need more than AVX2 but those on masks, and EVEX is beside these.
_HEADS = (b"\x62", b"\xc4", b"\x8f", b"\x0f")
_LONG = _HEADS[:2]
_PIECE = 1 << 20
_PER_FORGETTING = 50  # functions of the sample


@dataclass(frozen=True)
class Need:
    """A feature that code needs, and how many functions of those that were looked at have it.

    `leaked`: all of them are such as a linker may have taken from an object file for a later CPU.
    """

    feature: str
    functions: int
    example: str
    leaked: bool = False


@dataclass(frozen=True)
class CpuFacts:
    """What was read of a library's machine code.

    `asks`: it learns at run time what the CPU can do. `needs` are of the functions that run unasked, `chosen`
    the features of others. `functions` are all, `sampled` those disassembled whatever they are, `judged` the
    ones of them that run unasked, `unnamed` the ones that nothing could be said of. Of the judged, `users`
    says how many make use of a set, by what characteristic() calls it, and `vector` have
    instructions on vectors or floating point; `older` of these in encodings from before AVX alone.
    `odd` of `bytes` disassembled begin no instruction. `options` are the sets of options that were recorded
    by the compiler. `host` is set where there is GPU code, beside which nvcc puts code without those.
    """

    asks: bool = False
    functions: int = 0
    sampled: int = 0
    judged: int = 0
    unnamed: int = 0
    instructions: int = 0
    bytes: int = 0
    odd: int = 0
    vector: int = 0
    older: int = 0
    users: tuple[tuple[str, int], ...] = ()
    needs: tuple[Need, ...] = ()
    chosen: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    host: bool = False


@dataclass
class _Code:
    """What one function was found to have: `features` with the first instruction that needs each."""

    instructions: int = 0
    size: int = 0
    odd: int = 0
    vector: bool = False
    newer: bool = False
    asks: bool = False
    features: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    calls: set[int] = field(default_factory=set)


def _is_older_vector(code: bytes) -> bool:
    """Whether an instruction on vectors has an encoding that compilers leave when they may use AVX."""
    at = code.find(b"\x0f")
    if at < 0 or at + 1 >= len(code) or at > 3:
        return False
    opcode = code[at + 1]
    # Prefetches, fences and movnti have no newer encoding; nor has what is on MMX registers, as these are.
    return opcode in range(0x10, 0x18) or opcode in range(0x28, 0x30) or opcode in range(0x51, 0x60)


def _is_cpuid(decoder: Any, instruction: bytes) -> bool:
    return instruction.endswith(b"\x0f\xa2") and x86_mnemonic(decoder, instruction) == "cpuid"


def _decode_x86(
    decoder: Any, code: bytes, address: int, since: int = 0, cut: bool = True, returns: bool = False
) -> _Code:
    """Disassemble a function; what comes before `since` only leads up to it.

    `cut`: the code may end within an instruction. `returns`: no further than to where it returns.
    """
    found = _Code(size=len(code))
    # What was cut off within an instruction is none, nor what fills the room up to the next section.
    whole = address + (len(code) - 15 if cut else len(code.rstrip(b"\0")))
    found.instructions, telling = x86_telling(decoder, code, address)
    for place, instruction, odd in telling:
        if place + len(instruction) <= since:
            continue
        if odd:
            found.odd += place < whole
            continue
        if instruction[0] in LEAVING:
            if instruction[0] in CALLS:
                distance = int.from_bytes(instruction[1:], "little", signed=True)
                found.calls.add(place + len(instruction) + distance)
            if returns and instruction[0] in RETURNS:
                break
            continue
        features = x86_features(instruction)
        if not features:
            found.asks = found.asks or _is_cpuid(decoder, instruction)
        elif features is UNKNOWN:
            found.odd += 1
        elif features != _BMI1 or x86_mnemonic(decoder, instruction) != _AS_BSF:
            if instruction[0] in _VECTOR:
                found.vector = found.newer = True
            elif _is_older_vector(instruction):
                found.vector = True
            for feature in features:
                found.features.setdefault(feature, (place, instruction))
    return found


def _decode_arm(code: bytes, address: int) -> _Code:
    found = _Code(instructions=len(code) // 4, size=len(code))
    for offset, feature in arm_features(code):
        found.features.setdefault(feature, (address + offset, b""))
    if found.features.keys() & {"sve", "asimdhp", "asimddp"}:
        found.vector = True
    return found


def _next(places: Generator[int, int | None, None], after: int | None) -> int | None:
    try:
        return places.send(after)
    except StopIteration:
        return None


def _is_chosen(name: str) -> bool:
    """Whether the name of a function or of its object file says that it is one of several."""
    return bool(_CHOSEN.search(name.lower()) or _CHOSEN_AS_WORD.search(name))


@cache
def _says_chosen(object_file: str) -> bool:
    # SLEEF compiles one file for each set, too.
    return _is_chosen(object_file) or object_file.startswith("sleef")


def _is_of_choosing(name: str) -> bool:
    """Whether a function is of a library that chooses among functions which are not named for it."""
    return bool(_CHOOSING.match(name)) or (
        name.startswith("_Z") and any(text in name for text in _CHOOSING_WITHIN)
    )


class _Reader:
    """Reads one file; what it finds is in its fields."""

    def __init__(self, elf: Elf) -> None:
        self.elf = elf
        self.functions = Functions(elf)
        self.decoder = x86_decoder() if elf.machine == "x86_64" else None
        # The functions that need a feature.
        self.needs: dict[str, set[int]] = {}
        self.examples: dict[str, str] = {}
        self.firm: set[str] = set()
        # Those that need no search any more.
        self.known: set[int] = set()
        self.called: set[int] = set()
        self.asks = self._asks()

    @cached_property
    def _has_mkl(self) -> bool:
        return self.functions.has_name_with(b"mkl_serv_")

    def _asks(self) -> bool:
        functions = self.functions
        if any(map(_ASKS.match, functions.imports(MOST_IMPORTS))) or functions.chosen_by_loader:
            return True
        found = islice(self._search([_CPUID]), _MOST_CPUID) if self.decoder else ()
        return any(self._reaches(address, "cpuid") for address in found)

    def _search(self, patterns: Sequence[re.Pattern[bytes]]) -> Generator[int, int | None, None]:
        """Addresses in executable code where one of some patterns matches.

        The address to go on from may be sent: for the pattern at hand, or for all by a later one.
        """
        for segment in self.functions.executable:
            shift = segment.address - segment.offset
            end = segment.offset + segment.file_size
            places = [segment.offset] * len(patterns)
            for first in range(segment.offset, end, _PIECE):
                last = min(end, first + _PIECE)
                # Longer by what an instruction that begins in it may have behind.
                piece = self.elf.data[first : min(end, last + 16)]
                for index, pattern in enumerate(patterns):
                    place = max(places[index], first)
                    while place < last and (match := pattern.search(piece, place - first)):
                        if first + match.start() >= last:
                            break
                        after = yield first + match.start() + shift
                        place = max(first + match.start() + 1, (after or 0) - shift)
                    places[index] = max(place, places[index])
                self.elf.forget()

    def _window(self, address: int) -> tuple[int, bytes]:
        """Code that leads up to an address, and the instruction there."""
        number = self.functions.number_at(address)
        start = max(address - _RUN_UP, self.functions.starts[number] if number >= 0 else 0)
        offset = self.elf.offset_of(start)
        return start, bytes(self.elf.data[offset : offset + address - start + 16])

    def _reaches(self, address: int, mnemonic: str) -> bool:
        start, code = self._window(address)
        found = x86_instructions(self.decoder, code, start)
        return any(place == address and name == mnemonic for place, _, name in found)

    def runs_unasked(self, number: int) -> bool | None:
        """Whether a function runs whatever the CPU is; None if nothing says so or otherwise."""
        if self.functions.is_data(number):
            return False
        if not self.asks:
            return True
        name = self.functions.name_of(number)
        if not name:
            return None
        # What most are known by comes first.
        if _is_of_choosing(name):
            return False
        if _says_chosen(self.functions.object_of(number)) or _is_chosen(name):
            return False
        # MKL's own functions are named for nothing in particular, if they are not exported.
        if self._has_mkl and not name.startswith("_Z") and not self.functions.is_exported(number):
            return None
        return True

    def count(self, number: int, code: _Code) -> None:
        """Add what a function needs that runs unasked, and what it calls that is no function."""
        if code.asks:
            return
        name = self.functions.name_of(number) or "code without a name"
        leaked = self.asks and not self.functions.is_exported(number) and bool(_TEMPLATE.match(name))
        self._add(number, code, name, leaked)
        for address in code.calls - self.called if self.decoder else ():
            if len(self.called) < MOST_CALLED and self._is_beside(address):
                self.called.add(address)
                offset = self.elf.offset_of(address)
                called = bytes(self.elf.data[offset : offset + MOST_OF_A_FUNCTION])
                beside = _decode_x86(self.decoder, called, address, returns=True)
                self._add(number, beside, f"what {name} calls", leaked)

    def _add(self, number: int, code: _Code, name: str, leaked: bool) -> None:
        for feature, (place, instruction) in code.features.items():
            self.needs.setdefault(feature, set()).add(number)
            if not leaked:
                self.firm.add(feature)
            if feature not in self.examples:
                what = (self.decoder and x86_mnemonic(self.decoder, instruction)) or "instruction"
                self.examples[feature] = f"{what} at {place:#x} in {name}"[:_MOST_EXAMPLE]

    def _is_beside(self, address: int) -> bool:
        """Whether an address is executable, and in no function."""
        if self.functions.begins_at(address):
            return False
        if not any(0 <= address - s.address < s.file_size for s in self.functions.executable):
            return False
        number = self.functions.number_at(address)
        return number < 0 or self.functions.is_data(number) or address >= self.functions.end_of(number)

    def decode(self, number: int, most: int = MOST_OF_A_FUNCTION) -> _Code:
        """Disassemble the beginning of a function."""
        code, start = self.functions.code_of(number, most), self.functions.starts[number]
        if not self.decoder:
            return _decode_arm(code, start)
        return _decode_x86(self.decoder, code, start, cut=len(code) == most)

    def search(self, features: frozenset[str]) -> None:
        """Find every function that runs unasked and needs one of these features."""
        patterns = [p for p in x86_patterns(features) if p.pattern[:1] in (_LONG if self.asks else _HEADS)]
        places, left, after = self._search(patterns), MOST_FOUND, None
        for _ in range(MOST_HITS):
            if not left or (address := _next(places, after)) is None:
                break
            number, after = self.functions.number_at(address), None
            # Constants that are mapped executable; what of them is called is looked at with its caller.
            if number < 0 or address >= self.functions.end_of(number):
                continue
            if number not in self.known and self.runs_unasked(number):
                start, code = self._window(address)
                left -= 1
                found = _decode_x86(self.decoder, code, start, since=address)
                if not found.features.keys() & features:
                    continue
                whole = self.decode(number, MOST_OF_A_FOUND)
                # It may be further behind than that.
                whole.features |= found.features
                self.count(number, whole)
                self.known.add(number)
            after = self.functions.end_of(number)


def read_cpu(elf: Elf, name: str) -> CpuFacts:
    """What a library's code needs of the CPU: all of it searched, an even sample disassembled.

    Raises ElfError.
    """
    if elf.machine not in ("x86_64", "aarch64"):
        return CpuFacts()
    reader = _Reader(elf)
    functions = reader.functions
    totals: Counter[str] = Counter()
    chosen: Counter[str] = Counter()
    users: Counter[str] = Counter()
    step = max(1, len(functions) // MOST_SAMPLED)
    for number in range(0, len(functions), step):
        if functions.is_data(number):
            continue
        # Around each page that is read the system maps fifteen more.
        if totals["sampled"] % _PER_FORGETTING == 0:
            elf.forget()
        code = reader.decode(number)
        unasked = reader.runs_unasked(number)
        totals.update(sampled=1, instructions=code.instructions, bytes=code.size, odd=code.odd)
        if unasked:
            totals.update(judged=1, vector=code.vector, older=code.vector and not code.newer)
            reader.count(number, code)
            if code.size < MOST_OF_A_FUNCTION:
                reader.known.add(number)
            users.update({family for family, of in _FAMILIES.items() if of & code.features.keys()})
        else:
            totals["unnamed"] += unasked is None
            chosen.update(code.features.keys())
    if reader.decoder:
        reader.search(_SEARCHED)
    elf.forget()
    return CpuFacts(
        asks=reader.asks,
        functions=len(functions),
        users=tuple(sorted(users.items())),
        needs=tuple(
            Need(name, len(numbers), reader.examples[name], name not in reader.firm)
            for name, numbers in sorted(reader.needs.items())
        ),
        chosen=tuple(sorted(chosen)),
        options=_options(elf),
        host=elf.section(".nv_fatbin") is not None,
        **totals,
    )


def _options(elf: Elf) -> tuple[str, ...]:
    """Each set of options that the compiler recorded, once."""
    section = elf.section(".GCC.command.line")
    if section is None:
        return ()
    text = bytes(elf.contents(section)[:MOST_OPTIONS]).decode("utf-8", "replace")
    return tuple(sorted({line for line in text.split("\0") if line}))


# At least so much of the functions that work on vectors or floating point has to be as the flags make it: in
# encodings that came with AVX; and with the set's characteristic instructions. What stays behind is code that
# others compiled or wrote, and the host code of nvcc.
_LEAST_NEWER = 0.75
# In libc10 compiled by GCC 12 at -O2 35 functions in 1000 have AVX-512, 7 have AVX2.
_LEAST_CHARACTERISTIC = {"avx512f": 0.005, "avx2": 0.002}
# A sample with fewer such functions says nothing about the rest.
_FEW = 12
# Of what is disassembled, at most so much may begin no instruction.
_MOST_ODD = 0.02


def _is_bundled(library: "LibraryFacts") -> bool:
    """Whether a wheel brings it along from elsewhere, as auditwheel puts such libraries."""
    return any(part.endswith(".libs") for part in library.path.parts)


def _judged(libraries: Sequence["LibraryFacts"]) -> list["LibraryFacts"]:
    """Torch's libraries and its companions', of those that have code.

    Not those that are chosen as a whole, by a name as _C_AVX512.so, nor what companions bring along from
    elsewhere and asks the CPU.
    """
    return [
        library
        for library in libraries
        if library.role == "torch"
        or (
            library.role == "companion"
            and not _is_chosen(library.path.name)
            and not (library.cpu.asks and _is_bundled(library))
        )
        if library.cpu.functions
    ]


def _beyond(library: "LibraryFacts", variant: Variant) -> Iterator[Finding]:
    """A row about what a library needs that the set lacks.

    An official wheel by its own name is held against the least set. That is no claim about its companions.
    """
    cpu = variant.cpu
    beyond = [need for need in library.cpu.needs if need.feature not in allowed(cpu.cpuinfo)]
    if not beyond:
        return
    most = max(beyond, key=lambda need: (not need.leaked, need.functions))
    leaked = all(need.leaked and need.functions < _LEAKED for need in beyond)
    unclaimed = library.role != "torch" and variant.package == "pytorch-bin"
    row = note if leaked or unclaimed else wrong
    plural = "functions" if most.functions > 1 else "function"
    text = f"{most.functions} {plural} with {most.feature}: {most.example}"
    if leaked:
        text += "; a template's instance, taken from an object file for a later CPU"
    features = [need.feature for need in beyond]
    yield row("instructions", f"none beyond {cpu.name}", features, library.name, text)


def _check_undecoded(library: "LibraryFacts") -> Iterator[Finding]:
    facts = library.cpu
    if facts.odd > facts.bytes * _MOST_ODD:
        share = f"{facts.odd} of {facts.bytes} bytes begin no instruction"
        yield wrong("instructions", "machine code", "other bytes", library.name, share)


def check_cpu(libraries: Sequence["LibraryFacts"], variant: Variant, origin: Origin) -> Iterator[Finding]:
    """Nothing beyond the set in what runs unasked; if compiled for the set, code that its flags made."""
    cpu = variant.cpu
    judged = _judged(libraries)
    rows = [row for library in judged for row in (*_beyond(library, variant), *_check_undecoded(library))]
    yield from rows
    if not any(library.role == "torch" and library.cpu.judged for library in judged):
        yield wrong("instructions", f"code for {cpu.name}", "no function to look at")
        return
    if all(row.status != "wrong" for row in rows):
        needs = sorted({n.feature for library in judged for n in library.cpu.needs if not n.leaked})
        yield ok("instructions", f"none beyond {cpu.name}", needs, _extent(judged, _is_x86(cpu)))
    yield from _check_unjudged(libraries, judged)
    if origin is Origin.SOURCE:
        mine = [library for library in judged if library.role == "torch"]
        yield from _check_options(mine, cpu)
        yield _check_use(mine, cpu)


def _is_x86(cpu: Cpu) -> bool:
    return "x86_64-linux" in cpu.platforms


def _extent(libraries: Sequence["LibraryFacts"], x86: bool) -> str:
    functions, sampled = (sum(getattr(lib.cpu, key) for lib in libraries) for key in ("functions", "sampled"))
    # Arm's words are not searched: what later sets add is everywhere among them.
    searched = " searched for instructions of the later sets" if x86 else ""
    return f"{len(libraries)} libraries: {functions} functions{searched}, {sampled} of them disassembled"


def _check_unjudged(
    libraries: Sequence["LibraryFacts"], judged: Sequence["LibraryFacts"]
) -> Iterator[Finding]:
    """What nothing is claimed of: code that is chosen at run time, and code that nothing names."""
    asking = [library for library in judged if library.cpu.asks]
    if chosen := sorted({name for library in asking for name in library.cpu.chosen}):
        names = ", ".join(library.path.name for library in asking)
        yield note("instructions chosen at run time", (), chosen, names)
    for library in asking:
        facts = library.cpu
        if facts.unnamed * 2 > facts.sampled:
            share = (
                f"{facts.unnamed} of {facts.sampled} functions have no name, and it asks what the CPU can do"
            )
            yield note("instructions", (), "not judged", library.name, share)
    whole = [lib for lib in libraries if lib.role == "companion" and lib not in judged and lib.cpu.functions]
    if whole:
        names = ", ".join(library.path.name for library in whole)
        yield note(
            "instructions", (), "not judged", names, "chosen as a whole, or brought along from elsewhere"
        )


def _machine_options(line: str) -> list[str]:
    return [word for word in line.split() if word.startswith("-m") and not word.startswith("-mtune")]


def _check_options(libraries: Sequence["LibraryFacts"], cpu: Cpu) -> Iterator[Finding]:
    """That each set of options that was recorded has the variant's, in a library that never asks no other."""
    recorded = [(library, line) for library in libraries for line in library.cpu.options]
    check, expected = "compiler options", " ".join(cpu.flags)
    if not recorded:
        yield note(check, expected, "none recorded", "", "the instructions alone say how it was compiled")
        return
    lines = {line for _, line in recorded}
    plain = sum(_is_plain(line, cpu) for line in lines)
    bad = False
    for library, line in recorded:
        without = _missing(line, cpu, library.cpu.asks)
        if without:
            bad = True
            yield wrong(
                check, cpu.flags, _machine_options(line), library.name, f"without {' '.join(without)}"
            )
        elif not library.cpu.asks and not _is_plain(line, cpu):
            bad = True
            text = "options of a later CPU in a library that never asks for one"
            yield wrong(check, cpu.flags, _machine_options(line), library.name, text)
    if not plain:
        yield wrong(check, expected, sorted({" ".join(_machine_options(line)) for line in lines})[:4])
    elif not bad:
        later = (
            f", {len(lines) - plain} with more, for code that is chosen at run time"
            if plain < len(lines)
            else ""
        )
        yield ok(check, expected, f"{plain} different ones with these{later}", f"{len(libraries)} libraries")


_NEUTRAL = re.compile("-m(64|32|tune|fpmath|prefer|no-|arch=x86-64$|cmodel|abi|stack|align|little-endian)")


def _missing(line: str, cpu: Cpu, asks: bool) -> list[str]:
    """The set's flags that a recorded line lacks.

    GCC records the last -march= alone. In a library that asks the CPU it may be that of a kernel.
    """
    words = line.split()
    other = any(word.startswith("-march=") and word not in ("-march=x86-64", *cpu.flags) for word in words)
    return [flag for flag in cpu.flags if flag not in words and not (asks and other and "-march=" in flag)]


def _is_plain(line: str, cpu: Cpu) -> bool:
    """Whether a recorded set of options has none for another instruction set."""
    own = {*cpu.flags, *cpu.disable}
    return all(word in own or _NEUTRAL.match(word) for word in _machine_options(line))


def _check_use(libraries: Sequence["LibraryFacts"], cpu: Cpu) -> Finding:
    """That plain code makes use of the set: not somewhere, but as widely as compilers do."""
    check, wanted = "instruction set in use", characteristic(cpu.cpuinfo)
    x86 = _is_x86(cpu)
    for library in libraries:
        facts = library.cpu
        newer = facts.vector - facts.older
        if x86 and not facts.host and facts.vector >= _FEW and newer < facts.vector * _LEAST_NEWER:
            share = f"{facts.older} of {facts.vector} functions that could use it are encoded as before AVX"
            return wrong(check, wanted, "avx" if newer else "the platform's own", library.name, share)
    users = sum(dict(library.cpu.users).get(wanted, 0) for library in libraries)
    judged = sum(library.cpu.judged for library in libraries)
    text = f"{users} of {judged} functions use it"
    least = _LEAST_CHARACTERISTIC.get(wanted, 0.002) * judged
    row = ok if users >= max(1, least) else wrong
    features = sorted({need.feature for library in libraries for need in library.cpu.needs})
    return row(check, wanted, features or "the platform's own", "", text)
