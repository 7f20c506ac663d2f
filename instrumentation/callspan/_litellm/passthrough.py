"""What LiteLLM's proxy passes on to a provider as it came, past LiteLLM's own functions."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from callspan._failure import Failure
from callspan._guard import guarded
from callspan._in_place import Wrapper
from callspan._invocation import deactivate
from callspan._litellm.call import Call
from callspan._litellm.call_factory import CallFactory
from callspan._litellm.operations import KINDS, Operation
from callspan._litellm.untyped import as_mapping, read
from callspan._litellm.wrappers import raised_later

_OPERATION: Final = Operation("litellm.proxy.pass_through_request", KINDS["llm_passthrough_route"], takes_calls=True)
_PARAMETERS: Final = ("request", "target", "custom_headers", "user_api_key_dict", "custom_body")
_FIRST_ERROR: Final = 400


def wrap_pass_through(factory: CallFactory) -> Wrapper:
    """Wrapper of the coroutine function that asks the provider, and answers with the server's response."""

    def wrap(wrapped: Callable[..., Any], _instance: object, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        answer = wrapped(*args, **kwargs)
        call = _start(factory, {**dict(zip(_PARAMETERS, args, strict=False)), **kwargs})
        return answer if call is None else _relay(call, answer)

    return wrap


@guarded
def _start(factory: CallFactory, given: Mapping[str, Any]) -> Call | None:
    return factory.start(_OPERATION, (), _arguments(given))


def _arguments(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """The request by the names that LiteLLM's own functions have for it."""
    request = given.get("request")  # a mapping too, of what the server knows, in which headers are something else
    asked = {
        "api_base": given.get("target"),
        "custom_llm_provider": given.get("custom_llm_provider") or _provider_of(request),
        "headers": given.get("custom_headers"),  # with the provider's key
        "model": read(as_mapping(given.get("custom_body")), "model"),
        "proxy_server_request": {"headers": dict(getattr(request, "headers", None) or {})},
    }
    return {name: value for name, value in asked.items() if value is not None}


def _provider_of(request: object) -> str | None:
    """Whose API is passed through, which the proxy's own paths begin with: ``/anthropic/v1/messages``."""
    import litellm  # noqa: PLC0415  # its proxy is running, so it is imported

    path = getattr(getattr(request, "url", None), "path", None)
    first = path.split("/")[1] if isinstance(path, str) and path.startswith("/") else None
    return first if first in litellm.provider_list else None


async def _relay(call: Call, answer: Awaitable[Any]) -> Any:
    call.asynchronous = True
    call.start()
    activation = call.invocation.activate()
    try:
        response = await answer
    except BaseException as error:
        await raised_later(call, error)
        raise
    finally:
        deactivate(activation)
    status = read(response, "status_code")
    if isinstance(status, int) and status >= _FIRST_ERROR:
        call.invocation.failure = Failure(str(status), "", status_code=status)
    body = getattr(response, "body_iterator", None)
    if body is None:
        call.returned(response)
    else:
        response.body_iterator = call.returned(body)
    if call.pauses:
        await call.pause_async()
    return response
