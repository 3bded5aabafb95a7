"""Cannot be imported."""

raise RuntimeError("the settings are missing")
