# The embedded package set with a torch that is compiled: PyTorch's source and its libraries' from Debian,
# CUDA's compiler and libraries from their wheels, the machine's own C++ compiler.
{
  system ? builtins.currentSystem,
  config ? { },
  overlays ? [ ],
}:

import ../embedded {
  inherit system config;
  overlays = [ (import ./overlay.nix) ] ++ overlays;
}
