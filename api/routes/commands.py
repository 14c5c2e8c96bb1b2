"""Commands to a socket: asked for, looked at, their history, and why the relay is as it is."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from api import examples_lifecycle as examples
from api.asking import Asker
from api.commands import accepted_document, change_document, command_document, row_document, with_who
from api.cursors import Ascii, cut_page, decode_cursor, encode_cursor
from api.inputs import CommandIdPath, IdempotencyKey
from api.lifecycle_queries import CommandKey, command_rows, relay_change_rows
from api.routes.parameters import CHANGE_PROBLEMS, READ_PROBLEMS, CursorQuery, DeviceIdPath
from api.schemas import Page, json_answer, problem_responses
from api.schemas_sockets import (
    AcceptedCommand,
    CalibrateCommand,
    Command,
    ConfigureCommand,
    NewCommand,
    SwitchCommand,
    WhySwitched,
)
from api.services import API_PREFIX, JsonBytes, Services
from domain.lifecycle.cause import Cause
from domain.lifecycle.commands import Order, State
from domain.lifecycle.policy import action_of
from domain.lifecycle.sockets import RequestedCommand
from domain.wire import AtMs


def command_routes(services: Services) -> APIRouter:
    """`/devices/{id}/commands` and `/devices/{id}/why`."""
    router = APIRouter(prefix=API_PREFIX, tags=["commands"])
    deciding = services.deciding

    @router.post(
        "/devices/{device_id}/commands",
        summary="Tell a socket to do something",
        description="The engine keeps the command until the socket is there, or it expires. It ends exactly once: "
        "acknowledged, rejected, expired or failed.",
        status_code=202,
        response_class=JsonBytes,
        responses={
            202: json_answer(AcceptedCommand, examples.ACCEPTED_COMMAND),
            **problem_responses(*CHANGE_PROBLEMS),
        },
    )
    async def request_command(
        request: Request,
        asker: Asker,
        device_id: DeviceIdPath,
        new: NewCommand,
        idempotency_key: IdempotencyKey = None,
    ) -> Response:
        await deciding.allow_device(request, asker, action_of(new.type), device_id)
        cause = deciding.cause(request, asker)

        def decide() -> dict[str, Any]:
            asked = _request(device_id, new, cause, idempotency_key)
            return command_document(deciding.lifecycle, device_id, asked.command_id)

        document = accepted_document(await deciding.decide(decide))
        return JsonBytes(msgspec.json.encode(document), 202, {"Location": document["url"]})

    @router.get(
        "/devices/{device_id}/commands",
        summary="A socket's commands, newest first",
        response_class=JsonBytes,
        responses={200: json_answer(Page[Command], examples.COMMANDS), **problem_responses(*READ_PROBLEMS)},
    )
    async def list_commands(
        request: Request,
        asker: Asker,
        device_id: DeviceIdPath,
        state: Annotated[State | None, Query(description="Only those in this state.")] = None,
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
        cursor: CursorQuery = None,
    ) -> Response:
        await deciding.allow_device(request, asker, "device.see", device_id)
        before = None if cursor is None else CommandKey(*decode_cursor(cursor, tuple[AtMs, Ascii]))
        rows = await services.database.ask(command_rows, device_id, before, limit + 1, state)
        shown, last = cut_page(rows, limit, CommandKey)
        token = None if last is None else encode_cursor(last)
        items = await _named([row_document(row) for row in shown])
        return JsonBytes(msgspec.json.encode({"items": items, "next_cursor": token}))

    @router.get(
        "/devices/{device_id}/commands/{command_id}",
        summary="How a command goes",
        response_class=JsonBytes,
        responses={200: json_answer(Command, examples.COMMAND), **problem_responses(*READ_PROBLEMS)},
    )
    async def get_command(
        request: Request, asker: Asker, device_id: DeviceIdPath, command_id: CommandIdPath
    ) -> Response:
        await deciding.allow_device(request, asker, "device.see", device_id)
        document = await deciding.look(lambda: command_document(deciding.lifecycle, device_id, command_id))
        return JsonBytes(msgspec.json.encode((await _named([document]))[0]))

    @router.get(
        "/devices/{device_id}/why",
        summary="Why did it switch? What last moved the relay, newest first",
        response_class=JsonBytes,
        responses={200: json_answer(WhySwitched, examples.WHY), **problem_responses(*READ_PROBLEMS)},
    )
    async def why(
        request: Request,
        asker: Asker,
        device_id: DeviceIdPath,
        limit: Annotated[int, Query(ge=1, le=50)] = 5,
    ) -> Response:
        await deciding.allow_device(request, asker, "device.see", device_id)
        rows = await services.database.ask(relay_change_rows, device_id, limit)
        items = await _named([change_document(row) for row in rows])
        return JsonBytes(msgspec.json.encode({"device_id": device_id, "items": items}))

    def _request(device_id: str, new: NewCommand, cause: Cause, key: str | None) -> RequestedCommand:
        expires_in = timedelta(seconds=new.expires_in_s)
        if isinstance(new, ConfigureCommand):
            return deciding.sockets.request_configuration(
                device_id, new.config.to_domain(), cause, expires_in=expires_in, idempotency_key=key
            )
        order = Order(
            new.type,
            relay=new.relay if isinstance(new, SwitchCommand) else None,
            reference=new.reference.to_domain() if isinstance(new, CalibrateCommand) else None,
        )
        return deciding.sockets.request(device_id, order, cause, expires_in=expires_in, idempotency_key=key)

    async def _named(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
        access, people = deciding.access, deciding.people
        return await deciding.look(lambda: [with_who(one, access, people) for one in documents])

    return router
