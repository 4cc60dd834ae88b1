"""hydraJobs, as build farms read them: nothing but derivations, all evaluated before any is built."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from conftest import FLAGSHIP, Nix

# nix-eval-jobs and Hydra go down an attribute set until they meet a derivation.
JOBS = """
  let
    jobs = path: value:
      if value.type or null == "derivation" then
        { ${path} = {
          inherit (value) drvPath system;
          meta = builtins.intersectAttrs
            { description = 0; license = 0; maintainers = 0; mainProgram = 0; platforms = 0; position = 0; }
            value.meta;
          product = value.meta.identifiers.cpeParts.product or null;
          constituents = map (one: one.drvPath) value.constituents or [ ];
        }; }
      else if builtins.isAttrs value then
        builtins.foldl' (found: name: found // jobs "${path}.${name}" value.${name}) { }
          (builtins.attrNames value)
      else throw "${path} is neither a derivation nor a set of them";
  in jobs ""
"""
# In the packages that the flake offers.
LICENCES = {
    "pytorch": "BSD-3-Clause",
    "torchvision": "BSD-3-Clause",
    "torchaudio": "BSD-2-Clause",
    "cli": "MIT",
}


@pytest.fixture(scope="module")
def jobs(nix: Nix) -> dict[str, Any]:
    # A tree of nixpkgs that has been thinned out has no Haskell, which nixfmt is written in.
    haskell = Path(nix.nixpkgs) / "pkgs" / "development" / "haskell-modules" / "hackage-packages.nix"
    jobs = JOBS
    if nix.compiles and haskell.stat().st_size < 1000:
        jobs = JOBS.replace(
            "(builtins.attrNames value)", '(builtins.attrNames (removeAttrs value [ "lint" ]))'
        )
    option = ("--option", "allow-import-from-derivation", "false")
    found: dict[str, Any] = json.loads(nix.ok("eval", "--json", *option, ".#hydraJobs", "--apply", jobs))
    return found


def test_jobs_are_derivations_of_their_system(jobs: dict[str, Any]) -> None:
    assert "x86_64-linux" in {path.split(".")[2] for path in jobs}
    for path, job in jobs.items():
        kind, system, *name = path.split(".")[1:]
        assert kind in ("packages", "checks", "tests", "all")
        assert len(name) == (kind != "all")
        assert job["system"] == system, path
        assert job["drvPath"].endswith(".drv")


def test_one_job_is_all_of_them(jobs: dict[str, Any]) -> None:
    for system in {path.split(".")[2] for path in jobs}:
        others = {
            job["drvPath"] for path, job in jobs.items() if re.match(rf"\.(packages|tests)\.{system}\.", path)
        }
        assert set(jobs[f".all.{system}"]["constituents"]) == others


def test_every_variant_has_its_proof_among_them(jobs: dict[str, Any]) -> None:
    packages = {path.removeprefix(".packages.") for path in jobs if path.startswith(".packages.")}
    proofs = {path.removeprefix(".tests.") for path in jobs if path.startswith(".tests.")}
    assert proofs == {name for name in packages if re.search(r"\.pytorch-", name)}
    assert f"x86_64-linux.{FLAGSHIP}" in proofs


def test_what_packages_say_of_themselves(nix: Nix, jobs: dict[str, Any]) -> None:
    packages = {path: job for path, job in jobs.items() if path.startswith(".packages.")}
    assert len(packages) > 50
    for path, job in packages.items():
        _, _, system, name = path.split(".")
        meta, kind = job["meta"], "pytorch" if name == "default" else name.split("-")[0]
        description = meta["description"]
        assert 10 < len(description) < 200, path
        assert description[0].isupper(), path
        assert not description.endswith("."), path
        licences = meta["license"] if isinstance(meta["license"], list) else [meta["license"]]
        assert LICENCES[kind] in [licence.get("spdxId") for licence in licences], path
        assert all("name" in maintainer for maintainer in meta.get("maintainers", [])), path
        # The embedded set's companions are nobody's.
        assert meta.get("maintainers") or (not nix.compiles and kind.startswith("torch")), path
        assert system in meta["platforms"], path
        assert meta.get("mainProgram") == ("pytorch-variants" if name == "cli" else None), path
        if kind == "pytorch":
            # Scanners of CVEs look for PyTorch, whatever it is called here.
            assert job["product"] == "torch", path
            assert set(meta["platforms"]) <= {"x86_64-linux", "aarch64-linux", "aarch64-darwin"}, path
        if gpu := re.match(r"pytorch-(?:bin-)?(sm\d+)", name):
            assert gpu[1] in description, path
