"""What LiteLLM's proxy passes on to a provider as it came, past LiteLLM's own functions."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from callspan._failure import Failure
from callspan._guard import guarded
from callspan._in_place import Wrapper
from callspan._litellm.call import Call
from callspan._litellm.call_factory import CallFactory
from callspan._litellm.operations import KINDS, Operation
from callspan._litellm.untyped import as_mapping, read
from callspan._litellm.wrappers import await_call

_OPERATION: Final = Operation("litellm.proxy.pass_through_request", KINDS["llm_passthrough_route"], takes_calls=True)
_PARAMETERS: Final = ("request", "target", "custom_headers", "user_api_key_dict", "custom_body")
_FIRST_ERROR: Final = 400


def wrap_pass_through(factory: CallFactory) -> Wrapper:
    """Wrapper of the coroutine function that asks the provider, and answers with the server's response."""

    def wrap(wrapped: Callable[..., Any], _instance: object, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        call = _start(factory, {**dict(zip(_PARAMETERS, args, strict=False)), **kwargs})
        return await_call(call, wrapped, args, kwargs, _take)

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


def _take(call: Call, response: Any) -> Any:
    """Take note of the server's response, or, if it is streamed, of its body as that goes by."""
    status = read(response, "status_code")
    if isinstance(status, int) and status >= _FIRST_ERROR:
        call.invocation.failure = Failure(str(status), "", status_code=status)
    body = getattr(response, "body_iterator", None)
    if body is None:
        return call.returned(response)
    response.body_iterator = call.returned(body)
    return response
