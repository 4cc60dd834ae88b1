"""What a package set with nixpkgs' interface gives, and what is required of it."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import InvalidVersion, Version

from pytorch_variants import nix
from pytorch_variants.errors import UserError

# nixpkgs' own attributes, read without building. The arguments tell a package set from another input.
_VERSIONS = """
{ path }:
let
  file = /. + path + "/default.nix";
  function = import file;
  pkgs = function { config = { }; overlays = [ ]; };
  python = pkgs.python3Packages;
in
if
  !builtins.pathExists file
  || !builtins.isFunction function
  || !(builtins.functionArgs function ? overlays)
then
  null
else
  {
    torch = (python.torch or python.pytorch).version or null;
    cuda = pkgs.cudaPackages.cudaMajorMinorVersion or null;
    python = pkgs.python3.pythonVersion or null;
  }
"""


@dataclass(frozen=True)
class Versions:
    """A package set's own versions, as in "2.12.0", "12.9" and "3.13"; None where it has none."""

    torch: str | None
    cuda: str | None
    python: str | None


NAMES = tuple(Versions.__dataclass_fields__)


def versions(path: Path) -> Versions | None:
    """The versions of the package set in a directory; None if it is no package set.

    Raises UserError with Nix's last line if it cannot be evaluated.
    """
    found = nix.evaluate(_VERSIONS, path=str(path.absolute()))
    return None if found is None else Versions(**found)


def parse_requirement(text: str) -> Requirement:
    """Read a constraint on one of the versions, in the form of Python's requirements (PEP 508).

    >>> str(parse_requirement("cuda >= 12.8").specifier)
    '>=12.8'

    Raises UserError.
    """
    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        requirement = None
    if (
        requirement is None
        or requirement.name not in NAMES
        or not requirement.specifier
        or requirement.url
        or requirement.marker
        or requirement.extras
    ):
        raise UserError(
            f"{text!r}: not a requirement; write torch, cuda or python and versions: 'torch>=2.9,<3'"
        )
    return requirement


def meets(requirement: Requirement, version: str) -> bool:
    """Whether a version, a pre-release too, is one of those required; what has no order is not."""
    try:
        return requirement.specifier.contains(version, prereleases=True)
    except InvalidVersion:
        return False


def unmet(found: Versions | None, requirements: Iterable[Requirement]) -> Iterator[str]:
    """A line for each requirement that the versions do not meet; what is not known does not meet any."""
    known = asdict(found) if found else {}
    for requirement in requirements:
        version = known.get(requirement.name)
        if version is None:
            yield f"{requirement} is required, and which {requirement.name} this gives is not known"
        elif not meets(requirement, version):
            yield f"{requirement} is required, and this gives {version}"


def _older(one: str, other: str) -> bool:
    try:
        return Version(one) < Version(other)
    except InvalidVersion:
        # As in "2.10.0-unstable-2026": no order is known, and a change is not to pass unseen.
        return one != other


def regressions(before: Versions | None, after: Versions | None) -> Iterator[str]:
    """A line for each version that is older than it was, or is gone."""
    for name, old in (asdict(before) if before else {}).items():
        new = getattr(after, name, None)
        if old is not None and (new is None or _older(new, old)):
            yield f"{name} would go from {old} back to {new or 'none'}"
