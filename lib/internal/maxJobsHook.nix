/**
  Shell code that bounds PyTorch's compiler jobs by the memory there is, for `preBuild`: what is free on the
  machine, or what the build's control group may use where that is less. Without /proc it leaves them alone.

  # Type

  ```
  maxJobsHook :: Int -> String
  ```

  # Example

  ```nix
  maxJobsHook 6
  => "memory_jobs=$(…)\nif [ … ]; then … export MAX_JOBS=$memory_jobs …"
  ```
*/
memoryPerJob: ''
  # In a container /proc/meminfo is the whole machine's.
  memory_jobs=$(
    {
      awk '/^MemAvailable:/ { printf "%.0f\n", $2 * 1024 }' /proc/meminfo
      cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes || true
    } 2>/dev/null | awk '
      $1 != "max" && (!least || $1 < least) { least = $1 }
      END { jobs = int(least / 1073741824 / ${toString memoryPerJob}); if (least) print (jobs < 1 ? 1 : jobs) }
    '
  )
  if [ "''${memory_jobs:-$NIX_BUILD_CORES}" -lt "''${MAX_JOBS:-$NIX_BUILD_CORES}" ]; then
    echo "memory for $memory_jobs jobs of ${toString memoryPerJob} GiB: MAX_JOBS=$memory_jobs"
    export MAX_JOBS=$memory_jobs
  fi
''
