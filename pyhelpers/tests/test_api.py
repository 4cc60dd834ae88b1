"""What others build on: the public names, the JSON of every command, and systems other than Linux."""

import ast
import copy
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest
from binaries import cuda_library
from commands import call
from conftest import FLAGSHIP, ROOT, Nix
from loopback import GitHub
from test_wheel import make_wheel

import pytorch_variants
from pytorch_variants.cli import app
from pytorch_variants.cli.frame import Commands
from pytorch_variants.hardware.table import cpus, gpus, products

SCHEMAS = ROOT / "docs" / "schemas"
CPUINFO = "model name : Example\nflags : avx avx2 bmi1 bmi2 f16c fma abm movbe avx512f\n"


def python(script: str, *arguments: str) -> str:
    """What a new Python prints."""
    return subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_each_public_name_is_there() -> None:
    """For programs as for type checkers, which read other lines of the file."""
    source = Path(pytorch_variants.__file__).read_text(encoding="utf-8")
    [choice] = (node for node in ast.parse(source).body if isinstance(node, ast.If))
    typed = {
        alias.asname or alias.name: (node.module, alias.name)
        for node in choice.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert sorted(typed) == sorted(pytorch_variants.__all__) == sorted(vars(pytorch_variants)["_PLACES"])
    for name, (module, attribute) in typed.items():
        known = python(
            "import sys, importlib, pytorch_variants as package; name, module, attribute = sys.argv[1:];"
            "found = getattr(package, name);"
            "print(found is getattr(importlib.import_module(module), attribute) is getattr(package, name))",
            *(name, str(module), attribute),
        )
        assert known == "True", name


def test_a_public_name_is_no_subpackage() -> None:
    """Its import would put a module in the name's place."""
    package = Path(pytorch_variants.__file__).parent
    assert not {path.stem for path in package.iterdir()} & set(pytorch_variants.__all__)


def test_the_package_itself_loads_nothing() -> None:
    loaded = "import sys, pytorch_variants; print(sorted(n for n in sys.modules if n.startswith('pytorch_')))"
    assert python(loaded) == "['pytorch_variants']"
    with pytest.raises(AttributeError, match="has no attribute 'nope'"):
        _ = pytorch_variants.nope  # type: ignore[attr-defined]
    assert set(pytorch_variants.__all__) <= set(dir(pytorch_variants))


def schema(command: str) -> Any:
    return json.loads((SCHEMAS / f"{command}.schema.json").read_text(encoding="utf-8"))


def objects(data: Any) -> Iterator[dict[str, Any]]:
    """Every object of a document that has fields of its own, as the origins of downloads have not."""
    if isinstance(data, list):
        for item in data:
            yield from objects(item)
    elif isinstance(data, dict):
        yield data
        for name, value in data.items():
            if name != "origins":
                yield from objects(value)


def check(command: str, *arguments: object) -> Any:
    """Hold what a command prints against its schema, which takes no field less and none more."""
    outcome = call(*arguments, "--json")
    assert not outcome.err, outcome
    data, wanted = json.loads(outcome.out), jsonschema.Draft202012Validator(schema(command))
    wanted.validate(data)
    for number, _ in enumerate(objects(data)):
        for name in (None, *list(objects(data))[number]):
            other = copy.deepcopy(data)
            changed = list(objects(other))[number]
            if name is None:
                changed["more"] = 1
            else:
                del changed[name]
            assert not wanted.is_valid(other), (number, name)
    return data


def test_schemas_are_schemas() -> None:
    for path in SCHEMAS.iterdir():
        jsonschema.Draft202012Validator.check_schema(json.loads(path.read_text(encoding="utf-8")))


def test_lookup_has_its_schema() -> None:
    check("lookup", "lookup", "L40S", "AVX2")
    validator = jsonschema.Draft202012Validator(schema("lookup"))
    for name in (*gpus(), *cpus(), *products(), "sm90a"):
        validator.validate(json.loads(call("lookup", name, "--json").out))


def test_list_has_its_schema() -> None:
    check("list", "list", "--gpu", "H100", "--cpu", "avx2")
    jsonschema.validate(json.loads(call("list", "--json").out), schema("list"))
    jsonschema.validate(json.loads(call("list", "--cuda", "12.8", "--json").out), schema("list"))


def test_detect_has_its_schema(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    for text in (CPUINFO, "model name : Old\nflags : sse\n", "Features : asimd\n"):
        cpuinfo.write_text(text)
        check("detect", "detect", "--cpuinfo", cpuinfo, "--gpu", "H100", "--driver", "570.86.15")
        check("detect", "detect", "--cpuinfo", cpuinfo, "--gpu", "9.9")
    check("detect", "detect")


def test_retarget_has_its_schema(tmp_path: Path) -> None:
    library = tmp_path / "libmany.so"
    shutil.copy(cuda_library("many"), library)
    found = check("retarget", "retarget", library, "--gpu", "H100", "-o", tmp_path / "out")
    assert found["retargeted"][0]["libraries"][0]["kept"] == ["sm_90"]


def test_index_has_its_schema(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path)
    found = check("index", "index", tmp_path / "index", wheel, "--gpu", "H100")
    assert found["wheels"][0]["variant"]["path"].startswith("variants/torch/torch-2.10.0-")


def test_inspect_has_its_schema() -> None:
    check("inspect", "inspect", cuda_library("many"), "--gpu", "H100")
    found = check("inspect", "inspect", cuda_library("many"), cuda_library("ptx"))
    assert "sm_90" in found["inspected"][0]["libraries"][0]["architectures"]


def test_plan_has_its_schema(embedded: Nix, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIX_CONFIG", embedded.environment()["NIX_CONFIG"])
    check("plan", "plan", FLAGSHIP, "--flake", ROOT, "--nixpkgs", "embedded")
    check("plan-matrix", "plan", "--matrix", "--gpu", "H100", "--builders", "2")


def test_the_lock_commands_have_their_schemas(
    github: GitHub, flake: Path, embedded: Nix, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIX_CONFIG", embedded.environment()["NIX_CONFIG"])
    for directory in (flake, ROOT):
        check("lock-show", "lock", "show", "--flake", directory)
        check("lock-check", "lock", "check", "--flake", directory)
    check("lock-show", "lock", "show", "--flake", ROOT, "--nixpkgs", embedded.nixpkgs)
    check("lock-update", "lock", "update", "--flake", flake)
    check("lock-update", "lock", "update", "--flake", flake, "--require", "torch>=99")


def printing_json(group: Commands, *path: str) -> Iterator[str]:
    """The commands that have --json, by the names of their schemas."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, Commands):
            yield from printing_json(command, *path, name)
        elif command and any("--json" in option.opts for option in command.params):
            yield "-".join((*path, name))


def test_each_command_has_a_schema() -> None:
    """That of `verify` is the report's, which other programs write too."""
    there = {path.name.removesuffix(".schema.json") for path in SCHEMAS.iterdir()}
    assert there == {*printing_json(app), "plan-matrix"} - {"verify"}


# What Python lacks on Windows and on macOS, taken away before anything of ours is imported.
MISSING = {
    "windows": (
        ["fcntl", "grp", "pty", "pwd", "resource", "termios"],
        ["os.fchmod", "os.geteuid", "os.pread", "os.preadv", "os.pwrite", "os.sched_getaffinity", "os.uname"],
        ["os.O_NOFOLLOW", "os.O_NONBLOCK", "os.O_CLOEXEC", "os.O_DIRECTORY"],
        ["signal.SIGPIPE", "signal.SIGKILL", "mmap.PROT_READ", "mmap.MADV_DONTNEED", "mmap.MAP_PRIVATE"],
    ),
    "macos": (
        [],
        ["os.sched_getaffinity", "os.copy_file_range", "os.memfd_create"],
        ["mmap.MAP_POPULATE"],
    ),
}
ELSEWHERE = """
import importlib, json, os, mmap, pkgutil, signal, sys
modules, *attributes = json.loads(sys.argv[1])
for name in modules:
    sys.modules[name] = None
for name in (name for names in attributes for name in names):
    module, attribute = name.split(".")
    if hasattr(sys.modules[module], attribute):
        delattr(sys.modules[module], attribute)
sys.argv[1:2] = []
"""


def elsewhere(system: str, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", ELSEWHERE + script, json.dumps(MISSING[system]), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("system", MISSING)
def test_every_module_is_imported_elsewhere(system: str) -> None:
    script = """
import pytorch_variants
for module in pkgutil.walk_packages(pytorch_variants.__path__, "pytorch_variants."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
        print(module.name)
"""
    result = elsewhere(system, script)
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.splitlines()) > 40


@pytest.mark.parametrize("system", MISSING)
def test_commands_work_elsewhere(system: str, tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(CPUINFO)
    shutil.copy(cuda_library("many"), tmp_path / "libmany.so")
    script = "from pytorch_variants.cli import main; main()"
    for arguments, code in (
        (("lookup", "H100"), 0),
        (("lookup", "H100", "--json"), 0),
        (("list",), 0),
        (("plan", "--matrix"), 0),
        (("detect", "--gpu", "H100", "--cpuinfo", str(tmp_path / "cpuinfo"), "--driver", "570.86.15"), 0),
        (("retarget", "--help"), 0),
        (("verify", "--help"), 0),
        (("lookup", "H1000"), 2),
    ):
        result = elsewhere(system, script, *arguments)
        assert (result.returncode, "Traceback" in result.stderr) == (code, False), result.stderr
    written = ("retarget", str(tmp_path / "libmany.so"), "--gpu", "H100", "-o", str(tmp_path / "out"))
    result = elsewhere(system, script, *written)
    assert result.returncode == (2 if system == "windows" else 0), result.stderr
    assert ("write it on Linux or macOS" in result.stderr) == (system == "windows")
    assert result.stderr.count("\n") == result.returncode // 2


def test_the_cores_are_those_that_this_process_may_use() -> None:
    script = (
        "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]);"
        "from pytorch_variants.machine.cores import usable_cores; print(usable_cores())"
    )
    assert python(script) == "1"
    assert os.cpu_count() == int(
        elsewhere(
            "macos", "from pytorch_variants.machine.cores import usable_cores; print(usable_cores())"
        ).stdout
    )
