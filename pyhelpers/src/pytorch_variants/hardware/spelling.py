"""Read what people call a GPU or an instruction set, as lib/parseGpu.nix and lib/parseCpu.nix do."""

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from itertools import takewhile

from pytorch_variants.errors import UserError
from pytorch_variants.hardware.table import Cpu, Gpu, cpus, generation, gpus, makers, products

# The first compute capability with architecture- (a) and family-specific (f) code, by CUDA's rule.
_SUFFIX_FLOOR = {"": 0, "a": 90, "f": 100}


def version(text: str) -> tuple[int, ...]:
    """The numbers of a dotted version, to be compared: (570, 86, 15) of "570.86.15".

    Raises UserError for what is no such version.
    """
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6}){0,3}", text, re.ASCII):
        raise UserError(f'"{text}" is no version; write numbers with dots, as in 570.86.15')
    return tuple(int(part) for part in text.split("."))


def _lower(text: str) -> str:
    """A text in lower case, of ASCII's letters alone, as Nix knows them."""
    return text.encode("utf-8", "surrogatepass").lower().decode("utf-8", "surrogatepass")


def _words(text: str) -> str:
    """The words of a text, as in lib/internal/words.nix: "NVIDIA H100_80GB" is " nvidia h 100 80 gb "."""
    return f" {' '.join(re.findall('[a-z]+|[0-9]+', _lower(text)))} "


def _mentions(text: str, part: str) -> bool:
    return _words(part) in _words(text)


def edit_distance(a: bytes, b: bytes) -> int:
    """How many single mistakes lead from one text to another, as lib/internal/editDistance.nix counts them.

    A character left out, added, replaced, or swapped with its neighbour.

    >>> edit_distance(b"avx521", b"avx512")
    1
    """
    before: list[int] = []
    last = list(range(len(b) + 1))
    for i, c in enumerate(a):
        row = [i + 1]
        for j, d in enumerate(b):
            best = min(last[j] + (c != d), last[j + 1] + 1, row[j] + 1)
            if i and j and c == b[j - 1] and d == a[i - 1]:
                best = min(best, before[j - 1] + 1)
            row.append(best)
        before, last = last, row
    return last[-1]


def nearest(text: str, candidates: Sequence[str], count: int = 3) -> list[str]:
    """The candidates that a text is nearest to, as lib/internal/nearest.nix finds them.

    First those that have its words among their own, the shortest first. Then those that fewest mistakes lead
    to, whatever the case; of these, the ones that begin like it the longest. What is equal in all this comes
    in the order of its letters.

    >>> nearest("4000", ["RTX 4000 Ada", "RTX 4000", "4090"], 2)
    ['RTX 4000', 'RTX 4000 Ada']
    """
    # More than any candidate has: of a whole message that was pasted the rest is no help.
    start = text.encode("utf-8", "surrogatepass")[:64].lower()

    def rank(candidate: str) -> tuple[bool, int, int, str]:
        if _mentions(candidate, text):
            return False, len(candidate), 0, candidate
        lower = candidate.encode().lower()
        shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(start, lower, strict=False)))
        return True, edit_distance(start, lower), -shared, candidate

    return sorted(set(candidates), key=rank)[:count]


@cache
def _marks(product: str) -> frozenset[str]:
    """The words that tell products of the same number apart, as "ti" and "super" those of RTX.

    Whether "Ada" is right says its generation.
    """
    named = [_words(other).split() for other in products()]
    generations = {generation(gpu).lower() for gpu in gpus().values()}
    series = _words(product).split()[0]
    ends = {words[-1] for words in named if words[0] == series and any(map(str.isdigit, words))}
    return frozenset(end for end in ends - generations if end.isalpha())


def find_product(text: str) -> tuple[str, Gpu] | None:
    """The product that a text names, and its architecture.

    >>> find_product("NVIDIA RTX 6000 Ada Generation")[0]
    'RTX 6000 Ada'
    >>> find_product("4090")[0]
    'RTX 4090'

    None if it names none, one of another generation than it says, or one that the table lacks: "RTX 4090 Ti"
    is no RTX 4090. Raises UserError if it names several.
    """
    generations = {name for name in map(generation, gpus().values()) if _mentions(text, name)}
    possible = {product: gpu for product, gpu in products().items() if generations <= {generation(gpu)}}
    # "RTX 6000 Ada" is the longer name, so no "RTX 6000".
    found = sorted((product for product in possible if _mentions(text, product)), key=len, reverse=True)
    if not found and re.match(" [0-9]{4} ", _words(text)):
        # Four digits are no compute capability: "4090" is an "RTX 4090" and an "RTX 4090 D".
        found = sorted((product for product in possible if _mentions(product, text)), key=len)
    if not found or any(_mentions(text, f"{found[0]} {mark}") for mark in _marks(found[0])):
        return None
    meant = found[0]
    others = [
        product for product in found if possible[product] != possible[meant] and not _mentions(meant, product)
    ]
    if others:
        names = ", ".join(f"{product} ({possible[product].name})" for product in (meant, *others))
        raise UserError(f'"{text}" names several: {names}; write one of them')
    return meant, possible[meant]


def read_capability(text: str) -> tuple[str, str] | None:
    """The compute capability that a text writes as a number, and its suffix, whether the table has it or not.

    >>> read_capability("sm_90a")
    ('9.0', 'a')
    """
    number = re.fullmatch(
        r"(?:(?:sm_?|compute_?)?([0-9]{1,2})([0-9])|([0-9]{1,2})\.([0-9]))([af]?)(\+ptx)?",
        text.lower(),
        re.ASCII,
    )
    if number is None:
        return None
    major, minor = number[1] or number[3], number[2] or number[4]
    return f"{major}.{minor}", number[5] + ("+PTX" if number[6] else "")


def match_gpu(text: str) -> Gpu | None:
    """As `parse_gpu`, and None for what is in no spelling a GPU of the table."""
    number = read_capability(text)
    if number is None:
        product = find_product(text)
        return product[1] if product else None
    capability, suffix = number
    gpu = next((gpu for gpu in gpus().values() if gpu.capability == capability), None)
    if gpu is None:
        return None
    specific = suffix.removesuffix("+PTX")
    floor = _SUFFIX_FLOOR[specific]
    if gpu.number < floor:
        raise UserError(
            f'"{text}": only compute capability {floor // 10}.{floor % 10} and later have '
            f"{specific}-specific code; write {gpu.name}"
        )
    return replace(gpu, name=gpu.name + specific, target=gpu.capability + suffix)


def other_maker(text: str) -> str | None:
    """Whose GPU a text names, and what to do instead, as lib/internal/otherMaker.nix says it.

    None where it names no other maker's. Whether a GPU of the table is meant is to be asked before.

    >>> other_maker("mi300x").partition(",")[0]
    "AMD's"
    """
    # More than any name has.
    start = text.encode("utf-8", "surrogatepass")[:64].decode("utf-8", "replace")
    for maker in makers():
        if re.fullmatch(maker.names, _words(start)):
            return (
                f"{maker.name}'s, and this project is for NVIDIA's GPUs: write one of those, "
                f"or use {maker.instead}"
            )
    return None


def unknown_gpu(text: str, kind: str, candidates: Sequence[str]) -> UserError:
    """What to say of a text that is no GPU of the table: whose it is, or what it is nearest to."""
    if maker := other_maker(text):
        return UserError(f'"{text}" is {maker}')
    return UserError(
        f'"{text}" is no {kind} in the hardware table; nearest: {", ".join(nearest(text, candidates))}'
    )


def parse_gpu(text: str) -> Gpu:
    """Read a GPU architecture in any spelling that lib/parseGpu.nix reads.

    >>> parse_gpu("NVIDIA H100 80GB HBM3").target
    '9.0'
    >>> parse_gpu("sm_90a").name
    'sm90a'

    Raises UserError, which names the nearest candidates, or all that the text could mean.
    """
    gpu = match_gpu(text)
    if gpu is None:
        raise unknown_gpu(text, "GPU architecture or product", [*gpus(), *products()])
    return gpu


def match_cpu(text: str) -> Cpu | None:
    """As `parse_cpu`, and None for what is in no spelling an instruction set of the table."""

    def bare(name: str) -> str:
        return re.sub("[-_. ]", "", name.lower())

    return next((cpu for cpu in cpus().values() if bare(cpu.name) == bare(text)), None)


def parse_cpu(text: str) -> Cpu:
    """Read a CPU instruction set in any spelling: "avx512", "AVX-512", "armv8.2".

    Raises UserError, which names the nearest candidates.
    """
    cpu = match_cpu(text)
    if cpu is None:
        raise UserError(
            f'"{text}" is no CPU instruction set in the hardware table; '
            f"nearest: {', '.join(nearest(text, list(cpus())))}"
        )
    return cpu
