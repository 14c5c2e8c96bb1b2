"""Invitations to become a member of a tenant: given out, taken back, accepted."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from api import examples_lifecycle as examples
from api.asking import Asker
from api.inputs import InvitationIdPath, TenantIdPath
from api.routes.parameters import CHANGE_PROBLEMS, NO_CONTENT, READ_PROBLEMS, user_id_of
from api.schemas import json_answer, problem_responses
from api.schemas_accounts import Invitation, InvitationToken, IssuedInvitation, Items, Joined, RoleChange
from api.services import API_PREFIX, JsonBytes, Services
from api.time_ranges import format_instant
from domain.clock import to_ms
from domain.errors import Missing
from domain.lifecycle.access import Access
from domain.lifecycle.access import Invitation as KnownInvitation
from domain.lifecycle.cause import Cause
from domain.lifecycle.tokens import token_sha256


def invitation_routes(services: Services) -> APIRouter:
    """`/tenants/{id}/invitations` and `/invitations/accept`."""
    router = APIRouter(prefix=API_PREFIX, tags=["tenants"])
    deciding = services.deciding

    @router.get(
        "/tenants/{tenant_id}/invitations",
        summary="Invitations that somebody may still use",
        response_class=JsonBytes,
        responses={
            200: json_answer(Items[Invitation], examples.INVITATIONS),
            **problem_responses(*READ_PROBLEMS),
        },
    )
    async def list_invitations(request: Request, asker: Asker, tenant_id: TenantIdPath) -> Response:
        await deciding.allow_tenant(request, asker, "tenant.manage_members", tenant_id)
        known = map(deciding.access.invitations.__getitem__, deciding.access.tenants[tenant_id].invitations.values())
        items = [_invitation(one) for one in known if one.expires_at > deciding.now()]
        return JsonBytes(msgspec.json.encode({"items": items}))

    @router.post(
        "/tenants/{tenant_id}/invitations",
        summary="Invite whoever is given the token, for seven days",
        status_code=201,
        response_class=JsonBytes,
        responses={
            201: json_answer(IssuedInvitation, examples.ISSUED_INVITATION),
            **problem_responses(*CHANGE_PROBLEMS),
        },
    )
    async def invite(request: Request, asker: Asker, tenant_id: TenantIdPath, new: RoleChange) -> Response:
        await deciding.allow_tenant(request, asker, "tenant.manage_members", tenant_id)
        cause = deciding.cause(request, asker)
        issued = await deciding.decide(lambda: deciding.tenancy.invite(tenant_id, new.role, cause))
        known = deciding.access.invitations[token_sha256(issued.token)]
        return JsonBytes(msgspec.json.encode(_invitation(known) | {"token": issued.token}), 201)

    @router.delete(
        "/tenants/{tenant_id}/invitations/{invitation_id}",
        summary="Take an invitation back",
        status_code=204,
        responses={204: NO_CONTENT, **problem_responses(401, 403, 404, 409, 422, 429, 503)},
    )
    async def revoke(
        request: Request, asker: Asker, tenant_id: TenantIdPath, invitation_id: InvitationIdPath
    ) -> Response:
        await deciding.allow_tenant(request, asker, "tenant.manage_members", tenant_id)
        cause = deciding.cause(request, asker)
        await deciding.decide(lambda: deciding.tenancy.revoke_invitation(tenant_id, invitation_id, cause))
        return Response(status_code=204)

    @router.post(
        "/invitations/accept",
        summary="Become a member of the tenant that one is invited to",
        response_class=JsonBytes,
        responses={
            200: json_answer(Joined, examples.JOINED),
            **problem_responses(*CHANGE_PROBLEMS),
        },
    )
    async def accept(request: Request, asker: Asker, shown: InvitationToken) -> Response:
        await deciding.allow_site(request, asker, "account.join_tenant")
        cause = deciding.cause(request, asker)
        try:
            known = await _join(shown.token, user_id_of(asker), cause)
        except Missing as refusal:
            subject = invitation_subject(deciding.access, shown.token)
            deciding.note_denial(request, asker, "account.join_tenant", subject, refusal.kind)
            raise
        return JsonBytes(msgspec.json.encode({"tenant_id": known.tenant_id, "role": known.role}))

    async def _join(token: str, user_id: str, cause: Cause) -> KnownInvitation:
        known = deciding.access.invitations.get(token_sha256(token))
        if known is None:
            raise Missing("unknown-invitation", "no such invitation, or it was used")
        tenant_id, invitation_id = known.tenant_id, known.invitation_id
        await deciding.decide(lambda: deciding.tenancy.accept(tenant_id, invitation_id, user_id, cause))
        return known

    return router


def invitation_subject(access: Access, token: str) -> str:
    """Which tenant's door somebody stood at with an invitation; the site's, if nobody knows it."""
    known = access.invitations.get(token_sha256(token))
    return "site" if known is None else f"tenant:{known.tenant_id}"


def _invitation(known: KnownInvitation) -> dict[str, Any]:
    return {
        "invitation_id": known.invitation_id,
        "role": known.role,
        "issued_at": format_instant(to_ms(known.issued_at)),
        "expires_at": format_instant(to_ms(known.expires_at)),
    }
