"""HTTP entry point on Lambda."""

from shared.web.lambda_handler import lambda_handler_for

handler = lambda_handler_for("functions.system.app")
