from pathlib import Path

import pytest
from commands import call, is_refused
from conftest import Nix
from hypothesis import given
from hypothesis import strategies as st
from test_hardware import nix_string

from pytorch_variants.errors import UserError
from pytorch_variants.hardware.spelling import edit_distance, nearest
from pytorch_variants.hardware.table import (
    cpus,
    gpus,
    products,
)
from pytorch_variants.names.variant import (
    nearest_names,
    parse_name,
    short_names,
)

WRONG = [
    "",
    "pytorch",
    "pytorch-cpu",
    "pytorch-sm91",
    "pytorch-sm90a",
    "torchvision-sm90",
    "pytorch-bin",
    "pytorch-bin-sm91",
    "pytorch-bin-sm90a",
    "pytorch-bin-sm90-avx2",
    "pytorch-bin-sm80-sm90-avx512",
    "pytorch-bin-cpu",
    "pytorch-python313-bin-cuda13_0-cpu-avx2",
    "pytorch-python312-bin-python313-sm90",
    "pytorch-cuda13_0-bin-sm90",
    "torchvision-bin-sm90",
    "pytorch-sm91-avx512",
    "pytorch-sm90-avx521",
    "pytorch-cpu-",
    "pytorch-sm90f-avx2",
    "pytorch-python2-sm90-avx2",
    "pytorch-cuda12-sm90-avx2",
    "tensorflow-sm90-avx2",
    "PyTorch-sm90-avx2",
    "pytorch-sm87-avx2",
    "pytorch-sm90-sm87-avx2",
]

# What is no build of this project's own compiling, and what it is.
GIVEN = {
    "pytorch-bin-sm90": ("wheel", None, None, ["9.0"]),
    "pytorch-bin-python313-sm90": ("wheel", "3.13", None, ["9.0"]),
    "pytorch-python313-bin-sm90": ("wheel", "3.13", None, ["9.0"]),
    "pytorch-bin-cuda13_0-sm90": ("wheel", None, "13.0", ["9.0"]),
    "pytorch-python313-bin-cuda13_0-sm80-sm121": ("wheel", "3.13", "13.0", ["8.0", "12.1"]),
    "pytorch-sm90": ("cached", None, None, ["9.0"]),
    "pytorch-sm80-sm90": ("cached", None, None, ["8.0", "9.0"]),
    "pytorch-python312-cuda12_8-sm50": ("cached", "3.12", "12.8", ["5.0"]),
}

COMMON = ["avx2", "avx512", "armv8_2", "armv9"]
NEAREST = {
    "rtx4090": [f"pytorch-sm89-{name}" for name in COMMON],
    "RTX 4090": [f"pytorch-sm89-{name}" for name in COMMON],
    "4090": [f"pytorch-sm89-{name}" for name in COMMON],
    "RTX 4090 Super": [f"pytorch-sm89-{name}" for name in COMMON],
    "pytorch-sm89": [f"pytorch-sm89-{name}" for name in COMMON],
    "pytorch-orin": ["pytorch-sm87-armv8_2", "pytorch-sm87-armv9"],
    "pytorch-sm87-avx2": ["pytorch-sm87-armv8_2", "pytorch-sm87-armv9"],
    "pytorch-rtx4090-avx2": ["pytorch-sm89-avx2"],
    "pytorch-rtx-4000-avx2": ["pytorch-sm75-avx2"],
    "pytorch-sm89-AVX-512": ["pytorch-sm89-avx512"],
    "pytorch-8.9-avx2": ["pytorch-sm89-avx2"],
    "pytorch-sm_90a-avx512": ["pytorch-sm90-avx512"],
    "PyTorch-sm90-avx2": ["pytorch-sm90-avx2"],
    "a10-x86-64-v3": ["pytorch-sm86-x86-64-v3"],
    "pytorch-h100-a100-amx": ["pytorch-sm90-amx"],
    "torchvision-rtx4090-avx2": ["torchvision-sm89-avx2"],
    "pytorch-python313-cuda12_8-H100-amx": ["pytorch-python313-cuda12_8-sm90-amx"],
    "pytorch-bin-rtx4090": ["pytorch-bin-sm89"],
    "pytorch-python313-bin-cuda13_0-L40S-avx2": ["pytorch-python313-bin-cuda13_0-sm89"],
    "pytorch-bin-sm91": ["pytorch-bin-sm90", "pytorch-bin-sm61", "pytorch-bin-sm110"],
    "pytorch-bin-cpu": ["pytorch-bin-sm50", "pytorch-bin-sm52", "pytorch-bin-sm60"],
    "pytorch-sm90-avx521": ["pytorch-sm90-avx512", "pytorch-sm90-avx2", "pytorch-sm90-avx"],
    "torchaudio-sm90-4": [f"torchaudio-sm90-{name}" for name in ("x86-64-v4", "amx", "avx")],
    "cpu": [f"pytorch-cpu-{name}" for name in COMMON],
    "pytorch-cpu-AVX-512": ["pytorch-cpu-avx512"],
}


@given(
    python=st.sampled_from([None, "3.11", "3.13"]),
    cuda=st.sampled_from([None, "12.8", "13.0"]),
    short=st.sampled_from(short_names()),
)
def test_spelled_out_names_are_read_back(python: str | None, cuda: str | None, short: str) -> None:
    package, rest = short.split("-", 1)
    parts = [
        package,
        *([f"python{python.replace('.', '')}"] if python else []),
        *([f"cuda{cuda.replace('.', '_')}"] if cuda else []),
        rest,
    ]
    variant = parse_name("-".join(parts))
    assert (variant.python, variant.cuda) == (python, cuda)
    assert short == f"pytorch-{variant.gpus[0].name if variant.gpus else 'cpu'}-{variant.cpu.name}"


def test_several_architectures() -> None:
    variant = parse_name("pytorch-sm80-sm86-sm90a-x86-64-v3")
    assert [gpu.target for gpu in variant.gpus] == ["8.0", "8.6", "9.0a"]
    assert variant.cpu.name == "x86-64-v3"


@pytest.mark.parametrize("name", WRONG)
def test_wrong_names_say_what_to_write(name: str) -> None:
    with pytest.raises(UserError, match=r"nearest: (pytorch|torchvision)-|write (sm|pytorch-)"):
        parse_name(name)


@pytest.mark.parametrize(
    ("name", "way_out"),
    [
        ("pytorch-bin-sm90-avx512", "write pytorch-bin-sm90"),
        ("pytorch-python313-bin-cuda13_0-sm80-sm90-amx", "write pytorch-python313-bin-cuda13_0-sm80-sm90"),
        ("pytorch-bin-cpu", "write pytorch-bin-sm80, or pytorch-cpu-avx2 to compile one without CUDA"),
    ],
)
def test_what_the_official_wheel_is_not(name: str, way_out: str, nix: Nix) -> None:
    message = nix.error(".#lib", f"lib: (lib.parseName {nix_string(name)}).name")
    assert message.endswith(way_out)
    with pytest.raises(UserError) as error:
        parse_name(name)
    assert str(error.value) == message


def test_nix_reads_the_same(nix: Nix) -> None:
    names = [*short_names(), *GIVEN, "pytorch-python312-cuda13_0-sm80-sm90a-x86-64-v4", *WRONG]
    function = """name: let p = lib.parseName name; v = {
        inherit (p) kind package python cuda; cpu = p.cpu.name or null; gpus = map (g: g.target) p.gpus;
      }; forced = builtins.tryEval (builtins.deepSeq v v);
      in if forced.success then forced.value else null"""
    in_nix = nix.lib(f"map ({function}) [ {' '.join(map(nix_string, names))} ]")
    for name, found in zip(names, in_nix, strict=True):
        if name in WRONG:
            assert found is None, name
        else:
            variant = parse_name(name)
            assert found == {
                "kind": variant.kind,
                "package": variant.package,
                "python": variant.python,
                "cuda": variant.cuda,
                "cpu": variant.cpu.name if variant.kind == "compiled" else None,
                "gpus": [gpu.target for gpu in variant.gpus],
            }


@pytest.mark.parametrize("name", GIVEN)
def test_what_is_not_compiled_here(name: str) -> None:
    variant = parse_name(name)
    targets = [gpu.target for gpu in variant.gpus]
    assert (variant.kind, variant.python, variant.cuda, targets) == GIVEN[name]
    assert variant.package == {"wheel": "pytorch-bin", "cached": "pytorch"}[variant.kind]


def test_what_cannot_be_built_yet_says_what_to_write(nix: Nix) -> None:
    error = nix.error(".#legacyPackages.x86_64-linux.pytorch-sm90.drvPath")
    assert error.startswith("pytorch-sm90: nixpkgs' own build cannot be cut down yet; ")
    assert error.endswith("write pytorch-sm90-avx2 to compile it, or pytorch-bin-sm90 for the official wheel")


@pytest.mark.parametrize(
    ("name", "compiled", "wheel"),
    [
        ("pytorch-sm90", "pytorch-sm90-avx2", "pytorch-bin-sm90"),
        ("pytorch-sm80-sm90", "pytorch-sm80-sm90-avx2", "pytorch-bin-sm80-sm90"),
        ("pytorch-cuda13_0-sm110", "pytorch-cuda13_0-sm110-armv8_2", "pytorch-bin-cuda13_0-sm110"),
    ],
)
@pytest.mark.parametrize("options", [(), ("--runtime",), ("--origin", "wheel")], ids=len)
def test_what_cannot_be_built_yet_is_not_verified(
    name: str, compiled: str, wheel: str, options: tuple[str, ...], tmp_path: Path
) -> None:
    outcome = call("verify", tmp_path, "--variant", name, *options)
    assert is_refused(outcome)
    assert outcome.err.startswith(f"pytorch-variants: {name}: nothing has this name yet, ")
    assert f"write {compiled}, or" in outcome.err
    assert outcome.err.endswith(f"or {wheel} for the official wheel\n")
    assert {parse_name(compiled).kind, parse_name(wheel).kind} == {"compiled", "wheel"}


@pytest.mark.parametrize("name", NEAREST)
def test_the_gpu_that_is_meant_is_suggested(name: str) -> None:
    assert nearest_names(name) == NEAREST[name]


def test_nix_suggests_the_same(nix: Nix) -> None:
    assert nix.lib(f"map lib.internal.nearestNames [ {' '.join(map(nix_string, NEAREST))} ]") == list(
        NEAREST.values()
    )


def test_nix_suggests_the_same_for_every_product(nix: Nix) -> None:
    sets = list(cpus().values())
    names = [
        *(f"torchaudio-{name}" for name in products()),
        *(
            f"pytorch-{name.lower().replace(' ', '-')}-{sets[number % len(sets)].title}"
            for number, name in enumerate(products())
        ),
    ]
    suggested = [nearest_names(name) for name in names]
    assert nix.lib(f"map lib.internal.nearestNames [ {' '.join(map(nix_string, names))} ]") == suggested
    meant = [products()[name].name for name in products()]
    assert all(f"-{gpu}-" in found[0] for gpu, found in zip(meant * 2, suggested, strict=True))


SMALL = st.text("abc", max_size=7).map(str.encode)


@given(SMALL, SMALL, SMALL)
def test_mistakes_are_a_distance(a: bytes, b: bytes, c: bytes) -> None:
    found = edit_distance(a, b)
    assert (
        found == edit_distance(b, a) == edit_distance(b"x" + a, b"x" + b) == edit_distance(a + b"x", b + b"x")
    )
    assert abs(len(a) - len(b)) <= found <= max(len(a), len(b))
    assert (found == 0) == (a == b)
    assert edit_distance(a, a + c) == edit_distance(a, c + a) == len(c)


@given(SMALL, st.integers(0, 7), st.sampled_from(["left out", "added", "replaced", "swapped"]))
def test_one_mistake_is_one(text: bytes, place: int, mistake: str) -> None:
    place = min(place, len(text))
    start, rest = text[:place], text[place:]
    wrong = {
        "left out": start + rest[1:],
        "added": start + b"x" + rest,
        "replaced": start + b"x" + rest[1:],
        "swapped": start + rest[1:2] + rest[:1] + rest[2:],
    }[mistake]
    assert edit_distance(text, wrong) == edit_distance(wrong, text) == (wrong != text)


def test_nix_finds_the_same_nearest(nix: Nix) -> None:
    """Of every GPU, product, set and short name, for texts of all kinds."""
    lists = [[*gpus(), *products()], list(cpus()), short_names()]
    texts = [
        *WRONG,
        *NEAREST,
        "",
        "H10",
        "4000",
        "rtx 41",
        "gtx 80",
        "sm",
        "ti",
        "avx521",
        "Tesla",
        "GTX 1060 M",
        "ÄÖÜ",
        "\u212a620",
        "\u017fm90",
        "日本",
        "x" * 63 + "é",
        "an error message of several lines\nthat was pasted\nwhole, which nobody could mean by a name",
    ]
    of_nix = nix.lib(
        "builtins.concatMap (candidates: map (text: lib.internal.nearest 4 text candidates) "
        f"[ {' '.join(map(nix_string, texts))} ]) "
        f"[ {' '.join('[ ' + ' '.join(map(nix_string, names)) + ' ]' for names in lists)} ]"
    )
    assert of_nix == [nearest(text, names, 4) for names in lists for text in texts]


@pytest.mark.parametrize("name", WRONG)
def test_errors_are_nixs(nix: Nix, name: str) -> None:
    with pytest.raises(UserError) as raised:
        parse_name(name)
    assert nix.error(".#lib", f"lib: lib.parseName {nix_string(name)}") == str(raised.value)


@pytest.mark.parametrize(("machine", "cpu"), [("x86_64", "avx"), ("aarch64", "armv8_2"), ("arm64", "avx")])
def test_an_official_wheel_by_its_own_name(machine: str, cpu: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    variant = parse_name("pytorch-python312-bin-sm89")
    assert (variant.package, variant.python, variant.cpu.name) == ("pytorch-bin", "3.12", cpu)
    assert [gpu.target for gpu in variant.gpus] == ["8.9"]
