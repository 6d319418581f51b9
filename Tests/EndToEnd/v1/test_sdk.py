"""OpenAI's own Python SDK against the product: only the address and the key differ."""

import io

import openai
import pytest
from openai import OpenAI


@pytest.fixture(scope="module")
def sdk(stack, token):
    with OpenAI(base_url=stack.url + "/v1", api_key=token, max_retries=0) as client:
        yield client


DATABASES = ("sqlite", "postgresql+redis")
# As in production: TLS to the upstream, and hundreds of calls open beside the tests.
STACK = {"upstream_tls": True}
CROWD = 200

MESSAGES = [{"role": "user", "content": "tell me about spain"}]


def test_models(sdk):
    assert "gpt-4o" in [model.id for model in sdk.models.list()]
    assert sdk.models.retrieve("gpt-4o").id == "gpt-4o"


def test_chat(sdk):
    completion = sdk.chat.completions.create(model="gpt-4o", messages=MESSAGES)
    assert completion.choices[0].message.content.startswith("echo: tell me about spain")
    assert completion.usage.total_tokens > 0


def test_streamed_chat_with_usage(sdk):
    plain = sdk.chat.completions.create(model="gpt-4o", messages=MESSAGES)
    stream = sdk.chat.completions.create(
        model="gpt-4o", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    words = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(words) == plain.choices[0].message.content
    assert len([word for word in words if word]) > 1
    assert chunks[-1].usage == plain.usage and not chunks[-1].choices


def test_completions(sdk):
    completion = sdk.completions.create(model="mock", prompt="hello")
    assert completion.choices[0].text.startswith("echo: hello")


def test_embeddings(sdk):
    # The SDK asks for base64 and turns it into numbers.
    answer = sdk.embeddings.create(model="text-embedding-3-small", input=["a", "b"])
    assert [len(item.embedding) for item in answer.data] == [1536, 1536]
    assert answer.data[0].embedding != answer.data[1].embedding


def test_responses(sdk):
    plain = sdk.responses.create(model="gpt-4o", input="tell me about spain")
    assert plain.output_text.startswith("echo: tell me about spain")
    assert plain.usage.total_tokens == plain.usage.input_tokens + plain.usage.output_tokens > 0
    with sdk.responses.stream(model="gpt-4o", input=MESSAGES) as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert (final.output_text, final.usage) == (plain.output_text, plain.usage)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert len(deltas) > 1 and "".join(deltas) == plain.output_text


def test_responses_over_a_websocket(sdk):
    plain = sdk.responses.create(model="gpt-4o", input="tell me about spain")
    with sdk.responses.connect() as connection:
        for _ in range(2):
            connection.response.create(model="gpt-4o", input="tell me about spain")
            received = []
            while not received or received[-1].type != "response.completed":
                received.append(connection.recv())
                assert received[-1].type != "error"
            final = received[-1].response
            assert (final.output_text, final.usage) == (plain.output_text, plain.usage)
        connection.response.create(model="mock?status=429", input="hello")
        assert connection.recv().type == "error"


def test_a_file_goes_up_and_comes_down(sdk):
    content = bytes(range(256)) * 400
    stored = sdk.files.create(file=("data.bin", io.BytesIO(content)), purpose="fine-tune")
    assert (stored.bytes, stored.filename) == (len(content), "data.bin")
    assert len(sdk.files.content(stored.id).read()) == 1024


def test_a_cookie_and_organization_of_the_caller_do_no_harm(sdk):
    other = sdk.with_options(default_headers={"OpenAI-Organization": "org-x", "Cookie": "a=b"})
    assert other.models.list().data


def create(sdk, model, **more):
    return sdk.chat.completions.create(model=model, messages=MESSAGES, **more)


def test_a_wrong_token_is_an_authentication_error(sdk):
    with pytest.raises(openai.AuthenticationError) as raised:
        create(sdk.with_options(api_key="pgpt_wrong"), "mock")
    assert raised.value.code == "unauthorized" and raised.value.request_id


def test_a_missing_model_is_a_not_found_error(sdk):
    with pytest.raises(openai.NotFoundError) as raised:
        create(sdk, "missing")
    assert raised.value.code == "model_not_found"


def test_a_rate_limit_keeps_its_retry_after(sdk):
    with pytest.raises(openai.RateLimitError) as raised:
        create(sdk, "mock?status=429&retry-after=7")
    assert raised.value.response.headers["retry-after"] == "7"
    assert raised.value.response.headers["x-ratelimit-limit-requests"] == "10000"


def test_a_rate_limit_is_tried_again_by_the_sdk_as_it_would_be_at_openai(sdk, stack):
    stack.mock_delete("/mock/calls")
    with pytest.raises(openai.RateLimitError):
        create(sdk.with_options(max_retries=1), "mock?status=429&retry-after=0.01")
    assert len(stack.mock("/mock/calls")) == 2


def test_a_bad_request_is_a_bad_request_error(sdk):
    with pytest.raises(openai.BadRequestError) as raised:
        sdk.chat.completions.create(model="mock", messages=[])
    assert raised.value.param == "messages"


def test_a_refused_path_is_a_bad_request_error(sdk):
    with pytest.raises(openai.BadRequestError) as raised:
        sdk.get("/models//x", cast_to=object)
    assert raised.value.code == "invalid_request"


def test_a_forbidden_call_is_a_permission_denied_error(sdk):
    with pytest.raises(openai.PermissionDeniedError):
        create(sdk, "mock?status=403")


@pytest.mark.parametrize("status", [500, 503])
def test_an_upstream_in_trouble_is_an_internal_server_error(sdk, status):
    with pytest.raises(openai.InternalServerError) as raised:
        create(sdk, f"mock?status={status}")
    assert raised.value.status_code == status


def test_a_refused_key_of_ours_is_an_internal_server_error_and_no_authentication_error(sdk):
    with pytest.raises(openai.InternalServerError) as raised:
        create(sdk, "mock?status=401")
    assert (raised.value.status_code, raised.value.code) == (502, "upstream_auth")


def test_a_cut_answer_is_an_error_in_the_sdk(sdk):
    with pytest.raises(openai.APIConnectionError):
        create(sdk, "mock?bytes=300000&cut-after-bytes=100000")


def test_a_cut_stream_is_an_error_in_the_sdk(sdk):
    received = []
    stream = create(sdk, "mock?chunks=9&cut-after=3&chunk-delay-ms=5", stream=True)
    with pytest.raises(Exception) as raised:
        for chunk in stream:
            received.append(chunk)
    assert received
    # Older releases of the SDK let the error of their HTTP library through.
    assert isinstance(raised.value, openai.APIError) or "http" in type(raised.value).__module__
