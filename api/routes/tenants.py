"""Tenants, their members, and invitations to become one."""

from __future__ import annotations

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from api import examples_lifecycle as examples
from api.asking import Asker
from api.inputs import TenantIdPath, UserIdPath
from api.people import member_documents, tenant_document
from api.routes.parameters import CHANGE_PROBLEMS, NO_CONTENT, READ_PROBLEMS, user_id_of
from api.schemas import json_answer, problem_responses
from api.schemas_accounts import Items, Member, RoleChange, Tenant, TenantName
from api.services import API_PREFIX, JsonBytes, Services


def tenant_routes(services: Services) -> APIRouter:
    """`/tenants` and their members."""
    router = APIRouter(prefix=API_PREFIX, tags=["tenants"])
    deciding = services.deciding

    @router.get(
        "/tenants",
        summary="The tenants one belongs to",
        response_class=JsonBytes,
        responses={200: json_answer(Items[Tenant], examples.TENANTS), **problem_responses(401, 403, 429, 503)},
    )
    async def list_tenants(request: Request, asker: Asker) -> Response:
        await deciding.allow_site(request, asker, "account.see")
        user_id, access, people = user_id_of(asker), deciding.access, deciding.people
        mine = [access.tenants[tenant_id] for tenant_id in sorted(access.users[user_id].tenant_ids)]
        items = await deciding.look(lambda: [tenant_document(access, people, tenant, user_id) for tenant in mine])
        return JsonBytes(msgspec.json.encode({"items": items}))

    @router.post(
        "/tenants",
        summary="Found a tenant and become its owner",
        status_code=201,
        response_class=JsonBytes,
        responses={
            201: json_answer(Tenant, examples.TENANT),
            **problem_responses(400, 401, 403, 409, 413, 415, 422, 429, 503),
        },
    )
    async def found_tenant(request: Request, asker: Asker, new: TenantName) -> Response:
        await deciding.allow_site(request, asker, "account.found_tenant")
        user_id, cause = user_id_of(asker), deciding.cause(request, asker)
        tenant_id, _ = await deciding.decide(lambda: deciding.tenancy.found(cause, name=new.name, owner_id=user_id))
        answer = await _tenant(tenant_id, user_id, status=201)
        answer.headers["Location"] = f"{API_PREFIX}/tenants/{tenant_id}"
        return answer

    @router.get(
        "/tenants/{tenant_id}",
        summary="One tenant",
        response_class=JsonBytes,
        responses={200: json_answer(Tenant, examples.TENANT), **problem_responses(*READ_PROBLEMS)},
    )
    async def get_tenant(request: Request, asker: Asker, tenant_id: TenantIdPath) -> Response:
        await deciding.allow_tenant(request, asker, "tenant.see", tenant_id)
        return await _tenant(tenant_id, user_id_of(asker))

    @router.patch(
        "/tenants/{tenant_id}",
        summary="Rename a tenant",
        response_class=JsonBytes,
        responses={200: json_answer(Tenant, examples.TENANT), **problem_responses(*CHANGE_PROBLEMS)},
    )
    async def rename_tenant(request: Request, asker: Asker, tenant_id: TenantIdPath, new: TenantName) -> Response:
        await deciding.allow_tenant(request, asker, "tenant.rename", tenant_id)
        cause = deciding.cause(request, asker)
        await deciding.decide(lambda: deciding.tenancy.rename(tenant_id, new.name, cause))
        return await _tenant(tenant_id, user_id_of(asker))

    @router.get(
        "/tenants/{tenant_id}/members",
        summary="Who belongs to a tenant",
        response_class=JsonBytes,
        responses={
            200: json_answer(Items[Member], examples.MEMBERS),
            **problem_responses(*READ_PROBLEMS),
        },
    )
    async def list_members(request: Request, asker: Asker, tenant_id: TenantIdPath) -> Response:
        await deciding.allow_tenant(request, asker, "tenant.see_members", tenant_id)
        access, people, asker_id = deciding.access, deciding.people, user_id_of(asker)
        tenant = access.tenants[tenant_id]
        items = await deciding.look(lambda: member_documents(access, people, tenant, asker_id))
        return JsonBytes(msgspec.json.encode({"items": items}))

    @router.patch(
        "/tenants/{tenant_id}/members/{user_id}",
        summary="Give a member another role",
        status_code=204,
        responses={204: NO_CONTENT, **problem_responses(*CHANGE_PROBLEMS)},
    )
    async def change_role(
        request: Request, asker: Asker, tenant_id: TenantIdPath, user_id: UserIdPath, change: RoleChange
    ) -> Response:
        await deciding.allow_tenant(request, asker, "tenant.manage_members", tenant_id)
        cause = deciding.cause(request, asker)
        await deciding.decide(lambda: deciding.tenancy.change_role(tenant_id, user_id, change.role, cause))
        return Response(status_code=204)

    @router.delete(
        "/tenants/{tenant_id}/members/{user_id}",
        summary="Remove a member, or leave",
        status_code=204,
        responses={204: NO_CONTENT, **problem_responses(401, 403, 404, 409, 422, 429, 503)},
    )
    async def remove_member(request: Request, asker: Asker, tenant_id: TenantIdPath, user_id: UserIdPath) -> Response:
        leaves = asker.user_id == user_id
        await deciding.allow_tenant(request, asker, "tenant.leave" if leaves else "tenant.manage_members", tenant_id)
        cause = deciding.cause(request, asker)
        await deciding.decide(lambda: deciding.tenancy.remove_member(tenant_id, user_id, cause))
        return Response(status_code=204)

    async def _tenant(tenant_id: str, user_id: str, *, status: int = 200) -> Response:
        access, people = deciding.access, deciding.people
        tenant = access.tenants[tenant_id]
        document = await deciding.look(lambda: tenant_document(access, people, tenant, user_id))
        return JsonBytes(msgspec.json.encode(document), status)

    return router
