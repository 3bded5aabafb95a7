"""The dashboard as CloudFront serves it: files, SPA fallback, caching, security headers."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from infra.local.http_events import HttpResponse, problem

# A table of our own: the machine's MIME registry differs from laptop to laptop.
_CONTENT_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".jpg": "image/jpeg",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".map": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff2": "font/woff2",
}
# Vite's names: index-BcD3_fGh.js. Their content never changes.
_HASHED = re.compile(r"/assets/.+-[\w-]{8,}\.\w+")
_CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_SECURITY_HEADERS = [
    (b"content-security-policy", _CONTENT_SECURITY_POLICY.encode()),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
]
_NOT_BUILT = (
    "The dashboard is not built yet. `make run` builds it; by hand it is\n"
    "    npm --prefix web ci && npm --prefix web run build\n"
    "in the checkout. The API works without it: see /docs and /health.\n"
)


class StaticSite:
    """Serves the files below ``root``, and ``index.html`` for the pages of the application."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()
        self._etags: dict[tuple[Path, int, int], bytes] = {}

    async def respond(self, method: str, path: str, headers: Mapping[bytes, bytes]) -> HttpResponse:
        """Return the file at the decoded ``path``, a 304, or a problem."""
        if method not in {"GET", "HEAD"}:
            refusal = problem(405, "method-not-allowed", "The dashboard is read only.", path)
            refusal.headers.append((b"allow", b"GET, HEAD"))
            return refusal
        if not (self._root / "index.html").is_file():
            kind = [(b"content-type", b"text/plain; charset=utf-8"), *_SECURITY_HEADERS]
            return HttpResponse(503, _NOT_BUILT.encode(), kind)
        file = self._find(path)
        if file is None:
            return problem(404, "not-found", "There is no such file.", path)
        return await asyncio.to_thread(self._serve, file, path, headers.get(b"if-none-match", b""))

    def _find(self, path: str) -> Path | None:
        try:
            # resolve() follows links and dots, so nothing outside the root can be named.
            file = (self._root / path.lstrip("/")).resolve()
            if file.is_relative_to(self._root) and file.is_file():
                return file
        except (OSError, ValueError):  # a name with a NUL, or too long
            return None
        # A missing script must not come back as a page; a model's id may hold dots, though.
        is_page = file.suffix not in _CONTENT_TYPES and not path.startswith("/assets/")
        return self._root / "index.html" if is_page else None

    def _serve(self, file: Path, path: str, known: bytes) -> HttpResponse:
        stat = file.stat()
        content = file.read_bytes()
        version = (file, stat.st_mtime_ns, stat.st_size)
        if version not in self._etags:
            self._etags[version] = f'"{hashlib.sha256(content).hexdigest()[:32]}"'.encode()
        etag = self._etags[version]
        is_hashed = _HASHED.fullmatch(path) is not None
        headers = [
            (b"etag", etag),
            (
                b"cache-control",
                b"public, max-age=31536000, immutable" if is_hashed else b"no-cache",
            ),
            *_SECURITY_HEADERS,
        ]
        if known == b"*" or etag in (tag.strip().removeprefix(b"W/") for tag in known.split(b",")):
            return HttpResponse(304, b"", headers)
        media_type = _CONTENT_TYPES.get(file.suffix, "application/octet-stream")
        return HttpResponse(200, content, [(b"content-type", media_type.encode()), *headers])
