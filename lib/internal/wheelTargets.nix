let
  sinceTuring = [
    "7.5"
    "8.0"
    "8.6"
    "9.0"
    "10.0"
    "12.0"
  ];
in
/**
  The targets that PyTorch's official x86-64 wheels have code for, by the CUDA release that their local
  version names (`+cu130`). Read from the libraries of the wheels of PyTorch 2.8 to 2.10 (12.8), 2.11 to
  2.14 (13.0) and 2.15 (13.2); the build reads the wheel itself and says what it has where this is wrong.

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
{
  "12.8" = [ "7.0" ] ++ sinceTuring;
  "13.0" = sinceTuring;
  "13.2" = sinceTuring;
}
