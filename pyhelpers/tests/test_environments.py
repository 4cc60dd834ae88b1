"""What is looked at in an environment: files, metadata, RECORD, and what its Python answers."""

import base64
import faulthandler
import hashlib
import multiprocessing
import os
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from binaries import c_library

from pytorch_variants.binary.elf import Elf
from pytorch_variants.errors import UserError
from pytorch_variants.findings import Finding, Origin
from pytorch_variants.names.variant import parse_name
from pytorch_variants.verify import environment, static
from pytorch_variants.verify.distributions import read_distribution, read_distributions
from pytorch_variants.verify.environment import (
    Environment,
    Interpreter,
    converse,
    find_environment,
    find_interpreter,
    read_tree,
)
from pytorch_variants.verify.facts import Candidate, LibraryFacts
from pytorch_variants.verify.linkage import (
    LinkFacts,
    check_cuda,
    check_glibc,
    check_parts,
    check_programs,
    find_parts,
    loadable,
    read_link,
    read_linkage,
    resolve,
)
from pytorch_variants.verify.static import check_files, read_libraries, read_library
from pytorch_variants.verify.wholeness import check_wholeness, read_wholeness

GIGABYTE = 1 << 30
# As many seconds as a Python may take that answers.
UNTIL_IT_ENDS = 1_000_000
MARKERS = {"python_version": "3.11", "sys_platform": "linux"}


# Which files


def test_elf_files_by_their_content(tmp_path: Path) -> None:
    library = c_library(tmp_path / "a.so", "int a;")
    (tmp_path / "lib").mkdir()
    for name in ("kernels.bin", "noextension", "libx.so.12.alt"):
        (tmp_path / "lib" / name).write_bytes(library.read_bytes())
    (tmp_path / "text.py").write_text("pass\n")
    found = {path.relative_to(tmp_path).as_posix() for path in read_tree(tmp_path).elf}
    assert found == {"a.so", "lib/kernels.bin", "lib/noextension", "lib/libx.so.12.alt"}


def test_gpu_code_in_files_of_its_own(tmp_path: Path) -> None:
    """Fat binaries and PTX by their begin, PTX by its name too; a text about PTX is none."""
    (tmp_path / "fat").write_bytes(struct.pack("<IHHQ", 0xBA55ED50, 1, 16, 0))
    (tmp_path / "text").write_text("// by nvcc\n.version 8.0\n.target sm_90\n.address_size 64\n")
    (tmp_path / "odd.ptx").write_text("")
    (tmp_path / "about.py").write_text("print('.version', '.target sm_90')\n")
    (tmp_path / "about.md").write_text("A text with .target sm_90 in it\n")
    c_library(tmp_path / "a.so", "int a;")
    tree = read_tree(tmp_path)
    assert {path.name for path in tree.bare} == {"fat", "text", "odd.ptx"}
    assert [path.name for path in tree.elf] == ["a.so"]


def test_links_that_loop(tmp_path: Path) -> None:
    c_library(tmp_path / "a.so", "int a;")
    for name in ("one", "two"):
        (tmp_path / name).symlink_to(".")
    (tmp_path / "itself").symlink_to("itself")
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "up").symlink_to("..")
    assert [path.name for path in read_tree(tmp_path).elf] == ["a.so"]


def test_what_cannot_be_looked_at(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "gone.so").symlink_to("nowhere")
    (tmp_path / "pointer.so.2").write_text("version https://git-lfs.github.com/spec/v1\n")
    (tmp_path / "empty.so").touch()
    found = {path.name: problem for path, problem in read_tree(tmp_path).problems}
    assert found == {
        "fifo": "neither a file nor a directory",
        "gone.so": "No such file or directory",
        "pointer.so.2": "not an ELF file",
        "empty.so": "not an ELF file",
    }


def test_a_file_that_is_cut_off_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A map of it ends the process that reads it; the other libraries are read all the same."""
    paths = [c_library(tmp_path / f"{number}.so", f"int a{number};") for number in range(3)]

    def cut(elf: Elf) -> LinkFacts:
        found = read_link(elf)
        if b"\0a1\0" in bytes(elf.data):
            # The process that reads is to end by it, and to say nothing in the tests' log.
            faulthandler.disable()
            os.truncate(paths[1], 4096)
            return LinkFacts((bytes(elf.data[-1:]).decode(),))
        return found

    monkeypatch.setattr(static, "read_link", cut)
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
        facts = read_libraries([Candidate(path, path.name, "other", "x") for path in paths], pool)
    assert [fact.error is None for fact in facts] == [True, False, True]


def test_a_file_that_changes_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = c_library(tmp_path / "a.so", "int a;")

    def touch(elf: Elf) -> LinkFacts:
        os.utime(library, ns=(1, 1))
        return read_link(elf)

    monkeypatch.setattr(static, "read_link", touch)
    assert read_library(Candidate(library, "a.so", "other", "x")).error == "it changed while it was read"


# Distributions


def package(directory: Path) -> Path:
    directory.mkdir(parents=True)
    (directory / "__init__.py").touch()
    return directory


def dist_info(site: Path, name: str, version: str, metadata: str = "", record: str | None = None) -> Path:
    directory = site / f"{name.replace('-', '_')}-{version}.dist-info"
    directory.mkdir(parents=True)
    text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{metadata}\nA description.\n"
    (directory / "METADATA").write_text(text)
    if record is not None:
        (directory / "RECORD").write_text(record)
    return directory


def test_requirements_have_markers(tmp_path: Path) -> None:
    metadata = (
        'Requires-Dist: torch (==2.9.1) ; extra == "legacy"\n'
        'Requires-Dist: torch>=2.10; python_version >= "3.11"\n'
        'Requires-Dist: torch<2; python_version < "3.11"\n'
        "Requires-Dist: this is no requirement\n"
    )
    found = read_distribution(dist_info(tmp_path, "flash-attn", "2.8.3", metadata))
    assert [str(r.specifier) for r in found.requirements(MARKERS)] == [">=2.10"]


def test_whose_a_package_is_without_top_level_txt(tmp_path: Path) -> None:
    record = "flash_attn/__init__.py,,\nflash_attn_2_cuda.so,,\nflash_attn-2.8.3.dist-info/RECORD,,\n"
    dist_info(tmp_path, "flash-attn", "2.8.3", record=record)
    dist_info(tmp_path, "no-record", "1.0")
    found = read_distributions(tmp_path)
    owners = {
        name: getattr(found.owner(tmp_path / name), "name", None)
        for name in ("flash_attn/other.so", "flash_attn_2_cuda.so", "no_record/x.so", "nobody/x.so")
    }
    assert owners == {
        "flash_attn/other.so": "flash-attn",
        "flash_attn_2_cuda.so": "flash-attn",
        "no_record/x.so": "no-record",
        "nobody/x.so": None,
    }


def test_what_is_built_on_torch(tmp_path: Path) -> None:
    for name, requires in (
        ("torch", "numpy"),
        ("numpy", ""),
        ("Vision.Kernels", "torch"),
        ("on-top", "vision_kernels"),
        ("legacy", 'torch; extra == "x"'),
    ):
        dist_info(tmp_path, name, "1.0", f"Requires-Dist: {requires}\n" if requires else "")
    assert read_distributions(tmp_path).built_on("torch", MARKERS) == {"vision-kernels", "on-top"}


def huge(path: Path, start: bytes) -> None:
    with path.open("wb") as file:
        file.write(start)
        file.truncate(GIGABYTE)


@pytest.mark.parametrize("name", ["METADATA", "RECORD"])
def test_a_gigabyte_of_metadata(name: str, tmp_path: Path) -> None:
    directory = dist_info(tmp_path, "torch", "1.0", record="torch/__init__.py,,\n")
    huge(directory / name, b"Name: torch\n" if name == "METADATA" else b"a,b,1\n")
    found = read_distribution(directory)
    assert f"{name} has " in found.problem
    assert " MB" in found.problem
    [row] = wrong_rows(tmp_path, Origin.WHEEL)
    assert row.check == "RECORD"


def test_metadata_that_is_no_file(tmp_path: Path) -> None:
    directory = tmp_path / "torch-1.0.dist-info"
    directory.mkdir()
    for name in ("METADATA", "RECORD"):
        os.mkfifo(directory / name)
    found = read_distribution(directory)
    assert (found.name, found.version, found.rows) == ("torch", "1.0", None)


# RECORD


def record_of(site: Path, paths: Iterable[Path]) -> str:
    lines = []
    for path in paths:
        digest = base64.urlsafe_b64encode(hashlib.sha256(path.read_bytes()).digest()).rstrip(b"=").decode()
        lines.append(f"{path.relative_to(site).as_posix()},sha256={digest},{path.stat().st_size}\n")
    return "".join(lines)


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A site-packages with a package that has a RECORD, as pip leaves one."""
    (tmp_path / "torch" / "lib").mkdir(parents=True)
    (tmp_path / "torch" / "__init__.py").write_text("version = 1\n")
    (tmp_path / "torch" / "header.h").write_text("int version;\n")
    (tmp_path / "torch" / "__pycache__").mkdir()
    (tmp_path / "torch" / "__pycache__" / "__init__.cpython-311.pyc").write_text("byte code")
    c_library(tmp_path / "torch" / "lib" / "libc10.so", "int version;")
    files = [path for path in (tmp_path / "torch").rglob("*") if path.is_file() and path.suffix != ".pyc"]
    record = record_of(tmp_path, files) + (
        "torch/__pycache__/__init__.cpython-311.pyc,,\n"
        "../../bin/torchrun,sha256=x,1\n"
        "torch-1.0.dist-info/RECORD,,\n"
    )
    dist_info(tmp_path, "torch", "1.0", record=record)
    return tmp_path


def rows(site: Path, origin: Origin) -> list[Finding]:
    [found] = read_distributions(site).all
    with ThreadPoolExecutor(2) as pool:
        known = {row.path for row in found.rows or ()}
        whole = read_wholeness(site, found, known, read_tree(site), pool, hash_all=True)
    return list(check_wholeness([whole], origin))


def wrong_rows(site: Path, origin: Origin) -> list[Finding]:
    return [row for row in rows(site, origin) if row.status == "wrong"]


def of_files(site: Path) -> list[Finding]:
    """The rows that are read from the files of a CPU build."""
    environment = Environment(Interpreter(Path(sys.executable), site), (site / "torch",))
    return list(check_files(environment, parse_name("pytorch-cpu-avx2"), Origin.WHEEL))


def test_a_process_that_ends_becomes_a_wrong_row(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it would have said is missing, and nothing else is."""
    c_library(installed / "torch" / "lib" / "libshm.so", "int other;")
    right = of_files(installed)

    def end(elf: Elf) -> LinkFacts:
        if b"\0version\0" in bytes(elf.data):
            os._exit(0)
        return read_link(elf)

    monkeypatch.setattr(static, "read_link", end)
    fork = partial(ProcessPoolExecutor, mp_context=multiprocessing.get_context("fork"))
    monkeypatch.setattr(static, "ProcessPoolExecutor", fork)
    found = of_files(installed)
    [row] = [row for row in found if row.check == "files" and row.status == "wrong"]
    assert row.where == "torch/lib/libc10.so"
    assert row.detail.startswith("reading it ends the process")
    assert [row for row in right if row.check == "RECORD"] == [row for row in found if row.check == "RECORD"]


def test_the_number_of_processes_changes_nothing(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        c_library(installed / "torch" / "lib" / f"lib{number}.so", f"int version{number};")

    def with_cores(number: int) -> list[Finding]:
        monkeypatch.setattr(static, "usable_cores", lambda: number)
        return of_files(installed)

    assert with_cores(1) == with_cores(2) == with_cores(7)


def test_one_core_is_enough(installed: Path) -> None:
    """As with `taskset -c 0`."""
    right = of_files(installed)
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert of_files(installed) == right
    finally:
        os.sched_setaffinity(0, before)


def test_as_it_was_installed(installed: Path) -> None:
    (installed / "torch" / "__pycache__" / "__init__.cpython-311.pyc").unlink()
    [row] = rows(installed, Origin.WHEEL)
    assert (row.status, row.found) == ("ok", ("torch",))
    assert row.where == "3 files, 2 of them by hash"


def test_a_second_name_of_a_file_is_no_other_file(installed: Path) -> None:
    library = installed / "torch" / "lib" / "libc10.so"
    library.with_name("libc10-copy.so").hardlink_to(library)
    assert wrong_rows(installed, Origin.WHEEL) == []


def overwrite(path: Path, old: bytes, new: bytes) -> None:
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new))


def in_place_of(path: Path) -> None:
    path.unlink()
    path.mkdir()


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a header is gone": (lambda torch: (torch / "header.h").unlink(), "No such file"),
    "a Python file is gone": (lambda torch: (torch / "__init__.py").unlink(), "No such file"),
    "one character": (lambda torch: overwrite(torch / "__init__.py", b"1", b"2"), "another content"),
    "a library is gone": (lambda torch: (torch / "lib" / "libc10.so").unlink(), "No such file"),
    "a library of 0 bytes": (lambda torch: os.truncate(torch / "lib" / "libc10.so", 0), "0 bytes"),
    "another library": (lambda torch: c_library(torch / "lib" / "libc10.so", "int x[9]={1};"), "libc10"),
    "a file too much": (lambda torch: (torch / "cuda.py").touch(), "torch/cuda.py: not in RECORD"),
    "a library too much": (lambda torch: c_library(torch / "version.so", "int x;"), "not in RECORD"),
    "a directory in its place": (lambda torch: in_place_of(torch / "__init__.py"), "no regular file"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_not_as_it_was_installed(change: str, installed: Path) -> None:
    make, words = CHANGES[change]
    make(installed / "torch")
    [row] = wrong_rows(installed, Origin.WHEEL)
    assert words in row.found_text


def test_what_is_not_run_may_be_left_out_of_others_than_torch(tmp_path: Path) -> None:
    package(tmp_path / "vision")
    (tmp_path / "vision" / "notes.txt").write_text("notes\n")
    record = record_of(tmp_path, [tmp_path / "vision" / "__init__.py", tmp_path / "vision" / "notes.txt"])
    dist_info(tmp_path, "vision", "1.0", record=record)
    (tmp_path / "vision" / "notes.txt").unlink()
    found = rows(tmp_path, Origin.WHEEL)
    assert [row.status for row in found] == ["note", "ok"]
    assert "vision/notes.txt" in found[0].found_text


def test_a_build_from_source_is_stripped_after_its_wheel_was_made(installed: Path) -> None:
    c_library(installed / "torch" / "lib" / "libc10.so", "int other;")
    found = rows(installed, Origin.SOURCE)
    assert {row.status for row in found} == {"note", "ok"}
    (installed / "torch" / "lib" / "libc10.so").unlink()
    assert len(wrong_rows(installed, Origin.SOURCE)) == 1


def test_without_a_record(installed: Path) -> None:
    (installed / "torch-1.0.dist-info" / "RECORD").unlink()
    [row] = rows(installed, Origin.WHEEL)
    assert (row.status, row.detail) == ("note", "there is no RECORD to hold the files against")


# Libraries that are opened by name

OPENER = """
#include <dlfcn.h>
const char *const part = "%s";
void *open_part(void) { return dlopen(part, RTLD_NOW); }
"""


@pytest.mark.parametrize(
    ("name", "beside", "found"),
    [
        ("libtorch_cuda_linalg.so", "libtorch_cuda_linalg.so", True),
        ("libcudnn_graph.so", "libcudnn_graph.so.9", True),
        ("libcudnn_graph.so", "libcudnn_ops.so.9", False),
        ("libnvrtc-builtins.so.12.8", "libnvrtc-builtins.so.13.0", False),
    ],
)
def test_a_part_that_is_opened_by_name(name: str, beside: str, found: bool, tmp_path: Path) -> None:
    user = c_library(tmp_path / "libcudnn.so.9", OPENER % name, "-ldl")
    c_library(tmp_path / beside, "int x;")
    facts = read_library(Candidate(user, user.name, "nvidia", "nvidia"))
    [part] = find_parts([facts], {})
    assert (part.name, part.path is not None) == (name, found)


def test_a_part_needs_and_opens_others(tmp_path: Path) -> None:
    graph = OPENER % "libcudnn_engines.so"
    main = c_library(tmp_path / "libtorch.so", OPENER % "libcudnn_graph.so", "-ldl")
    c_library(tmp_path / "libcudnn_graph.so.9", graph, "-ldl")

    def read(path: Path) -> object:
        return read_library(Candidate(path, path.name, "nvidia", "nvidia"))

    facts = read_library(Candidate(main, main.name, "torch", "torch"))
    linkage = read_linkage([facts], read)  # type: ignore[arg-type]
    assert {part.name: part.path is None for part in linkage.parts} == {
        "libcudnn_graph.so": False,
        "libcudnn_engines.so": True,
    }


@pytest.mark.parametrize(("source", "good"), [("void load_nvrtc(void) {}", True), ("int nothing;", False)])
def test_a_part_that_is_hollow(source: str, good: bool, tmp_path: Path) -> None:
    """GCC leaves no text of this name, nor of the one function that PyTorch looks for in it."""
    main = c_library(tmp_path / "libtorch_cuda.so", "int x;")
    c_library(tmp_path / "libcaffe2_nvrtc.so", source)

    def read(path: Path) -> LibraryFacts:
        return read_library(Candidate(path, path.name, "torch", "torch"))

    found = list(check_parts(read_linkage([read(main)], read), {}))
    assert [(row.status, row.check) for row in found] == [("ok" if good else "wrong", "opened by name")]


def test_a_library_for_a_later_glibc(tmp_path: Path) -> None:
    source = '__asm__(".symver puts,puts@GLIBC_2.2.5"); int puts(const char *); void f(void) { puts(""); }'
    path = c_library(tmp_path / "libc10.so", source)
    path.write_bytes(path.read_bytes().replace(b"GLIBC_2.2.5\0", b"GLIBC_2.999\0"))

    def read(path: Path) -> LibraryFacts:
        return read_library(Candidate(path, path.name, "torch", "torch"))

    linkage = read_linkage([read(path)], read)
    [row] = check_glibc(linkage, "2.36")
    assert (row.status, row.expected, row.found) == ("wrong", ("at least 2.999",), ("2.36",))
    assert list(check_glibc(linkage, "2.1000")) == []


def test_a_library_that_is_needed_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    needed = c_library(tmp_path / "elsewhere" / "libx.so", "int x;")
    user = c_library(tmp_path / "libc10.so", "int y;", "-Wl,--no-as-needed", "-x", "none", str(needed))
    facts = read_library(Candidate(user, user.name, "torch", "torch"))
    assert resolve(facts).found == {str(needed): needed}


def test_a_program_that_may_not_be_started(tmp_path: Path) -> None:
    command = ["gcc", "-x", "c", "-", "-o", str(tmp_path / "manager")]
    subprocess.run(command, input=b"int main(void) { return 0; }", check=True)
    facts = [read_library(Candidate(tmp_path / "manager", "torch/bin/manager", "torch", "torch"))]
    assert list(check_programs(facts)) == []
    (tmp_path / "manager").chmod(0o644)
    assert [row.status for row in check_programs(facts)] == ["wrong"]


def test_what_is_no_library_to_load(tmp_path: Path) -> None:
    def read(path: Path) -> LibraryFacts:
        return read_library(Candidate(path, path.name, "companion", "x"))

    library = c_library(tmp_path / "_C.so", "int x;", "-g")
    subprocess.run(["objcopy", "--only-keep-debug", library, tmp_path / "_C.so.debug"], check=True)
    subprocess.run(["gcc", "-c", "-x", "c", "-", "-o", tmp_path / "x.so"], input=b"int x;", check=True)
    found = {path.name: loadable(read(path)) for path in sorted(tmp_path.iterdir())}
    assert found == {"_C.so": True, "_C.so.debug": False, "x.so": False}


def test_a_linker_script_is_no_damaged_library(tmp_path: Path) -> None:
    (tmp_path / "libx.so").write_text("/* GNU ld script */\nINPUT(libx.so.1)\n")
    assert read_tree(tmp_path).problems == ()


def test_what_others_open_they_can_do_without(tmp_path: Path) -> None:
    user = c_library(tmp_path / "libtorch_cpu.so", OPENER % "libmkl_avx512.so.2", "-ldl")
    facts = read_library(Candidate(user, user.name, "torch", "torch"))
    assert facts.link.opens == ("libmkl_avx512.so.2",)
    assert list(find_parts([facts], {})) == []


# What the environment's Python answers


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    """A Python of its own, without packages."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    return tmp_path / "venv"


QUESTION = {"torch": "/nowhere", "names": [], "cuda": [], "opened": [], "modules": {}, "libraries": []}


def started_with(venv: Path, code: str) -> Interpreter:
    """A venv's Python that runs this first. Not by sitecustomize: Debian's Python has one of its own."""
    [site] = venv.glob("lib/python3*/site-packages")
    (site / "at_the_start.py").write_text(code)
    (site / "at_the_start.pth").write_text("import at_the_start\n")
    return find_interpreter(venv)


def test_a_python_without_torch(venv: Path) -> None:
    said = converse(find_interpreter(venv), "imports", QUESTION, UNTIL_IT_ENDS)
    assert said.end == ""
    assert said.facts["error"] == "No module named 'torch'"


@pytest.mark.parametrize(
    ("code", "end"),
    [
        ("import os; os._exit(7)", "exit code 7"),
        ("import sys; sys.exit('no licence')", "exit code 1"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "ended by SIGSEGV"),
    ],
)
def test_a_python_that_ends(code: str, end: str, venv: Path) -> None:
    said = converse(started_with(venv, code), "imports", QUESTION, UNTIL_IT_ENDS)
    assert (said.messages, end in said.end) == ((), True), said.end


def test_a_python_that_closes_its_answers_and_goes_on(venv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_GRACE", 0.1)
    code = "import os; os.closerange(3, 100); import time; time.sleep(1000)"
    said = converse(started_with(venv, code), "imports", QUESTION, UNTIL_IT_ENDS)
    assert said.messages == ()
    assert "descriptor" in said.end


def is_running(stat: Path) -> bool:
    """Whether /proc has the process, and not as a zombie."""
    try:
        return stat.read_text().split()[2] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_python_that_never_answers_is_ended_with_all_it_started(venv: Path, tmp_path: Path) -> None:
    code = f"""
import subprocess, sys, time
if __name__ == "at_the_start" and sys.argv[:1] == ["-c"]:
    child = subprocess.Popen(["sleep", "1000"])
    open({str(tmp_path / "child")!r}, "w").write(str(child.pid))
    while True:
        print("still here", file=sys.stderr, flush=True)
        time.sleep(0.01)
"""
    said = converse(started_with(venv, code), "imports", QUESTION, 3)
    assert said.end.startswith("no answer for 3 s")
    child = Path("/proc") / (tmp_path / "child").read_text() / "stat"
    # A signal takes its time.
    while is_running(child):
        time.sleep(0.01)


def test_what_is_printed_and_what_is_forked_is_no_answer(venv: Path) -> None:
    code = """
import atexit, os
print('{"done": true}', flush=True)
atexit.register(print, '{"error": null}')
if os.fork() == 0:
    os.close(0)
"""
    said = converse(started_with(venv, code), "imports", QUESTION, UNTIL_IT_ENDS)
    assert said.end == ""
    assert said.facts["error"] == "No module named 'torch'"


def test_a_torch_in_the_current_directory_is_not_found(
    venv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").touch()
    monkeypatch.chdir(tmp_path)
    said = converse(find_interpreter(venv), "imports", QUESTION, UNTIL_IT_ENDS)
    assert said.facts["error"] == "No module named 'torch'"


# Where torch is


def test_an_environment_that_takes_torch_from_elsewhere(venv: Path, tmp_path: Path) -> None:
    torch = package(tmp_path / "elsewhere" / "torch")
    [site] = venv.glob("lib/python3*/site-packages")
    (site / "elsewhere.pth").write_text(f"{torch.parent}\n")
    assert find_environment(venv).torches == (torch,)


def test_debians_packages(tmp_path: Path) -> None:
    torch = package(tmp_path / "lib" / "python3" / "dist-packages" / "torch")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python3").symlink_to(sys.executable)
    found = find_environment(tmp_path)
    assert (found.torch, found.python.path) == (torch, tmp_path / "bin" / "python3")


def test_a_directory_that_pip_has_filled(tmp_path: Path) -> None:
    torch = package(tmp_path / "torch")
    tag = f"{sys.version_info[0]}{sys.version_info[1]}"
    (torch / f"_C.cpython-{tag}-x86_64-linux-gnu.so").touch()
    found = find_environment(tmp_path)
    assert (found.torch, found.python.packages) == (torch, tmp_path)
    assert found.python.path.name == f"python3.{sys.version_info[1]}"


def test_no_python_for_it(tmp_path: Path) -> None:
    torch = package(tmp_path / "torch")
    (torch / "_C.cpython-399-x86_64-linux-gnu.so").touch()
    with pytest.raises(UserError, match=r"python3\.99, which is not on PATH"):
        find_environment(tmp_path)


@pytest.mark.parametrize(
    ("versions", "expected", "status"),
    [
        ({"libcudart.so.13": "13.0", "libnvrtc.so.13": "13.0", "libnvJitLink.so.13": "13.0"}, "13.0", "ok"),
        # As pip installs PyTorch 2.14.1.
        ({"libcudart.so.13": "13.0", "libnvrtc.so.13": "13.0", "libnvJitLink.so.13": "13.5"}, "13.0", "ok"),
        ({"libcudart.so.13": "13.0", "libnvJitLink.so.13": "13.5"}, None, "ok"),
        ({"libcudart.so.13": "13.2", "libnvJitLink.so.13": "13.0"}, "13.2", "wrong"),
        ({"libcudart.so.12": "12.8", "libnvJitLink.so.13": "13.0"}, "12.8", "wrong"),
        ({"libcudart.so.13": "13.2"}, "13.0", "wrong"),
        ({"libcudart.so.13": "13.0", "libnvrtc.so.13": "13.1"}, "13.0", "wrong"),
        ({"libcudart.so.13": "13.0", "libnvJitLink.so.13": "no such function"}, "13.0", "wrong"),
        ({}, "13.0", "wrong"),
    ],
)
def test_cudas_libraries_are_of_one_release(
    versions: dict[str, str], expected: str | None, status: str
) -> None:
    assert [row.status for row in check_cuda(versions, expected)] == [status]


def test_without_cuda_there_is_nothing_to_compare() -> None:
    assert list(check_cuda({}, None)) == []
