"""templates.default, as its user takes it: begun, built, entered and checked, over the embedded set."""

import json
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT, Nix


class Project:
    """A consumer's flake, whose inputs are this repository and the embedded package set."""

    def __init__(self, directory: Path, nix: Nix) -> None:
        self.directory, self.nix = directory, nix
        directory.mkdir()
        subprocess.run(["git", "init", "--quiet"], cwd=directory, check=True)
        self.run("flake", "init", "--template", f"git+file://{ROOT}")
        subprocess.run(["git", "add", "--all"], cwd=directory, check=True)

    def run(self, *command: str) -> str:
        result = subprocess.run(
            ["nix", *command],
            cwd=self.directory,
            env=self.nix.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    def with_inputs(self, command: str, *arguments: str) -> str:
        return self.run(
            *command.split(),
            *("--override-input", "pytorch-variants", f"git+file://{ROOT}"),
            *("--override-input", "pytorch-variants/nixpkgs", f"path:{self.nix.nixpkgs}"),
            "--no-write-lock-file",
            *arguments,
        )


@pytest.fixture(scope="module")
def project(embedded: Nix, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("consumer") / "service", embedded)


def test_it_builds_a_python_with_the_variant_and_what_needs_torch(project: Project) -> None:
    python = project.with_inputs("build --no-link --print-out-paths").strip()
    script = """
import json, torch, torchvision, transformers
model = transformers.BertModel(transformers.BertConfig(
    vocab_size=64, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64
))
hidden = model(torch.tensor([[1, 2, 3]])).last_hidden_state
boxes = torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 2.1], [5, 5, 6, 6]])
kept = torchvision.ops.nms(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.5)
print(json.dumps([
    torch._C._cuda_getArchFlags(), list(hidden.shape), kept.tolist(), torch.__file__
]))
"""
    output = subprocess.check_output([f"{python}/bin/python", "-c", script], text=True)
    flags, shape, kept, file = json.loads(output)
    assert flags == "sm_90"
    assert shape == [1, 3, 32]
    assert kept == [0, 2]
    assert file.startswith("/nix/store/")


def test_its_checks_pass_and_are_of_its_own_python(project: Project) -> None:
    project.with_inputs("flake check")
    report = project.with_inputs("build --no-link --print-out-paths", ".#checks.x86_64-linux.verify")
    findings = json.loads((Path(report.strip()) / "report.json").read_text())["findings"]
    wheres = " ".join(finding["where"] for finding in findings)
    assert "torchvision" in wheres
    assert {finding["status"] for finding in findings} <= {"ok", "note"}


def test_its_shell_has_that_python(project: Project) -> None:
    python = project.with_inputs("build --no-link --print-out-paths").strip()
    found = project.with_inputs("develop", "--command", "sh", "-c", "command -v python").strip()
    assert found == f"{python}/bin/python"


def test_a_shell_may_have_more_than_packages(embedded: Nix) -> None:
    shell = 'p.pkgs.mkShell { SERVICE = "on"; shellHook = "export HOOKED=yes"; }'
    found = embedded.eval(".#legacyPackages.x86_64-linux", f"p: {{ inherit ({shell}) SERVICE shellHook; }}")
    assert found == {"SERVICE": "on", "shellHook": "export HOOKED=yes"}


def test_its_program_is_the_verification_of_this_variant(project: Project) -> None:
    verify = Path(project.with_inputs("build --no-link --print-out-paths", ".#verify").strip())
    [program] = (verify / "bin").iterdir()
    # Over the embedded package set it is the official wheel, and says so.
    assert program.name.endswith("-sm90")
    assert "-bin-" in program.name
    result = subprocess.run([program, "--json"], capture_output=True, text=True, check=False)
    # It has run, on the GPU or for the want of one.
    assert result.returncode == 0 or "no GPU to check on" in result.stderr


def test_it_asks_the_caches_that_this_flake_asks(nix: Nix) -> None:
    configurations = [
        subprocess.check_output(
            ["nix", "eval", "--json", "--file", ROOT / flake, "nixConfig"], env=nix.environment()
        )
        for flake in ("flake.nix", "templates/default/flake.nix")
    ]
    assert configurations[0] == configurations[1]
    community = nix.lib("lib.caches.community")
    assert json.loads(configurations[0]) == {
        "extra-substituters": [community["url"]],
        "extra-trusted-public-keys": [community["key"]],
    }
