"""OpenAI's own Python client through Proxy GPT: only the address and the key differ.

    pip install openai
    OPENAI_BASE_URL=http://localhost:8080/v1 OPENAI_API_KEY=$TOKEN python3 examples/openai-sdk/main.py

$TOKEN is that of a user's session, which /user/login answers; the operator's key never leaves the server.
"""

from __future__ import annotations

import os
import sys

import openai
from openai import OpenAI

MODEL = os.environ.get("OPENAI_MODEL", "gpt-4o-mini")


def plain(client: OpenAI) -> None:
    completion = client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "Tell me about Spain."}]
    )
    print("plain:", completion.choices[0].message.content)


def streamed(client: OpenAI) -> None:
    print("streamed: ", end="")
    chunks = client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "Tell me about Portugal."}], stream=True
    )
    for chunk in chunks:
        if chunk.choices:
            print(chunk.choices[0].delta.content or "", end="", flush=True)
    print()


def files(client: OpenAI) -> None:
    """Files are stored at OpenAI under the operator's key: all users of the server share them."""
    stored = client.files.create(file=("notes.jsonl", b'{"note": "Spain"}\n'), purpose="fine-tune")
    print(f"file: {stored.filename}, {stored.bytes} bytes")
    content = client.files.content(stored.id).read()
    print(f"content: {len(content)} bytes")


def main() -> int:
    try:
        # OPENAI_BASE_URL and OPENAI_API_KEY are read by the client itself.
        with OpenAI() as client:
            plain(client)
            streamed(client)
            files(client)
    except openai.OpenAIError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
