"""The agents' side of the gateway: it transports, checks signatures and keeps sessions apart."""

from bursar_api.agents.endpoints import AgentRouter, router

__all__ = ["AgentRouter", "router"]
