{
  runCommand,
  system,
  jobs,
}:

# Hydra shows this as one job that succeeds once all of its constituents have.
runCommand "pytorch-variants-${system}"
  {
    _hydraAggregate = true;
    constituents = jobs;
    meta.description = "Every package of ${system}, and the proof that each is what its name says";
  }
  ''
    mkdir -p "$out/nix-support"
    echo "$constituents" >"$out/nix-support/hydra-aggregate-constituents"
  ''
