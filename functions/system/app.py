"""The domain's HTTP application; it also answers for every path that no function has."""

from functions.system.routes import fallback, router
from shared.web.app import create_app

app = create_app("system", router, fallback)
