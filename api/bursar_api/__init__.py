"""The gateway: it transports. People's REST API, the agents' API, nothing that decides a grant or forges desired state."""
