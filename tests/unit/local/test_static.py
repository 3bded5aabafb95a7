"""The dashboard's files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from infra.local.http_events import HttpResponse
from infra.local.static import StaticSite

pytestmark = pytest.mark.anyio


@pytest.fixture
def site(tmp_path: Path) -> StaticSite:
    root = tmp_path / "dist"
    (root / "assets").mkdir(parents=True)
    (root / "index.html").write_text("<title>app</title>")
    (root / "favicon.ico").write_bytes(b"icon")
    (root / "assets" / "index-BcD3_fGh.js").write_text("run()")
    (root / "assets" / "font.woff2").write_bytes(b"font")
    (tmp_path / "secret.txt").write_text("secret")
    (root / "link.txt").symlink_to(tmp_path / "secret.txt")
    return StaticSite(root)


async def get(site: StaticSite, path: str, method: str = "GET", **headers: str) -> HttpResponse:
    given = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    return await site.respond(method, path, given)


def header(response: HttpResponse, name: str) -> str:
    return dict(response.headers).get(name.encode(), b"").decode()


@pytest.mark.parametrize(
    ("path", "body", "content_type", "caching"),
    [
        ("/", b"<title>app</title>", "text/html; charset=utf-8", "no-cache"),
        ("/index.html", b"<title>app</title>", "text/html; charset=utf-8", "no-cache"),
        ("/favicon.ico", b"icon", "image/x-icon", "no-cache"),
        ("/assets/font.woff2", b"font", "font/woff2", "no-cache"),
        (
            "/assets/index-BcD3_fGh.js", b"run()", "text/javascript; charset=utf-8",
            "public, max-age=31536000, immutable",
        ),
    ],
)  # fmt: skip
async def test_file_has_its_type_and_only_hashed_names_are_immutable(
    site: StaticSite, path: str, body: bytes, content_type: str, caching: str
) -> None:
    response = await get(site, path)
    assert (response.status, response.body) == (200, body)
    assert header(response, "content-type") == content_type
    assert header(response, "cache-control") == caching


@pytest.mark.parametrize(
    "path", ["/decisions", "/models/openai/gpt-4o", "/models/qwen2.5-7b", "/a/"]
)
async def test_pages_of_the_application_get_its_index(site: StaticSite, path: str) -> None:
    response = await get(site, path)
    assert (response.status, response.body) == (200, b"<title>app</title>")
    assert header(response, "cache-control") == "no-cache"


@pytest.mark.parametrize("path", ["/assets/gone-12345678.js", "/assets/gone", "/robots.txt"])
async def test_missing_file_is_a_404_and_not_a_page(site: StaticSite, path: str) -> None:
    response = await get(site, path)
    assert response.status == 404
    assert header(response, "content-type") == "application/problem+json"


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt",
        "/assets/../../secret.txt",
        "//secret.txt",
        "/..//..///secret.txt",
        "/./../dist/../secret.txt",
        "/link.txt",
        "/assets/..\\..\\secret.txt",
        "/\x00secret.txt",
        "/" + "a" * 5000 + ".txt",
        "/" + "../" * 30 + "etc/passwd",
    ],
)
async def test_nothing_outside_the_folder_can_be_read(site: StaticSite, path: str) -> None:
    response = await get(site, path)
    assert b"secret" not in response.body.replace(path.encode(), b"").replace(
        json.dumps(path)[1:-1].encode(), b""
    )
    assert b"root:" not in response.body


async def test_unchanged_file_is_a_304(site: StaticSite) -> None:
    etag = header(await get(site, "/"), "etag")
    for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        response = await get(site, "/", if_none_match=known)
        assert (response.status, response.body, header(response, "etag")) == (304, b"", etag)
    assert (await get(site, "/", if_none_match='"other"')).status == 200


async def test_changed_file_has_another_etag(site: StaticSite, tmp_path: Path) -> None:
    before = header(await get(site, "/"), "etag")
    (tmp_path / "dist" / "index.html").write_text("<title>new version</title>")
    assert header(await get(site, "/"), "etag") != before


async def test_every_file_has_security_headers(site: StaticSite) -> None:
    for path in ("/", "/assets/index-BcD3_fGh.js"):
        response = await get(site, path)
        policy = header(response, "content-security-policy")
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert header(response, "x-content-type-options") == "nosniff"
        assert header(response, "referrer-policy")
        assert header(response, "cross-origin-opener-policy") == "same-origin"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
async def test_dashboard_is_read_only(site: StaticSite, method: str) -> None:
    response = await get(site, "/", method)
    assert (response.status, header(response, "allow")) == (405, "GET, HEAD")


async def test_missing_build_says_how_to_make_it(tmp_path: Path) -> None:
    response = await get(StaticSite(tmp_path / "absent"), "/")
    assert response.status == 503
    assert b"npm --prefix web run build" in response.body
