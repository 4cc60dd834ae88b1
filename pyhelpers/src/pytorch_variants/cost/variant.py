"""What the build of a variant will cost, as Nix itself sees it before anything is built."""

import json
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from pytorch_variants import nix
from pytorch_variants.cost.jobs import MEMORY, available_memory, compiler_jobs
from pytorch_variants.errors import UserError
from pytorch_variants.hardware.table import cpus
from pytorch_variants.machine.advise import lacking
from pytorch_variants.machine.cores import usable_cores
from pytorch_variants.machine.detect import CPUINFO, find_cpu
from pytorch_variants.names.variant import parse_name

# The measured ends of a line, in hours on 2 cores: all wheels to fetch and unpack, and PyTorch's alone.
_WHEEL_HOURS = (158 / 3600, 30 / 3600)
_WHEEL_BASIS = "measured on 2 cores: 2 min 38 s with all wheels to fetch, half a minute without"

# 1 h 20 min on 10 cores, for a release's architectures; one takes less, later releases more.
_CORE_HOURS = 13.3
_COMPILED_BASIS = (
    f"PyTorch alone takes about {_CORE_HOURS} core-hours, as it did conda-forge in 2021 for seven or eight "
    "architectures (conda-forge/pytorch-cpu-feedstock#52)"
)

# Compiling and linking alone, of what pkgs/source compiles: docs/source.md, "What it takes".
_CORE_HOURS_CPU = 4.4
_CPU_BASIS = (
    f"PyTorch 2.6 without CUDA takes about {_CORE_HOURS_CPU} core-hours, as measured on 16 cores; "
    "without oneDNN, FBGEMM and distributed, which nixpkgs compiles too"
)
_CORE_HOURS_SOURCE = 6.7
_SOURCE_BASIS = (
    f"PyTorch 2.6 for one GPU takes about {_CORE_HOURS_SOURCE} core-hours, as measured on 32 cores; "
    "without attention kernels, oneDNN, FBGEMM and distributed, which nixpkgs compiles too"
)

# What the flake says of a variant, and of the PyTorch that nixpkgs' own builds make of the same nixpkgs.
# That one is taken from an untouched package set, so that overlays and configuration show.
_FACTS = """
packages:
let
  variant = packages.named "VARIANT";
  inherit (variant) cudaSupport;
  untouched =
    if packages.pkgs ? path then
      import packages.pkgs.path {
        inherit (packages.pkgs.stdenv.hostPlatform) system;
        config = packages.lib.nixpkgsConfig { inherit cudaSupport; };
        overlays = [ ];
      }
    else
      packages.pkgs;
  python = "python${builtins.replaceStrings [ "." ] [ "" ] variant.python}Packages";
in
{
  inherit (variant) drvPath pname memoryPerJob cudaSupport cpu;
  compiled = !(variant ? wheelTargets);
  downloads = variant.pythonModule.downloads or "";
  unpacked = variant.pythonModule.unpacked or { };
  caches = map (cache: cache.url) (builtins.attrValues packages.lib.caches);
  stock = (untouched.${python}.torch.override { inherit cudaSupport; }).drvPath;
}
"""


@dataclass(frozen=True)
class Plan:
    """What stands between a machine and a variant. Sizes in bytes, memory in GiB; None where not known.

    `build` are derivations to be built here and `download` fixed-output ones, by name: sources and wheels
    from `origins`. `fetch` is how many paths come from the binary `caches`; `caches_to_add` are those of them
    that this machine's own settings lack. `off_cache` are the derivations, PyTorch itself aside, that
    nixpkgs' own builds do not make. `cpu_lacks` is what this machine's CPU would need for a build here.
    `hours` is how long it may take, by `basis`.
    """

    variant: str
    package_set: str
    compiled: bool
    build: tuple[str, ...]
    download: tuple[str, ...]
    origins: Mapping[str, int]
    download_size: int | None
    fetch: int
    fetch_size: int
    unpacked_size: int
    caches: tuple[str, ...]
    caches_to_add: tuple[str, ...]
    unreachable: bool
    off_cache: tuple[str, ...]
    cpu_lacks: tuple[str, ...]
    cores: int
    memory: float | None
    memory_per_job: int
    jobs: int
    hours: float | None
    basis: str
    disk_needed: int | None
    disk_free: int

    @property
    def warnings(self) -> tuple[str, ...]:
        """What speaks against starting the build."""
        found = []
        if self.off_cache:
            found.append(
                f"{len(self.off_cache)} derivations beside PyTorch are not those of nixpkgs' own builds, "
                "so that their cache has not got them"
            )
        if self.cpu_lacks:
            found.append(
                f"this machine's CPU lacks {', '.join(self.cpu_lacks)}, and the build runs code that needs "
                "it: it ends at once here; docs/builders.md says how to build on another machine"
            )
        if self.disk_needed is not None and self.disk_needed > self.disk_free:
            found.append("the disk is too small: make room (nix store gc)")
        return tuple(found)


def _name(path: str) -> str:
    return path.split("-", 1)[1].removesuffix(".drv")


def overrides(flake: Path, package_set: str) -> list[str]:
    """Nix's options that choose the package set: "locked", "embedded", "source" or the path of a nixpkgs."""
    path = nix.package_set(package_set, flake)
    if path is None:
        return []
    # Nix follows no link to an input: https://github.com/NixOS/nix/issues/11567
    reference = f"path:{quote(str(path.resolve()))}"
    if package_set == "source":
        # It is made of its neighbour.
        reference = f"path:{quote(str(path.parent.resolve()))}?dir=source"
    options = ["--override-input", "nixpkgs", reference, "--no-write-lock-file"]
    # This flake's own sets look for the machine's Python.
    return [*options, "--impure"] if package_set in nix.OWN_SETS else options


def origin(derivation: nix.Derivation) -> str:
    """From where a fixed-output derivation is: a host, one of nixpkgs' mirrors, or pip's registry."""
    if "PIP_INDEX_URL" in str(derivation.attributes.get("impureEnvVars", "")):
        return "pip's package registry"
    urls = derivation.attributes.get("urls") or derivation.attributes.get("url") or ""
    first = urlsplit(next(iter(urls.split() if isinstance(urls, str) else map(str, urls)), ""))
    return first.hostname or first.scheme or "elsewhere"


@dataclass(frozen=True)
class _Wheels:
    """Bytes of wheels: of all, of PyTorch's own, of those to fetch, and of those to unpack beside it.

    What they unpack to is `ratio` times as large, and PyTorch's largest library has `library` bytes before
    it is cut down.
    """

    all: int
    torch: int
    fetch: int
    unpack: int
    ratio: float
    library: int

    @property
    def hours(self) -> float:
        most, least = _WHEEL_HOURS
        return least + (most - least) * self.unpack / (self.all - self.torch)

    @property
    def disk(self) -> int:
        return int(self.fetch + self.ratio * (self.unpack + self.torch) + self.library)


def _sizes(facts: Mapping[str, Any]) -> dict[str, int]:
    """Bytes by the store path of a wheel."""
    return {path: int(size) for path, size in map(str.split, facts["downloads"].splitlines())}


def _wheels(
    facts: Mapping[str, Any], to_build: Iterable[str], known: Mapping[str, nix.Derivation]
) -> _Wheels | None:
    torch, sizes = facts["drvPath"], _sizes(facts)

    def size(derivations: Iterable[str]) -> int:
        outputs = {output for path in derivations for output in known[path].outputs}
        return sum(sizes.get(output, 0) for output in outputs)

    if not sizes:
        return None
    return _Wheels(
        all=sum(sizes.values()),
        torch=size(known[torch].inputs),
        fetch=size(path for path in to_build if known[path].fixed),
        unpack=size(source for path in to_build if path != torch for source in known[path].inputs),
        **facts["unpacked"],
    )


_DOWNLOADS = """
packages:
let
  variant = packages.named "VARIANT";
in
{
  inherit (variant) drvPath;
  environment = variant.environment.drvPath;
  compiled = !(variant ? wheelTargets);
  downloads = variant.pythonModule.downloads or "";
  unpacked = variant.pythonModule.unpacked or { };
}
"""


def _free() -> int:
    return shutil.disk_usage("/nix/store" if Path("/nix/store").exists() else "/").free


def begin(variant: str, package_set: str, flake: Path = Path(), free: int | None = None) -> int:
    """Begin the build of a variant of wheels: fetch the smallest of them; the bytes that are still to fetch.

    `free` is the room on the disk, if it is not to be looked up. Raises UserError where the disk is too small
    for the build, or the package registry cannot be reached.
    """
    options = overrides(flake, package_set)
    system = nix.evaluate("{ }: builtins.currentSystem")
    packages = f"{flake.absolute()}#legacyPackages.{system}"
    facts = json.loads(
        nix.nix("eval", "--json", packages, "--apply", _DOWNLOADS.replace("VARIANT", variant), *options)
    )
    environment = facts["environment"]
    messages = nix.nix("build", "--dry-run", "--no-link", f"{environment}^*", messages=True)
    to_build, *_ = nix.read_dry_run(messages)
    known = nix.derivations(environment)
    wheels = None if facts["compiled"] else _wheels(facts, to_build, known)
    if wheels is None or not wheels.fetch:
        return 0
    free = _free() if free is None else free
    if wheels.disk > free:
        raise UserError(
            f"the disk of /nix has {free / 1e9:.1f} GB free and {wheels.disk / 1e9:.1f} GB are needed: "
            "make room (nix store gc) and run this again"
        )
    sizes = _sizes(facts)
    missing = [
        (sizes[output], path) for path in to_build for output in known[path].outputs if output in sizes
    ]
    _, smallest = min(missing)
    nix.nix("build", "--no-link", f"{smallest}^*")
    return wheels.fetch


def plan(variant: str, package_set: str = "locked", flake: Path = Path()) -> Plan:
    """Ask Nix what a variant needs; builds nothing.

    Nix asks its binary caches, where there are any; without a network what they have counts as to be
    built. Raises UserError with Nix's own last line where the variant cannot be evaluated.
    """
    package = parse_name(variant).package
    if package == "pytorch-bin":
        raise UserError(f"{variant}: nothing of it is compiled; write the name of a variant that is")
    if package != "pytorch":
        raise UserError(
            f"{variant}: plan the PyTorch that it is built on, pytorch{variant.removeprefix(package)}"
        )
    if not (flake / "flake.nix").exists():
        raise UserError(f"{flake}: no flake.nix there; write --flake and the directory of pytorch-variants")
    options = [*overrides(flake, package_set), "--accept-flake-config"]
    system = nix.evaluate("{ }: builtins.currentSystem")
    packages = f"{flake.absolute()}#legacyPackages.{system}"
    try:
        answer = nix.nix("eval", "--json", packages, "--apply", _FACTS.replace("VARIANT", variant), *options)
    except UserError as error:
        if package_set == "locked" and "unable to download" in str(error):
            raise UserError(
                "the locked nixpkgs is neither in the store nor to be reached: "
                "write --nixpkgs embedded or the path of a nixpkgs"
            ) from None
        raise
    facts = json.loads(answer)
    torch = facts["drvPath"]
    settings = json.loads(nix.nix("config", "show", "--json"))
    own_caches = settings["substituters"]["value"] if settings["substitute"]["value"] else []
    to_add = [cache for cache in facts["caches"] if cache not in own_caches] if own_caches else []
    # A cache that does not answer is not to be waited for.
    asking = ["--option", "connect-timeout", "5", "--option", "download-attempts", "1"]
    if to_add:
        asking += ["--option", "extra-substituters", " ".join(to_add)]
    messages = nix.nix("build", "--dry-run", "--no-link", f"{torch}^out", *asking, messages=True)
    to_build, fetch, packed, unpacked = nix.read_dry_run(messages)
    known = nix.derivations(torch)
    download = [path for path in to_build if known[path].fixed]
    wheels = None if facts["compiled"] else _wheels(facts, to_build, known)
    own = nix.rebuilt(torch, facts["stock"])
    build = sorted((path not in own, _name(path)) for path in to_build if not known[path].fixed)
    cores = settings["cores"]["value"] or usable_cores()
    memory = available_memory(
        *(path.read_text() if path.exists() else "" for path in map(Path, MEMORY)),
    )
    jobs = compiler_jobs(cores, memory, facts["memoryPerJob"])
    # A Mac has no such file, and one kind of CPU.
    compiles_here = facts["compiled"] and torch in to_build and facts["cpu"] and CPUINFO.exists()
    hours: float
    if torch not in to_build:
        hours, basis = 0.0, "PyTorch itself is there, or comes from a cache"
    elif wheels:
        hours, basis = wheels.hours, _WHEEL_BASIS
    elif facts["cudaSupport"] and package_set == "source":
        hours, basis = _CORE_HOURS_SOURCE / jobs, _SOURCE_BASIS
    elif facts["cudaSupport"]:
        hours, basis = _CORE_HOURS / jobs, _COMPILED_BASIS
    else:
        hours, basis = _CORE_HOURS_CPU / jobs, _CPU_BASIS
    return Plan(
        variant=facts["pname"],
        package_set=package_set,
        compiled=facts["compiled"],
        build=tuple(name for _, name in build),
        download=tuple(sorted(map(_name, download))),
        origins=dict(Counter(origin(known[path]) for path in download).most_common()),
        # Of other downloads Nix knows the hash and not the size.
        download_size=wheels.fetch if wheels else None if download else 0,
        fetch=fetch,
        fetch_size=packed,
        unpacked_size=unpacked,
        caches=(*own_caches, *to_add),
        caches_to_add=tuple(to_add),
        unreachable="unable to download" in messages,
        # No cache has the steps of the embedded set, which take seconds.
        off_cache=tuple(sorted(_name(path) for path in own - {torch})) if facts["compiled"] else (),
        cpu_lacks=lacking(find_cpu(), cpus()[facts["cpu"]]) if compiles_here else (),
        cores=cores,
        memory=memory,
        memory_per_job=facts["memoryPerJob"],
        jobs=jobs,
        hours=hours,
        basis=basis,
        disk_needed=(wheels.disk if wheels else None) if torch in to_build else unpacked,
        disk_free=_free(),
    )
