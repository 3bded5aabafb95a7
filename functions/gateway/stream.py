"""The domain's HTTP application behind a server, which alone can stream: ``run.sh`` starts it.

The adapter in front sends one request at a time. It has a thread of its own all the same, so that
the server notices a client that leaves while a generator waits for the provider.
"""

from functions.gateway.app import app as application
from shared.config import get_settings
from shared.web.threaded import Threaded

app = Threaded(application, threads=1, max_body_bytes=get_settings().max_body_bytes)
