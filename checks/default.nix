{ flagship }:

# What `nix flake check` builds beside evaluating every package: the proof for the default variant.
{
  verify = flagship.tests.verify;
}
