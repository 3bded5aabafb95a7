"""Write the committed copies of the recorded data: same rows, reproducible bytes."""

from __future__ import annotations

import gzip
import hashlib
import io
from pathlib import Path

CHECKSUMS = "SHA256SUMS"
_TABLES = ("llmrouter9", "routellm_gsm8k_pair", "routellm_mmlu_pair", "zeroeval22")
_PRICES = ("llmrouter9", "zeroeval22")


def compress(content: bytes) -> bytes:
    """Gzip ``content`` without a file name or a time, so equal content gives equal bytes."""
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=buffer, mtime=0) as packed:
        packed.write(content)
    return buffer.getvalue()


def checksums(folder: Path) -> str:
    """Return one ``sha256sum`` line per data file of ``folder``.

    Tables are summed over their *uncompressed* rows: another zlib may pack them differently.
    """
    lines = []
    for path in sorted([*folder.glob("*.csv.gz"), *folder.glob("*_prices.json")]):
        content = path.read_bytes()
        if path.suffix == ".gz":
            content, name = gzip.decompress(content), path.stem
        else:
            name = path.name
        lines.append(f"{hashlib.sha256(content).hexdigest()}  {name}\n")
    return "".join(lines)


def pack(source: Path, target: Path) -> None:
    """Copy every table and price list of ``source`` into ``target`` and sum them up."""
    target.mkdir(parents=True, exist_ok=True)
    for name in _TABLES:
        rows = gzip.decompress((source / f"{name}.csv.gz").read_bytes())
        (target / f"{name}.csv.gz").write_bytes(compress(rows))
    for name in _PRICES:
        prices = (source / f"{name}_prices.json").read_bytes()
        (target / f"{name}_prices.json").write_bytes(prices.rstrip() + b"\n")
    (target / CHECKSUMS).write_text(checksums(target))
