"""The domain's HTTP application."""

from functions.auth.routes import router
from shared.web.app import create_app

app = create_app("auth", router)
