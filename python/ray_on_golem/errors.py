"""What can go wrong between Ray and the webserver, each with a sentence that a user can act on."""

from __future__ import annotations


class RayOnGolemError(Exception):
    """Something that the user is told in one sentence, without a traceback."""


class ClusterFileError(RayOnGolemError):
    """The cluster file says something that Ray on Golem does not understand, at a place that its keys lead to."""

    def __init__(self, message: str, *place: str) -> None:
        super().__init__(message)
        self.place = place


class StartError(RayOnGolemError):
    """The webserver could not be started."""


class WebserverError(RayOnGolemError):
    """The webserver answered, and refused."""

    def __init__(self, message: str, status: int = 0, reason: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class AccessError(WebserverError):
    """The webserver wants another token than ours, or what listens in its place does not know ours, or there is none."""


class UnprovenError(AccessError):
    """What listens has not shown that it is our webserver; it says that it is one, of a version."""

    def __init__(self, message: str, version: str) -> None:
        super().__init__(message)
        self.version = version


class ConnectionFailed(RayOnGolemError):
    """There was no answer; the webserver may have read the request all the same."""
