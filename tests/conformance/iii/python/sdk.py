"""What differs between the generations of the PyPI package, and nothing else."""

import warnings

import iii
from iii import InitOptions, TriggerAction, register_worker

try:
    from iii.helpers import create_channel_async, create_stream
    from iii_helpers.http import HttpInvocationConfig, http
    from iii_helpers.observability import Logger, ReconnectionConfig
    from iii_helpers.stream import StreamDeleteResult, StreamSetResult
    from iii.errors import InvocationError
    from iii.trigger import TriggerHandler

    GENERATION = "25"
    ABILITIES = {"g22", "large-messages", "call-metadata", "unregister-trigger", "namespaces"}
    # Deprecated, and the point of the suite.
    warnings.simplefilter("ignore")
except ImportError:
    from iii import HttpInvocationConfig, Logger, ReconnectionConfig, TriggerHandler, http
    from iii import IIIInvocationError as InvocationError
    from iii.stream import StreamDeleteResult, StreamSetResult

    GENERATION = "11"
    ABILITIES = {"g11", "shared-functions"}

    async def create_channel_async(worker, size=None):
        return await worker.create_channel_async(size)

    def create_stream(worker, name, stream):
        worker.create_stream(name, stream)


__all__ = [
    "ABILITIES",
    "GENERATION",
    "HttpInvocationConfig",
    "InitOptions",
    "InvocationError",
    "Logger",
    "ReconnectionConfig",
    "StreamDeleteResult",
    "StreamSetResult",
    "TriggerAction",
    "TriggerHandler",
    "create_channel_async",
    "create_stream",
    "http",
    "iii",
    "register_worker",
]
