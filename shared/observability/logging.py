"""One structured logger per process. Never log credentials, prompts or answers."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aws_lambda_powertools import Logger


@lru_cache(maxsize=1)
def get_logger() -> Logger:
    """Return the logger: JSON lines on standard output, as CloudWatch and container hosts want."""
    from aws_lambda_powertools import Logger

    from shared.config import get_settings

    return Logger(service="davinci", level=get_settings().log_level)
