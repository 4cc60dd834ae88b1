{ lib }:

/**
  Shell code that bounds PyTorch's compiler jobs by the memory there is, for `preBuild`.

  # Type

  ```
  limitJobs :: Int -> String
  ```

  # Example

  ```nix
  limitJobs 4
  => "[ ! -r /proc/meminfo ] || …"
  ```
*/
memoryPerJob: ''
  [ ! -r /proc/meminfo ] || memory_jobs=$(awk '/^MemAvailable:/ { jobs = int($2 / 1048576 / ${toString memoryPerJob}); print (jobs < 1 ? 1 : jobs) }' /proc/meminfo)
  if [ "''${memory_jobs:-$NIX_BUILD_CORES}" -lt "''${MAX_JOBS:-$NIX_BUILD_CORES}" ]; then
    echo "memory for $memory_jobs jobs of ${toString memoryPerJob} GiB: MAX_JOBS=$memory_jobs"
    export MAX_JOBS=$memory_jobs
  fi
''
