"""GitHub on loopback, for the real nix-prefetch-github and the real Nix: Git repositories of the tests' own.

Git comes to it by its own URL rewriting. Nix and Python fetch https://github.com through a proxy, which
ends the encryption itself, with a certificate that they are told to trust.
"""

import json
import os
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import trustme

# A repository for the tests of locks, and the times of its commits.
REPOSITORY = "acme/packages"
FIRST, SECOND = 1700000000, 1710000000


def git(directory: Path, *arguments: str, **environment: str) -> bytes:
    """Standard output of git, which looks at no configuration of the machine."""
    fixed = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    identity = {
        f"GIT_{who}_{what}": "t@example" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    return subprocess.run(
        ["git", *arguments],
        cwd=directory,
        check=True,
        capture_output=True,
        env={**os.environ, **fixed, **identity, **environment},
    ).stdout


@dataclass
class GitHub:
    """The server's repositories, and the environment that leads there."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    # Whether the API says that there have been too many requests.
    limited: bool = False

    def commit(self, repository: str, date: int, branch: str = "main") -> str:
        """Commit the work tree of OWNER/NAME with a date in Unix time; the revision."""
        tree = self.root / repository
        if not (tree / ".git").exists():
            git(tree, "init", "--quiet", "--initial-branch", branch)
        git(tree, "add", "--all")
        when = f"{date} +0200"
        git(
            tree,
            *("commit", "--quiet", "--allow-empty", "--message", "a change"),
            GIT_AUTHOR_DATE=when,
            GIT_COMMITTER_DATE=when,
        )
        return git(tree, "rev-parse", "HEAD").decode().strip()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    github: GitHub
    tls: ssl.SSLContext

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on the tests' standard error."""

    def answer(self, status: int, body: bytes, kind: str = "application/octet-stream") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_CONNECT(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.connection = self.tls.wrap_socket(self.connection, server_side=True)
        self.rfile = self.connection.makefile("rb")
        self.wfile = self.connection.makefile("wb", buffering=0)
        self.close_connection = False

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.github.requests.append(f"{self.headers['Host']} {path}")
        parts = path.strip("/").split("/")
        try:
            if len(parts) == 4 and parts[2] == "archive":
                self.archive(self.github.root / parts[0] / parts[1], parts[3].removesuffix(".tar.gz"))
            elif len(parts) == 5 and parts[0] == "repos" and parts[3] == "commits":
                self.describe(self.github.root / parts[1] / parts[2], parts[4])
            else:
                self.backend(path, b"")
        except subprocess.CalledProcessError:
            self.answer(404, b"not found")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.backend(urlsplit(self.path).path, body)

    def archive(self, tree: Path, rev: str) -> None:
        prefix = f"--prefix={tree.name}-{rev}/"
        self.answer(200, git(tree, "archive", "--format=tar.gz", prefix, rev), "application/x-gzip")

    def describe(self, tree: Path, rev: str) -> None:
        if self.github.limited:
            self.answer(403, b'{"message": "API rate limit exceeded"}', "application/json")
            return
        shown = git(
            tree, "show", "--no-patch", "--format=%H %T %cd", "--date=iso-strict-local", rev, TZ="UTC"
        )
        sha, tree_sha, date = shown.decode().split()
        commit = {"committer": {"date": date.replace("+00:00", "Z")}, "tree": {"sha": tree_sha}}
        self.answer(200, json.dumps({"sha": sha, "commit": commit}).encode(), "application/json")

    def backend(self, path: str, body: bytes) -> None:
        """Git's own server, as CGI."""
        result = subprocess.run(
            ["git", "http-backend"],
            input=body,
            capture_output=True,
            check=False,
            env={
                "PATH": os.environ["PATH"],
                "GIT_PROJECT_ROOT": str(self.github.root),
                "GIT_HTTP_EXPORT_ALL": "1",
                "GIT_CONFIG_COUNT": "1",
                "GIT_CONFIG_KEY_0": "safe.directory",
                "GIT_CONFIG_VALUE_0": "*",
                "PATH_INFO": path.replace(".git/", "/.git/", 1),
                "QUERY_STRING": urlsplit(self.path).query,
                "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            },
        )
        head, _, content = result.stdout.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line)
        self.answer(int(fields.get("Status", "200")[:3]), content, fields.get("Content-Type", "text/plain"))


@contextmanager
def serve(root: Path) -> Iterator[GitHub]:
    """Serve the repositories OWNER/NAME in a directory until the block ends."""
    authority = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("github.com", "api.github.com").configure_cert(tls)
    certificate = root / "authority.pem"
    authority.cert_pem.write_to_path(str(certificate))

    github = GitHub(root)
    handler = type("Handler", (_Handler,), {"github": github, "tls": tls})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    address = f"http://127.0.0.1:{server.server_port}"
    github.environment = {
        "https_proxy": address,
        "NIX_SSL_CERT_FILE": str(certificate),
        "SSL_CERT_FILE": str(certificate),
        "no_proxy": "127.0.0.1",
        "NO_PROXY": "127.0.0.1",
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{address}/.insteadOf",
        "GIT_CONFIG_VALUE_0": "https://github.com/",
        # What Nix remembers of revisions and archives.
        "XDG_CACHE_HOME": str(root / "cache"),
    }
    thread = threading.Thread(target=server.serve_forever, args=[0.02])
    thread.start()
    try:
        yield github
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def locked_flake(directory: Path, inputs: str) -> Path:
    directory.mkdir()
    (directory / "flake.nix").write_text(f"{{ {inputs} outputs = _: {{ }}; }}\n")
    nix_flake("lock", f"path:{directory}")
    return directory


def nix_flake(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    features = ("--extra-experimental-features", "nix-command flakes")
    command = ["nix", *features, "flake", *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if "--no-update-lock-file" not in command:
        assert result.returncode == 0, result.stderr
    return result
