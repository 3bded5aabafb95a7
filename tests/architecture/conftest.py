"""Importing an application reads its settings; nothing here connects to anything."""

from __future__ import annotations

import os

os.environ.setdefault("DATABASE_URL", "postgresql+pg8000://nobody@/nothing")
