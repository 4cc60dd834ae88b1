"""Indexes of single-GPU wheels: real uv and real pip choose and install from them, over a web server."""

import csv
import hashlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from binaries import cubins, tool
from commands import Outcome, call
from conftest import ROOT
from test_wheel import TAGS, make_wheel, read

from pytorch_variants.retarget.record import row

GPUS = ("sm80", "sm90", "sm120")
CU12 = 'Requires-Dist: nvidia-cudnn-cu12==9.1; platform_system == "Linux"\n'
CU13 = "Requires-Dist: nvidia-cudnn-cu13==9.2\nRequires-Dist: nvidia-cublas-cu12; extra == 'old'\n"

# Without what this machine says of registries and caches.
CLEAN = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("PIP_", "UV_", "NV_", "COVERAGE")) and name.lower() != "no_proxy"
} | {"PIP_CONFIG_FILE": os.devnull, "UV_NO_CONFIG": "1", "UV_NO_CACHE": "1", "no_proxy": "127.0.0.1"}


def index(*arguments: object) -> Outcome:
    outcome = call("index", *arguments)
    assert outcome.code == 0, outcome.err
    return outcome


def made(outcome: Outcome) -> list[bool]:
    return [wheel["made"] for wheel in json.loads(outcome.out)["wheels"]]


def tree(directory: Path) -> dict[str, bytes]:
    files = (path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in files}


@contextmanager
def served(directory: Path) -> Iterator[str]:
    """The address of a directory that Python's web server serves; its log is DIRECTORY.log."""
    log = directory.with_name(f"{directory.name}.log")
    with (
        log.open("wb") as file,
        subprocess.Popen(
            [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", directory],
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
        ) as process,
    ):
        assert process.stdout
        try:
            found = re.search(r"http://127.0.0.1:\d+", process.stdout.readline())
            assert found
            yield found[0]
        finally:
            process.terminate()


def on_a_machine(gpu: str, driver: str = "12.8") -> Mapping[str, str]:
    """What NVIDIA's provider is to believe."""
    return {
        "NV_VARIANT_PROVIDER_FORCE_SM_ARCH": gpu,
        "NV_VARIANT_PROVIDER_FORCE_CUDA_DRIVER_VERSION": driver,
    }


def run(*command: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        check=False,
        env={**CLEAN, **environment},
    )


def uv(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = (tool("uv"), "pip", *arguments, "--python", sys.executable)
    return run(*command, "--preview-features", "wheel-variants", **environment)


def pip(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return run(sys.executable, "-m", "pip", *arguments, **environment)


@dataclass(frozen=True)
class Served:
    """An index of torch for three GPUs, in two releases of which one needs CUDA 13."""

    directory: Path
    url: str
    wheels: tuple[Path, Path]


@pytest.fixture(scope="module")
def torch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    place = tmp_path_factory.mktemp("index")
    wheels = (
        make_wheel(place, requires=f"Requires-Python: >=3.9,<4\n{CU12}"),
        make_wheel(place, requires=CU13, version="2.14.0"),
    )
    directory = place / "served"
    index(directory, *wheels, "--gpu", ",".join(GPUS))
    with served(directory) as url:
        yield Served(directory, url, wheels)


@pytest.mark.parametrize(
    ("gpu", "code"),
    [("8.0", "sm_80"), ("8.6", "sm_80"), ("8.9", "sm_80"), ("9.0", "sm_90"), ("12.0", "sm_120")],
)
def test_uv_takes_the_wheel_for_the_gpu(gpu: str, code: str, torch: Served, tmp_path: Path) -> None:
    """That of the nearest GPU whose code runs on it, where it has none of its own."""
    result = uv(
        *("install", "torch", "--no-deps", "--target", tmp_path, "--default-index", f"{torch.url}/variants/"),
        **on_a_machine(gpu),
    )
    assert result.returncode == 0, result.stderr
    assert set(cubins(tmp_path / "torch/lib/libtorch_cuda.so")) == {code}
    info = tmp_path / "torch-2.10.0.dist-info"
    assert list(json.loads((info / "variant.json").read_text())["variants"]) == [code.replace("_", "")]
    # The driver is too old for the later release, whose version this would be.
    shown = run(sys.executable, "-c", "import torch; print(torch.__version__)", PYTHONPATH=str(tmp_path))
    assert shown.stdout == "2.10.0+cu128\n", shown.stderr


def test_the_driver_decides_on_the_release(torch: Served) -> None:
    where = ("--default-index", f"{torch.url}/variants/", "--no-deps", "--no-header", "-")
    for driver, release in (("12.0", "2.10.0"), ("13.0", "2.14.0"), ("13.2", "2.14.0")):
        result = subprocess.run(
            [tool("uv"), "pip", "compile", *where, "--preview-features", "wheel-variants"],
            input="torch",
            capture_output=True,
            text=True,
            check=False,
            env={**CLEAN, **on_a_machine("9.0", driver)},
        )
        assert result.stdout.split() == [f"torch=={release}"], result.stderr


@pytest.mark.parametrize(
    "machine", [on_a_machine("7.5"), on_a_machine("10.0"), on_a_machine("9.0", "11.8"), {}], ids=str
)
def test_uv_refuses_a_machine_without_a_wheel(
    machine: Mapping[str, str], torch: Served, tmp_path: Path
) -> None:
    """A GPU, a driver, and no GPU at all."""
    result = uv(
        *("install", "torch", "--no-deps", "--target", tmp_path, "--default-index", f"{torch.url}/variants/"),
        **machine,
    )
    assert result.returncode == 1
    assert "only unsupported wheel variants" in " ".join(result.stderr.split())
    assert not (tmp_path / "torch").exists()


def test_uv_locks_and_installs_what_it_locked(torch: Served, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("torch==2.10.0")
    lock = tmp_path / "requirements.txt"
    where = ("--default-index", f"{torch.url}/variants/", "--no-deps")
    result = uv(
        *("compile", tmp_path / "in.txt", "--generate-hashes", "-o", lock, *where), **on_a_machine("9.0")
    )
    assert result.returncode == 0, result.stderr
    catalogue = json.loads((torch.directory / "wheels.json").read_text())["wheels"]
    hashes = [wheel["variant"]["sha256"] for wheel in catalogue if wheel["version"] == "2.10.0"]
    assert len(hashes) == len(GPUS)
    assert all(digest in lock.read_text() for digest in hashes)
    # Who installs may have another GPU.
    result = uv(
        *("sync", lock, "--require-hashes", "--target", tmp_path / "there", *where[:2]),
        **on_a_machine("12.0"),
    )
    assert result.returncode == 0, result.stderr
    assert set(cubins(tmp_path / "there/torch/lib/libtorch_cuda.so")) == {"sm_120"}


def test_wheels_for_arm_beside_those_for_x86(tmp_path: Path) -> None:
    """Installers take the one for their machine."""
    wheel = make_wheel(tmp_path, requires=CU12)
    arm = wheel.with_name(wheel.name.replace("x86_64", "aarch64"))
    shutil.copy(wheel, arm)
    index(tmp_path / "wheels", wheel, arm, "--gpu", "a100,gh200")
    for machine in ("x86_64", "aarch64"):
        out, there = tmp_path / machine, (tmp_path / "wheels").as_uri()
        result = uv(
            *(
                "install",
                "torch",
                "--no-deps",
                "--target",
                out / "uv",
                "--default-index",
                f"{there}/variants/",
            ),
            *("--python-platform", f"{machine}-manylinux_2_28", "--verbose"),
            **on_a_machine("9.0"),
        )
        assert result.returncode == 0, result.stderr
        assert f"{TAGS.replace('x86_64', machine)}-sm90.whl" in result.stderr
        result = pip(
            *("download", "torch", "--no-deps", "--dest", out / "pip", "--index-url", f"{there}/sm90/"),
            *("--only-binary", ":all:", "--platform", f"manylinux_2_28_{machine}"),
        )
        assert result.returncode == 0, result.stderr
        assert [path.name for path in (out / "pip").iterdir()] == [
            f"torch-2.10.0+cu128.sm90-{TAGS.replace('x86_64', machine)}.whl"
        ]


def test_a_jetson_gets_what_it_does_not_run(torch: Served, tmp_path: Path) -> None:
    """uv takes sm_80 code for Orin's, as it does for sm_86. The page for people without Nix says so."""
    result = uv(
        *("install", "torch", "--no-deps", "--target", tmp_path, "--default-index", f"{torch.url}/variants/"),
        **on_a_machine("8.7"),
    )
    assert result.returncode == 0, result.stderr
    assert set(cubins(tmp_path / "torch/lib/libtorch_cuda.so")) == {"sm_80"}
    assert "Jetson Orin" in (ROOT / "docs" / "without-nix.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("program", ["pip", "uv"])
def test_installers_without_variants(program: str, torch: Served, tmp_path: Path) -> None:
    """Each GPU's own index; an official version as a pin holds."""
    for gpu in GPUS:
        place = tmp_path / gpu
        command = [sys.executable, "-m", "pip"] if program == "pip" else [tool("uv"), "pip"]
        where = "--index-url" if program == "pip" else "--default-index"
        result = run(
            *(*command, "install", "torch==2.10.0", "--no-deps", "--target", place),
            *(where, f"{torch.url}/{gpu}/"),
        )
        assert result.returncode == 0, result.stderr
        assert [path.name for path in place.glob("*.dist-info")] == [f"torch-2.10.0+cu128.{gpu}.dist-info"]
        assert set(cubins(place / "torch/lib/libtorch_cuda.so")) == {gpu.replace("sm", "sm_")}
    result = pip(
        "install", "torch", "--no-deps", "--target", tmp_path / "x", "--index-url", f"{torch.url}/sm75/"
    )
    assert result.returncode == 1


def test_the_page_for_people_without_nix(torch: Served, tmp_path: Path) -> None:
    """What it says to write, as it stands there, over a registry that has the official wheel."""
    page = (ROOT / "docs" / "without-nix.md").read_text(encoding="utf-8")
    commands = re.findall(r"^    ((?:pytorch-variants index|uv pip|pip install) .+)$", page, re.MULTILINE)
    [in_image] = re.findall(r"^        (pip install .+)$", page, re.MULTILINE)
    commands.append(in_image.replace("file:///wheels/", "file://$PWD/wheels/"))
    assert [command.split()[0] for command in commands] == ["pytorch-variants", "uv", "pip", "pip"]
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, words in (
        ("pytorch-variants", f"{sys.executable} -m pytorch_variants"),
        ("pip", f"{sys.executable} -m pip"),
        ("uv", str(tool("uv"))),
    ):
        (programs / name).write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        (programs / name).chmod(0o755)
    with registry(torch.wheels[0], tmp_path / "registry") as url:
        for number, command in enumerate(commands):
            out = tmp_path / str(number)
            installs = "" if number == 0 else f" --no-deps --target {out}"
            result = subprocess.run(
                ["bash", "-c", command + installs],
                cwd=tmp_path,
                capture_output=True,
                text=True,
                check=False,
                env={
                    **CLEAN,
                    **on_a_machine("9.0"),
                    "PATH": f"{programs}:{CLEAN['PATH']}",
                    "PIP_INDEX_URL": url,
                    "UV_PYTHON": sys.executable,
                },
            )
            assert result.returncode == 0, result.stderr
            if installs:
                assert set(cubins(out / "torch/lib/libtorch_cuda.so")) == {"sm_90"}
    assert {path.name for path in (tmp_path / "wheels").iterdir()} == {
        *("variants", "sm80", "sm90", "sm120", "wheels.json", "index.html")
    }


@contextmanager
def registry(wheel: Path, directory: Path) -> Iterator[str]:
    """The address of a registry that has an official wheel."""
    (directory / "torch").mkdir(parents=True)
    shutil.copy(wheel, directory / "torch")
    (directory / "torch" / "index.html").write_text(f'<a href="{wheel.name}">{wheel.name}</a>')
    with served(directory) as url:
        yield url


def test_pip_finds_the_pages_beside_those_of_the_registry(torch: Served, tmp_path: Path) -> None:
    """As an extra index: the wheel for one GPU comes before the official one of the same version."""
    with registry(torch.wheels[0], tmp_path / "registry") as url:
        result = pip(
            *("install", "torch==2.10.0", "--no-deps", "--target", tmp_path / "out"),
            *("--index-url", url, "--extra-index-url", f"{torch.url}/sm90/"),
        )
    assert result.returncode == 0, result.stderr
    assert set(cubins(tmp_path / "out/torch/lib/libtorch_cuda.so")) == {"sm_90"}


def test_metadata_is_read_without_the_wheel(torch: Served, tmp_path: Path) -> None:
    """Both complain of what it requires, which is in no index here."""
    log = torch.directory.with_name(f"{torch.directory.name}.log")
    what = ("install", "--dry-run", "torch==2.10.0", "--target", tmp_path / "out")
    before = len(log.read_bytes())
    for result in (
        pip(*what, "--index-url", f"{torch.url}/sm120/"),
        uv(*what, "--default-index", f"{torch.url}/variants/", **on_a_machine("12.0")),
    ):
        assert result.returncode == 1
        assert "nvidia-cudnn-cu12" in result.stderr
    asked = log.read_bytes()[before:].decode()
    assert asked.count(".whl.metadata ") == 2
    assert ".whl " not in asked


class Links(HTMLParser):
    """The links of a page with their attributes."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.found: list[dict[str, str | None]] = []
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.found.append(dict(attrs))


def hold_pages(directory: Path) -> int:
    """Everything that a page links is there and has the hashes that it says; how many wheels are linked."""
    wheels = 0
    for page in directory.rglob("index.html"):
        for link in Links(page).found:
            href, _, digest = (link["href"] or "").partition("#sha256=")
            path = page.parent / unquote(href)
            assert path.exists(), path
            if digest:
                wheels += 1
                assert hashlib.sha256(path.read_bytes()).hexdigest() == digest
                beside = path.with_name(f"{path.name}.metadata").read_bytes()
                assert link["data-core-metadata"] == f"sha256={hashlib.sha256(beside).hexdigest()}"
                files = read(path)
                [metadata] = (name for name in files if re.fullmatch(r"[^/]+\.dist-info/METADATA", name))
                assert files[metadata] == beside
    return wheels


def test_pages_say_the_truth(torch: Served) -> None:
    assert hold_pages(torch.directory) == 2 * 2 * len(GPUS)
    [link] = (
        link for link in Links(torch.directory / "sm90/torch/index.html").found if "2.10.0" in str(link)
    )
    assert link["data-requires-python"] == ">=3.9,<4"
    assert "%2B" in (link["href"] or "")
    assert [link["href"] for link in Links(torch.directory / "sm90/index.html").found] == ["torch/"]


@pytest.mark.parametrize("gpu", GPUS)
def test_a_variant_is_the_official_wheel_but_for_its_gpu_code(gpu: str, torch: Served) -> None:
    official, name = torch.wheels[0], f"torch-2.10.0-{TAGS}-{gpu}.whl"
    old, new = read(official), read(torch.directory / "variants/torch" / name)
    changed = {path for path in new if new[path] != old.get(path)}
    info = "torch-2.10.0.dist-info"
    assert not old.keys() - new.keys()
    assert changed == {
        *("torch/lib/libtorch_cuda.so", "torch/lib/libtorch_python.so"),
        *(f"{info}/variant.json", f"{info}/RECORD"),
    }
    rows = {path: tuple(rest) for path, *rest in csv.reader(io.StringIO(new[f"{info}/RECORD"].decode()))}
    assert rows.keys() == new.keys()
    assert rows.pop(f"{info}/RECORD") == ("", "")
    assert list(new)[-1] == f"{info}/RECORD"
    for path, found in rows.items():
        assert found == row(hashlib.sha256(new[path]).digest(), len(new[path])), path
    mine = json.loads(new[f"{info}/variant.json"])
    whole = json.loads((torch.directory / "variants/torch/torch-2.10.0-variants.json").read_text())
    assert mine["variants"] == {gpu: whole["variants"].pop(gpu)}
    assert mine["variants"][gpu] == {
        "nvidia": {"sm_arch": [f"{gpu[2:]}_real"], "cuda_version_lower_bound": ["12"]}
    }
    assert len(whole.pop("variants")) == len(GPUS) - 1
    del mine["variants"]
    assert mine == whole


def test_only_what_is_missing_is_made(torch: Served, tmp_path: Path) -> None:
    directory, wheel = tmp_path / "index", torch.wheels[0]
    assert made(index(directory, wheel, "--gpu", "sm80", "--json")) == [True]
    times = {path: path.stat().st_mtime_ns for path in directory.rglob("*")}
    assert made(index(directory, wheel, "--gpu", "sm80", "--gpu", "A100", "--json")) == [False]
    assert times == {path: path.stat().st_mtime_ns for path in directory.rglob("*")}
    assert made(index(directory, wheel, "--gpu", "sm80,sm90,sm120", "--json")) == [False, True, True]
    assert made(index(directory, torch.wheels[1], "--gpu", "sm90,sm120,sm80", "--json")) == [True] * 3
    # However it was put together.
    once, several = tree(torch.directory), tree(directory)
    catalogues = [json.loads(files.pop("wheels.json")) for files in (once, several)]
    assert once == several
    rows = [sorted(map(json.dumps, catalogue["wheels"])) for catalogue in catalogues]
    assert rows[0] == rows[1]


def test_what_is_removed_goes_from_the_pages(torch: Served, tmp_path: Path) -> None:
    directory = tmp_path / "index"
    index(directory, torch.wheels[0], "--gpu", "sm80,sm90")
    whole = tree(directory)
    [gone] = (directory / "sm90/torch").glob("*.whl")
    gone.unlink()
    assert made(index(directory, torch.wheels[0], "--gpu", "sm80", "--json")) == [False]
    assert hold_pages(directory) == 2
    assert made(index(directory, torch.wheels[0], "--gpu", "sm90", "--json")) == [True]
    assert tree(directory).keys() == whole.keys()
    # And a wheel that was published anew under the same name is cut anew.
    other = make_wheel(tmp_path, requires="Requires-Dist: filelock\n")
    assert made(index(directory, other, "--gpu", "sm80", "--json")) == [True]
    assert hold_pages(directory) == 4


@pytest.mark.slow
def test_killed_at_any_moment(torch: Served, tmp_path: Path) -> None:
    """What is served is whole at any moment, and the next run does the rest."""
    wheels = [str(wheel) for wheel in torch.wheels]
    command = [sys.executable, "-m", "pytorch_variants", "index", str(tmp_path / "index"), *wheels]
    for number in range(1, 12):
        process = subprocess.Popen([*command, "--gpu", ",".join(GPUS)], stdout=subprocess.DEVNULL)
        # At the first moment when so many files are there, whatever the machine's speed.
        while process.poll() is None and len(list((tmp_path / "index").rglob("*.*"))) < 3 * number:
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
        hold_pages(tmp_path / "index")
    index(tmp_path / "index", *wheels, "--gpu", ",".join(GPUS))
    assert tree(tmp_path / "index") == tree(torch.directory)


def test_two_at_a_time(torch: Served) -> None:
    import fcntl

    descriptor = os.open(torch.directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        outcome = call("index", torch.directory, torch.wheels[0], "--gpu", "sm80")
    finally:
        os.close(descriptor)
    assert (outcome.code, outcome.out) == (2, "")
    assert "another process is writing it" in outcome.err


@pytest.mark.slow
def test_pip_fetches_what_is_named(torch: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the registry that it is configured for, and only wheels whose work is not done."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("PIP_INDEX_URL", f"{torch.url}/sm90/")
    log = torch.directory.with_name(f"{torch.directory.name}.log")
    asked = []
    for options in ((), (), ("--python", "3.12", "--platform", "manylinux_2_28_x86_64")):
        before = len(log.read_bytes())
        outcome = index(tmp_path / "index", "torch==2.10.0", "--gpu", "h100", *options, "--json")
        asked.append(log.read_bytes()[before:].decode().count(".whl "))
        assert made(outcome) == [len(asked) == 1]
    assert asked == [1, 0, 0]
    assert hold_pages(tmp_path / "index") == 2
    assert not (tmp_path / "index/.fetched").exists()
    # pip's own words, where it finds nothing.
    outcome = call("index", tmp_path / "index", "torch==9.9", "--gpu", "h100")
    assert outcome.err == "pytorch-variants: pip: No matching distribution found for torch==9.9\n"


def test_a_version_that_is_local_already(tmp_path: Path) -> None:
    """As those on PyTorch's own index: its part stays, and the GPU's comes after it."""
    wheel = make_wheel(tmp_path, version="2.10.0+cu128")
    index(tmp_path / "index", wheel, "--gpu", "sm90")
    with served(tmp_path / "index") as url:
        for number, (program, where) in enumerate(((uv, "variants"), (pip, "sm90"))):
            option = "--default-index" if program is uv else "--index-url"
            result = program(
                *("install", "torch==2.10.0", "--no-deps", "--target", tmp_path / str(number)),
                *(option, f"{url}/{where}/"),
                **on_a_machine("9.0"),
            )
            assert result.returncode == 0, result.stderr
    assert (tmp_path / "0/torch-2.10.0+cu128.dist-info/variant.json").exists()
    assert (tmp_path / "1/torch-2.10.0+cu128.sm90.dist-info").exists()


def test_what_a_package_has_no_code_for(torch: Served, tmp_path: Path) -> None:
    directory = tmp_path / "index"
    outcome = call("index", directory, torch.wheels[0], "--gpu", "sm80,sm89")
    assert outcome.code == 2
    assert "sm_80 code runs on sm_89: take that with --compatible" in outcome.err
    # What came before that is there.
    assert hold_pages(directory) == 2
    index(directory, torch.wheels[0], "--gpu", "sm89", "--compatible")
    with served(directory) as url:
        result = uv(
            *(
                "install",
                "torch",
                "--no-deps",
                "--target",
                tmp_path / "out",
                "--default-index",
                f"{url}/variants/",
            ),
            **on_a_machine("8.9"),
        )
    assert result.returncode == 0, result.stderr
    assert list((tmp_path / "out").glob("*.dist-info/variant.json"))
    assert '"sm89"' in next((tmp_path / "out").glob("*.dist-info/variant.json")).read_text()


def test_one_label_means_one_thing(torch: Served, tmp_path: Path) -> None:
    directory = tmp_path / "index"
    index(directory, torch.wheels[0], "--gpu", "sm80")
    other = make_wheel(tmp_path, requires=CU13).rename(tmp_path / "torch-2.10.0-4-py3-none-any.whl")
    outcome = call("index", directory, other, "--gpu", "sm80")
    assert outcome.code == 2
    assert "needs CUDA 13" in outcome.err
    assert "write it into another directory" in outcome.err
    assert hold_pages(directory) == 2


@dataclass(frozen=True)
class Bad:
    """A wrong call, and what the answer says to write instead."""

    arguments: tuple[str, ...]
    answer: str
    files: Mapping[str, bytes] = field(default_factory=dict)


def zipped(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, "")
    return file.getvalue()


BAD = [
    Bad(("absent.whl",), "absent.whl: no such file; write the path of a wheel, or torch==2.10.0"),
    Bad(("torch=2.10",), '"torch=2.10" is no requirement; write it as torch==2.10.0, or the path'),
    Bad(("./torch",), '"./torch" is no requirement; write it'),
    Bad(("",), '"" is no requirement; write it'),
    Bad(("torch", "--python", "py312"), '"py312" is no version of Python; write it as 3.12'),
    Bad(("x.whl",), "write the name as it was published", {"x.whl": b""}),
    Bad(("a-1-py3-none-any-sm90.whl",), "write the name", {"a-1-py3-none-any-sm90.whl": b""}),
    Bad(("a-1-py3-none-any.whl",), "is not a zip file", {"a-1-py3-none-any.whl": b"x"}),
    Bad(
        ("a-1-py3-none-any.whl",),
        "one .dist-info directory; fetch it again",
        {"a-1-py3-none-any.whl": zipped("a")},
    ),
    Bad(
        ("a-1-py3-none-any.whl",),
        "no a-1.dist-info/METADATA in it; fetch it again",
        {"a-1-py3-none-any.whl": zipped("a-1.dist-info/RECORD")},
    ),
    Bad(
        ("x.whl",),
        "remove it, and the wheels are made anew",
        {"x.whl": b"", "index/wheels.json": b'{"wheels": [1]}'},
    ),
    Bad(("x.whl",), "remove it, and the wheels are made anew", {"x.whl": b"", "index/wheels.json": b"[]"}),
]


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: " ".join(bad.arguments))
def test_wrong_calls(bad: Bad, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, data in bad.files.items():
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(data)
    outcome = call("index", "index", *bad.arguments, "--gpu", "sm90")
    assert (outcome.code, outcome.out) == (2, "")
    assert bad.answer in outcome.err
    assert len(outcome.err.splitlines()) == 1
    assert bad.files or not Path("index").exists()
    assert not list(Path("index").rglob("*.whl"))


def test_a_file_in_the_place_of_the_index(tmp_path: Path) -> None:
    (tmp_path / "index").write_text("mine")
    outcome = call("index", tmp_path / "index", "torch", "--gpu", "sm90")
    assert outcome.code == 2
    assert "File exists" in outcome.err
    assert (tmp_path / "index").read_text() == "mine"
