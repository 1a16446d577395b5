"""The `openai` package as a user writes it."""

import os

import openai

base_url = f"{os.environ['AGENTOS_HTTP']}/v1"
client = openai.OpenAI(base_url=base_url, api_key=os.environ["AGENTOS_TOKEN"])
ask = {"model": "agent/polyglot", "messages": [{"role": "user", "content": "write and embed"}]}

whole = client.chat.completions.create(**ask)
print(f"whole: {whole.choices[0].message.content}")

pieces = []
for chunk in client.chat.completions.create(**ask, stream=True):
    if chunk.choices and chunk.choices[0].delta.content:
        pieces.append(chunk.choices[0].delta.content)
print(f"streamed: {''.join(pieces)}")
print(f"pieces: {str(len(pieces) > 1).lower()}")

print(f"models: {str('agent/polyglot' in [model.id for model in client.models.list()]).lower()}")

try:
    client.chat.completions.create(**{**ask, "model": "no/such"})
except openai.NotFoundError as error:
    print(f"missing: {error.status_code} {error.code}")
try:
    openai.OpenAI(base_url=base_url, api_key="wrong").models.list()
except openai.AuthenticationError as error:
    print(f"key: {error.status_code}")
