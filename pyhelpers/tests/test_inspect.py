"""`inspect`: any wheel, library or environment, and what it says is what is in it."""

import json
import os
import re
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from binaries import CUDA, c_library, cuda_library, cuobjdump, nvcc_library, scratch, tool
from commands import call
from hypothesis import given, settings
from hypothesis import strategies as st

from pytorch_variants.errors import UserError
from pytorch_variants.hardware.compatibility import CodeKind, runs_on
from pytorch_variants.hardware.table import gpus
from pytorch_variants.retarget.nvidia import read_distribution
from pytorch_variants.verify.inspect import MOST_AT_A_TIME, Inspection, inspect_path

NVIDIA = "Name: nvidia-thing\nAuthor: Nvidia CUDA Installer Team\nLicense: NVIDIA Proprietary Software\n"
BOTH = ("-gencode=arch=compute_80,code=[sm_80,compute_80]",)
Code = tuple[CodeKind, int]
OWN = "Name: thing\nAuthor: somebody\nLicense: MIT\n"


def kernels() -> Path:
    path = scratch() / "inspected.cu"
    path.write_text(CUDA)
    return path


def cubin(arch: str) -> bytes:
    target = scratch() / f"inspected{arch}.cubin"
    if not target.exists():
        options = ("-cubin", f"-arch=sm_{arch}", "-o", target, kernels())
        subprocess.run([tool("nvcc"), *options], check=True)
    return target.read_bytes()


def make_wheel(path: Path, files: dict[str, bytes], metadata: str = OWN, compression: int = 8) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
        archive.writestr("thing-1.0.dist-info/METADATA", metadata)
        archive.writestr("thing-1.0.dist-info/RECORD", "")
    return path


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    """Libraries with GPU code, one without, and bare cubins."""
    return {
        "thing/libmany.so": cuda_library("many").read_bytes(),
        "thing/old": nvcc_library("sm80plain", "-gencode=arch=compute_80,code=sm_80").read_bytes(),
        # The runtime's own container, which nvcc links in front, has machine code alone, and no function.
        "thing/both.so": nvcc_library(
            "both", "-gencode=arch=compute_80,code=[sm_80,compute_80]"
        ).read_bytes(),
        "thing/ptx.so.1": cuda_library("ptx").read_bytes(),
        "thing/plain.so": c_library(scratch() / "libplain.so", "int x;").read_bytes(),
        "thing/__init__.py": b"",
        **{f"thing/cubins/{arch}.cubin": cubin(arch) for arch in ("80", "90")},
    }


@pytest.fixture(scope="module")
def wheel(files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of all of them; do not write to it."""
    return make_wheel(tmp_path_factory.mktemp("wheel") / "thing-1.0-py3-none-any.whl", files)


@pytest.fixture(scope="module")
def listed(files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Code]]:
    """What cuobjdump lists of each: the kind of code and its number."""
    found = {}
    for number, (name, data) in enumerate(files.items()):
        path = tmp_path_factory.mktemp("listed") / str(number)
        path.write_bytes(data)
        cubins: list[Code] = [("cubin", int(code[3:])) for code in cuobjdump(path)]
        found[name] = [*cubins, *(("ptx", int(code[3:])) for code in cuobjdump(path, "ptx"))]
    return found


@pytest.fixture(scope="module")
def answered(wheel: Path) -> Inspection:
    """What is said of it for every GPU of the table."""
    return inspect_path(wheel, [*gpus().values()])


def summary(found: Inspection) -> dict[str, tuple[str, ...]]:
    return {row.path: (*row.architectures, *row.ptx) for row in found.libraries}


EXPECTED = {
    "thing/both.so": ("sm_80", "PTX_80"),
    "thing/cubins": ("sm_80", "sm_90"),
    "thing/libmany.so": ("sm_75", "sm_80", "sm_90", "sm_120"),
    "thing/old": ("sm_80",),
    "thing/plain.so": (),
    "thing/ptx.so.1": ("PTX_90",),
}


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_wheel(files: dict[str, bytes], compression: int, tmp_path: Path) -> None:
    before = {path.name for path in tmp_path.iterdir()}
    wheel = make_wheel(tmp_path / "thing-1.0-py3-none-any.whl", files, compression=compression)
    found = inspect_path(wheel)
    assert summary(found) == EXPECTED
    assert {path.name for path in tmp_path.iterdir()} - before == {wheel.name}
    assert {row.path: row.files for row in found.libraries}["thing/cubins"] == 2


@pytest.mark.parametrize("shape", ["package", "site-packages", "environment", "a link to it"])
def test_directories(shape: str, files: dict[str, bytes], tmp_path: Path) -> None:
    site = tmp_path / "env" / "lib" / "python3.11" / "site-packages"
    for name, data in files.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_bytes(data)
    (tmp_path / "env" / "outside.so").write_bytes(files["thing/old"])
    (site / "thing" / "loop").symlink_to(".")
    (site / "thing" / "up").symlink_to(tmp_path)
    (tmp_path / "result").symlink_to(tmp_path / "env")
    asked, prefix = {
        "package": (site / "thing", "thing/"),
        "site-packages": (site, ""),
        "environment": (tmp_path / "env", ""),
        "a link to it": (tmp_path / "result", ""),
    }[shape]
    found = {
        re.sub(r"^.*site-packages/", "", prefix + path): code
        for path, code in summary(inspect_path(asked)).items()
    }
    assert found == EXPECTED


@pytest.mark.parametrize("gpu", [*gpus()])
def test_answers_are_the_rules(gpu: str, answered: Inspection, listed: dict[str, list[Code]]) -> None:
    """For every GPU of the table: what runs is what NVIDIA's rule says of what cuobjdump lists."""
    for row in answered.libraries:
        if row.files > 1 or not row.containers:
            continue
        expected = any(runs_on(kind, number, "", gpus()[gpu].number) for kind, number in listed[row.path])
        [answer] = (answer for answer in row.asked if answer.gpu == gpu)
        assert (answer.verdict in ("runs", "compiles")) == expected, (row.path, gpu)
        assert (gpu in row.gpus) == expected


@pytest.mark.parametrize(("gpu", "fails"), [("sm87", True), ("sm100", True), ("sm121", False)])
def test_it_fails_where_a_library_lacks_code(
    gpu: str, fails: bool, files: dict[str, bytes], tmp_path: Path
) -> None:
    (tmp_path / "libmany.so").write_bytes(files["thing/libmany.so"])
    found = inspect_path(tmp_path / "libmany.so", [gpus()[gpu]])
    assert found.failing == (found.asked[0].verdict in ("part", "fails")) == fails


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        ((), 0, "GPUs that run all of it: sm80"),
        (("--gpu", "a100"), 1, "sm80: no kernel image is available for 1 of"),
        (("--gpu", "sm_90"), 1, "sm90: no kernel image is available for 1 of"),
        (("--gpu", "sm90,sm120"), 1, "sm120: no kernel image is available for"),
    ],
)
def test_the_command(
    arguments: tuple[str, ...], code: int, line: str, files: dict[str, bytes], tmp_path: Path
) -> None:
    chosen = {name: data for name, data in files.items() if arguments or "ptx" not in name}
    wheel = make_wheel(tmp_path / "thing-1.0-py3-none-any.whl", chosen)
    outcome = call("inspect", wheel, *arguments)
    assert (outcome.code, outcome.err) == (code, "")
    assert line in outcome.out


def test_json(wheel: Path) -> None:
    outcome = call("inspect", wheel, "--gpu", "h100", "--json")
    data = json.loads(outcome.out)
    assert data["schema"] == 1
    [one] = data["inspected"]
    assert one["path"] == str(wheel)
    assert {row["path"]: row["architectures"] + row["ptx"] for row in one["libraries"]} == {
        name: list(codes) for name, codes in EXPECTED.items()
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nothing",), "No such file or directory; name a wheel, a library or a directory"),
        (("empty",), "no library and no GPU code in it"),
        (("text",), "no wheel, no library and no GPU code"),
        (("fifo",), "not a regular file"),
        (("zip.whl",), "not a zip file|ends too early"),
        (("text", "--gpu", "voodoo3"), "nearest: "),
    ],
)
def test_what_cannot_be_inspected(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("x" * 100)
    (tmp_path / "zip.whl").write_bytes(b"PK\3\4" + bytes(100))
    os.mkfifo(tmp_path / "fifo")
    outcome = call("inspect", tmp_path / arguments[0], *arguments[1:])
    assert outcome.code == 2
    assert len(outcome.err.splitlines()) == 1
    assert re.search(message, outcome.err)


def test_gpu_code_by_itself(tmp_path: Path) -> None:
    (tmp_path / "a.cubin").write_bytes(cubin("90"))
    assert summary(inspect_path(tmp_path / "a.cubin")) == {"a.cubin": ("sm_90",)}
    ptx = b"//\n.version 8.0\n.target sm_90a\n.address_size 64\n"
    (tmp_path / "a.ptx").write_bytes(ptx)
    assert summary(inspect_path(tmp_path / "a.ptx")) == {"a.ptx": ("PTX_90a",)}
    options = ("-fatbin", "-gencode=arch=compute_80,code=[sm_80,compute_80]", "-o", tmp_path / "a.fatbin")
    subprocess.run([tool("nvcc"), *options, kernels()], check=True)
    assert summary(inspect_path(tmp_path / "a.fatbin")) == {"a.fatbin": ("sm_80", "PTX_80")}


@pytest.mark.parametrize(
    ("metadata", "nvidia"),
    [
        (NVIDIA, True),
        (
            "Name: nvidia-a\nAuthor: x\nLicense-Expression: LicenseRef-NVIDIA-Proprietary\n",
            True,
        ),
        ("Name: nvidia-unknown\n\nLicense: MIT\n", True),
        ("Name: cudss\nAuthor: NVIDIA\nClassifier: License :: Other/Proprietary License\n", True),
        ("Name: nvidia-ml-py\nAuthor: NVIDIA Corporation\nLicense: BSD\n", False),
        ("Name: warp\nAuthor: NVIDIA\nLicense-Expression: Apache-2.0\n", False),
        (OWN, False),
        ("Name: torch\nAuthor: PyTorch Team\nLicense: BSD\n\nNVIDIA\n", False),
        ("", False),
    ],
)
def test_whose_a_distribution_is(metadata: str, nvidia: bool) -> None:
    assert read_distribution(metadata.encode()).nvidia is nvidia


def test_what_is_nvidias(files: dict[str, bytes], tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path / "thing-1.0-py3-none-any.whl", files, NVIDIA)
    assert {row.owner for row in inspect_path(wheel).libraries if row.files == 1} == {"NVIDIA"}
    site = tmp_path / "site-packages"
    (site / "thing-1.0.dist-info").mkdir(parents=True)
    (site / "thing-1.0.dist-info" / "METADATA").write_text(NVIDIA)
    (site / "thing-1.0.dist-info" / "RECORD").write_text("thing/old,,\n")
    for name in ("thing/old", "thing/libmany.so"):
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_bytes(files[name])
    assert {row.path: row.owner for row in inspect_path(site).libraries} == {
        "thing/old": "NVIDIA",
        "thing/libmany.so": "",
    }


def damaged(data: bytes, change: Callable[[bytes], bytes], path: Path) -> Path:
    path.write_bytes(change(data))
    return path


def test_a_damaged_entry_is_a_row(files: dict[str, bytes], tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path / "thing-1.0-py3-none-any.whl", files)
    with zipfile.ZipFile(wheel) as archive:
        info = archive.getinfo("thing/libmany.so")
    data = bytearray(wheel.read_bytes())
    middle = info.header_offset + 40 + info.compress_size // 2
    data[middle : middle + 64] = bytes(64)
    wheel.write_bytes(data)
    found = inspect_path(wheel)
    [row] = [row for row in found.libraries if row.path == "thing/libmany.so"]
    assert row.problem
    assert "\n" not in row.problem
    assert found.failing
    assert summary(found)["thing/old"] == ("sm_80",)


def test_an_entry_whose_last_bytes_find_no_room_at_first(tmp_path: Path) -> None:
    """zlib may have consumed all of it, and hold back what it becomes."""
    sizes = range(MOST_AT_A_TIME, MOST_AT_A_TIME + 300)
    entries = {f"{size}.so": b"\x7fELF".ljust(size, b"\0") for size in sizes}
    found = inspect_path(make_wheel(tmp_path / "thing-1.0-py3-none-any.whl", entries))
    assert {row.problem for row in found.libraries} == {"a 32-bit ELF file; 64-bit is wanted"}


def test_an_entry_that_is_larger_than_it_says(files: dict[str, bytes], tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path / "thing-1.0-py3-none-any.whl", {"big.so": b"\x7fELF" + bytes(10_000_000)})
    data = wheel.read_bytes()
    size = struct.pack("<I", 10_000_004)
    wheel.write_bytes(data.replace(size, struct.pack("<I", 5000)))
    [row] = inspect_path(wheel).libraries
    assert "more than the 5000 bytes" in row.problem


@pytest.mark.parametrize("waits", [False, True], ids=["later", "while others are handed out"])
def test_a_file_that_ends_its_reader(waits: bool, files: dict[str, bytes], tmp_path: Path) -> None:
    """What is cut short while it is read ends the process that reads it by SIGBUS; the others are read."""
    program = (
        "import os, sys, signal\n"
        "from concurrent.futures import wait\n"
        "from pathlib import Path\n"
        "from pytorch_variants.verify import inspect\n"
        "read = inspect._read\n"
        "def _read(item):\n"
        "    if item.name == 'bad.so': os.kill(os.getpid(), signal.SIGBUS)\n"
        "    return read(item)\n"
        "inspect._read = _read\n"
        "submit = inspect.ProcessPoolExecutor.submit\n"
        "def waiting(*arguments):\n"
        "    future = submit(*arguments)\n"
        "    wait([future])\n"
        "    return future\n"
        "if sys.argv[2] == 'True': inspect.ProcessPoolExecutor.submit = waiting\n"
        "for row in inspect.inspect_path(Path(sys.argv[1])).libraries: print(row.path, row.problem)\n"
    )
    for name in ("bad.so", "good.so"):
        (tmp_path / name).write_bytes(files["thing/old"])
    result = subprocess.run(
        [sys.executable, "-c", program, tmp_path, str(waits)], capture_output=True, text=True, check=True
    )
    bad, good = result.stdout.splitlines()
    assert "ended the process" in bad
    assert good == "good.so "


def test_an_encrypted_entry_is_passed_over(files: dict[str, bytes], tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path / "encrypted-1-py3-none-any.whl", {"thing/a.so": files["thing/old"]})
    data = bytearray(wheel.read_bytes())
    with zipfile.ZipFile(wheel) as archive:
        [place] = (info.header_offset for info in archive.infolist() if info.filename.endswith("METADATA"))
        directory = archive.start_dir
    # The flag in the entry's own header, and in the directory's.
    data[place + 6] |= 1
    data[data.index(b"thing-1.0.dist-info/METADATA", directory) - 46 + 8] |= 1
    wheel.write_bytes(data)
    assert [row.path for row in inspect_path(wheel).libraries] == ["thing/a.so"]


@settings(deadline=None, max_examples=30)
@given(st.data())
def test_any_damage_of_an_archive(data: st.DataObject) -> None:
    wheel = make_wheel(scratch() / "damage-1-py3-none-any.whl", {"a.so": cuda_library("ptx").read_bytes()})
    whole = bytearray(wheel.read_bytes())
    places = st.one_of(st.integers(0, 200), st.integers(len(whole) - 400, len(whole) - 8))
    for place in data.draw(st.lists(places, min_size=1, max_size=4)):
        value = data.draw(st.binary(min_size=1, max_size=8))
        whole[place : place + len(value)] = value
    wheel.write_bytes(whole)
    try:
        found = inspect_path(wheel, jobs=1)
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert all("\n" not in row.problem for row in found.libraries)
