"""How a socket shall behave, and who else may use it."""

from __future__ import annotations

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from api import examples_lifecycle as examples
from api.asking import Asker
from api.commands import command_url
from api.inputs import UserIdPath
from api.people import share_documents
from api.queries import device_rows
from api.routes.parameters import CHANGE_PROBLEMS, NO_CONTENT, READ_PROBLEMS, DeviceIdPath
from api.schemas import json_answer, problem_responses
from api.schemas_accounts import Items
from api.schemas_sockets import Configuration, ConfigurationState, NewShare, Share, ShareAsked, SharePermission
from api.services import API_PREFIX, JsonBytes, Services
from domain.errors import Missing
from domain.lifecycle.cause import Cause
from domain.lifecycle.denials import Denial
from domain.lifecycle.devices import Permission
from domain.lifecycle.policy import Action


def socket_routes(services: Services) -> APIRouter:
    """`/devices/{id}/configuration` and `/devices/{id}/shares`."""
    router = APIRouter(prefix=API_PREFIX, tags=["devices"])
    deciding = services.deciding

    @router.get(
        "/devices/{device_id}/configuration",
        summary="What is wished of a socket, and whether it has confirmed it",
        response_class=JsonBytes,
        responses={
            200: json_answer(ConfigurationState, examples.CONFIGURATION),
            **problem_responses(*READ_PROBLEMS),
        },
    )
    async def get_configuration(request: Request, asker: Asker, device_id: DeviceIdPath) -> Response:
        own = asker.device_id == device_id
        await deciding.allow_device(request, asker, "device.act_as" if own else "device.see", device_id)
        return await _configuration(device_id, None)

    @router.put(
        "/devices/{device_id}/configuration",
        summary="Say how a socket shall behave",
        description="A command takes it to the socket, which confirms the version.",
        response_class=JsonBytes,
        responses={200: json_answer(ConfigurationState, examples.CONFIGURATION), **problem_responses(*CHANGE_PROBLEMS)},
    )
    async def configure(request: Request, asker: Asker, device_id: DeviceIdPath, wished: Configuration) -> Response:
        await deciding.allow_device(request, asker, "device.configure", device_id)
        config, cause = wished.to_domain(), deciding.cause(request, asker)
        _, command = await deciding.decide(lambda: deciding.sockets.configure(device_id, config, cause))
        return await _configuration(device_id, None if command is None else command.command_id)

    @router.get(
        "/devices/{device_id}/shares",
        summary="Whom a socket is shared with",
        response_class=JsonBytes,
        responses={
            200: json_answer(Items[Share], examples.SHARES),
            **problem_responses(*READ_PROBLEMS),
        },
    )
    async def list_shares(request: Request, asker: Asker, device_id: DeviceIdPath) -> Response:
        await deciding.allow_device(request, asker, "device.share", device_id)
        access, people = deciding.access, deciding.people
        items = await deciding.look(lambda: share_documents(access, people, access.devices[device_id]))
        return JsonBytes(msgspec.json.encode({"items": items}))

    @router.post(
        "/devices/{device_id}/shares",
        summary="Share a socket with whoever signs in with an email",
        description="The answer does not tell whether somebody does.",
        status_code=202,
        response_class=JsonBytes,
        responses={202: json_answer(ShareAsked, examples.SHARE_ASKED), **problem_responses(*CHANGE_PROBLEMS)},
    )
    async def share(request: Request, asker: Asker, device_id: DeviceIdPath, new: NewShare) -> Response:
        await deciding.allow_device(request, asker, _sharing(new.permission), device_id)
        cause = deciding.cause(request, asker)
        # The list of shares tells whether somebody has it. Counted before anybody looks: a refusal tells nothing.
        await services.rate_limits.count_strictly("sign-up", request, asker.user_id)
        user_id = await deciding.look(lambda: _user_of(new.email))
        if user_id is not None:
            services.rate_limits.forgive("sign-up", request, asker.user_id)
        await deciding.decide(lambda: _share(device_id, user_id, new, cause))
        return JsonBytes(msgspec.json.encode({"email": new.email, "permission": new.permission}), 202)

    @router.put(
        "/devices/{device_id}/shares/{user_id}",
        summary="Change what somebody may do with a shared socket",
        status_code=204,
        responses={204: NO_CONTENT, **problem_responses(*CHANGE_PROBLEMS)},
    )
    async def change_share(
        request: Request, asker: Asker, device_id: DeviceIdPath, user_id: UserIdPath, change: SharePermission
    ) -> Response:
        await deciding.allow_device(request, asker, _sharing(change.permission), device_id)
        if user_id not in deciding.access.devices[device_id].shares:
            raise Missing("unknown-share", "this device is not shared with that user")
        cause = deciding.cause(request, asker)
        await deciding.decide(lambda: deciding.sockets.share(device_id, user_id, change.permission, cause))
        return Response(status_code=204)

    @router.delete(
        "/devices/{device_id}/shares/{user_id}",
        summary="Share a socket with somebody no longer",
        status_code=204,
        responses={204: NO_CONTENT, **problem_responses(401, 403, 404, 409, 422, 429, 503)},
    )
    async def unshare(request: Request, asker: Asker, device_id: DeviceIdPath, user_id: UserIdPath) -> Response:
        await deciding.allow_device(request, asker, "device.share", device_id)
        cause = deciding.cause(request, asker)
        await deciding.decide(lambda: deciding.sockets.unshare(device_id, user_id, cause))
        return Response(status_code=204)

    def _user_of(email: str) -> str | None:
        return deciding.personal.keys.user_of_name(deciding.accounts.name_hash(email))

    def _share(device_id: str, user_id: str | None, new: NewShare, cause: Cause) -> None:
        """Blocking. An event is stored in either case: neither the answer nor its time tells whether the email is
        somebody's."""
        if user_id is None:
            deciding.lifecycle.store(Denial.note("device.share", f"device:{device_id}", "unknown-user", cause))
        else:
            deciding.sockets.share(device_id, user_id, new.permission, cause)

    async def _configuration(device_id: str, command_id: str | None) -> Response:
        known = deciding.access.devices[device_id]
        heard = (await services.database.ask(device_rows, [device_id])).get(device_id)
        reported = None if heard is None else heard.config
        document = {
            "device_id": device_id,
            "desired": known.config,
            "version": known.config_version,
            "reported_version": reported,
            "confirmed": reported == known.config_version,
            "command_url": None if command_id is None else command_url(device_id, command_id),
        }
        return JsonBytes(msgspec.json.encode(document))

    return router


def _sharing(permission: Permission) -> Action:
    """Whoever may manage a socket may do nearly all that its operators may."""
    return "device.share_manage" if permission == "manage" else "device.share"
