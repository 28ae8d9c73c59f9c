"""The response of the CPU load."""

from service.platform.http.schemas import Out


class ComputeResult(Out):
    result: int
