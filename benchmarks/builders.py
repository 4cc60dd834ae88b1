"""Two builders, a coordinator that builds nothing itself, and a cache: docs/builders.md's commands, run.

    pip install 'moto[server]'
    python benchmarks/builders.py

Needs root, sshd, ssh and the machine's Python with pip. Each machine is a mount namespace of this one with a
Nix store of its own, empty at first; the builders' sshd listen on 127.0.0.1 with keys made for the run. It
builds the command line over the embedded package set, prints which builder built each derivation, pushes the
result signed to a binary cache in a directory, puts that into an S3 bucket (moto's server), and takes it from
both into stores that have nothing. Exit code 1 where that fails.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FLAKE = ("--override-input", "nixpkgs", f"path:{ROOT / 'pkgs' / 'embedded'}", "--no-write-lock-file")
BUILDERS = ("a", "b")


@dataclass(frozen=True)
class Machine:
    """A name and a directory, whose `nix` is the machine's /nix."""

    name: str
    directory: Path

    def command(self, *command: str | Path) -> list[str]:
        """A command, in the machine."""
        enter = 'mount --bind "$1" /nix && shift && exec "$@"'
        (self.directory / "nix").mkdir(parents=True, exist_ok=True)
        return [
            *("unshare", "--mount", "sh", "-euc", enter, "sh", str(self.directory / "nix")),
            *map(str, command),
        ]

    def execute(self, command: tuple[str | Path, ...], variables: dict[str, str]) -> tuple[int, str]:
        """A command's exit code and output; what it says meanwhile goes to the machine's log."""
        with (self.directory / "log").open("a") as log:
            result = subprocess.run(
                self.command(*command),
                cwd=ROOT,
                env={
                    **os.environ,
                    "NIX_CONF_DIR": str(self.directory),
                    # Which paths a cache has is remembered there.
                    "XDG_CACHE_HOME": str(self.directory / "cache"),
                    **variables,
                },
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                check=False,
            )
        return result.returncode, result.stdout

    def run(self, *command: str | Path, **variables: str) -> str:
        """The output of a command that has to succeed."""
        code, output = self.execute(command, variables)
        if code:
            sys.exit(f"{self.name}: {' '.join(map(str, command))}\n{self.log()[-3000:]}")
        return output

    def fail(self, *command: str | Path, **variables: str) -> str:
        """What a command that has to fail says."""
        code, _ = self.execute(command, variables)
        if not code:
            sys.exit(f"{self.name}: succeeded, and should not: {' '.join(map(str, command))}")
        return self.log()

    def log(self) -> str:
        """What its commands have said."""
        return (self.directory / "log").read_text()


def machine(directory: Path, name: str, *settings: str) -> Machine:
    """A machine with an empty store and a nix.conf of these settings."""
    made = Machine(name, directory / name)
    made.directory.mkdir()
    common = (
        "extra-experimental-features = nix-command flakes",
        "sandbox = false",
        "substitute = false",
        "build-users-group =",
        "eval-cache = false",
        "warn-dirty = false",
    )
    (made.directory / "nix.conf").write_text("\n".join((*common, *settings, "")))
    return made


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


@contextlib.contextmanager
def service(command: list[str], port: int, log: Path) -> Iterator[None]:
    """A server, until the end of the block."""
    with log.open("a") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
    try:
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            if process.poll() is not None:
                sys.exit(f"{command[0]} ended:\n{log.read_text()}")
            time.sleep(0.1)
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait()


@contextlib.contextmanager
def reachable(builder: Machine, port: int, keys: Path) -> Iterator[None]:
    """The builder's sshd, for root with the run's key."""
    # What a fixed-output derivation may read of the environment is the builder's.
    pip = " ".join(f'"{name}={value}"' for name, value in os.environ.items() if name.startswith("PIP_"))
    config = builder.directory / "sshd_config"
    config.write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {keys}/host\nAuthorizedKeysFile {keys}/user.pub\n"
        "PermitRootLogin prohibit-password\nPasswordAuthentication no\nStrictModes no\nPidFile none\n"
        f"SetEnv NIX_CONF_DIR={builder.directory} {pip}\n"
    )
    Path("/run/sshd").mkdir(exist_ok=True)
    sshd = shutil.which("sshd", path="/usr/sbin:/usr/bin") or sys.exit(
        "no sshd: apt-get install openssh-server"
    )
    command = builder.command(sshd, "-D", "-e", "-f", config)
    with service(command, port, builder.directory / "sshd.log"):
        yield


def two_builders(directory: Path) -> tuple[Machine, str]:
    """Build on two builders; the coordinator and the path that it has then."""
    keys = directory / "keys"
    keys.mkdir()
    for key in ("user", "host"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", keys / key], check=True)
    builders = {machine(directory, name): free_port() for name in BUILDERS}
    (keys / "config").write_text(
        "".join(
            f"Host builder-{builder.name}\n  HostName 127.0.0.1\n  Port {port}\n  User root\n"
            f"  IdentityFile {keys}/user\n  StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n"
            for builder, port in builders.items()
        )
    )
    lines = " ; ".join(
        f"ssh-ng://builder-{name} x86_64-linux {keys}/user 1 1 big-parallel" for name in BUILDERS
    )
    coordinator = machine(directory, "coordinator")
    with contextlib.ExitStack() as stack:
        for builder, port in builders.items():
            stack.enter_context(reachable(builder, port, keys))
        started = time.monotonic()
        path = coordinator.run(
            *("nix", "build", "--max-jobs", "0", "--builders", lines),
            *("--no-link", "--print-out-paths", ".#cli", *FLAKE),
            NIX_SSHOPTS=f"-F {keys}/config",
        ).strip()
        seconds = time.monotonic() - started
    placed = re.findall(r"building '/nix/store/\w+-(\S+)\.drv' on 'ssh-ng://builder-(\w)'", coordinator.log())
    print("| builder | derivations | which |\n|---|---|---|")
    for name in BUILDERS:
        names = [derivation for derivation, on in placed if on == name]
        print(f"| {name} | {len(names)} | {', '.join(names)} |")
    print(f"\n{len(placed)} derivations in {seconds:.1f} s; the coordinator none.\n", flush=True)
    if {on for _, on in placed} != set(BUILDERS):
        sys.exit(f"not both builders built: {coordinator.log()[-3000:]}")
    return coordinator, path


def push(coordinator: Machine, path: str, cache: Path) -> str:
    """Push the closure into a cache that is a directory, signed by a new key: the key's public half."""
    secret = cache.with_suffix(".secret")
    secret.write_text(coordinator.run("nix", "key", "generate-secret", "--key-name", "cache-1"))
    coordinator.run("nix", "copy", "--to", f"file://{cache}?secret-key={secret}", path)
    return coordinator.run("sh", "-c", f"nix key convert-secret-to-public < {secret}").strip()


def take(directory: Path, name: str, cache: str, public: str, path: str) -> None:
    """Take the closure into an empty store that trusts the key, and see that no other can."""
    stranger = machine(directory, f"{name}-stranger", "trusted-public-keys =")
    refusal = stranger.fail("nix", "copy", "--from", cache, path)
    if "lacks a signature by a trusted key" not in refusal:
        sys.exit(f"{name}: refused for another reason: {refusal}")
    user = machine(directory, f"{name}-user", f"trusted-public-keys = {public}")
    user.run("nix", "copy", "--from", cache, path)
    closure = json.loads(user.run("nix", "path-info", "--json", "--recursive", path))
    user.run(f"{path}/bin/pytorch-variants", "--help")
    print(f"{name}: {len(closure)} paths, refused without the key, taken with it and run", flush=True)


@contextlib.contextmanager
def s3(directory: Path, cache: Path) -> Iterator[str]:
    """A server of S3's protocol with the cache in a bucket that everybody may read: the bucket's URL."""
    import boto3  # comes with moto

    server = Path(sys.executable).parent / "moto_server"
    port = free_port()
    with service([str(server), "--host", "127.0.0.1", "--port", str(port)], port, directory / "s3.log"):
        url = f"http://127.0.0.1:{port}"
        client = boto3.client(
            "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
        )
        client.create_bucket(Bucket="cache")
        for file in filter(Path.is_file, cache.rglob("*")):
            key = str(file.relative_to(cache))
            client.upload_file(str(file), "cache", key, ExtraArgs={"ACL": "public-read"})
        yield f"{url}/cache"


def main() -> None:
    """Everything, in a temporary directory."""
    if os.geteuid():
        sys.exit("needs root, for the machines' namespaces and their sshd")
    with tempfile.TemporaryDirectory(prefix="builders-") as scratch:
        directory = Path(scratch)
        cache = directory / "cache"
        try:
            coordinator, path = two_builders(directory)
            public = push(coordinator, path, cache)
            take(directory, "directory", f"file://{cache}", public, path)
            with s3(directory, cache) as url:
                take(directory, "s3", url, public, path)
        finally:
            # A Nix store is read-only to everybody.
            subprocess.run(["chmod", "-R", "u+w", scratch], check=False)


if __name__ == "__main__":
    main()
