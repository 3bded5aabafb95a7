"""The domain's HTTP application."""

from functions.learning.routes import router
from shared.web.app import create_app

app = create_app("learning", router)
