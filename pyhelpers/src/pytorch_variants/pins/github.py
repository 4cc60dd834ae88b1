"""Commits of GitHub's repositories, prefetched by nix-prefetch-github."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytorch_variants import nix
from pytorch_variants.errors import UserError
from pytorch_variants.pins import missing

if TYPE_CHECKING:
    from nix_prefetch_github.interfaces import GithubRepository


@dataclass(frozen=True)
class Commit:
    """What flake.lock says of it: `rev` in hex, `nar_hash` in SRI form, `last_modified` in Unix time."""

    rev: str
    nar_hash: str
    last_modified: int


def _find(repository: "GithubRepository", name: str | None) -> str:
    """The revision of a branch or tag, or of the default branch."""
    from nix_prefetch_github.dependency_injector import DependencyInjector

    index = DependencyInjector().get_revision_index_factory().get_revision_index(repository)
    if index is None:
        raise UserError(f"{repository.url()} cannot be read: check the network and the repository's name")
    rev = index.get_revision_by_name(name or "HEAD")
    if rev is None:
        raise UserError(
            f"{name}: no branch or tag of {repository.owner}/{repository.name}, and not a revision "
            "of 40 hexadecimal digits"
        )
    return rev


def prefetch(owner: str, repo: str, name: str | None) -> Commit:
    """Fetch a commit into the store, where Nix finds it as a flake's input. Needs the network.

    `name` is a branch, a tag or a revision of 40 hexadecimal digits; None is the default branch. The tree
    is what GitHub gives as an archive, as with Nix's own `github:` inputs, so that both see the same hash.
    Raises UserError.
    """
    try:
        from nix_prefetch_github.dependency_injector import DependencyInjector
        from nix_prefetch_github.interfaces import (
            GithubRepository,
            PrefetchedRepository,
            PrefetchOptions,
        )
        from nix_prefetch_github.prefetch import PrefetcherImpl
    except ImportError:
        raise missing("nix-prefetch-github") from None

    injector = DependencyInjector()
    repository = GithubRepository(owner, repo)
    # The library's own choice takes this hasher only where nix-prefetch-git is installed too, which an
    # archive does not need, and else builds with <nixpkgs>.
    prefetcher = PrefetcherImpl(
        injector.get_nix_prefetch_url_hasher_impl(), injector.get_revision_index_factory()
    )
    try:
        rev = name if name and re.fullmatch("[0-9a-f]{40}", name) else _find(repository, name)
    except FileNotFoundError as error:
        raise UserError(f"no {error.filename} on PATH: install it") from None
    except PermissionError as error:
        raise UserError(f"{error.filename} on PATH cannot be run: make it executable") from None
    try:
        result = prefetcher.prefetch_github(repository, rev, PrefetchOptions())
        if not isinstance(result, PrefetchedRepository):
            raise UserError(f"{owner}/{repo} has no {rev}, or it cannot be fetched: check the network")
        date = injector.get_github_api().get_commit_date(repository, rev)
    except FileNotFoundError as error:
        raise UserError(f"no {error.filename} on PATH: install it") from None
    except PermissionError as error:
        raise UserError(f"{error.filename} on PATH cannot be run: make it executable") from None
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"GitHub does not say when {rev} is of ({error}): check the network") from None
    if date is None:
        raise UserError(
            f"GitHub does not say when {owner}/{repo} {rev} is of: set GITHUB_TOKEN, or try later"
        )
    unpacked = nix.fixed_path(f"{rev}.tar.gz", result.hash_sum)
    nix.nix("store", "add-path", "--name", "source", str(unpacked))
    return Commit(rev, result.hash_sum, int(date.timestamp()))
