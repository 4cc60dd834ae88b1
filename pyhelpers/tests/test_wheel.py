"""Wheels: what comes out is a wheel in every respect, and nothing but what is stated has changed."""

import contextlib
import csv
import hashlib
import io
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from binaries import c_library, contents, cuda_library, nvcc_library
from commands import Outcome, call
from conftest import FLAGSHIP, Nix
from hypothesis import given
from hypothesis import strategies as st
from packaging.utils import parse_wheel_filename

from pytorch_variants.binary.fatbin import Container, Entry
from pytorch_variants.retarget.installed import retarget_directory
from pytorch_variants.retarget.library import FLAGS_LIBRARY, Library, available, choose
from pytorch_variants.retarget.record import row
from pytorch_variants.retarget.rewrite import BLOCK
from pytorch_variants.retarget.wheel import (
    local_version,
    retarget_wheel,
)

FLAGS = 'const char *arch_flags(void) {{ return "{}"; }}'
TAGS = "3-py3-none-manylinux_2_28_x86_64"


def make_wheel(
    directory: Path,
    name: str = "torch",
    requires: str = "",
    version: str = "2.10.0",
    extra: Mapping[str, Path] = MappingProxyType({}),
) -> Path:
    """A wheel of the same shape as PyTorch's, importable, with real CUDA libraries."""
    root = directory / f"{name}-tree"
    lib = root / name / "lib"
    lib.mkdir(parents=True)
    (root / name / "__init__.py").write_text("from .version import __version__\n")
    (root / name / "version.py").write_text(f"__version__ = '{version}+cu128'\ncuda = '12.8'\n")
    shutil.copy(cuda_library("many"), lib / f"lib{name}_cuda.so")
    shutil.copy(cuda_library("many"), lib / "libcudart-1a2b.so.12")
    for place, library in extra.items():
        shutil.copy(library, root / name / place)
    # Longer than one block of the compression, and not compressible.
    (lib / "data.bin").write_bytes(random.Random(1).randbytes(BLOCK + 999))
    if name == "torch":
        c_library(lib / FLAGS_LIBRARY, FLAGS.format("sm_75 sm_80 sm_90 sm_120"))
        padding = "const char big[3000000] = {1}; const char tail[] = {2};"
        c_library(lib / "libtorch_cpu.so", padding)
    info = root / f"{name}-{version}.dist-info"
    (info / "licenses").mkdir(parents=True)
    (info / "licenses" / "LICENSE").write_text("a, licence")
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}\nVersion: in the text\n"
    (info / "METADATA").write_text(metadata)
    (info / "WHEEL").write_text("Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: false\n"
                                "Tag: py3-none-manylinux_2_28_x86_64\nBuild: 3\n")  # fmt: skip
    files = sorted(path for path in root.rglob("*") if path.is_file())
    names = [path.relative_to(root).as_posix() for path in files]
    record = io.StringIO()
    writer = csv.writer(record, lineterminator="\n")
    for path, file in zip(files, names, strict=True):
        writer.writerow((file, *row(hashlib.sha256(path.read_bytes()).digest(), path.stat().st_size)))
    writer.writerow((f"{info.name}/RECORD", "", ""))
    wheel = directory / f"{name}-{version}-{TAGS}.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, file in zip(files, names, strict=True):
            item = zipfile.ZipInfo(file, (2026, 1, 2, 3, 4, 6))
            item.external_attr = (0o100755 if ".so" in file else 0o100644) << 16
            item.compress_type = zipfile.ZIP_STORED if file.endswith(".py") else zipfile.ZIP_DEFLATED
            archive.writestr(item, path.read_bytes())
        archive.writestr(zipfile.ZipInfo(f"{info.name}/RECORD", (2026, 1, 2, 3, 4, 6)), record.getvalue())
    shutil.rmtree(root)
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_wheel(tmp_path_factory.mktemp("wheel"))


def command(*arguments: object, cwd: Path | None = None) -> Outcome:
    with contextlib.chdir(cwd or "."):
        return call("retarget", *arguments)


def read(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def test_only_what_is_stated_changes(wheel: Path, tmp_path: Path) -> None:
    result = retarget_wheel(wheel, tmp_path, [90])
    assert result.path.name == f"torch-2.10.0+cu128.sm90-{TAGS}.whl"
    assert parse_wheel_filename(result.path.name)[2] == (3, "")
    assert (result.before, result.after) == (wheel.stat().st_size, result.path.stat().st_size)
    assert result.untouched == ("torch/lib/libcudart-1a2b.so.12",)
    old, new = read(wheel), read(result.path)
    renamed = {name: name.replace("torch-2.10.0.", "torch-2.10.0+cu128.sm90.") for name in old}
    assert list(new) == list(renamed.values())
    changed = {name for name in old if old[name] != new[renamed[name]]}
    info = "torch-2.10.0.dist-info"
    libraries = {"torch/lib/libtorch_cuda.so", f"torch/lib/{FLAGS_LIBRARY}"}
    assert changed == {*libraries, "torch/version.py", f"{info}/METADATA", f"{info}/RECORD"}
    lines = [new[renamed[name]].decode().splitlines() for name in ("torch/version.py", f"{info}/METADATA")]
    assert lines[0] == ["__version__ = '2.10.0+cu128.sm90'", "cuda = '12.8'"]
    assert "Version: 2.10.0+cu128.sm90" in lines[1]
    assert lines[1][-1] == "Version: in the text"
    with zipfile.ZipFile(wheel) as before, zipfile.ZipFile(result.path) as after:
        for a, b in zip(before.infolist(), after.infolist(), strict=True):
            assert (a.date_time, a.external_attr, a.create_system) == (
                *(b.date_time, b.external_attr, b.create_system),
            )
        after.extractall(tmp_path / "tree")
    assert contents(tmp_path / "tree/torch/lib/libtorch_cuda.so")[0] == ["cubin sm_90"]


def test_record_lists_every_file_truly(wheel: Path, tmp_path: Path) -> None:
    files = read(retarget_wheel(wheel, tmp_path, [90]).path)
    [record] = [name for name in files if name.endswith("/RECORD")]
    rows = {path: tuple(rest) for path, *rest in csv.reader(io.StringIO(files[record].decode()))}
    assert set(rows) == set(files)
    assert rows.pop(record) == ("", "")
    for name, found in rows.items():
        assert found == row(hashlib.sha256(files[name]).digest(), len(files[name])), name


def test_the_same_bytes_every_time(wheel: Path, tmp_path: Path) -> None:
    once = retarget_wheel(wheel, tmp_path, [90], jobs=1).path.read_bytes()
    (tmp_path / "two").mkdir()
    assert retarget_wheel(wheel, tmp_path / "two", [90], jobs=4).path.read_bytes() == once
    # And retargeting the result gives the result.
    (tmp_path / "three").mkdir()
    again = retarget_wheel(next(tmp_path.glob("*.whl")), tmp_path / "three", [90]).path
    assert again.name == next(tmp_path.glob("*.whl")).name
    assert again.read_bytes() == once


@pytest.mark.slow
def test_installed_beside_its_companion(wheel: Path, tmp_path: Path) -> None:
    """pip and uv take both, pins like torch==2.10.0 hold, and all three versions agree."""
    vision = make_wheel(tmp_path, "torchvision", "Requires-Dist: torch (==2.10.0)\n", "0.25.0")
    result = command(wheel, vision, "--gpu", "sm80, sm90", "-o", tmp_path / "out")
    assert result.code == 0, result.err
    wheels = sorted((tmp_path / "out").iterdir())
    assert [path.name.split("-")[1] for path in wheels] == [
        "2.10.0+cu128.sm80.sm90",
        "0.25.0+cu128.sm80.sm90",
    ]
    probe = "import torch, importlib.metadata as m; assert torch.__version__ == m.version('torch'), torch"
    for installer in (["-m", "pip", "install", "--no-index"], ["-m", "uv", "pip", "install", "--offline"]):
        site = tmp_path / installer[1]
        options = [sys.executable, *installer, "-q", "--target", str(site), *map(str, wheels)]
        subprocess.run(options, check=True)
        environment = {**os.environ, "PYTHONPATH": str(site)}
        subprocess.run([sys.executable, "-c", probe], check=True, env=environment, cwd=tmp_path)
        check = subprocess.run(
            [sys.executable, "-m", "pip", "check"],
            capture_output=True,
            text=True,
            check=False,
            env=environment,
        )
        assert "torch" not in check.stdout, check.stdout


def test_an_environment_in_place(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "venv" / "lib" / "python3.11" / "site-packages"
    vision = make_wheel(tmp_path, "torchvision", version="0.25.0")
    for one in (wheel, vision):
        with zipfile.ZipFile(one) as archive:
            archive.extractall(site)
    assert "--in-place" in command(tmp_path / "venv", "--gpu", "h100").err
    result = command(tmp_path / "venv", "--gpu", "h100", "--in-place", "--json")
    [account] = json.loads(result.out)["retargeted"]
    assert [Path(item["path"]).name for item in account["libraries"]] == [
        *("libtorch_cuda.so", "libtorchvision_cuda.so"),
    ]
    assert len(account["untouched"]) == 2
    for record in site.glob("*.dist-info/RECORD"):
        for name, digest, size in csv.reader(io.StringIO(record.read_text())):
            if digest:
                data = (site / name).read_bytes()
                assert row(hashlib.sha256(data).digest(), len(data)) == (digest, size), name


def test_what_a_package_is_built_for() -> None:
    """Not what few of its kernels have beside the others' code, but what has nothing else to run."""

    def library(*containers: str) -> Library:
        codes = [
            tuple(
                Entry("ptx" if name[0] == "c" else "cubin", int(name.strip("caf")), "", 0, 64, 8, "", 8, 8)
                for name in container.split()
            )
            for container in containers
        ]
        return Library(Path("lib.so"), 0, tuple(Container(0, 16, 0, entries) for entries in codes), None)

    # As PyTorch 2.11: one kernel with sm_89 code, of which all others have sm_86 code.
    assert available([library("80 86", "80 86", "80 86 89")]) == (80, 86)
    # As vLLM: kernels for one GPU alone, and a container that is empty.
    assert available([library("90", "90", "90", "80", "100"), library("")]) == (80, 90, 100)
    # As bitsandbytes: a library for each CUDA, of which the first knew no sm_120.
    cuda = [library("80 90"), library("80 90"), library("80 90 120")]
    assert available(cuda) == (80, 90, 120)
    assert choose(cuda, [120], False, "it") == {120}
    # PTX counts as code of others.
    assert available([library("80 c80", "80 c80", "90")]) == (80,)
    assert available([]) == ()


def test_ptx_alone(tmp_path: Path) -> None:
    """For a GPU that no machine code is for, it has to be asked for, as other code has."""
    wheel = make_wheel(tmp_path, "example", extra={"lib/libjit.so": cuda_library("ptx")})
    refused = command(wheel, "--gpu", "B200", "-o", tmp_path)
    assert refused.err.endswith(
        "this wheel has no sm_100 code; it has sm_75, sm_80, sm_90, sm_120, and PTX that the driver compiles "
        "for sm_100: take that with --compatible\n"
    )
    done = command(wheel, "--gpu", "B200", "--compatible", "-o", tmp_path, "--json")
    [account] = json.loads(done.out)["retargeted"]
    kept = {Path(library["path"]).name: library["kept"] for library in account["libraries"]}
    assert kept == {"libexample_cuda.so": [], "libjit.so": ["compute_90"]}
    # PyTorch would say that it has code for nothing.
    torch = make_wheel(tmp_path, extra={"lib/libjit.so": cuda_library("ptx")})
    assert command(torch, "--gpu", "B200", "--compatible", "-o", tmp_path).err.endswith("sm_90, sm_120\n")


def test_code_that_another_architecture_runs(wheel: Path, tmp_path: Path) -> None:
    refused = command(wheel, "--gpu", "RTX 3090", "-o", tmp_path)
    assert refused.code == 2
    assert refused.err.splitlines() == [
        f"pytorch-variants: {wheel}: this wheel has no sm_86 code; it has sm_75, sm_80, sm_90, sm_120, "
        "and sm_80 code runs on sm_86: take that with --compatible"
    ]
    assert list(tmp_path.iterdir()) == []
    assert command(wheel, "--gpu", "RTX 3090", "--compatible", "-o", tmp_path).code == 0
    assert next(tmp_path.iterdir()).name.startswith("torch-2.10.0+cu128.sm86-")


def test_never_over_its_input(wheel: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copy(wheel, tmp_path))
    assert command(copy, "--gpu", "h100", cwd=tmp_path).code == 0
    assert copy.exists()
    new = next(path for path in tmp_path.iterdir() if path != copy)
    before = new.read_bytes()
    assert "would take its place" in command(new, "--gpu", "h100", cwd=tmp_path).err
    assert new.read_bytes() == before
    assert command(new, copy, "--gpu", "h100", "--in-place").code == 0
    assert list(tmp_path.iterdir()) == [new]
    library = Path(shutil.copy(cuda_library("many"), tmp_path))
    assert "would take its place" in command(library, "--gpu", "h100", cwd=tmp_path).err
    assert library.read_bytes() == cuda_library("many").read_bytes()


def test_what_cannot_be_retargeted(wheel: Path, tmp_path: Path) -> None:
    nvidia = Path(shutil.copy(cuda_library("many"), tmp_path / "libcublas.so.12"))
    (tmp_path / f"torch-1-{TAGS}.whl").write_bytes(wheel.read_bytes()[:100_000])
    (tmp_path / f"torch-2-{TAGS}.whl").write_text("")
    damaged = bytearray(wheel.read_bytes())
    with zipfile.ZipFile(wheel) as archive:
        place = archive.getinfo("torch/lib/libtorch_cuda.so").header_offset + 2000
    damaged[place : place + 100] = bytes(100)
    (tmp_path / f"torch-3-{TAGS}.whl").write_bytes(damaged)
    with zipfile.ZipFile(tmp_path / f"pure-1-{TAGS}.whl", "w") as archive:
        archive.writestr("pure/__init__.py", "")
    for path, message in [
        (nvidia, "NVIDIA's licence"),
        (tmp_path / "none.whl", "No such file"),
        (tmp_path / "none", "No such file"),
        (tmp_path / f"torch-1-{TAGS}.whl", "not a zip file"),
        (tmp_path / f"torch-2-{TAGS}.whl", "not a zip file"),
        (tmp_path / f"torch-3-{TAGS}.whl", "invalid|CRC|Error"),
        (tmp_path / f"pure-1-{TAGS}.whl", "no GPU code"),
        (tmp_path, "no torch, torchvision or torchaudio in it"),
    ]:
        result = command(path, "--gpu", "h100", "--in-place")
        assert result.code == 2, path
        assert len(result.err.splitlines()) == 1, result.err
        assert re.search(message, result.err), result.err
        assert path.name in result.err
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".part")] == []


def test_a_full_disk(wheel: Path, tmp_path: Path) -> None:
    """The kernel refuses to write beyond a limit, in the middle of each kind of output."""
    library = Path(shutil.copy(cuda_library("uncompressed"), tmp_path))
    expected = library.read_bytes()
    for path, limit in ((library, 100_000), (wheel, 200_000)):
        result = subprocess.run(
            [
                sys.executable,
                "-m",
                "pytorch_variants",
                "retarget",
                path,
                "--gpu",
                "h100",
                "-o",
                tmp_path / "out",
            ],
            capture_output=True,
            text=True,
            check=False,
            preexec_fn=partial(resource.setrlimit, resource.RLIMIT_FSIZE, (limit, limit)),
            # What measures coverage would write a file as well.
            env={name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")},
        )
        assert result.returncode == 2, result
        assert "File too large" in result.stderr
        assert len(result.stderr.splitlines()) == 1
        assert list((tmp_path / "out").iterdir()) == []
    assert library.read_bytes() == expected


@pytest.mark.slow
def test_killed_at_any_moment(wheel: Path, tmp_path: Path) -> None:
    """The library is the old or the new one, and what a killed run leaves is one file that the next takes."""
    library = tmp_path / "libmany.so"
    old = cuda_library("many").read_bytes()
    program = (
        "import sys; from pathlib import Path; from pytorch_variants.retarget import retarget_file;"
        "print(flush=True); path = Path(sys.argv[1]); retarget_file(path, path, frozenset({90}))"
    )
    chance, seen = random.Random(2), set()
    for _ in range(12):
        library.write_bytes(old)
        process = subprocess.Popen([sys.executable, "-c", program, library], stdout=subprocess.PIPE)
        assert process.stdout
        process.stdout.readline()
        time.sleep(chance.random() * 0.012)
        process.send_signal(signal.SIGKILL)
        process.wait()
        seen.add(library.read_bytes())
        assert {path.name for path in tmp_path.iterdir()} <= {"libmany.so", ".libmany.so.part"}
    (tmp_path / ".libmany.so.part").write_bytes(b"left by a killed run" * 100_000)
    library.write_bytes(old)
    subprocess.run([sys.executable, "-c", program, library], check=True)
    new = library.read_bytes()
    assert seen <= {old, new}
    assert list(tmp_path.iterdir()) == [library]


@given(
    st.sampled_from(["2.10.0", "2.10.0+cu128", "2.11.0a0+git1", "2.10.0.post1+cu128.sm75.ptx"]),
    st.sampled_from(["2.10.0+cu128", "1.0"]),
    st.frozensets(st.sampled_from([75, 80, 90, 120]), min_size=1),
    st.booleans(),
)
def test_versions(version: str, said: str, keep: frozenset[int], keep_ptx: bool) -> None:
    new = local_version(version, said, keep, keep_ptx)
    assert local_version(new, said, keep, keep_ptx) == new
    name = f"torch-{new}-cp311-cp311-linux_x86_64.whl"
    assert str(parse_wheel_filename(name)[1]) == new
    assert new.count("sm") == len(keep)
    assert new.endswith(".ptx") == keep_ptx


def test_the_official_wheel_as_a_wheel(embedded: Nix, tmp_path: Path) -> None:
    """13 000 entries of the real thing: every one is what RECORD says, and few of them are new."""
    stored = embedded.build(f".#{FLAGSHIP}.src")
    source = tmp_path / stored.name.split("-", 1)[1]
    source.symlink_to(stored)
    result = retarget_wheel(source, tmp_path, [90])
    assert result.after < 0.4 * result.before
    name, version, _, _ = parse_wheel_filename(result.path.name)
    assert (name, version.local) == ("torch", "cu128.sm90")
    with zipfile.ZipFile(source) as before, zipfile.ZipFile(result.path) as after:
        olds, news = before.infolist(), after.infolist()
        assert len(olds) == len(news)
        changed = {new.filename for old, new in zip(olds, news, strict=True) if old.CRC != new.CRC}
        assert len(changed) == len(result.libraries) + 4  # flags, version.py, METADATA, RECORD
        [record] = [name for name in changed if name.endswith("/RECORD")]
        rows = {path: tuple(rest) for path, *rest in csv.reader(io.StringIO(after.read(record).decode()))}
        assert set(rows) == {info.filename for info in news if not info.is_dir()}
        for path in changed - {record}:
            data = after.read(path)
            assert rows[path] == row(hashlib.sha256(data).digest(), len(data)), path


@pytest.mark.parametrize("kind", ["link", "dangling link", "hard link", "fifo", "directory"])
def test_never_through_what_somebody_planted(kind: str, wheel: Path, tmp_path: Path) -> None:
    """Whoever may write to the directory knows the name of the part file."""
    victim, out = tmp_path / "victim", tmp_path / "out"
    victim.write_text("precious")
    out.mkdir()
    name = retarget_wheel(wheel, tmp_path, [90]).path.name
    part = out / f".{name}.part"
    match kind:
        case "link":
            part.symlink_to(victim)
        case "dangling link":
            part.symlink_to(tmp_path / "new")
        case "hard link":
            part.hardlink_to(victim)
        case "fifo":
            os.mkfifo(part)
        case "directory":
            part.mkdir()
    result = command(wheel, "--gpu", "h100", "-o", out)
    assert result.code == 2
    assert len(result.err.splitlines()) == 1
    assert "somebody put it there" in result.err
    assert victim.read_text() == "precious"
    assert {path.name for path in out.iterdir()} == {part.name}
    assert not (tmp_path / "new").exists()


def entry_of(wheel: Path, name: str) -> tuple[int, int]:
    """The places of an entry's headers: in the archive's directory, and before its bytes."""
    with zipfile.ZipFile(wheel) as archive:
        info = archive.getinfo(name)
        directory = archive.start_dir
    data = wheel.read_bytes()
    place = data.index(name.encode(), directory) - 46
    assert data[place : place + 4] == b"PK\1\2"
    return place, info.header_offset


INFO = "torch-2.10.0.dist-info"


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (f"{INFO}/METADATA", lambda data: data.replace(b"Name: torch", b"Name: t\xff\xfeorch"), "not UTF-8"),
        (f"{INFO}/METADATA", lambda data: data.replace(b"Version: 2.10.0", b"Vers: 2"), "has no Version"),
        (f"{INFO}/METADATA", lambda data: bytes(5 << 20), "is the most that is read"),
        (f"{INFO}/RECORD", lambda data: b"\xff\xfe" + data, "not UTF-8"),
        (f"{INFO}/RECORD", lambda data: b'a,"' + b"x" * 200_000, "RECORD cannot be read"),
        ("torch/retargeted.json", lambda data: b"[]", "not what retarget writes"),
    ],
)
def test_damaged_metadata(name: str, change: Any, message: str, wheel: Path, tmp_path: Path) -> None:
    bad = tmp_path / "in" / wheel.name
    bad.parent.mkdir()
    files = {**read(wheel)}
    files[name] = change(files.get(name, b""))
    with zipfile.ZipFile(bad, "w") as archive:
        for path, data in files.items():
            archive.writestr(path, data)
    result = command(bad, "--gpu", "h100", "-o", tmp_path / "out")
    assert result.code == 2
    assert len(result.err.splitlines()) == 1, result.err
    assert re.search(message, result.err), result.err
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("offset", "value"),
    [
        (6, b"\xff\x00"),  # the version of zip that it takes
        (8, b"\x41\x00"),  # encrypted
        (10, b"\x63\x00"),  # a compression that nobody knows
        (20, b"\xff\xff\xff\x7f"),  # the compressed size
        (24, b"\xff\xff\xff\x7f"),  # the size
        (28, b"\xff\xff"),  # the length of its name
        (42, b"\xff\xff\xff\x7f"),  # where it is
        (42, b"\xff\xff\xff\xff"),
    ],
)
@pytest.mark.parametrize("name", [f"{INFO}/METADATA", "torch/lib/libtorch_cuda.so", "torch/__init__.py"])
def test_a_damaged_directory(name: str, offset: int, value: bytes, wheel: Path, tmp_path: Path) -> None:
    bad = tmp_path / "in" / wheel.name
    bad.parent.mkdir()
    data = bytearray(wheel.read_bytes())
    place, _ = entry_of(wheel, name)
    data[place + offset : place + offset + len(value)] = value
    bad.write_bytes(data)
    result = command(bad, "--gpu", "h100", "-o", tmp_path / "out")
    assert result.code == 2, result.out
    assert len(result.err.splitlines()) == 1, result.err
    assert list((tmp_path / "out").iterdir()) == []


def test_a_wheel_of_nvidias(wheel: Path, tmp_path: Path) -> None:
    """By what its metadata says, whatever its libraries are called."""
    theirs = tmp_path / wheel.name
    with zipfile.ZipFile(theirs, "w") as archive:
        for name, data in read(wheel).items():
            if name.endswith("METADATA"):
                data = data.replace(b"Name: torch\n", b"Name: torch\nAuthor: NVIDIA\nLicense: NVIDIA EULA\n")
            archive.writestr(name, data)
    result = command(theirs, "--gpu", "h100", "-o", tmp_path / "out")
    assert result.code == 2
    assert "it is torch, which is NVIDIA's (NVIDIA EULA): NVIDIA's licence" in result.err


def test_what_is_taken_out_is_written_down(tmp_path: Path) -> None:
    """Beside the package, in RECORD, and of all retargetings together."""
    special = nvcc_library("special", "-gencode=arch=compute_90a,code=sm_90a")
    wheel = make_wheel(tmp_path, extra={"lib/libtorch_special.so": special})
    (tmp_path / "first").mkdir()
    first = retarget_wheel(wheel, tmp_path / "first", [80, 120])
    data = read(first.path)
    said = json.loads(data["torch/retargeted.json"])
    assert said == {
        "schema": 1,
        "libraries": {
            "lib/libtorch_special.so": {
                "containers": 2,
                "emptied": {"0": ["sm_90a"], "1": ["sm_90a"]},
                "ptx": {},
            }
        },
    }
    record = data[next(name for name in data if name.endswith("RECORD"))].decode()
    digest = row(hashlib.sha256(data["torch/retargeted.json"]).digest(), len(data["torch/retargeted.json"]))
    assert ["torch/retargeted.json", *digest] in list(csv.reader(io.StringIO(record)))
    (tmp_path / "second").mkdir()
    second = retarget_wheel(first.path, tmp_path / "second", [80])
    assert read(second.path)["torch/retargeted.json"] == data["torch/retargeted.json"]
    # An installed one says the same.
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    retarget_directory(site / "torch", [80])
    assert json.loads((site / "torch" / "retargeted.json").read_text()) == said
    rows = list(csv.reader(io.StringIO((site / f"{INFO}/RECORD").read_text())))
    written = (site / "torch" / "retargeted.json").read_bytes()
    assert ["torch/retargeted.json", *row(hashlib.sha256(written).digest(), len(written))] in rows
