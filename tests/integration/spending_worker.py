"""One of many processes that spend one budget: ``spending_worker.py URL LIMIT ROUNDS SEED``."""

from __future__ import annotations

import random
import sys

import sqlalchemy as sa

from shared.kit.ids import uuid7
from shared.spending.budgets import Budget, reserve, settle


def main(url: str, limit_nusd: int, rounds: int, seed: int) -> None:
    """Reserve and settle as fast as it goes; report what was settled and how often refused."""
    rng = random.Random(seed)
    engine = sa.create_engine(url)
    budget = Budget("key_shared", "total", limit_nusd)
    spent = refused = 0
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for _ in range(rounds):
            decision, most = uuid7(), rng.randint(1, 1_000)
            if not reserve(connection, decision, budget, most, 60):
                refused += 1
                continue
            cost = rng.randint(0, most)
            settle(connection, decision, cost)
            spent += cost
    sys.stdout.write(f"{spent} {refused}\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
