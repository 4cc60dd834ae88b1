"""What many variants cost to build, each for itself and with a compiler cache between them."""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from pytorch_variants.names.matrix import Entry


@dataclass(frozen=True)
class Kind:
    """The files of one kind in PyTorch's build, and mean CPU seconds for one of them.

    `plain` compiles it without a cache, `miss` with one that has not got it, `hit` takes it from the cache.
    """

    files: int
    plain: float
    miss: float
    hit: float


# Files as PyTorch 2.6's source tree has them, native/cpu thrice, as it is compiled; seconds are those of
# benchmarks/compile_sample.csv, on one core of an AMD EPYC. How, and what is left out: benchmarks/README.md.
CUDA = Kind(files=246, plain=16.44, miss=16.44, hit=0.04)
ATTENTION = Kind(files=95, plain=113.91, miss=113.91, hit=0.04)
CPP = Kind(files=1536, plain=4.47, miss=5.14, hit=0.05)

BASIS = (
    "reasoned from a measured sample of PyTorch 2.6's own files, compiled for one GPU by nvcc 13.0; "
    "without third-party code, code generation and linking; with as many jobs as cores"
)


@dataclass(frozen=True)
class Cost:
    """CPU time of all builds together and the time until the last builder ends, in hours."""

    core_hours: float
    hours: float


def _objects(entry: Entry) -> Iterator[tuple[Kind, Hashable]]:
    """What a variant compiles: kinds of files, and what tells their objects from another variant's.

    nvcc does not see the instruction set. A build without a GPU defines other macros, so that it counts as
    sharing nothing with one for a GPU.
    """
    if entry.gpu != "cpu":
        yield CUDA, (entry.system, entry.gpu)
        yield ATTENTION, (entry.system, entry.gpu)
    yield CPP, (entry.system, entry.cpu, entry.gpu == "cpu")


def _single(entry: Entry) -> float:
    return sum(kind.files * kind.plain for kind, _ in _objects(entry))


def _cached(part: Iterable[Entry], known: frozenset[Hashable]) -> tuple[float, frozenset[Hashable]]:
    """CPU seconds for some variants on a builder whose cache has what is known; and what it has then."""
    seconds = 0.0
    for entry in part:
        for kind, key in _objects(entry):
            seconds += kind.files * (kind.hit if (kind, key) in known else kind.miss)
            known |= {(kind, key)}
    return seconds, known


def _pieces(entries: Sequence[Entry], parts: int) -> list[list[Entry]]:
    """The variants of every GPU, cut into at most so many parts; the largest first."""
    pieces = []
    for _, group in groupby(entries, key=lambda entry: entry.gpu):
        found = list(group)
        pieces += [piece for n in range(parts) if (piece := found[n::parts])]
    return sorted(pieces, key=len, reverse=True)


def _shared(entries: Sequence[Entry], builders: int) -> list[float]:
    """CPU seconds of each builder, each with a cache of its own.

    Whole GPUs go to a builder, or parts of them if all end sooner so, each to where it ends first.
    """
    found = []
    for parts in range(1, len(entries) + 1):
        loads, known = [0.0] * builders, [frozenset[Hashable]()] * builders
        for piece in _pieces(entries, parts):
            choices = [_cached(piece, cache) for cache in known]
            best = min(range(builders), key=lambda n: loads[n] + choices[n][0])
            loads[best] += choices[best][0]
            known[best] = choices[best][1]
        found.append(loads)
        if all(len(piece) == 1 for piece in _pieces(entries, parts)):
            break
    return min(found, key=lambda loads: (max(loads), sum(loads)))


def _alone(entries: Sequence[Entry], builders: int) -> list[float]:
    loads = [0.0] * builders
    for seconds in sorted(map(_single, entries), reverse=True):
        loads[loads.index(min(loads))] += seconds
    return loads


def _cost(loads: Sequence[Sequence[float]], cores: int) -> Cost:
    return Cost(
        core_hours=sum(map(sum, loads)) / 3600,
        hours=max(map(max, loads)) / cores / 3600,
    )


def matrix_cost(entries: Sequence[Entry], builders: int = 1, cores: int = 1) -> tuple[Cost, Cost]:
    """What variants cost, each built for itself; and with a compiler cache on every builder.

    There are `builders` machines of each system, with `cores` cores, which build one variant at a time.
    """
    # More machines than variants have nothing to do.
    builders = min(builders, len(entries))
    systems = {entry.system for entry in entries}
    parts = [[entry for entry in entries if entry.system == system] for system in systems]
    return (
        _cost([_alone(part, builders) for part in parts], cores),
        _cost([_shared(part, builders) for part in parts], cores),
    )
