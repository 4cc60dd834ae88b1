{ lib }:

let
  table = lib.importTOML ./hardware.toml;

  # An instruction set's flags and requirements follow those of the set it extends.
  inheritFrom =
    cpu:
    let
      parent = inheritFrom table.cpu.${cpu.extends};
    in
    if cpu ? extends then
      cpu
      // {
        flags = parent.flags ++ cpu.flags;
        cpuinfo = parent.cpuinfo ++ cpu.cpuinfo;
      }
    else
      cpu;
in
{
  /**
    The GPU architectures of hardware.toml by name.

    # Type

    ```
    gpus :: AttrSet { name, capability, architecture, products, platforms, tegra, cuda, cudnn, pytorch }
    ```

    # Example

    ```nix
    hardware.gpus.sm90.capability
    => "9.0"
    ```
  */
  gpus = lib.mapAttrs (
    name: gpu:
    {
      inherit name;
      tegra = false;
      cudnn = { };
    }
    // gpu
  ) table.gpu;

  /**
    The first driver that runs the releases of each major version of CUDA.

    # Type

    ```
    drivers :: AttrSet String
    ```

    # Example

    ```nix
    hardware.drivers."13"
    => "580"
    ```
  */
  drivers = lib.mapAttrs (_: cuda: cuda.driver.min) table.cuda;

  /**
    PyTorch's official wheels with CUDA by release: their CUDA, their Pythons, and by system their targets.

    # Type

    ```
    wheels :: AttrSet { cuda, python, targets }
    ```

    # Example

    ```nix
    hardware.wheels."2.10".cuda
    => "12.8"
    ```
  */
  wheels = table.wheel;

  /**
    The CPU instruction sets of hardware.toml by name, with the flags of the sets they extend.

    # Type

    ```
    cpus :: AttrSet { name, title, platforms, flags, disable, without, cpuinfo, gcc, first }
    ```

    # Example

    ```nix
    hardware.cpus.avx512vnni.flags
    => [ "-mavx512f" "-mavx512dq" "-mavx512vl" "-mavx512bw" "-mfma" "-mavx512vnni" ]
    ```
  */
  cpus = lib.mapAttrs (
    name: cpu:
    {
      inherit name;
      disable = [ ];
      without = [ ];
    }
    // inheritFrom cpu
  ) table.cpu;

  /**
    The names of the instruction sets to suggest where only a GPU is named, the first choice first.

    # Type

    ```
    common :: [ String ]
    ```

    # Example

    ```nix
    lib.head hardware.common
    => "avx2"
    ```
  */
  inherit (table) common;

  /**
    The makers of GPUs that run no CUDA.

    # Type

    ```
    makers :: [ { name, names, instead } ]
    ```

    # Example

    ```nix
    map (maker: maker.name) hardware.makers
    => [ "AMD" "Intel" ]
    ```
  */
  makers = lib.attrValues table.maker;
}
