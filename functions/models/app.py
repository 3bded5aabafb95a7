"""The domain's HTTP application."""

from functions.models.routes import router
from shared.web.app import create_app

app = create_app("models", router)
