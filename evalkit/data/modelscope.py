"""ModelScope, by the HTTP interface that its own client speaks; no package of it is needed.

MODELSCOPE_ENDPOINT names another server or a mirror, MODELSCOPE_API_TOKEN a user.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from evalkit.data.arrive import FetchError, Kind, Listing, Remote
from evalkit.progress import Progress

ENDPOINT = "https://modelscope.cn"
BRANCH = "master"
TIMEOUT_SECONDS = 20.0

_BLOCK = 1 << 20
_PAGE = 200
# The server tells no more of a model than this, and does not say that it left any out.
_LISTED = 3000


def endpoint() -> str:
    """The server, without a slash at its end."""
    return (os.environ.get("MODELSCOPE_ENDPOINT", "").strip() or ENDPOINT).rstrip("/")


def list_files(name: str, kind: Kind, revision: str | None) -> Listing:
    """The files of a model or data set, with sizes and SHA-256."""
    wanted = {"Revision": revision or BRANCH, "Recursive": "True"}
    if kind == "model":
        entries = _entries(_ask(f"models/{name}/repo/files", wanted))
        if len(entries) >= _LISTED:
            raise FetchError(f"{endpoint()} lists only the first {_LISTED:,} files of {name}")
    else:
        entries, page = [], 1
        while True:
            pages = {"Root": "/", "PageNumber": str(page), "PageSize": str(_PAGE)}
            more = _entries(_ask(f"datasets/{name}/repo/tree", wanted | pages))
            entries += more
            if len(more) < _PAGE:
                break
            page += 1
    files = (_remote(one) for one in entries if one.get("Type") != "tree")
    return Listing(revision or BRANCH, tuple(files))


def download(name: str, kind: Kind, listing: Listing, folder: Path, progress: Progress) -> None:
    """Bring the listed files into `folder`; what is there and whole stays."""
    part = f"download {name}"
    progress.start(part, listing.bytes, unit="B")
    for file in listing.files:
        target = folder / file.path
        if target.is_file() and target.stat().st_size == file.size:
            progress.advance(part, file.size)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        arriving = target.with_name(target.name + ".part")
        _bring(f"{kind}s/{name}/repo", file, listing.revision, arriving, (part, progress))
        _check(file, arriving)
        arriving.replace(target)


def _entries(data: Any) -> list[dict[str, Any]]:
    files = data.get("Files") if isinstance(data, dict) else data
    return [one for one in files or [] if isinstance(one, dict)]


def _remote(entry: dict[str, Any]) -> Remote:
    path = entry.get("Path")
    if not isinstance(path, str) or not _stays_inside(path):
        raise FetchError(f"{endpoint()} lists a file with the name {path!r}")
    size, sha256 = entry.get("Size"), entry.get("Sha256")
    return Remote(path, size if isinstance(size, int) else 0, str(sha256) if sha256 else None)


def _stays_inside(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return bool(parts) and ".." not in parts and not path.startswith("/") and "\0" not in path


def _ask(path: str, query: dict[str, str]) -> Any:
    """The data of an answer in JSON."""
    try:
        with _open(path, query) as answer:
            told = json.load(answer)
    except urllib.error.HTTPError as error:
        raise FetchError(_refused(error)) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise FetchError(f"{endpoint()} could not be used ({_short(error)})") from error
    if not isinstance(told, dict) or told.get("Code") not in (None, 200):
        said = told.get("Message") if isinstance(told, dict) else told
        raise FetchError(f"{endpoint()} refused: {str(said)[:200]}")
    return told.get("Data")


def _open(path: str, query: dict[str, str], start: int = 0) -> Any:
    address = f"{endpoint()}/api/v1/{path}?{urllib.parse.urlencode(query)}"
    if not address.startswith(("https://", "http://")):
        raise FetchError(f"MODELSCOPE_ENDPOINT must be an http address, not {endpoint()}")
    headers = {"User-Agent": "evalkit"}
    if token := os.environ.get("MODELSCOPE_API_TOKEN", "").strip():
        headers |= {"Authorization": f"Bearer {token}", "Cookie": f"m_session_id={token}"}
    if start:
        headers["Range"] = f"bytes={start}-"
    request = urllib.request.Request(address, headers=headers)  # noqa: S310  checked above
    try:
        return urllib.request.build_opener(_Redirects).open(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.URLError:
        raise
    except OSError as error:  # while the answer's head is read, it comes as it is
        raise urllib.error.URLError(error) from error


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Redirects as ever, but the token stays with the server that it is for."""

    def redirect_request(
        self, req: urllib.request.Request, *answered: Any
    ) -> urllib.request.Request | None:
        """The request that follows; a file is often sent by another host."""
        following = super().redirect_request(req, *answered)
        if following is not None and _origin(following.full_url) != _origin(req.full_url):
            for secret in ("Authorization", "Cookie"):
                following.remove_header(secret)
        return following


def _origin(address: str) -> tuple[str, str]:
    parts = urllib.parse.urlsplit(address)
    return parts.scheme, parts.netloc


def _bring(
    path: str,
    file: Remote,
    revision: str | None,
    arriving: Path,
    shown: tuple[str, Progress],
) -> None:
    """Write one file, from where an earlier start stopped."""
    part, progress = shown
    have = arriving.stat().st_size if arriving.is_file() else 0
    if have > file.size:
        arriving.unlink()
        have = 0
    if have == file.size and arriving.is_file():
        progress.advance(part, have)
        return
    query = {"Revision": revision or BRANCH, "FilePath": file.path}
    try:
        with _open(path, query, have) as answer:
            if have and answer.status != http.HTTPStatus.PARTIAL_CONTENT:
                have = 0  # a server that knows no ranges sends it from the beginning
            progress.advance(part, have)
            with arriving.open("ab" if have else "wb") as out:
                for block in iter(partial(_read, answer), b""):
                    out.write(block)
                    progress.advance(part, len(block))
    except urllib.error.HTTPError as error:
        raise FetchError(f"{file.path}: {_refused(error)}") from error
    except (urllib.error.URLError, http.client.HTTPException) as error:
        raise FetchError(f"{file.path}: {endpoint()} broke off ({_short(error)})") from error


def _read(answer: Any) -> bytes:
    """The next block. What the network does is told apart from what the disk does."""
    try:
        block: bytes = answer.read(_BLOCK)
    except OSError as error:
        raise urllib.error.URLError(error) from error
    return block


def _check(file: Remote, arriving: Path) -> None:
    """That it is whole and the one that was told; else it is deleted, to be fetched anew."""
    size = arriving.stat().st_size
    if size < file.size:  # kept: the next start goes on from here
        raise FetchError(f"{file.path} broke off at {size:,} of {file.size:,} bytes")
    with arriving.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if size > file.size or (file.sha256 and found != file.sha256):
        arriving.unlink()
        raise FetchError(
            f"{file.path} has SHA-256 {found}, ModelScope says {file.sha256}: damaged on the way "
            "and deleted, so that the same command fetches it anew"
        )


def _refused(error: urllib.error.HTTPError) -> str:
    match error.code:
        case 401 | 403:
            return f"{endpoint()} gives it only to some users (set MODELSCOPE_API_TOKEN)"
        case 404:
            return f"{endpoint()} has nothing public of that name and revision"
        case _:
            return f"{endpoint()} answered {error.code} {error.reason}"


def _short(error: Exception) -> str:
    reason = getattr(error, "reason", None) or error
    return (str(reason).strip() or type(error).__name__).splitlines()[0]
