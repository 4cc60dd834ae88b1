{ lib, hardware }:

/**
  The targets that PyTorch's official x86-64 wheels have code for, by the CUDA release that their local
  version names (`+cu130`). The build reads the wheel itself and says what it has where this is wrong.

  # Type

  ```
  wheelTargets :: AttrSet [ String ]
  ```

  # Example

  ```nix
  wheelTargets."13.0"
  => [ "7.5" "8.0" "8.6" "9.0" "10.0" "12.0" ]
  ```
*/
lib.listToAttrs (
  map (wheel: lib.nameValuePair wheel.cuda wheel.targets.x86_64-linux) (lib.attrValues hardware.wheels)
)
