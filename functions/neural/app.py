"""The domain's HTTP application."""

from functions.neural.routes import router
from shared.web.app import create_app

app = create_app("neural", router)
