import pytest
from conftest import Nix
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from pytorch_variants.errors import UserError
from pytorch_variants.hardware.spelling import (
    nearest,
    parse_cpu,
    parse_gpu,
)
from pytorch_variants.hardware.table import (
    cpus,
    gpus,
    products,
)

SPELLINGS = {
    "sm90": "9.0",
    "sm_90": "9.0",
    "SM90": "9.0",
    "9.0": "9.0",
    "90": "9.0",
    "compute_90": "9.0",
    "H100": "9.0",
    "h100": "9.0",
    "NVIDIA H100 80GB HBM3": "9.0",
    "sm_90a": "9.0a",
    "9.0a": "9.0a",
    "10.0f": "10.0f",
    "9.0+PTX": "9.0+PTX",
    "120": "12.0",
    "sm103": "10.3",
    "NVIDIA A100-SXM4-80GB": "8.0",
    "L40S": "8.9",
    "NVIDIA L4": "8.9",
    "NVIDIA GeForce RTX 4090 Laptop GPU": "8.9",
    "NVIDIA RTX 6000 Ada Generation": "8.9",
    "Quadro RTX 6000": "7.5",
    "Tesla V100-SXM2-32GB": "7.0",
    "Tesla P40": "6.1",
    "Tesla P100-PCIE-16GB": "6.0",
    "Quadro GP100": "6.0",
    "GeForce GTX TITAN X": "5.2",
    "GTX 980 Ti": "5.2",
    "Tesla M60-8Q": "5.2",
    "Quadro M2000": "5.2",
    "Quadro M2000M": "5.0",
    "GeForce GTX 960": "5.2",
    "GeForce GTX 960M": "5.0",
    "GeForce GTX 965M": "5.2",
    "GeForce 940MX": "5.0",
    "GM107 [GeForce GTX 750 Ti]": "5.0",
    "NVIDIA GH200 480GB": "9.0",
    "NVIDIA RTX PRO 6000 Blackwell Server Edition": "12.0",
    "RTX4090": "8.9",
    "rtx-3060ti": "8.6",
    "GTX1080Ti": "6.1",
    "A100-SXM4-80GB": "8.0",
    "A100X": "8.0",
    "A10": "8.6",
    "NVIDIA A10G": "8.6",
    "GRID V100D-8Q": "7.0",
    "NVIDIA L40S-48Q": "8.9",
    "Quadro RTX 4000": "7.5",
    "NVIDIA RTX 4000 Ada Generation": "8.9",
    "NVIDIA RTX 4000 SFF Ada Generation": "8.9",
    "NVIDIA RTX PRO 4000 Blackwell": "12.0",
    "NVIDIA RTX PRO 3000 Blackwell Generation Laptop GPU": "12.0",
    "Quadro RTX 3000 with Max-Q Design": "7.5",
    "NVIDIA RTX A2000 8GB Laptop GPU": "8.6",
    "NVIDIA H100 NVL": "9.0",
    "NVIDIA H100 PCIe": "9.0",
    "NVIDIA B200": "10.0",
    "NVIDIA GB200": "10.0",
    "NVIDIA B300 SXM6 AC": "10.3",
    "Tesla T4": "7.5",
    "NVIDIA TITAN V": "7.0",
    "NVIDIA TITAN X (Pascal)": "6.1",
    "NVIDIA TITAN Xp": "6.1",
    "Orin (nvgpu)": "8.7",
    "NVIDIA Thor": "11.0",
    "NVIDIA GB10": "12.1",
    "4090": "8.9",
    "4090 D": "8.9",
    "4070ti": "8.9",
    "6000 Ada": "8.9",
    "2022 RTX 4090": "8.9",
    "RTX 4070 Ti SUPER": "8.9",
    "RTX 4090 Ada Lovelace": "8.9",
    "GeForce RTX 2080 Super with Max-Q Design": "7.5",
    "NVIDIA A40-8Q MIG": "8.6",
}
WRONG = [
    "",
    " ",
    "sm91",
    "9.1",
    "H10",
    "sm_",
    "sm90b",
    "8.9a",
    "9.0f",
    "1000",
    "90x",
    "sm90 avx512",
    "٩٠",
    "GTX 1060 M",
    "RTX 6000 Blackwell",
    "RTX A6000 Ada",
    "H100 A100",
    "RTX 4090 and RTX 3090",
    "NVIDIA Graphics Device",
    "Ampere",
    "4000",
    "6000 Ampere",
    "9999",
    "4090 Super",
    "RTX 4090 Super",
    "NVIDIA GeForce RTX 4090 Ti Laptop GPU",
    "RTX4070SUPER Ti",
    "RTX 3090 D",
]


def nix_string(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("${", "\\${")
    return f'"{escaped}"'


def test_no_architecture_has_gone_and_they_are_in_order() -> None:
    numbers = [gpu.number for gpu in gpus().values()]
    assert {50, 52, 60, 61, 70, 75, 80, 86, 87, 89, 90, 100, 103, 110, 120, 121} <= set(numbers)
    assert numbers == sorted(numbers)


def test_names_capabilities_and_bounds_agree() -> None:
    for name, gpu in gpus().items():
        assert name == f"sm{gpu.number}"
        assert gpu.cuda_max is None or Version(gpu.cuda_min) < Version(gpu.cuda_max)
        assert set(gpu.platforms) <= {"x86_64-linux", "aarch64-linux"}


def test_no_product_stands_twice() -> None:
    products = [product for gpu in gpus().values() for product in gpu.products]
    assert len(products) == len(set(products))


def test_every_product_is_found_by_its_own_name() -> None:
    for gpu in gpus().values():
        for product in gpu.products:
            assert parse_gpu(f"NVIDIA {product}").name == gpu.name


@pytest.mark.parametrize(("text", "target"), SPELLINGS.items())
def test_spellings(text: str, target: str) -> None:
    assert parse_gpu(text).target == target


@pytest.mark.parametrize("text", WRONG)
def test_wrong_spellings_name_candidates(text: str) -> None:
    with pytest.raises(UserError, match=r"nearest|write sm|names several|NVIDIA's GPUs"):
        parse_gpu(text)


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        found = parse_gpu(text)
    except UserError:
        return
    assert found.name.rstrip("af") in gpus()


def in_nix(nix: Nix, texts: list[str]) -> list[str | None]:
    """The targets that Nix reads, None for what it refuses."""
    function = (
        "text: let r = builtins.tryEval (lib.parseGpu text).target; in if r.success then r.value else null"
    )
    found: list[str | None] = nix.lib(f"map ({function}) [ {' '.join(map(nix_string, texts))} ]")
    return found


def in_python(text: str) -> str | None:
    try:
        return parse_gpu(text).target
    except UserError:
        return None


def test_nix_reads_the_same(nix: Nix) -> None:
    texts = [*SPELLINGS, *WRONG]
    assert in_nix(nix, texts) == [SPELLINGS.get(text) for text in texts]


def test_nix_reads_every_product_the_same_and_two_of_them(nix: Nix) -> None:
    names = list(products())
    texts = [
        *(f"NVIDIA {name} Laptop GPU" for name in names),
        *(name.upper().replace(" ", "-") for name in names),
        # Nix takes its time to say what is nearest.
        *(name.lower().replace(" ", "") for name in names[::4]),
        *(f"{name} {other}" for name, other in zip(names[::3], names[11::3], strict=False)),
        *(f"{name} {gpu.architecture}" for name in names[::13] for gpu in list(gpus().values())[::3]),
    ]
    read = [in_python(text) for text in texts]
    assert 20 < read.count(None) < len(read) / 3
    assert in_nix(nix, texts) == read


def test_instruction_sets(nix: Nix) -> None:
    in_nix = nix.lib("lib.hardware.cpus")
    for name, cpu in cpus().items():
        assert list(cpu.flags) == in_nix[name]["flags"]
        assert list(cpu.cpuinfo) == in_nix[name]["cpuinfo"]
    assert list(cpus()["avx512"].flags) == ["-mavx512f", "-mavx512dq", "-mavx512vl", "-mavx512bw", "-mfma"]
    assert parse_cpu("AVX-512").name == "avx512"
    assert parse_cpu("armv8.2").name == "armv8_2"
    assert nix.lib('(lib.parseCpu "AVX-512 BF16").name') == "avx512bf16"
    with pytest.raises(UserError, match="nearest: avx512"):
        parse_cpu("avx521")
    assert "nearest" in nix.error(".#lib", 'lib: lib.parseCpu "avx521"')


def test_nearest_is_ordered() -> None:
    assert nearest("avx521", ["amx", "avx", "avx512"], 2) == ["avx512", "avx"]
