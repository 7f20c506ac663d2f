"""Every attribute, event and metric name that callspan writes, each spelled once.

The ``gen_ai.*``, ``openai.*``, ``server.*`` and ``error.*`` names are those of the OpenTelemetry GenAI semantic
conventions (https://github.com/open-telemetry/semantic-conventions-genai). They are copied, not imported: upstream
marks its Python constants deprecated and publishes no tagged release of them. ``litellm.*`` names carry what LiteLLM
alone knows; ``callspan.*`` names carry what callspan alone knows.
"""

from typing import Final

SCOPE_NAME: Final = "callspan"
"""The instrumentation scope of every span."""

CONTEXT_KEY: Final = "callspan-context"
"""Where in the OpenTelemetry context stands what :func:`callspan.context` was told."""

# Conventions: request. Those marked with a star there are set when the span starts, for samplers to see.
GEN_AI_OPERATION_NAME: Final = "gen_ai.operation.name"
GEN_AI_PROVIDER_NAME: Final = "gen_ai.provider.name"
GEN_AI_REQUEST_MODEL: Final = "gen_ai.request.model"
GEN_AI_REQUEST_CHOICE_COUNT: Final = "gen_ai.request.choice.count"
GEN_AI_REQUEST_ENCODING_FORMATS: Final = "gen_ai.request.encoding_formats"
GEN_AI_REQUEST_FREQUENCY_PENALTY: Final = "gen_ai.request.frequency_penalty"
GEN_AI_REQUEST_MAX_TOKENS: Final = "gen_ai.request.max_tokens"
GEN_AI_REQUEST_PRESENCE_PENALTY: Final = "gen_ai.request.presence_penalty"
GEN_AI_REQUEST_PREVIOUS_RESPONSE_ID: Final = "gen_ai.request.previous_response.id"
GEN_AI_REQUEST_REASONING_LEVEL: Final = "gen_ai.request.reasoning.level"
GEN_AI_REQUEST_SEED: Final = "gen_ai.request.seed"
GEN_AI_REQUEST_STOP_SEQUENCES: Final = "gen_ai.request.stop_sequences"
GEN_AI_REQUEST_STREAM: Final = "gen_ai.request.stream"
GEN_AI_REQUEST_TEMPERATURE: Final = "gen_ai.request.temperature"
GEN_AI_REQUEST_TOP_K: Final = "gen_ai.request.top_k"
GEN_AI_REQUEST_TOP_P: Final = "gen_ai.request.top_p"
GEN_AI_CONVERSATION_ID: Final = "gen_ai.conversation.id"
GEN_AI_OUTPUT_TYPE: Final = "gen_ai.output.type"
GEN_AI_EMBEDDINGS_DIMENSION_COUNT: Final = "gen_ai.embeddings.dimension.count"
OPENAI_REQUEST_SERVICE_TIER: Final = "openai.request.service_tier"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"

# Conventions: response.
GEN_AI_RESPONSE_FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
GEN_AI_RESPONSE_ID: Final = "gen_ai.response.id"
GEN_AI_RESPONSE_MODEL: Final = "gen_ai.response.model"
GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK: Final = "gen_ai.response.time_to_first_chunk"
GEN_AI_USAGE_INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
GEN_AI_USAGE_OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
GEN_AI_USAGE_CACHE_WRITE_INPUT_TOKENS: Final = "gen_ai.usage.cache_write.input_tokens"
GEN_AI_USAGE_REASONING_OUTPUT_TOKENS: Final = "gen_ai.usage.reasoning.output_tokens"
GEN_AI_USAGE_AUDIO_INPUT_TOKENS: Final = "gen_ai.usage.audio.input_tokens"
GEN_AI_USAGE_AUDIO_OUTPUT_TOKENS: Final = "gen_ai.usage.audio.output_tokens"
GEN_AI_USAGE_IMAGE_INPUT_TOKENS: Final = "gen_ai.usage.image.input_tokens"
GEN_AI_USAGE_IMAGE_OUTPUT_TOKENS: Final = "gen_ai.usage.image.output_tokens"
OPENAI_RESPONSE_SERVICE_TIER: Final = "openai.response.service_tier"
OPENAI_RESPONSE_SYSTEM_FINGERPRINT: Final = "openai.response.system_fingerprint"

# Conventions: content, only when the user asks for it.
GEN_AI_INPUT_MESSAGES: Final = "gen_ai.input.messages"
GEN_AI_OUTPUT_MESSAGES: Final = "gen_ai.output.messages"
GEN_AI_SYSTEM_INSTRUCTIONS: Final = "gen_ai.system_instructions"
GEN_AI_TOOL_DEFINITIONS: Final = "gen_ai.tool.definitions"

# Conventions: who the call is made for.
USER_ID: Final = "user.id"
SESSION_ID: Final = "session.id"

# Conventions: errors.
ERROR_TYPE: Final = "error.type"
EXCEPTION_TYPE: Final = "exception.type"
EXCEPTION_MESSAGE: Final = "exception.message"
EXCEPTION_STACKTRACE: Final = "exception.stacktrace"
HTTP_RESPONSE_STATUS_CODE: Final = "http.response.status_code"

# What LiteLLM alone knows of a call.
LITELLM_CALL_ID: Final = "litellm.call_id"
LITELLM_CACHE_HIT: Final = "litellm.cache_hit"
LITELLM_DEPLOYMENT_ID: Final = "litellm.deployment.id"
LITELLM_MODEL_GROUP: Final = "litellm.model_group"
LITELLM_OVERHEAD: Final = "litellm.overhead"
LITELLM_PROVIDER: Final = "litellm.provider"
LITELLM_PROVIDER_REQUEST_ID: Final = "litellm.provider_request_id"

# What callspan alone knows of a call.
CALLSPAN_OUTCOME: Final = "callspan.outcome"
CALLSPAN_ENTRY_POINT: Final = "callspan.entry_point"
CALLSPAN_TURN_NUMBER: Final = "callspan.turn.number"
CALLSPAN_TURNS: Final = "callspan.turns"
CALLSPAN_ATTEMPT_NUMBER: Final = "callspan.attempt.number"
CALLSPAN_COST_AMOUNT: Final = "callspan.cost.amount"
CALLSPAN_COST_CURRENCY: Final = "callspan.cost.currency"
CALLSPAN_USAGE_ESTIMATED: Final = "callspan.usage.estimated"
CALLSPAN_PART: Final = "callspan.part"
CALLSPAN_METADATA_PREFIX: Final = "callspan.metadata."
CALLSPAN_TAGS: Final = "callspan.tags"
CALLSPAN_CREDENTIAL_PREFIX: Final = "callspan.credential."

# What callspan tells of a run of a callback: on a span event of the call, or on a span of its own once the call's span
# has ended.
CALLSPAN_CALLBACK_NAME: Final = "callspan.callback.name"
CALLSPAN_CALLBACK_HOOK: Final = "callspan.callback.hook"
CALLSPAN_CALLBACK_DELIVERY: Final = "callspan.callback.delivery"
CALLSPAN_CALLBACK_OUTCOME: Final = "callspan.callback.outcome"
CALLSPAN_CALLBACK_DURATION: Final = "callspan.callback.duration"

# Values.
OPERATION_CHAT: Final = "chat"
OPERATION_TEXT_COMPLETION: Final = "text_completion"
OPERATION_EMBEDDINGS: Final = "embeddings"
OPERATION_GENERATE_CONTENT: Final = "generate_content"
OPERATION_FETCH_RESPONSE: Final = "fetch_response"
OPERATION_REALTIME: Final = "realtime"
OUTCOME_SUCCESS: Final = "success"
OUTCOME_FAILURE: Final = "failure"
OUTCOME_CANCELLED: Final = "cancelled"
OUTCOME_ABANDONED: Final = "abandoned"
CALLBACK_SUCCESS: Final = "success"
CALLBACK_FAILURE: Final = "failure"
CALLBACK_TIMEOUT: Final = "timeout"
CALLBACK_CANCELLED: Final = "cancelled"

# Conventions: metrics.
GEN_AI_TOKEN_TYPE: Final = "gen_ai.token.type"  # noqa: S105  # of an LLM
METRIC_OPERATION_DURATION: Final = "gen_ai.client.operation.duration"
METRIC_TIME_TO_FIRST_CHUNK: Final = "gen_ai.client.operation.time_to_first_chunk"
METRIC_TIME_PER_OUTPUT_CHUNK: Final = "gen_ai.client.operation.time_per_output_chunk"
METRIC_TOKEN_USAGE: Final = "gen_ai.client.token.usage"  # noqa: S105  # as above

# An event of the conventions, which carries content where the user wants it on events.
EVENT_OPERATION_DETAILS: Final = "gen_ai.client.inference.operation.details"

# Span events: the moments of a call that LiteLLM tells its own callbacks about.
EVENT_PRE_API_CALL: Final = "litellm.pre_api_call"
EVENT_POST_API_CALL: Final = "litellm.post_api_call"
EVENT_FIRST_CHUNK: Final = "litellm.first_chunk"
EVENT_SUCCESS: Final = "litellm.success"
EVENT_FAILURE: Final = "litellm.failure"
EVENT_CANCELLED: Final = "litellm.cancelled"
EVENT_ABANDONED: Final = "litellm.abandoned"
EVENT_RETRY: Final = "litellm.retry"
EVENT_FALLBACK: Final = "litellm.fallback"
EVENT_CACHE_HIT: Final = "litellm.cache_hit"
EVENT_TURN: Final = "litellm.turn"
EVENT_EXCEPTION: Final = "exception"
EVENT_CALLBACK: Final = "callspan.callback"

# Conventions of the SDK's own metrics (https://opentelemetry.io/docs/specs/semconv/otel/sdk-metrics/).
OTEL_COMPONENT_NAME: Final = "otel.component.name"
OTEL_COMPONENT_TYPE: Final = "otel.component.type"
OTEL_SDK_PROCESSOR_SPAN_PROCESSED: Final = "otel.sdk.processor.span.processed"
OTEL_SDK_PROCESSOR_SPAN_QUEUE_SIZE: Final = "otel.sdk.processor.span.queue.size"
OTEL_SDK_EXPORTER_SPAN_EXPORTED: Final = "otel.sdk.exporter.span.exported"
OTEL_SDK_EXPORTER_SPAN_INFLIGHT: Final = "otel.sdk.exporter.span.inflight"
OTEL_SDK_EXPORTER_OPERATION_DURATION: Final = "otel.sdk.exporter.operation.duration"
ERROR_TYPE_EXPIRED: Final = "expired"
ERROR_TYPE_QUEUE_FULL: Final = "queue_full"
ERROR_TYPE_REJECTED: Final = "rejected"
