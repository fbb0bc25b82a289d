"""Who asks: tokens, the development issuer, and the typed dependency that endpoints carry in their signature."""

from typing import Annotated

from fastapi import Depends, Request

from bursar_api.errors import Unauthenticated
from bursar_api.identity.tokens import Person

__all__ = ["Caller", "Person"]


async def _caller(request: Request) -> Person:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated("this needs a token: send `Authorization: Bearer <token>`")
    person: Person = await request.app.state.gateway.verifier.verify(token.strip())
    return person


Caller = Annotated[Person, Depends(_caller)]
