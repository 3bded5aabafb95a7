"""LiteLLM's proxy as the rival of ``davinci bench gateway``, in an environment outside the project.

``python -m infra.bench.gateway_rival FOLDER --upstream-url URL`` installs ``litellm[proxy]`` into
``FOLDER/venv`` unless it is there (some minutes, 1 GB), writes a configuration with the loopback
model as its only one, starts one worker without a database, and prints ``{"url", "key", "model",
"pid"}``; it stops when its standard input closes. Logging and telemetry are off, as LiteLLM's own
page on production performance recommends.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.bench.gateway_host import Host, free_port, running
from infra.bench.progress import say

KEY, MODEL = "sk-rival-for-this-benchmark", "bench"
_START_TIMEOUT_S = 180.0


def install(folder: Path) -> Path:
    """Return the ``litellm`` program below ``folder``, installing it first if need be."""
    program = folder / "venv" / "bin" / "litellm"
    if not program.exists():
        say(f"installing litellm[proxy] into {folder / 'venv'}")
        subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
        python = folder / "venv" / "bin" / "python"
        command = [str(python), "-m", "pip", "install", "--quiet", "litellm[proxy]"]
        subprocess.run(command, check=True, stdout=sys.stderr)
    return program


@contextmanager
def litellm_proxy(folder: Path, upstream_url: str) -> Iterator[Host]:
    """Run one worker of LiteLLM's proxy before the model at ``upstream_url``."""
    program = install(folder)
    configuration = folder / "config.yaml"
    configuration.write_text(json.dumps(_configuration(upstream_url)))  # JSON is YAML
    port = free_port()
    command = [
        str(program), "--config", str(configuration), "--host", "127.0.0.1",
        "--port", str(port), "--num_workers", "1",
    ]  # fmt: skip
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("DATABASE_")
    } | {"LITELLM_LOG": "ERROR", "LITELLM_MODE": "PRODUCTION", "LITELLM_TELEMETRY": "False",
         "LITELLM_LOCAL_MODEL_COST_MAP": "True"}  # fmt: skip
    say("starting litellm's proxy, one worker")
    log, health = folder / "proxy.log", "/health/liveliness"
    with running(command, environment, log, port, health, _START_TIMEOUT_S) as pid:
        yield Host(port, KEY, MODEL, pid)


def _configuration(upstream_url: str) -> dict[str, object]:
    parameters = {"model": f"openai/{MODEL}", "api_base": upstream_url, "api_key": "none"}
    return {
        "model_list": [{"model_name": MODEL, "litellm_params": parameters}],
        "general_settings": {"master_key": KEY},
        "litellm_settings": {"telemetry": False, "set_verbose": False, "request_timeout": 30},
    }


def main() -> None:
    """Run the rival until standard input closes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="outside the project; kept between runs")
    parser.add_argument("--upstream-url", required=True, help="such as http://127.0.0.1:9000/v1")
    given = parser.parse_args()
    with litellm_proxy(given.folder.resolve(), given.upstream_url) as host:
        url = f"http://127.0.0.1:{host.port}"
        print(json.dumps({"url": url, "key": host.key, "model": host.model, "pid": host.pid}))
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
