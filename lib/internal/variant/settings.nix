{ lib, parseCpu }:

# The arguments of mkPytorchVariant beside the package set, with their defaults. It describes them.
{
  cpu ? null,
  gpu ? null,
  gpuTargets ? lib.optional (gpu != null) gpu,
  cpuFlags ? if cpu == null then [ ] else (parseCpu cpu).flags ++ (parseCpu cpu).disable,
  python ? null,
  cuda ? null,
  memoryPerJob ? 6,
  compilerCache ? null,
  specialiseClosure ? false,
}:
if gpu != null && gpuTargets != [ gpu ] then
  throw "gpu and gpuTargets: write one of them, gpuTargets for several GPUs"
else
  {
    inherit
      cpu
      gpuTargets
      cpuFlags
      python
      cuda
      memoryPerJob
      compilerCache
      specialiseClosure
      ;
  }
