"""Read and write flake.lock, in the form that Nix gives it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytorch_variants.errors import UserError
from pytorch_variants.files import read_json, replace_text
from pytorch_variants.hardware.spelling import nearest

# Of Nix 2.4 and later. The versions 5 and 6 are read by Nix and differ in nothing that is read here.
_FORMATS = (5, 6, 7)


@dataclass(frozen=True)
class Lock:
    """A lock file whose nodes hold together: all that is referred to is there."""

    path: Path
    data: Mapping[str, Any]

    @property
    def nodes(self) -> Mapping[str, Any]:
        """All nodes, by their names in the file."""
        nodes: Mapping[str, Any] = self.data["nodes"]
        return nodes

    @property
    def root(self) -> str:
        """The name of the flake's own node."""
        return str(self.data["root"])

    def inputs(self, node: str) -> Mapping[str, str | list[str]]:
        """A node's inputs: the name of another node, or the path of inputs that it follows."""
        inputs: Mapping[str, str | list[str]] = self.nodes[node].get("inputs", {})
        return inputs

    def own(self) -> dict[str, Mapping[str, Any]]:
        """The nodes that the flake's own inputs are locked by, without those that follow another."""
        found = self.inputs(self.root).items()
        return {name: self.nodes[node] for name, node in found if isinstance(node, str)}


def _problem(data: Any) -> str | None:
    """Why this is not a lock file, of the file's own structure."""
    if not isinstance(data, dict):
        return "not a JSON object"
    if data.get("version") not in _FORMATS or isinstance(data["version"], bool):
        return f"its version is {data.get('version')!r}, known are 5 to 7"
    nodes, root = data.get("nodes"), data.get("root")
    if not isinstance(nodes, dict) or not isinstance(root, str) or root not in nodes:
        return "it has no root node"
    for name, node in nodes.items():
        if not isinstance(node, dict) or not isinstance(node.get("inputs", {}), dict):
            return f"its node {name!r} is not a node"
        for of, target in node.get("inputs", {}).items():
            follows = isinstance(target, list) and all(isinstance(part, str) for part in target)
            if not follows and not (isinstance(target, str) and target in nodes):
                return f"its node {name!r} has an input {of!r} that leads nowhere"
        if name != root and not all(isinstance(node.get(part), dict) for part in ("locked", "original")):
            return f"its node {name!r} is not locked"
    return None


def read(directory: Path) -> Lock:
    """The lock file of the flake in a directory. Raises UserError and OSError."""
    path = directory / "flake.lock"
    if not (directory / "flake.nix").exists():
        raise UserError(f"{directory}: no flake.nix there; write --flake and a flake's directory")
    if not path.exists():
        raise UserError(f"{path}: not there; nix flake lock {directory} writes it")
    data = read_json(path)
    problem = _problem(data)
    if problem:
        raise UserError(f"{path}: {problem}; restore it (git checkout), or nix flake lock writes it anew")
    return Lock(path, data)


def text(data: Mapping[str, Any]) -> str:
    """A lock file as Nix writes it."""
    return json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def reference(original: Mapping[str, Any]) -> str:
    """From where an input is, in the form of flake.nix: "github:NixOS/nixpkgs/nixos-unstable"."""
    rest = dict(original)
    kind = rest.pop("type", "?")
    names = ("owner", "repo", "ref") if kind == "github" else ("url", "path", "id")
    place = "/".join(str(rest.pop(name)) for name in names if name in rest)
    return " ".join([f"{kind}:{place}", *(f"{name}={rest[name]}" for name in sorted(rest))])


def locked(lock: Lock, name: str) -> tuple[str, Mapping[str, Any]]:
    """The name of the node of one of the flake's own inputs, and the node. Raises UserError."""
    inputs = lock.inputs(lock.root)
    if name not in inputs:
        candidates = ", ".join(nearest(name, list(inputs))) or "it has none"
        raise UserError(f"{name}: no input of {lock.path}; nearest: {candidates}")
    node = inputs[name]
    if not isinstance(node, str):
        raise UserError(f"{name} follows {'/'.join(node)}: update that one")
    return node, lock.nodes[node]


def with_locked(lock: Lock, node: str, changes: Mapping[str, Any]) -> Lock:
    """The lock file with other values for where one node is locked to."""
    old = lock.nodes[node]
    new = {**old, "locked": {**old["locked"], **changes}}
    return Lock(lock.path, {**lock.data, "nodes": {**lock.nodes, node: new}})


def write(lock: Lock) -> None:
    """Write the file, whole or not at all. Raises OSError."""
    replace_text(lock.path, text(lock.data))
