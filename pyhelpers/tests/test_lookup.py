"""What names stand for, and the matrix of variants."""

import json
import os

import pytest
from commands import call, is_refused
from conftest import Nix

from pytorch_variants.errors import UserError
from pytorch_variants.hardware.spelling import other_maker, version
from pytorch_variants.hardware.table import (
    Cpu,
    Gpu,
    cpus,
    gpus,
    products,
)
from pytorch_variants.names.lookup import (
    find_all,
    lookup,
)
from pytorch_variants.names.matrix import entries, systems, targets
from pytorch_variants.names.variant import (
    parse_name,
    short_names,
)

NAMES = {
    "NVIDIA H100 80GB HBM3": "sm90",
    "GeForce RTX 4090 Laptop GPU": "sm89",
    "sm_90a": "sm90a",
    "9.0": "sm90",
    "Ada": "sm89",
    "ada lovelace": "sm89",
    "Hopper": "sm90",
    "Volta": "sm70",
    "L40S": "sm89",
    "AVX-512": "avx512",
    "avx512_bf16": "avx512bf16",
    "x86-64-v3": "x86-64-v3",
    "armv8.2": "armv8_2",
    "4090": "sm89",
    "4000 Ada": "sm89",
}


@pytest.mark.parametrize(("text", "name"), NAMES.items())
def test_names(text: str, name: str) -> None:
    assert lookup(text).entry.name == name


def test_every_name_of_the_table_is_found_by_itself() -> None:
    for name, entry in {**gpus(), **cpus(), **products()}.items():
        assert lookup(name).entry == entry


def test_the_l40s_is_8_9_and_says_so() -> None:
    match = lookup("NVIDIA L40S")
    assert isinstance(match.entry, Gpu)
    assert match.entry.capability == "8.9"
    assert any("9.0" in note and "wrong" in note for note in match.notes)
    assert not lookup("L40").notes
    assert lookup("sm89").notes == match.notes


def test_products_of_the_same_name_are_told_apart() -> None:
    assert lookup("Quadro RTX 4000").similar == (
        "RTX A4000 (sm86)",
        "RTX 4000 Ada (sm89)",
        "RTX 4000 SFF Ada (sm89)",
        "RTX PRO 4000 Blackwell (sm120)",
    )
    assert lookup("H100").similar == ()


@pytest.mark.parametrize(
    ("text", "candidates"),
    [
        ("Ampere", ("sm80 (A100", "sm86 (", "sm87 (Jetson")),
        ("Blackwell", ("sm100 (B100", "sm103 (", "sm110 (", "sm120 (", "sm121 (GB10")),
        ("H100 A100", ("H100 (sm90)", "A100 (sm80)")),
        ("4000", ("RTX 4000 (sm75)", "RTX A4000 (sm86)", "RTX 4000 Ada (sm89)", "write one of them")),
        ("RTX 4090 Super", ("RTX 4080 SUPER",)),
        ("TITAN X", ("TITAN X (Pascal)", "GTX TITAN X")),
        ("avx521", ("avx512",)),
        ("H10", ("H100", "H20")),
        ("hoper", ("Hopper",)),
        ("sm91", ("sm90",)),
    ],
)
def test_ambiguous_and_unknown_names_list_candidates(text: str, candidates: tuple[str, ...]) -> None:
    outcome = call("lookup", text)
    assert is_refused(outcome)
    assert all(candidate in outcome.err for candidate in candidates)


# GPUs of other makers, and whose they are.
OTHERS = {
    "MI300X": "AMD",
    "mi 250": "AMD",
    "AMD Instinct MI210": "AMD",
    "Radeon RX 7900 XTX": "AMD",
    "RX 6800": "AMD",
    "gfx942": "AMD",
    "gfx90a": "AMD",
    "Radeon Pro W7900": "AMD",
    "AMD": "AMD",
    "Arc A770": "Intel",
    "Intel Arc B580": "Intel",
    "Intel Data Center GPU Max 1550": "Intel",
    "Gaudi 3": "Intel",
}
NO_OTHERS = [
    "AMD EPYC 9654",
    "Intel Xeon 8480",
    "Matrix 5000",
    "RTX 7000",
    "Searchlight",
    "H1000",
    "5" * 5000,
]


@pytest.mark.parametrize("line", OTHERS)
@pytest.mark.parametrize(
    "command",
    [
        ("lookup",),
        ("detect", "--gpu"),
        ("list", "--gpu"),
        ("inspect", "/", "--gpu"),
        ("retarget", "/", "--gpu"),
    ],
    ids=lambda command: command[0],
)
def test_gpus_of_other_makers_are_named_as_such(command: tuple[str, ...], line: str) -> None:
    outcome = call(*command, line)
    assert is_refused(outcome)
    assert f"\"{line}\" is {OTHERS[line]}'s, and this project is for NVIDIA's GPUs" in outcome.err


def test_nix_names_them_as_such(nix: Nix) -> None:
    texts = [*OTHERS, *NO_OTHERS, "pytorch-mi300x-avx2", "pytorch-sm90-avx2"]
    said = nix.lib(f"map lib.internal.otherMaker [ {' '.join(map(json.dumps, texts))} ]")
    assert said == [other_maker(text) for text in texts]
    error = nix.error(".#lib", 'lib: (lib.parseGpu "MI300X").name')
    assert error == f'"MI300X" is {other_maker("MI300X")}'
    for name in ("pytorch-mi300x-avx2", "pytorch-bin-gfx942"):
        with pytest.raises(UserError) as refused:
            parse_name(name)
        assert nix.error(".#lib", f'lib: (lib.parseName "{name}").cpu') == str(refused.value)
        assert str(refused.value).startswith(f"{name}: this GPU is AMD's, and this project is for")


@pytest.mark.parametrize("text", NO_OTHERS, ids=range(len(NO_OTHERS)))
def test_other_texts_are_not_taken_for_them(text: str) -> None:
    assert "this project is for NVIDIA's" not in call("lookup", text).err


def test_no_product_of_the_table_is_anothers() -> None:
    assert not [name for name in products() if "NVIDIA's" in call("lookup", name).err]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("NVIDIA RTX 4090", {"RTX 4090": "sm89"}),
        ("RTX 4090 Laptop GPU", {"RTX 4090": "sm89"}),
        ("nvidia 4090 24 GB", {"RTX 4090": "sm89"}),
        ("RTX 6000 Ada", {"RTX 6000 Ada": "sm89"}),
        ("NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition", {"RTX PRO 6000 Blackwell": "sm120"}),
        ("NVIDIA A100-SXM4-80GB H100 80GB HBM3", {"A100": "sm80", "H100": "sm90"}),
        ("RTX 4090 RTX 4080 rtx4090", {"RTX 4090": "sm89", "RTX 4080": "sm89"}),
        ("RTX 3090 avx 512 sm_90a", {"RTX 3090": "sm86", "avx 512": "avx512", "sm_90a": "sm90a"}),
        ("Ada Lovelace H100", {"Ada Lovelace": "sm89", "H100": "sm90"}),
    ],
)
def test_words_that_are_one_name_need_no_quotes(line: str, found: dict[str, str]) -> None:
    matches = find_all(line.split())
    assert {match.product or match.text: match.entry.name for match in matches} == found


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("rtx-4090", "RTX 6000 Ada", "i9-13900K"), "i9-13900K"),
        (("rtx4090", "foobar"), "foobar"),
        (("foobar", "rtx4090"), "foobar"),
        (("RTX", "4090", "Super"), "Super"),
        (("H100", "Laptop", "foobar", "GPU"), "foobar"),
    ],
)
def test_a_word_that_belongs_to_nothing_is_named(arguments: tuple[str, ...], word: str) -> None:
    outcome = call("lookup", *arguments)
    assert is_refused(outcome)
    assert f'"{word}" is no GPU' in outcome.err


def test_several_names_are_all_looked_up() -> None:
    assert [match.entry.name for match in find_all(["H100", "A100", "avx2"])] == ["sm90", "sm80", "avx2"]
    assert [match.product for match in find_all(["RTX 4090", "RTX 4090 D"])] == ["RTX 4090", "RTX 4090 D"]


def test_variants_of_a_name_can_be_built(nix: Nix) -> None:
    in_flake = set(nix.eval(".#lib.variants", "builtins.attrNames"))
    assert set(lookup("sm90").variants) == {name for name in in_flake if "-sm90-" in name}
    assert set(lookup("avx2").variants) == {name for name in in_flake if name.endswith("-avx2")}
    assert set(short_names()) == in_flake
    assert lookup("sm90a").variants == ()


def test_lookup_prints_the_facts() -> None:
    outcome = call("lookup", "L40S", "sm61", "avx", "sm90a")
    assert outcome.code == 0
    for fact in (
        "L40S: NVIDIA Ada Lovelace, compute capability 8.9",
        "  gpuTargets  8.9",
        "  CUDA        11.8 and later",
        "  CUDA        8.0 to 12.9",
        "  cuDNN       up to 9.10",
        "  off        -mno-avx2",
        'lib.mkPytorchVariant { gpu = "sm90a"',
    ):
        assert fact in outcome.out


def test_lookup_for_machines() -> None:
    results = json.loads(call("lookup", "L40S", "AVX2", "--json").out)["results"]
    assert [(row["kind"], row["name"], row["text"]) for row in results] == [
        ("gpu", "sm89", "L40S"),
        ("cpu", "avx2", "AVX2"),
    ]
    assert results[0]["product"] == "L40S"
    assert "pytorch-cpu-avx2" in results[1]["variants"]
    assert isinstance(lookup("avx2").entry, Cpu)


def test_the_matrix_is_the_flakes(nix: Nix) -> None:
    """Each entry is an attribute of its system's packages, spelled out or not."""
    system = f"{os.uname().machine}-linux"
    in_flake = set(nix.eval(f".#legacyPackages.{system}", "builtins.attrNames"))
    cuda = nix.eval(f".#legacyPackages.{system}.pkgs.cudaPackages.cudaMajorMinorVersion")
    for found in (entries(system=[system]), entries(system=[system], cuda=cuda)):
        assert {entry.name for entry in found} <= in_flake
        assert {entry.system for entry in found} == {system}


def test_filters() -> None:
    assert [entry.name for entry in entries()] == short_names()
    assert [entry.name for entry in entries(gpu=["H100", "cpu"], cpu=["avx2"])] == [
        "pytorch-sm90-avx2",
        "pytorch-cpu-avx2",
    ]
    old = entries(cuda="12.8")
    assert {entry.gpu for entry in old} >= {"sm61", "sm120", "cpu"}
    assert not {entry.gpu for entry in old} & {"sm103", "sm110", "sm121"}
    assert not {entry.gpu for entry in entries(cuda="13_0")} & {"sm61", "sm70"}
    for entry in old:
        variant = parse_name(entry.name)
        assert variant.cuda == ("12.8" if variant.gpus else None)


def test_releases_of_cuda_that_a_gpu_has_code_in() -> None:
    """From the first to the last one, these included."""
    for gpu in gpus().values():
        assert targets(gpu.cuda_min, gpu)
        assert targets(gpu.cuda_max or "99.0", gpu)
        first, last = version(gpu.cuda_min), version(gpu.cuda_max or "99.0")
        assert not targets(f"{first[0] - 1}.9", gpu)
        assert targets(f"{last[0]}.{last[1] + 1}", gpu) == (gpu.cuda_max is None)
    assert {gpu.cuda_max is None for gpu in gpus().values()} == {True, False}


@pytest.mark.parametrize("text", ["12", "12.8.1", "9.2", "99.0"])
def test_no_release_of_cuda(text: str) -> None:
    with pytest.raises(UserError, match="is no CUDA release of this project"):
        entries(cuda=text)


def test_an_orin_is_in_no_x86_machine() -> None:
    assert {entry.system for entry in entries(gpu=["sm87"])} == {"aarch64-linux"}
    assert systems() == ["x86_64-linux", "aarch64-linux"]


def test_github_matrix_is_one_line_and_within_githubs_limit() -> None:
    outcome = call("list", "--github-matrix")
    assert outcome.out.count("\n") == 1
    include = json.loads(outcome.out)["include"]
    # GitHub Actions takes up to 256 jobs from a matrix.
    assert 0 < len(include) <= 256
    assert include[0] == {
        "name": "pytorch-sm50-avx",
        "system": "x86_64-linux",
        "gpu": "sm50",
        "cpu": "avx",
    }


def test_list_for_machines_and_pipes() -> None:
    rows = json.loads(call("list", "--json").out)["variants"]
    assert [row["name"] for row in rows] == call("list").out.splitlines()
