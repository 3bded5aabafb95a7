"""What the gateway adds to a model's answer: time, processor and memory, beside a rival if given.

One worker of the container host (``uvicorn infra.local.asgi:app``) on a PostgreSQL that flushes
every commit: each request is identified, limited, decided among the recorded models, written
durably, served and its outcome written. The model behind it answers at once, from loopback, and is
also called directly; what is added is the difference. All are loaded in turn, in changing order, so
that a busy moment of the machine falls on each of them alike.

``--soak N`` sends N requests and says how the worker's memory grew; ``--cuts N`` sends N streams
that break off at random places and compares our accounts with the model's.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from infra.bench.cpu import per_call_ms
from infra.bench.gateway_cuts import measure_cuts
from infra.bench.gateway_host import CHECKOUT, Host, container_host, loopback_model
from infra.bench.gateway_rival import litellm_proxy
from infra.bench.progress import say
from infra.bench.report import Row
from infra.bench.scene import prompts
from infra.local.replay.traffic import load_traffic

LEVELS = (1, 10, 50)
SHARE_OF_RIVALS_TIME, TIMES_RIVALS_RATE, SHARE_OF_RIVALS_MEMORY = 0.25, 5.0, 1 / 3
_WARMUP_S, _FIRST_S = 0.5, 3.0
_N_BODIES = 200
_SOAK_CONNECTIONS, _SOAK_SLICE_S = 16, 5.0
_PATH = "/v1/chat/completions"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what can be chosen."""
    parser.add_argument("--seconds", type=float, default=2.0, help="per visit (default 2)")
    parser.add_argument("--rounds", type=int, default=5, help="visits per level (default 5)")
    parser.add_argument("--rival", choices=["litellm"], help="install and start this rival")
    folder = Path(tempfile.gettempdir()) / "davinci-rival"
    parser.add_argument("--rival-folder", type=Path, default=folder, help="where to install it")
    parser.add_argument("--rival-url", help="a rival that runs already, before the same model")
    parser.add_argument("--rival-key", default="", help="its API key")
    parser.add_argument("--rival-model", default="bench", help="its name of the model")
    parser.add_argument("--rival-pid", type=int, help="its process, for its memory")
    parser.add_argument("--upstream-port", type=int, help="a model that runs already")
    parser.add_argument("--soak", type=int, metavar="N", help="send N requests, watch the memory")
    parser.add_argument("--cuts", type=int, metavar="N", help="send N streams that break off")
    parser.add_argument("--seed", type=int, default=7, help="of the cuts (default 7)")


def run(given: argparse.Namespace) -> dict[str, Any]:
    """Start everything, measure as asked, and stop it."""
    if given.cuts:
        return {"cuts": measure_cuts(given.cuts, given.seed)}
    with ExitStack() as stack:
        port = given.upstream_port or stack.enter_context(loopback_model())
        url = f"http://127.0.0.1:{port}/v1"
        say("starting one worker of the container host, on a durable PostgreSQL")
        ours = stack.enter_context(container_host(load_traffic(), url))
        if given.soak:
            return {"soak": _soak(ours, given.soak)}
        rival = stack.enter_context(_rival(given, url))
        return _compare(given, Host(port, "none", "bench", 0), ours, rival)


def rows(result: dict[str, Any]) -> list[Row]:
    """Return the lines of the README's table."""
    if "levels" not in result:
        return _rows_of_long_runs(result)
    ours = [result["levels"][str(level)]["davinci"] for level in LEVELS]
    ratios = result.get("ratios", {})
    added = ", ".join(f"{level['added_p50_ms']:.1f}" for level in ours)
    at = ", ".join(str(level) for level in LEVELS)
    found = [
        Row(
            f"Gateway: p50 added to a model's answer at {at} concurrent, one worker, all durable",
            f"{added} ms; {result['requests_per_s']['davinci']:.0f} requests/s per worker, "
            f"{result['memory_mb']['davinci']:.0f} MB",
        )
    ]
    if not ratios:
        return found
    worst = max(ratios["added_p50"].values())
    return [
        *found,
        Row(
            "Gateway against LiteLLM's proxy in the same run: added p50 (worst level), "
            "requests/s per worker, memory",
            f"{worst:.2f} x, {ratios['requests_per_s']:.1f} x, {ratios['memory']:.2f} x",
            "<= 0.25 x, >= 5 x, <= 0.33 x",
            worst <= SHARE_OF_RIVALS_TIME
            and ratios["requests_per_s"] >= TIMES_RIVALS_RATE
            and ratios["memory"] <= SHARE_OF_RIVALS_MEMORY,
        ),
    ]


def _rows_of_long_runs(result: dict[str, Any]) -> list[Row]:
    if "soak" in result:
        soak = result["soak"]
        measured = ", ".join(f"{mb:.0f}" for mb in soak["memory_mb"].values())
        return [Row(f"Gateway: memory over {soak['requests']:,} requests", f"{measured} MB")]
    cuts = result["cuts"]
    return [
        Row(
            f"Gateway: {cuts['streams']:,} streams that break off at random places: our spend "
            "against the model's bill",
            f"{cuts['difference_nano_usd']} nano-dollars apart, {cuts['unlike']} streams unlike",
            "equal",
            cuts["difference_nano_usd"] == 0 and cuts["unlike"] == 0,
        )
    ]


@contextmanager
def _rival(given: argparse.Namespace, upstream_url: str) -> Iterator[Host | None]:
    if given.rival_url:
        port = int(given.rival_url.rpartition(":")[2].partition("/")[0])
        yield Host(port, given.rival_key, given.rival_model, given.rival_pid or 0)
    elif given.rival:
        with litellm_proxy(given.rival_folder, upstream_url) as host:
            yield host
    else:
        yield None


def _compare(
    given: argparse.Namespace, model: Host, ours: Host, rival: Host | None
) -> dict[str, Any]:
    hosts = {"direct": model, "davinci": ours} | ({"rival": rival} if rival else {})
    for name, host in hosts.items():
        say(f"warming up: {name}")
        _load(host, connections=4, seconds=_FIRST_S)
    levels: dict[str, dict[str, Any]] = {}
    cpu: dict[str, dict[str, dict[str, float]]] = {}
    for level in LEVELS:
        visits: dict[str, list[dict[str, Any]]] = {name: [] for name in hosts}
        before = {name: host.cpu_seconds() for name, host in hosts.items() if host.pid}
        for turn in range(given.rounds):
            for name in _rotated(tuple(hosts), turn):
                seen = _load(hosts[name], level, given.seconds)
                visits[name].append(seen)
        levels[str(level)] = _summary(visits)
        cpu[str(level)] = {
            name: per_call_ms(
                spent, hosts[name].cpu_seconds(), sum(v["acknowledged"] for v in visits[name])
            )
            for name, spent in before.items()
        }
        say(f"{level} at a time: " + "; ".join(_in_words(levels[str(level)])))
    return _result(levels, cpu, {name: host for name, host in hosts.items() if host.pid})


def _summary(visits: Mapping[str, Sequence[dict[str, Any]]]) -> dict[str, Any]:
    """Return each one's medians over its visits; a median forgets a visit that was disturbed."""
    found = {
        name: {
            "p50_ms": round(statistics.median(v["p50_ms"] for v in seen), 2),
            "p99_ms": round(statistics.median(v["p99_ms"] for v in seen), 2),
            "rps": round(statistics.median(v["requests_per_minute"] for v in seen) / 60, 1),
            "errors": sum(
                count for v in seen for status, count in v["statuses"].items() if status != "200"
            ),
        }
        for name, seen in visits.items()
    }
    for name, summary in found.items():
        if name != "direct":
            summary["added_p50_ms"] = round(summary["p50_ms"] - found["direct"]["p50_ms"], 2)
            summary["added_p99_ms"] = round(summary["p99_ms"] - found["direct"]["p99_ms"], 2)
    return found


def _result(
    levels: dict[str, dict[str, Any]], cpu: dict[str, Any], hosts: Mapping[str, Host]
) -> dict[str, Any]:
    rates = {name: max(level[name]["rps"] for level in levels.values()) for name in hosts}
    memory = {name: host.memory_mb() for name, host in hosts.items()}
    result: dict[str, Any] = {
        "levels": levels,
        "requests_per_s": rates,
        "memory_mb": memory,
        "cpu_ms_per_request": cpu,
    }
    if "rival" in hosts:
        result["ratios"] = {
            "added_p50": {
                level: round(seen["davinci"]["added_p50_ms"] / seen["rival"]["added_p50_ms"], 3)
                for level, seen in levels.items()
            },
            "requests_per_s": round(rates["davinci"] / rates["rival"], 2),
            "memory": round(memory["davinci"] / memory["rival"], 3),
        }
    return result


def _soak(host: Host, n_requests: int) -> dict[str, Any]:
    """Send ``n_requests``; return the memory after 10, 50 and 100 % of them, and its slope."""
    _load(host, _SOAK_CONNECTIONS, _FIRST_S)
    start_mb, n_sent, n_failed = host.memory_mb(), 0, 0
    samples: list[tuple[int, float]] = []
    while n_sent < n_requests:
        seen = _load(host, _SOAK_CONNECTIONS, _SOAK_SLICE_S)
        n_sent += seen["acknowledged"]
        n_failed += sum(n for status, n in seen["statuses"].items() if status != "200")
        samples.append((n_sent, host.memory_mb()))
        say(f"{n_sent:,} of {n_requests:,} requests, {samples[-1][1]:.0f} MB")
    late = [sample for sample in samples if sample[0] >= n_requests / 10]
    counts, sizes = [count for count, _ in late], [mb for _, mb in late]
    slope = statistics.linear_regression(counts, sizes).slope if len(late) > 1 else 0.0
    return {
        "requests": n_sent,
        "errors": n_failed,
        "memory_mb": {
            "start": start_mb,
            **{
                f"{share:.0%}": next(mb for n, mb in samples if n >= share * n_requests)
                for share in (0.1, 0.5, 1.0)
            },
        },
        "slope_kb_per_1000_requests": round(slope * 1024 * 1000, 2),
    }


def _load(host: Host, connections: int, seconds: float) -> dict[str, Any]:
    """Send requests closed-loop from a process of its own; return what it saw."""
    order = {
        "port": host.port, "path": _PATH, "connections": connections, "seconds": seconds,
        "headers": {"authorization": f"Bearer {host.key}"}, "rate": None, "warmup_s": _WARMUP_S,
        "bodies": _bodies(host.model),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "infra.bench.load_client"],
        input=json.dumps(order), stdout=subprocess.PIPE, text=True, check=True, cwd=CHECKOUT,
    )  # fmt: skip
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen


def _bodies(model: str) -> list[str]:
    """Return requests with recorded prompts, the same for everyone."""
    return [
        json.dumps({"model": model, "messages": [{"role": "user", "content": prompt}]})
        for prompt, _task in prompts(load_traffic(), _N_BODIES)
    ]


def _rotated(names: tuple[str, ...], turn: int) -> tuple[str, ...]:
    place = turn % len(names)
    return names[place:] + names[:place]


def _in_words(level: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    for name, seen in level.items():
        yield f"{name} p50 {seen['p50_ms']} ms, p99 {seen['p99_ms']} ms, {seen['rps']:.0f}/s"
