"""Recorded traffic in motion: an upstream that replays, a driver that sends, a check that proves.

``traffic`` loads the recordings, ``provider`` answers as the recorded models did, ``driver`` sends
the prompts through the public API and reports the recorded quality as feedback, ``journal`` keeps
what was acknowledged, ``summary`` folds it, ``verify`` compares it with what the system holds.
"""
