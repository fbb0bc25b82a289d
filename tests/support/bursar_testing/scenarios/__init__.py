"""Scenarios: what an account lives through, as data, and the runners that let it happen."""

from bursar_testing.scenarios.loader import BadScenario, load_all, load_text
from bursar_testing.scenarios.model import Scenario

__all__ = ["BadScenario", "Scenario", "load_all", "load_text"]
