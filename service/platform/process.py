"""Processes that do not outlive the one that started them, however that ends."""

from typing import Final

#: Set for a worker that runs beside a service in development: the id of the process that it ends with. Its
#: metrics are the service's.
COMPANION_OF: Final = "TRADEPOST_COMPANION_OF"
