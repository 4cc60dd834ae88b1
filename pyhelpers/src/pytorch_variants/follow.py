"""`nix build` that shows how far it is: `python -m pytorch_variants.follow OPTION… DERIVATION^out`.

./run calls it with the machine's own Python, when nothing else is there: it needs the standard library alone.
"""

import json
import os
import select
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import IO, Any

from pytorch_variants import nix
from pytorch_variants.errors import UserError

# Seconds: how often a terminal's line is written anew, and how often another output gets one.
_TERMINAL, _ELSEWHERE = 0.2, 9.0
# The rate is that of the last seconds, and says after some of them how many are left.
_WINDOW, _STEADY = 10.0, 2.0


class Activity(IntEnum):
    """Nix' numbers, in its logging.hh."""

    FILE_TRANSFER = 101
    BUILD = 105


class Said(IntEnum):
    """Those of what is said about an activity."""

    LOG_LINE = 101
    SET_PHASE = 104
    PROGRESS = 105


@dataclass(frozen=True)
class Step:
    """A derivation that is to be built: what it is called, what it does, and of a download its bytes."""

    name: str
    phase: str
    size: int = 0
    fetched: int = 0


def read_steps(derivation: str) -> dict[str, Step]:
    """What Nix would build for a derivation, by path. Raises UserError."""
    to_build, *_ = nix.read_dry_run(nix.nix("build", "--dry-run", "--no-link", derivation, messages=True))
    known = nix.derivations(*to_build, needed=False) if to_build else {}
    return {path: _step(found.attributes) for path, found in known.items()}


def _step(attributes: Mapping[str, Any]) -> Step:
    name = attributes.get("pname") or attributes["name"].removeprefix("verify-")
    size = int(attributes.get("size", 0))
    return Step(name, "fetching" if size else "building", size)


def _sizes(part: int, whole: int) -> str:
    unit, name, digits = (1e9, "GB", 2) if whole >= 1e9 else (1e6, "MB", 1)
    return f"{part / unit:.{digits}f} of {whole / unit:.{digits}f} {name}"


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


class Follower:
    """How far the steps are, by what Nix says of them."""

    def __init__(self, steps: Mapping[str, Step], now: float) -> None:
        """Begin at the time `now`, with the steps by the path of their derivation."""
        self._steps = steps
        self._size = sum(step.size for step in steps.values())
        self._running: dict[int, Step] = {}
        # The build that a transfer is part of.
        self._builds: dict[int, int] = {}
        self._done = 0
        self._fetched = 0
        self._seen = deque([(now, 0)])
        # What the first download that failed said.
        self.failure = ""

    def take(self, event: Mapping[str, Any]) -> str | None:
        """Take note of an event; the line of a builder, if it is one that people should see."""
        number = event.get("id", 0)
        step = self._running.get(number)
        match event:
            case {"action": "start", "type": Activity.BUILD, "fields": [path, *_]}:
                if path in self._steps:
                    self._running[number] = self._steps[path]
            case {"action": "start", "type": Activity.FILE_TRANSFER, "parent": build}:
                self._builds[number] = build
            case {"action": "result", "type": Said.PROGRESS, "fields": [done, *_]}:
                build = self._builds.get(number, 0)
                if step := self._running.get(build):
                    self._running[build] = replace(step, fetched=min(done, step.size))
            case {"action": "result", "type": Said.SET_PHASE, "fields": [phase]} if step:
                self._running[number] = replace(step, phase=phase)
            case {"action": "result", "type": Said.LOG_LINE, "fields": [line]} if step:
                if not step.size:
                    # But for what a builder says where nobody follows it.
                    return None if ": still running, " in line else f"{step.name}> {line}"
                if nix.NOT_FETCHED in line:
                    self.failure = self.failure or line
            case {"action": "stop"} if step:
                del self._running[number]
                self._fetched += step.size
                self._done += 1
        return None

    @property
    def busy(self) -> bool:
        """Whether a step is being done."""
        return bool(self._running)

    def line(self, now: float) -> str:
        """How far it is, in one line."""
        fetched = self._fetched + sum(step.fetched for step in self._running.values())
        if not any(step.size for step in self._running.values()):
            self._seen.clear()
        self._seen.append((now, fetched))
        while len(self._seen) > 2 and self._seen[0][0] < now - _WINDOW:
            self._seen.popleft()
        since, before = self._seen[0]
        parts = [f"{self._done} of {len(self._steps)} steps"]
        if fetched < self._size:
            parts.append(_sizes(fetched, self._size))
            # The first files are small, and the first bytes of one soon there: they say little of the rate.
            steady = now - since > _STEADY and fetched - before > self._size / 1000
            if steady and fetched > self._size / 100:
                rate = (fetched - before) / (now - since)
                parts.append(f"{rate / 1e6:.0f} MB/s, {_time((self._size - fetched) / rate)} left")
        doing: dict[str, list[str]] = {}
        for step in self._running.values():
            doing.setdefault(step.phase, []).append(step.name)
        return "; ".join(
            [", ".join(parts), *(f"{phase} {', '.join(names)}" for phase, names in doing.items())]
        )


def _events(nix: IO[bytes]) -> Iterator[Mapping[str, Any]]:
    """What Nix says, until it ends; an empty event, where it says nothing for a moment."""
    rest = b""
    while True:
        if not select.select([nix], [], [], _TERMINAL)[0]:
            yield {}
            continue
        chunk = os.read(nix.fileno(), 2**16)
        if not chunk:
            return
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.startswith(b"@nix "):
                yield json.loads(line.removeprefix(b"@nix "))


def build(arguments: Sequence[str]) -> int:
    """Run `nix build` with these arguments, the last of them a derivation; its exit code.

    Raises UserError with the one line for what went wrong.
    """
    steps = read_steps(arguments[-1])
    follower = Follower(steps, time.monotonic())
    terminal = sys.stderr.isatty()
    wait = _TERMINAL if terminal else _ELSEWHERE
    shown = 0.0
    errors = []

    def say(line: str, end: str = "\n") -> None:
        print(f"\r\x1b[K{line}" if terminal else line, end=end, file=sys.stderr, flush=True)

    command = ["nix", *nix.OPTIONS, "build", "--log-format", "internal-json", *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        assert process.stderr
        for event in _events(process.stderr):
            match event:
                case {"action": "msg", "level": 0, "msg": message}:
                    errors.append(message)
                case {"action": "msg", "level": 1, "msg": message}:
                    say(message)
                case _ if line := follower.take(event):
                    say(line)
            now = time.monotonic()
            if follower.busy and now - shown >= wait:
                line = f"run: {follower.line(now)}"
                say(line[: (os.get_terminal_size(2).columns or 80) - 1], "") if terminal else say(line)
                shown = now
        if terminal and steps:
            say("", "")
    if process.returncode and errors:
        # The others follow from the first.
        raise UserError(follower.failure or nix.last_error(errors[0]))
    return process.returncode


def main() -> None:
    """Build what the arguments say; an error is one line."""
    try:
        sys.exit(build(sys.argv[1:]))
    except UserError as error:
        sys.exit(f"run: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
