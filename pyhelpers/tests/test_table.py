"""The hardware table itself, as TOML has it: every mistake is one line, with its place and what to write.

Read without pytorch_variants.hardware, so that it speaks where that one cannot load the table. First each
field's form, which table_form.py has; where all forms are right, what the entries say together.
"""

import copy
import difflib
import re
import tomllib
from collections.abc import Callable, Iterator
from itertools import pairwise, product

import pytest
from conftest import ROOT
from table_form import Table, quoted, wrong_forms

from pytorch_variants.binary.instructions import allowed, characteristic, told_apart
from pytorch_variants.hardware.table import gpus


def numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))


def wrong_gpus(table: Table) -> Iterator[str]:
    """Names, order, bounds and products."""
    gpus: dict[str, Table] = table["gpu"]
    latest = max(map(int, table["cuda"]), default=0)
    seen: dict[str, str] = {}
    for name, gpu in gpus.items():
        wanted = f"sm{gpu['capability'].replace('.', '')}"
        if name != wanted:
            yield f"gpu.{name}.capability: {gpu['capability']} is that of {wanted}; write [gpu.{wanted}]"
        cuda = gpu["cuda"]
        if numbers(cuda["min"]) > numbers(cuda.get("max", cuda["min"])):
            yield f"gpu.{name}.cuda.max: {cuda['max']} is before cuda.min; write {cuda['min']} or a later one"
        if (major := numbers(cuda["min"])[0]) > latest:
            yield f"gpu.{name}.cuda.min: no driver is known for it; write [cuda.{major}] with its driver.min"
        for text in gpu["products"]:
            # As the parsers read it, "rtx4090" is the "RTX 4090".
            bare = re.sub("[^a-z0-9]", "", text.lower())
            if bare in seen:
                yield f"gpu.{name}.products: {quoted(text)} stands in gpu.{seen[bare]} already; write it once"
            seen[bare] = name
    for before, after in pairwise(gpus):
        if numbers(gpus[before]["capability"]) > numbers(gpus[after]["capability"]):
            yield f"gpu.{after}.capability: stands after {before}; write the entry before it"


# What is in no machine code by another name: the set that needs it is known by what it implies.
UNTOLD = frozenset({"sve2"})


def is_told_apart(feature: str, platform: str) -> bool:
    return feature in told_apart(platform.removesuffix("-linux")) | UNTOLD


def wrong_features(name: str, cpu: Table, cpuinfo: tuple[str, ...]) -> Iterator[str]:
    place = f"cpu.{name}.cpuinfo"
    unknown = False
    for feature, platform in product(cpu["cpuinfo"], cpu["platforms"]):
        if not is_told_apart(feature, platform):
            unknown = True
            near = difflib.get_close_matches(feature, told_apart(platform.removesuffix("-linux")), 1, 0.8)
            meant = f"write {quoted(near[0])} or " if near else ""
            unseen = f"instructions.py does not find {quoted(feature)} in {platform} code"
            yield f"{place}: {unseen}; {meant}teach instructions.py its opcodes"
    try:
        characteristic(cpuinfo)
    except StopIteration:
        if not unknown:
            yield f"{place}: instructions.py's characteristic() knows none; write extends, or add one there"


def wrong_place(
    name: str, platforms: dict[str, set[str]], needs: dict[str, tuple[str, ...]]
) -> Iterator[str]:
    """The order of a set and those above it; one line, however many it should stand before."""
    mine = allowed(needs[name]) | set(needs[name])
    for other in list(needs)[:-1]:
        theirs = allowed(needs[other]) | set(needs[other])
        if re.sub("[-_]", "", name) == re.sub("[-_]", "", other):
            yield f"cpu.{name}: is read as {other}; write another name"
            return
        if mine <= theirs and platforms[name] & platforms[other]:
            mend = "what it needs more" if mine == theirs else "the entry before it, or what it needs more"
            yield f"cpu.{name}.cpuinfo: brings nothing that {other} does not have; write {mend}"
            return


def wrong_parents(cpus: Table) -> Iterator[str]:
    """Each set extends one above it, for the same platforms, and takes no older GCC than that one."""
    above: dict[str, Table] = {}
    for name, cpu in cpus.items():
        platforms = set(cpu["platforms"])
        possible = [other for other in above if platforms <= set(above[other]["platforms"])]
        mend = f"write {' or '.join([*possible, 'no extends'])}"
        parent = cpu.get("extends")
        if parent is not None and parent not in above:
            yield f"cpu.{name}.extends: no {quoted(parent)} stands above it; {mend}"
        elif parent is not None and parent not in possible:
            yield f"cpu.{name}.extends: {parent} is not for all its platforms; {mend}"
        elif parent is not None and numbers(cpu["gcc"]["min"]) < numbers(above[parent]["gcc"]["min"]):
            least = above[parent]["gcc"]["min"]
            yield f'cpu.{name}.gcc.min: has the flags of {parent} too; write "{least}" or a later one'
        above[name] = cpu


def wrong_sets(cpus: Table) -> Iterator[str]:
    """Whether verification can see what a set needs, and the order of the sets."""
    needs: dict[str, tuple[str, ...]] = {}
    for name, cpu in cpus.items():
        needs[name] = (*needs.get(cpu.get("extends", ""), ()), *cpu["cpuinfo"])
        platforms = {other: set(cpus[other]["platforms"]) for other in needs}
        unseen = list(wrong_features(name, cpu, needs[name]))
        yield from unseen or wrong_place(name, platforms, needs)


def wrong_wheels(table: Table) -> Iterator[str]:
    """Order, and that each release has what its CUDA can target and what it knows itself."""
    known = {gpu["capability"]: gpu for gpu in table["gpu"].values()}
    of_cuda: dict[str, tuple[str, list[str]]] = {}
    for before, after in pairwise(table["wheel"]):
        if numbers(before) > numbers(after):
            yield f"wheel.{after}: stands after {before}; write the entry before it"
    for release, wheel in table["wheel"].items():
        cuda = wheel["cuda"]
        if (major := cuda.partition(".")[0]) not in table["cuda"]:
            yield f"wheel.{release}.cuda: no driver is known for it; write [cuda.{major}] with its driver.min"
        for system, targets in wheel["targets"].items():
            for target in targets:
                gpu = known.get(target)
                place = f"wheel.{release}.targets.{system}"
                if gpu is None:
                    yield f"{place}: no GPU of the table has {target}; write its entry"
                    continue
                last = gpu["cuda"].get("max", cuda)
                if not numbers(gpu["cuda"]["min"]) <= numbers(cuda) <= numbers(last):
                    yield f"{place}: CUDA {cuda} cannot target {target}; write another list"
                if numbers(gpu["pytorch"]["min"]) > numbers(release):
                    yield f"{place}: PyTorch {release} does not know {target}; write another list"
                if system not in gpu["platforms"]:
                    yield f"{place}: {target} is not for it; write another list"
        mine = wheel["targets"]["x86_64-linux"]
        first, targets = of_cuda.setdefault(cuda, (release, mine))
        if targets != mine:
            yield f"wheel.{release}.targets.x86_64-linux: those of {first}, of the same CUDA, are others"


def wrong_common(table: Table) -> Iterator[str]:
    cpus = table["cpu"]
    for number, name in enumerate(table["common"]):
        if name not in cpus:
            near = difflib.get_close_matches(name, cpus, 3, 0)
            yield f"common: {quoted(name)} is no set; write {' or '.join(near)}"
        elif name in table["common"][:number]:
            yield f"common: {quoted(name)} stands in it twice; write it once"


def problems(table: Table) -> list[str]:
    """What is wrong with the table, a line each."""
    if forms := list(wrong_forms(table)):
        return forms
    cpus = list(wrong_parents(table["cpu"])) or list(wrong_sets(table["cpu"]))
    return [*wrong_gpus(table), *wrong_wheels(table), *cpus, *wrong_common(table)]


def load(text: str) -> Table:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = f"lib/hardware.toml: {error}"
    pytest.fail(line, pytrace=False)


def real_table() -> Table:
    return load((ROOT / "lib" / "hardware.toml").read_text(encoding="utf-8"))


def test_the_table_is_right() -> None:
    if lines := problems(real_table()):
        pytest.fail("\n".join(lines), pytrace=False)


@pytest.fixture
def table() -> Table:
    """The real table, to be made wrong; where it is so already, the test above has failed and said how."""
    table = real_table()
    if problems(table):
        pytest.skip("lib/hardware.toml is wrong: test_the_table_is_right has the lines")
    return table


def changed(table: Table, changes: Table) -> Table:
    """Another table, in which the fields at these dotted places have these values; None takes one out.

    A function is handed the table that was, and says the value.
    """
    result = copy.deepcopy(table)
    for place, value in changes.items():
        *above, last = place.split(".")
        entry = result
        for key in above:
            entry = entry.setdefault(key, {})
        if value is None:
            del entry[last]
        else:
            entry[last] = value(table) if callable(value) else value
    return result


def like(kind: str, name: str, **fields: object) -> Callable[[Table], Table]:
    return lambda table: {**table[kind][name], **fields}


def wheel(release: str, **fields: object) -> Table:
    """One release's wheels with other fields."""
    return {"wheel": lambda table: {**table["wheel"], release: {**table["wheel"]["2.10"], **fields}}}


def built_for(*targets: str, system: str = "x86_64-linux") -> Table:
    return {"x86_64-linux": ["8.0"], system: list(targets)}


# What is changed, the place that the line begins with, words that it has.
WRONG_FORMS: list[tuple[Table, str, str]] = [
    ({"gpus.sm88.capability": "8.8"}, "gpus", "write gpu"),
    ({"common": "avx2"}, "common", "write a list"),
    ({"common": None}, "common", "write a list"),
    ({"cuda": None}, "cuda", "write [cuda.13]"),
    ({"cuda.14": "590"}, "cuda.14", "write [cuda.14]"),
    ({"cuda.13-0.driver.min": "580"}, "cuda.13-0", "write one as 13"),
    ({"cuda.14.drivr.min": "590"}, "cuda.14.drivr.min", "write driver.min"),
    ({"cuda.13.driver.min": 580}, "cuda.13.driver.min", 'in quotes, as "525"'),
    ({"gpu.sm_90": like("gpu", "sm90")}, "gpu.sm_90", "write one as sm90"),
    (
        {"gpu.sm90.architecture": None, "gpu.sm90.architecure": "Hopper"},
        "gpu.sm90.architecure",
        "write architecture",
    ),
    ({"gpu.sm61.cuda.mx": "12.9"}, "gpu.sm61.cuda.mx", "write cuda.max"),
    ({"gpu.sm61.cudn.max": "9.10"}, "gpu.sm61.cudn.max", "write cudnn.max"),
    ({"gpu.sm90.cuda": "11.8"}, "gpu.sm90.cuda", "write cuda.min or cuda.max"),
    ({"gpu.sm90.pytorch": None}, "gpu.sm90.pytorch.min", 'missing; write a release in quotes, as "2.7"'),
    ({"gpu.sm90.capability": None}, "gpu.sm90.capability", 'missing; write it in quotes, as "9.0"'),
    ({"gpu.sm90.capability": 9.0}, "gpu.sm90.capability", '9.0 is not right; write it in quotes, as "9.0"'),
    ({"gpu.sm90.cuda.min": 11.8}, "gpu.sm90.cuda.min", "11.8 is not right; write a release in quotes"),
    ({"gpu.sm90.pytorch.min": "2"}, "gpu.sm90.pytorch.min", '"2" is not right'),
    ({"gpu.sm90.platforms": "x86_64-linux"}, "gpu.sm90.platforms", 'write a list of "x86_64-linux"'),
    ({"gpu.sm90.platforms": ["arm64-linux"]}, "gpu.sm90.platforms", 'and "aarch64-linux"'),
    ({"gpu.sm90.products": []}, "gpu.sm90.products", "[] is not right; write a list of names"),
    ({"gpu.sm90.products": ["NVIDIA H100"]}, "gpu.sm90.products", 'without "NVIDIA"'),
    ({"gpu.sm90.products": ["geforce RTX 1"]}, "gpu.sm90.products", '"GeForce"'),
    ({"gpu.sm90.products": ["Quadro GV1"]}, "gpu.sm90.products", '"Quadro"'),
    ({"gpu.sm90.products": ["H100", "GeForceRTX"]}, "gpu.sm90.products", ': ["GeForceRTX"] is not right'),
    ({"gpu.sm87.tegra": "yes"}, "gpu.sm87.tegra", '"yes" is not right; write true, or leave it out'),
    ({"gpu.sm90.tegra": False}, "gpu.sm90.tegra", "write true, or leave it out"),
    ({"gpu.sm90.note": "A note."}, "gpu.sm90.note", "write notes"),
    (
        {"gpu.sm99.notes.H99": "A note."},
        "gpu.sm99",
        "has no fields; write capability, architecture, products",
    ),
    ({"gpu.sm90.notes": "A note."}, "gpu.sm90.notes", "write a text for a product"),
    ({"gpu.sm90.notes.H101": "A note."}, "gpu.sm90.notes", '"H101" is no product of gpu.sm90; write H10'),
    ({"cpu.AVX3": like("cpu", "avx2")}, "cpu.AVX3", "write one as avx512vnni"),
    ({"cpu.amx.extends": None, "cpu.amx.extend": "avx512"}, "cpu.amx.extend", "write extends"),
    ({"cpu.amx.title": None}, "cpu.amx.title", "missing; write its name"),
    ({"cpu.amx.gcc": "11"}, "cpu.amx.gcc", "write gcc.min"),
    ({"cpu.amx.gcc.min": 11}, "cpu.amx.gcc.min", '11 is not right; write a release in quotes, as "12"'),
    ({"cpu.amx.first": "Intel"}, "cpu.amx.first", '"Intel" is not right; write a list'),
    ({"cpu.amx.flags": "-mamx-tile"}, "cpu.amx.flags", "write a list of flags"),
    ({"cpu.amx.flags": ["amx-tile"]}, "cpu.amx.flags", 'as "-mavx2"'),
    ({"cpu.avx.disable": ["-mavx2"]}, "cpu.avx.disable", 'as "-mno-avx2"'),
    ({"cpu.avx.without": ["ONEDNN"]}, "cpu.avx.without", "write a list of FBGEMM"),
    ({"cpu.amx.cpuinfo": "amx_tile"}, "cpu.amx.cpuinfo", "write a list of what /proc/cpuinfo shows"),
    ({"cpu.amx.cpuinfo": []}, "cpu.amx.cpuinfo", "[] is not right"),
]
WRONG_TOGETHER: list[tuple[Table, str, str]] = [
    ({"gpu.sm121.capability": "12.2"}, "gpu.sm121.capability", "write [gpu.sm122]"),
    (
        {"gpu.sm88": like("gpu", "sm90", capability="8.8", products=["RTX 3999"])},
        "gpu.sm88.capability",
        f"stands after {[*gpus()][-1]}",
    ),
    ({"gpu.sm61.cuda.max": "7.5"}, "gpu.sm61.cuda.max", "before cuda.min; write 8.0 or a later one"),
    # As numbers, not as texts.
    (
        {"gpu.sm61.cuda.min": "10.2", "gpu.sm61.cuda.max": "9.2"},
        "gpu.sm61.cuda.max",
        "write 10.2 or a later one",
    ),
    ({"gpu.sm121.cuda.min": "99.0"}, "gpu.sm121.cuda.min", "write [cuda.99] with its driver.min"),
    ({"gpu.sm121.products": ["GB10", "gb10"]}, "gpu.sm121.products", '"gb10" stands in gpu.sm121 already'),
    ({"gpu.sm121.products": ["rtx5090"]}, "gpu.sm121.products", '"rtx5090" stands in gpu.sm120 already'),
    ({"common": ["avx2", "avx521"]}, "common", '"avx521" is no set; write avx512'),
    ({"common": ["avx2", "avx2"]}, "common", "write it once"),
    ({"cpu.avx2.extends": "avx512"}, "cpu.avx2.extends", 'no "avx512" stands above it; write avx'),
    (wheel("3.0", cuda="14.0", targets=built_for("8.0")), "wheel.3.0.cuda", "write [cuda.14]"),
    (
        wheel("3.0", cuda="12.9", targets=built_for("3.5")),
        "wheel.3.0.targets.x86_64-linux",
        "no GPU of the table has 3.5",
    ),
    (
        wheel("3.0", cuda="13.9", targets=built_for("7.0")),
        "wheel.3.0.targets.x86_64-linux",
        "CUDA 13.9 cannot target 7.0",
    ),
    (
        wheel("3.0", cuda="12.5", targets=built_for("10.0")),
        "wheel.3.0.targets.x86_64-linux",
        "12.5 cannot target 10.0",
    ),
    (wheel("3.0", targets=built_for("8.0")), "wheel.3.0.targets.x86_64-linux", "those of 2.8"),
    (
        wheel("3.0", cuda="12.9", targets=built_for("6.1", system="aarch64-linux")),
        "wheel.3.0.targets.aarch64-linux",
        "6.1 is not for it",
    ),
    (wheel("1.0", cuda="12.9", targets=built_for("5.0")), "wheel.1.0", "stands after 2.15"),
    ({"cpu.amx.extends": "amx"}, "cpu.amx.extends", 'no "amx" stands above it; write avx'),
    ({"cpu.avx2.extends": "avx3"}, "cpu.avx2.extends", 'no "avx3" stands above it; write avx'),
    ({"cpu.armv9.extends": "avx2"}, "cpu.armv9.extends", "avx2 is not for all its platforms; write armv8_2"),
    ({"cpu.amx.gcc.min": "9"}, "cpu.amx.gcc.min", 'avx512bf16 too; write "10" or a later one'),
    ({"cpu.small": like("cpu", "avx2", cpuinfo=["avx2"])}, "cpu.small.cpuinfo", "write the entry before it"),
    ({"cpu.same": like("cpu", "avx")}, "cpu.same.cpuinfo", "nothing that avx does not have; write what"),
    ({"cpu.amx_": like("cpu", "amx", cpuinfo=["avx_vnni"])}, "cpu.amx_", "is read as amx"),
    (
        {"cpu.amx.cpuinfo": ["avx10_2"]},
        "cpu.amx.cpuinfo",
        '"avx10_2" in x86_64-linux code; teach instructions.py',
    ),
    ({"cpu.amx.cpuinfo": ["avx512fp16"]}, "cpu.amx.cpuinfo", 'write "avx512_fp16" or teach instructions.py'),
    ({"cpu.armv9.cpuinfo": ["sve", "avx2"]}, "cpu.armv9.cpuinfo", 'find "avx2" in aarch64-linux code'),
    (
        {"cpu.avx.cpuinfo": ["popcnt"]},
        "cpu.avx.cpuinfo",
        "instructions.py's characteristic() knows none",
    ),
]


@pytest.mark.parametrize(
    ("changes", "place", "words"),
    [pytest.param(*case, id=" ".join(case[0])) for case in [*WRONG_FORMS, *WRONG_TOGETHER]],
)
def test_a_mistake_is_one_line(changes: Table, place: str, words: str, table: Table) -> None:
    [line] = problems(changed(table, changes))
    assert line.startswith(f"{place}: ")
    assert words in line


def test_every_mistake_has_its_line(table: Table) -> None:
    """Not the first alone, and no form in the way of another."""
    changes = {"gpu.sm90.capability": 9.0, "gpu.sm103.cuda.mx": "13.0", "cpu.amx.title": None}
    lines = problems(changed(table, changes))
    assert [line.partition(": ")[0] for line in lines] == [
        "gpu.sm90.capability",
        "gpu.sm103.cuda.mx",
        "cpu.amx.title",
    ]


def test_what_is_no_toml_is_one_line() -> None:
    with pytest.raises(pytest.fail.Exception, match=r"^lib/hardware\.toml: .*line 3, column 1"):
        load('[gpu.sm88]\na = ["x"\nb = 1')
