#!/usr/bin/env python3
"""Walks the README in fresh chroots: .ci/releases.py [RELEASE…], by root, with debootstrap.

It takes hours, and tens of GB of disk.

Each of its commands is run as it stands, one after the other, by root and by a user with sudo, in a clean
environment. Then what it says of undoing is run, and nothing may be left. Prints a table of release, user and
command with times; what each command said is in the directory that the first line names. Exit code 1: one of
them failed.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "pyhelpers" / "tests"))
from readme import CHECK, COMMANDS, FOUND, UNDOING, WITHOUT  # noqa: E402

RELEASES = ("bookworm", "trixie", "sid")
HOMES = {"root": "/root", "user": "/home/user"}
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CERTIFICATES = Path("/usr/local/share/ca-certificates")
# In a namespace of its own, so that what it mounts and starts ends with it.
INSIDE = """
mount -t proc proc "$0/proc"
mount --rbind /dev "$0/dev"
cp /etc/resolv.conf /etc/hosts "$0/etc"
user=$1 home=$2 script=$3
exec chroot --userspec="$user:$user" "$0" /usr/bin/env -i HOME="$home" USER="$user" PATH="$4" LANG=C.UTF-8 \\
  sh -c "cd $home; [ ! -d clone ] || cd clone; $script"
"""


def inside(chroot: Path, user: str, script: str, log: Path) -> int:
    """Run a script in the clone of a user; its exit code."""
    command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-euc", INSIDE, str(chroot)]
    with log.open("a") as output:
        return subprocess.run(
            [*command, user, HOMES[user], script, PATH],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        ).returncode


def make_base(release: str, directory: Path) -> Path:
    """A bare Debian with git, from the mirror of this machine's apt, and with its certificates."""
    base = directory / release
    mirrors = subprocess.run(
        ["sh", "-c", f'root={ROOT}; . "$root/bootstrap/load.sh"; debian_mirrors bookworm'],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split()
    included = "--include=ca-certificates,git,sudo"
    with (directory / f"{release}.log").open("w") as log:
        command = ["debootstrap", "--variant=minbase", included, release, str(base), *mirrors[:1]]
        subprocess.run(command, check=True, stdout=log, stderr=log)
    for certificate in CERTIFICATES.glob("*.crt"):
        shutil.copy(certificate, base / CERTIFICATES.relative_to("/"))
    setup = "update-ca-certificates; useradd --create-home --shell /bin/bash user"
    inside(base, "root", setup, directory / f"{release}.log")
    (base / "etc" / "sudoers.d" / "user").write_text("user ALL=(ALL) NOPASSWD: ALL\n")
    return base


def adapted(command: str) -> str:
    """The README's line as this machine, which cannot reach nixpkgs or GitHub, has to write it."""
    command = re.sub(r"^nix (?=build|run|eval|develop)", "./run nix ", command)
    command = re.sub(r"^pytorch-variants ", "./run cli ", command)
    command = re.sub(r"github:pytorch-variants/\S+", "git+file://$PWD", command)
    if "flake init" in command:
        command = f"clone=$PWD; mkdir ../project; cd ../project; {command.replace('$PWD', '$clone')}"
    return command.replace("nix flake init", "$clone/run nix flake init")


def judged(command: str, code: int, said: str) -> bool:
    """Whether a command did what it is for, or says in one line what this machine lacks for it."""
    said = " ".join(said.split())
    expected = [text for start, text in {**WITHOUT, **FOUND}.items() if command.startswith(start)]
    return code == 0 or any(text in said for text in expected)


def walk(base: Path, user: str, logs: Path) -> dict[str, str]:
    """What became of each command, and how long it took."""
    with tempfile.TemporaryDirectory(dir=base.parent) as scratch:
        chroot = Path(scratch) / "root"
        subprocess.run(["cp", "--archive", base, chroot], check=True)
        clone = Path(f"{chroot}{HOMES[user]}") / "clone"
        subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
        inside(chroot, "root", f"chown -R {user}:{user} {HOMES[user]}", logs / "clone.log")
        found = {}
        for number, command in enumerate((*COMMANDS, "the lines that undo it")):
            if command == CHECK:
                continue
            script = adapted(command) if command in COMMANDS else undoing()
            wheel = re.search(r"\S+\.whl", command)
            if wheel:
                path = "$(./run nix build --no-link --print-out-paths .#pytorch-bin-sm90.src)"
                script = f"[ -e {wheel[0]} ] || ln -s {path} {wheel[0]}; {script}"
            log = logs / f"{base.name}-{user}-{number}.log"
            log.write_text(f"{script}\n")
            began = time.monotonic()
            code = inside(chroot, user, script, log)
            seconds = time.monotonic() - began
            right = judged(command, code, log.read_text(errors="replace"))
            found[command] = f"{seconds:.0f} s" if right else f"**{code}**, {log.name}"
            print(f"{base.name} {user}: {command}: {found[command]}", flush=True)
        return found


def undoing() -> str:
    """The README's lines, and that nothing is left; pipx was not used."""
    lines = [line.strip() for line in UNDOING.splitlines() if "pipx" not in line]
    left = "ls -d /nix .nix .venv venv result* ~/.cache/nix 2>/dev/null"
    return "set -ex; " + "; ".join([*lines, f"! {left}"])


def main() -> None:
    """Walk all, and print the table."""
    if os.geteuid() != 0 or not shutil.which("debootstrap"):
        sys.exit("releases: run it as root where debootstrap is: apt-get install debootstrap")
    with tempfile.TemporaryDirectory(prefix="releases-") as scratch:
        logs = Path(tempfile.mkdtemp(prefix="releases-logs-"))
        print(f"what each command says: {logs}", flush=True)
        columns = {}
        for release in sys.argv[1:] or RELEASES:
            base = make_base(release, Path(scratch))
            for user in HOMES:
                columns[f"{release}, {user}"] = walk(base, user, logs)
    print("\n| command |", " | ".join(columns), "|")
    print("|---" * (len(columns) + 1) + "|")
    for command in next(iter(columns.values())):
        print(f"| `{command}` |", " | ".join(found[command] for found in columns.values()), "|")
    sys.exit(any("**" in text for found in columns.values() for text in found.values()))


main()
