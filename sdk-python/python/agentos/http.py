"""HTTP triggers: the parameters of a function from the parts of a request, its result as response.

A parameter gets, by its name and type: the request itself (annotated :class:`HttpRequest`, or not
at all), the JSON body (a dataclass, ``TypedDict``, pydantic model, ``dict`` or ``Any``), or a value
from the path, the query or the keys of the body, in this order.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .records import Field
from .shapes import JSON, Anything, Mismatch, Shape, read_at
from .signature import Signature


@dataclass
class HttpRequest:
    """What an HTTP trigger hands to its function."""

    method: str
    #: The registered path, ``/hello/:name``.
    path: str
    path_params: dict[str, str] = field(default_factory=dict)
    query_params: dict[str, Any] = field(default_factory=dict)
    #: Names are lowercase.
    headers: dict[str, Any] = field(default_factory=dict)
    #: The JSON body, ``None`` when there is none.
    body: Any = None
    #: The body as it came, when the trigger was made with ``raw_body=True``.
    raw_body: bytes | None = None


@dataclass
class HttpResponse:
    """A response with a status and headers; any other result is the body of a 200."""

    body: Any = None
    status_code: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


class HttpSignature(Signature):
    """Fills a function's parameters from a request."""

    def __init__(self, function: Callable[..., Any], context_type: type) -> None:
        super().__init__(function, context_type)
        self._request = {name for name, hint in self.hints.items() if hint is HttpRequest} | self.bare

    def input_schema(self) -> JSON:
        return {"type": "object", "description": "an HTTP request"}

    def bind(self, value: Any, context: Any) -> tuple[list[Any], dict[str, Any]]:
        request = _request(value)
        read = {}
        for parameter in self.fields:
            found = self._find(parameter, request)
            if found is not None:
                read[parameter.name] = found[0]
            elif parameter.required:
                raise Mismatch("required, but neither in the path, the query nor the body", parameter.name)
        return self.arrange(read, context)

    def _find(self, parameter: Field, request: HttpRequest) -> tuple[Any] | None:
        """The argument of one parameter, if the request has it."""
        name, shape = parameter.name, parameter.shape
        if name in self._request:
            return (request,)
        if shape.whole:
            absent = request.body is None and not parameter.required
            return None if absent else (read_at(shape, request.body, "body"),)
        for texts in (request.path_params, request.query_params):
            if name in texts:
                return (read_at(_Text(shape), texts[name], name),)
        if isinstance(request.body, dict) and name in request.body:
            return (read_at(shape, request.body[name], name),)
        return None


class _Text(Anything):
    """A shape read from the text of a URL, where ``7`` may be a number."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape

    def read(self, value: Any) -> Any:
        try:
            return self._shape.read(value)
        except Mismatch as problem:
            try:
                return self._shape.read(json.loads(value))
            except (TypeError, ValueError):
                raise problem from None


def _request(value: Any) -> HttpRequest:
    if not isinstance(value, dict):
        raise Mismatch("expected an HTTP request; this function answers an http trigger")
    raw = value.get("raw_body")
    return HttpRequest(
        method=value.get("method", ""),
        path=value.get("path", ""),
        path_params=value.get("path_params") or {},
        query_params=value.get("query_params") or {},
        headers=value.get("headers") or {},
        body=value.get("body"),
        raw_body=base64.b64decode(raw) if isinstance(raw, str) else None,
    )


def respond(result: Any) -> Any:
    """The result of a function as the trigger wants it."""
    if isinstance(result, HttpResponse):
        return {"status_code": result.status_code, "headers": dict(result.headers), "body": result.body}
    if isinstance(result, dict) and isinstance(result.get("status_code"), int):
        return result
    return {"status_code": 200, "headers": {}, "body": result}
