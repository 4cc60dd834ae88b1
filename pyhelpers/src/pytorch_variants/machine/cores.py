"""How many cores this process may use."""

import os


def usable_cores() -> int:
    """The cores that the system lets this process use; where it does not say, all that there are."""
    # Linux alone has it: a process may be bound to some.
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
