"""The race: clients, agents and trouble around two real operators and two real webhooks on a real control plane."""
