"""The audit log: who changed what, in a chain of hashes.

``record`` appends in the transaction of the change; ``reader`` lists and verifies.
"""

from shared.audit.log import SYSTEM, Actor, record

__all__ = ["SYSTEM", "Actor", "record"]
