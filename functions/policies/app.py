"""The domain's HTTP application."""

from functions.policies.routes import router
from shared.web.app import create_app

app = create_app("policies", router)
