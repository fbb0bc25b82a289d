"""The `bursar` command and the typed client of the gateway. Knows nothing that the API does not say."""

from bursar_client.connection import Connection
from bursar_client.sdk import ApiError, BursarClient

__all__ = ["ApiError", "BursarClient", "Connection"]
