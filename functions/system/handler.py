"""HTTP entry point on Lambda."""

from functions.system.app import app
from shared.web.lambda_handler import lambda_handler_for

handler = lambda_handler_for(app)
