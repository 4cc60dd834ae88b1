"""What the whole matrix costs to evaluate, beside one nixpkgs import per variant.

    python benchmarks/evaluation.py /nix/store/…-source

The argument is a nixpkgs that compiles; one in the Nix store is not copied for every evaluation. Prints a
table; times are CPU seconds and sizes MB, as Nix counts them (NIX_SHOW_STATS). In one run:

- every variant, then every package of x86_64-linux, instantiated in one evaluation of this flake;
- the same variants as copied recipes have it: each file imports nixpkgs for itself and overrides torch. An
  evaluation of COPIES of them at once gives the cost of one more; one each gives that of a single build.
"""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SYSTEM = "x86_64-linux"
COPIES = 12

# A recipe as people copy it, with what this flake's own variants need: targets, flags, a name.
RECIPE = """
  { nixpkgs, system, gpuTargets, cpuFlags, pname }:
  let pkgs = import nixpkgs { inherit system; config = { allowUnfree = true; cudaSupport = true; }; };
  in (pkgs.python3Packages.torch.override { cudaSupport = true; inherit gpuTargets; }).overrideAttrs (old: {
    inherit pname;
    preConfigure = old.preConfigure + ''export CXXFLAGS="${toString cpuFlags}"'';
  })
"""


@dataclass(frozen=True)
class Cost:
    """What one evaluation took: CPU seconds and bytes allocated."""

    derivations: int
    seconds: float
    heap: int


def evaluate(*arguments: str) -> tuple[dict[str, str], Cost]:
    """Run nix eval for {name: derivation}."""
    with tempfile.NamedTemporaryFile() as stats:
        config = (
            os.environ.get("NIX_CONFIG", ""),
            "extra-experimental-features = nix-command flakes",
            "accept-flake-config = true",
            "eval-cache = false",
            "warn-dirty = false",
        )
        result = subprocess.run(
            ["nix", "eval", "--json", *arguments],
            cwd=ROOT,
            capture_output=True,
            check=False,
            env={
                **os.environ,
                "NIX_CONFIG": "\n".join(config),
                "NIX_SHOW_STATS": "1",
                "NIX_SHOW_STATS_PATH": stats.name,
            },
        )
        if result.returncode:
            sys.exit(result.stderr.decode())
        counted = json.loads(Path(stats.name).read_text())
    found: dict[str, str] = json.loads(result.stdout)
    return found, Cost(len(found), counted["cpuTime"], counted["gc"]["heapSize"])


def ours(nixpkgs: str, only: str) -> tuple[dict[str, str], Cost]:
    """Evaluate this repository's packages whose names match, in the way in which the copies are evaluated."""
    expression = f"""
      let
        inherit (import {ROOT}/pkgs/overNixpkgs.nix {{
          nixpkgs = {nixpkgs};
          system = "{SYSTEM}";
          variantsLib = import {ROOT}/lib {{ lib = import {nixpkgs}/lib; }};
        }}) packages;
        names = builtins.filter (name: builtins.match "{only}" name != null) (builtins.attrNames packages);
      in builtins.listToAttrs (map (name: {{ inherit name; value = packages.${{name}}.drvPath; }}) names)
    """
    return evaluate("--impure", "--expr", expression)


def copied(nixpkgs: str, names: list[str]) -> Cost:
    """The same variants, each with a nixpkgs of its own."""
    table = (ROOT / "lib" / "hardware.toml").as_posix()
    recipes = " ".join(
        f'{{ name = "{name}"; gpu = "{name.split("-")[1]}"; cpu = "{name.split("-", 2)[2]}"; }}'
        for name in names
    )
    expression = f"""
      let
        table = builtins.fromTOML (builtins.readFile {table});
        recipe = {RECIPE};
      in builtins.listToAttrs (map ({{ name, gpu, cpu }}: {{ inherit name; value = (recipe {{
        nixpkgs = {nixpkgs}; system = "{SYSTEM}"; pname = name; cpuFlags = table.cpu.${{cpu}}.flags;
        gpuTargets = [ table.gpu.${{gpu}}.capability ];
      }}).drvPath; }}) [ {recipes} ])
    """
    return evaluate("--impure", "--expr", expression)[1]


def row(what: str, cost: Cost) -> None:
    """One line of the table."""
    print(f"| {what} | {cost.derivations} | {cost.seconds:.1f} | {cost.heap / 1e6:.0f} |", flush=True)


def main(nixpkgs: str) -> None:
    """Measure and print."""
    ours(nixpkgs, ".*")  # what the file system and the store are slow with the first time
    print("| evaluation | derivations | CPU, s | heap, MB |\n|---|---|---|---|")
    variants, matrix = ours(nixpkgs, "pytorch-(cpu|sm).*")
    row("every variant, one evaluation", matrix)
    row("every package, companions among them", ours(nixpkgs, ".*")[1])
    # CUDA versions differ for a few; a copied recipe is for the default one.
    names = [name for name in variants if "-cpu-" not in name and "-sm110-" not in name]
    single = copied(nixpkgs, names[:1])
    row("one copied recipe", single)
    several = copied(nixpkgs, names[:COPIES])
    row(f"{COPIES} copied recipes, one evaluation", several)
    more = (several.seconds - single.seconds) / (COPIES - 1)
    heap = (several.heap - single.heap) / (COPIES - 1)
    apart = [copied(nixpkgs, [name]).seconds for name in names]
    alone = Cost(len(names), sum(apart), single.heap)
    row(f"{len(names)} copied recipes, an evaluation each", alone)
    together = single.seconds + more * (len(names) - 1)
    together_heap = single.heap + heap * (len(names) - 1)
    per_variant = matrix.seconds / matrix.derivations
    each = alone.seconds / alone.derivations
    print(
        f"\nOne more copied recipe costs {more:.2f} s and {heap / 1e6:.0f} MB: {len(names)} in one "
        f"evaluation would take {together:.0f} s and {together_heap / 1e9:.1f} GB.\n"
        f"Per variant: ours {per_variant:.3f} s, copied {more:.2f} s ({more / per_variant:.0f} x) in one "
        f"evaluation, {each:.2f} s ({each / per_variant:.0f} x) in one each."
    )


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python benchmarks/evaluation.py NIXPKGS")
    main(sys.argv[1])
