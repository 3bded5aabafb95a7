"""The domain's HTTP application."""

from functions.events.routes import router
from shared.web.app import create_app

app = create_app("events", router)
