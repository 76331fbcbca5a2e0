"""Who may do what in the interop tests: they run with ``--authorize tests.interop.tokens:authorize``."""

from roomful.server.auth import Access, AccessRequest, Denied


async def authorize(request: AccessRequest) -> Access:
    """Read the rights from the token itself.

    ========================  ===============================================
    ``denied``                no
    ``readonly``              may read
    ``only <room>``           may read and write, in the room of this name
    ``broken``                an authorizer that fails
    anything else, or none    may read and write; the token is the user's name
    ========================  ===============================================
    """
    token = request.token
    if token == "denied":
        raise Denied("this token is no good")
    if token == "broken":
        raise RuntimeError("the login service is away")
    if token.startswith("only ") and token != f"only {request.room}":
        raise Denied(f"this token is not for {request.room}")
    return Access(user=token or "anonymous", read_only=token == "readonly")
