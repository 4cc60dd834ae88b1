"""How a program in here talks to the one that started it: JSON, a line each, over a descriptor of its own.

Standard output belongs to whatever is imported. The question comes on standard input, which is empty after
that.
"""

import json
import os
import sys
from typing import Any

_descriptor = -1
_process = -1


def question() -> Any:
    """What is asked; the first argument has the descriptor for the answers."""
    global _descriptor, _process
    _descriptor, _process = int(sys.argv.pop(1)), os.getpid()
    os.set_inheritable(_descriptor, False)
    asked = json.loads(sys.stdin.buffer.read())
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    return asked


def say(**facts: Any) -> None:
    """One message. A process that a package has forked does not get further than here."""
    if os.getpid() != _process:
        os._exit(0)
    data = json.dumps(facts).encode() + b"\n"
    while data:
        data = data[os.write(_descriptor, data) :]


def end() -> None:
    """The last message: what is registered for the end is not run, threads are not waited for."""
    say(done=True)
    os._exit(0)
