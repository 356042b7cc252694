"""Two web applications with a bus in them, for test_asgi.py, which has uvicorn serve them: `starlette_app`
with an AsyncBus behind Starlette's AuthenticationMiddleware, `fastapi_app` with a Bus behind a middleware of
its own.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.authentication import (
    AuthCredentials,
    AuthenticationBackend,
    AuthenticationError,
    BaseUser,
    SimpleUser,
)
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse
from starlette.routing import WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send

import busway

seen: list[str] = []
OPTIONS: dict[str, Any] = {"max_connections": 20, "origins": ["https://lab.example"], "hook_timeout": 1.0}


def serve(bus: busway.AsyncBus | busway.Bus) -> None:
    bus.serve("t/echo", lambda request: request.payload, realm="global")
    bus.serve("t/names", lambda request: [each.name for each in bus.clients()], realm="global")
    bus.serve("t/seen", lambda request: list(seen), realm="global")


def admit(client: busway.Client) -> str:
    user: str = client.scope["user"].display_name
    seen.append(f"{client.name} as {user}")
    if user == "mallory":
        raise PermissionError("mallory may not")
    if user == "odd":
        raise KeyError("odd")
    return user


def user_of(query: bytes, header: str) -> str:
    return header or parse_qs(query.decode()).get("user", [""])[0]


# Starlette, with an AsyncBus

loop_bus = busway.AsyncBus(ipc=False, label="site")
serve(loop_bus)


class Backend(AuthenticationBackend):
    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, BaseUser]:
        user = user_of(conn.scope["query_string"], conn.headers.get("x-user", ""))
        if not user and conn.scope["type"] == "websocket":
            raise AuthenticationError("log in first")
        return AuthCredentials(), SimpleUser(user)


async def on_message(client: busway.Client, message: busway.ClientMessage) -> None:
    if client.name == "told":
        seen.append(f"{message.what} {message.name} {message.size}")


@contextlib.asynccontextmanager
async def life(app: Starlette) -> AsyncIterator[None]:
    async with loop_bus:
        yield


starlette_app = Starlette(middleware=[Middleware(AuthenticationMiddleware, backend=Backend())], lifespan=life)
starlette_app.mount("/bus", busway.asgi(loop_bus, admit=admit, on_message=on_message, **OPTIONS))


starlette_app.router.routes.append(WebSocketRoute("/straight", busway.asgi(loop_bus, admit=admit, **OPTIONS)))


# FastAPI, with a Bus

thread_bus = busway.Bus(ipc=False, label="site")
serve(thread_bus)


class Login:
    """Lets in who says a name, and says who that is."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            header = dict(scope["headers"]).get(b"x-user", b"").decode()
            user = user_of(scope["query_string"], header)
            if not user:
                await PlainTextResponse("log in first", 401)(scope, receive, send)
                return
            scope["user"] = SimpleUser(user)
        await self.app(scope, receive, send)


@contextlib.asynccontextmanager
async def other_life(app: FastAPI) -> AsyncIterator[None]:
    with thread_bus:
        yield


def heard(client: busway.Client, message: busway.ClientMessage) -> None:
    if client.name == "told":
        seen.append(f"{message.what} {message.name} {message.size}")


fastapi_app = FastAPI(lifespan=other_life)
fastapi_app.add_middleware(Login)
fastapi_app.mount("/bus", busway.asgi(thread_bus, admit=admit, on_message=heard, **OPTIONS))
fastapi_app.router.routes.append(WebSocketRoute("/straight", busway.asgi(thread_bus, admit=admit, **OPTIONS)))
