"""The surfaces of the gateway by the packages that people use: openai, anthropic, LangChain.

Each line that is printed is one thing that worked; the test knows them all.
"""

import os

import anthropic
import openai
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

http, token = os.environ["AGENTOS_HTTP"], os.environ["AGENTOS_TOKEN"]
ours = openai.OpenAI(base_url=f"{http}/v1", api_key=token)
theirs = anthropic.Anthropic(base_url=http, api_key=token)
parameters = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


class City(BaseModel):
    city: str


def responses():
    first = ours.responses.create(model="scripted/hello", input="hi", instructions="be brief")
    print(f"responses: {first.output_text} {first.status} {first.usage.total_tokens}")
    assert ours.responses.retrieve(first.id).output_text == first.output_text
    with ours.responses.stream(model="scripted/hello", input="and?", previous_response_id=first.id) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    print(f"responses streamed: {final.output_text} {kinds[0]} {kinds[-1]} {kinds.count('response.output_text.delta')}")
    tools = [{"type": "function", "name": "weather", "parameters": parameters, "strict": False}]
    asked = [{"role": "user", "content": "Paris?"}]
    called = ours.responses.create(model="scripted/weather", input=asked, tools=tools)
    call = called.output[-1]
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    told = ours.responses.create(model="scripted/weather", input=[*asked, *called.output, result], tools=tools)
    print(f"responses tools: {call.name} {call.arguments} {told.output_text}")
    parsed = ours.responses.parse(model="scripted/json", input="where?", text_format=City)
    print(f"responses parsed: {parsed.output_parsed.city}")
    ours.responses.delete(first.id)
    try:
        ours.responses.create(model="scripted/hello", input="x", previous_response_id=first.id)
    except openai.BadRequestError as error:
        print(f"responses gone: {error.code}")


def chats():
    many = ours.chat.completions.create(model="scripted/hello", messages=[{"role": "user", "content": "hi"}], n=2)
    print(f"chat n: {[choice.message.content for choice in many.choices]}")
    old = ours.completions.create(model="scripted/hello", prompt="hi")
    print(f"completions: {old.choices[0].text} {old.object}")
    stream = ours.completions.create(model="scripted/hello", prompt="hi", stream=True)
    print(f"completions streamed: {''.join(chunk.choices[0].text for chunk in stream)}")
    parsed = ours.chat.completions.parse(
        model="scripted/json", messages=[{"role": "user", "content": "where?"}], response_format=City
    )
    print(f"chat parsed: {parsed.choices[0].message.parsed.city} {parsed._request_id is not None}")


def messages():
    ask = {"model": "scripted/hello", "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]}
    whole = theirs.messages.create(**ask)
    print(f"messages: {whole.content[0].text} {whole.stop_reason} {whole.usage.output_tokens}")
    with theirs.messages.stream(**ask) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    print(f"messages streamed: {text} {final.stop_reason} {final.usage.input_tokens}")
    tools = [{"name": "weather", "input_schema": parameters}]
    ask = {**ask, "model": "scripted/weather", "tools": tools}
    with theirs.messages.stream(**ask) as stream:
        called = stream.get_final_message()
    use = called.content[-1]
    result = {"type": "tool_result", "tool_use_id": use.id, "content": "sunny"}
    said = [*ask["messages"], {"role": "assistant", "content": called.content}, {"role": "user", "content": [result]}]
    told = theirs.messages.create(**{**ask, "messages": said})
    print(f"messages tools: {called.stop_reason} {use.input} {told.content[0].text}")
    count = theirs.messages.count_tokens(model="scripted/hello", messages=ask["messages"])
    print(f"messages counted: {count.input_tokens > 0}")
    try:
        theirs.messages.create(**{**ask, "model": "no/such"})
    except anthropic.NotFoundError as error:
        print(f"messages missing: {error.type} {error.request_id is not None}")


def langchain():
    def model(name):
        return ChatOpenAI(base_url=f"{http}/v1", api_key=token, model=name, stream_usage=True)

    pieces = list(model("scripted/hello").stream("hi"))
    used = sum(piece.usage_metadata["output_tokens"] for piece in pieces if piece.usage_metadata)
    print(f"langchain streamed: {''.join(piece.text for piece in pieces)} {used}")
    tool = {"type": "function", "function": {"name": "weather", "parameters": parameters}}
    bound = model("scripted/weather").bind_tools([tool])
    question = HumanMessage("Paris?")
    called = bound.invoke([question])
    call = called.tool_calls[0]
    told = bound.invoke([question, called, ToolMessage("sunny", tool_call_id=call["id"])])
    print(f"langchain tools: {call['name']} {call['args']} {told.text}")
    print(f"langchain structured: {model('scripted/json').with_structured_output(City).invoke('where?').city}")


responses()
chats()
messages()
langchain()
