"""A collector on loopback that takes OTLP over http/protobuf, and the traces it was sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

VERBS = ["receive", "decode", "dedupe", "post", "record", "delete"]


@dataclass(frozen=True)
class Message:
    """One trace: the span of a message and, in the order of their begin, those of its verbs."""

    root: Span
    children: list[Span]

    @property
    def verbs(self) -> list[str]:
        return [child.name for child in self.children]

    @property
    def facts(self) -> dict[str, Any]:
        return facts(self.root)

    @property
    def is_error(self) -> bool:
        return bool(self.root.status.code == Status.STATUS_CODE_ERROR)


@dataclass
class Collector:
    """What arrived; `status` is what it answers."""

    url: str = ""
    status: int = 200
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    is_hanging: bool = False
    hung: asyncio.Event = field(default_factory=asyncio.Event)
    is_over: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def environ(self) -> dict[str, str]:
        """What makes a relay send every trace here."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.url, "OTEL_TRACES_SAMPLER": "always_on"}

    @property
    def requests(self) -> list[ExportTraceServiceRequest]:
        return [ExportTraceServiceRequest.FromString(body) for body in self.bodies]

    @property
    def resource(self) -> dict[str, Any]:
        """Who sent, as the first request says."""
        return facts(self.requests[0].resource_spans[0].resource)

    @property
    def messages(self) -> list[Message]:
        """Every trace; each must be one message that holds all its verbs."""
        traces: dict[bytes, list[Span]] = {}
        for request in self.requests:
            for resource in request.resource_spans:
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        traces.setdefault(span.trace_id, []).append(span)
        return [_message(spans) for spans in traces.values()]

    async def take(self, request: web.Request) -> web.Response:
        assert request.path == "/v1/traces"
        assert request.content_type == "application/x-protobuf"
        if self.is_hanging:
            self.hung.set()
            await self.is_over.wait()
        self.headers.append(dict(request.headers))
        body = await request.read()
        if self.status == 200:
            self.bodies.append(body)
        return web.Response(status=self.status)


def facts(of: Any) -> dict[str, Any]:
    """The attributes of a span or a resource."""
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in of.attributes}


def _message(spans: list[Span]) -> Message:
    [root] = [span for span in spans if not span.parent_span_id]
    children = [span for span in spans if span.parent_span_id]
    children.sort(key=lambda span: span.start_time_unix_nano)
    assert len(spans) <= 1 + len(VERBS)
    assert root.name == "message"
    for child in children:
        assert child.parent_span_id == root.span_id
        assert root.start_time_unix_nano <= child.start_time_unix_nano
        assert child.start_time_unix_nano <= child.end_time_unix_nano <= root.end_time_unix_nano
    return Message(root, children)


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    """Serve a collector while the context lasts."""
    collector = Collector()
    app = web.Application()
    app.router.add_post("/{path:.*}", collector.take)
    async with TestServer(app, skip_url_asserts=True) as server:
        collector.url = str(server.make_url("")).rstrip("/")
        try:
            yield collector
        finally:
            collector.is_over.set()
