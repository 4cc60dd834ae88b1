"""hydraJobs, as build farms read them: nothing but derivations, all evaluated before any is built."""

import json

from conftest import Nix

# nix-eval-jobs and Hydra go down an attribute set until they meet a derivation.
JOBS = """
  let
    jobs = path: value:
      if value.type or null == "derivation" then
        { ${path} = { inherit (value) drvPath system; description = value.meta.description or ""; }; }
      else if builtins.isAttrs value then
        builtins.foldl' (found: name: found // jobs "${path}.${name}" value.${name}) { }
          (builtins.attrNames value)
      else throw "${path} is neither a derivation nor a set of them";
  in jobs ""
"""


def test_jobs_are_derivations_of_their_system(nix: Nix) -> None:
    option = ("--option", "allow-import-from-derivation", "false")
    result = json.loads(nix.ok("eval", "--json", *option, ".#hydraJobs", "--apply", JOBS))
    systems = {path.split(".")[2] for path in result}
    assert "x86_64-linux" in systems
    for path, job in result.items():
        kind, system, name = path.split(".")[1:]
        assert kind in ("packages", "checks")
        assert job["system"] == system, path
        assert job["drvPath"].endswith(".drv")
        if name.startswith("pytorch-"):
            assert job["description"], path
