"""Deciding and learning: pure functions of their arguments (numpy and the standard library).

Nothing here reads a clock, a random source, a file of the deployment or the network: ``now`` and
the seed are arguments, so every stored decision can be recomputed. Modules are imported one by
one (``from shared.routing.decide import decide``) because numpy is expensive at a cold start and
most functions only need ``shared.routing.types``.
"""
