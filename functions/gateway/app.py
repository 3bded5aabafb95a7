"""The domain's HTTP application."""

from functions.gateway.routes import router
from shared.web.app import create_app

app = create_app("gateway", router)
