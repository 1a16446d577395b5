// The `openai` package as a user writes it.
import OpenAI from "openai";

const baseURL = `${process.env.AGENTOS_HTTP}/v1`;
const client = new OpenAI({ baseURL, apiKey: process.env.AGENTOS_TOKEN });
const ask = { model: "agent/polyglot", messages: [{ role: "user", content: "write and embed" }] };

const whole = await client.chat.completions.create(ask);
console.log(`whole: ${whole.choices[0].message.content}`);

const pieces = [];
for await (const chunk of await client.chat.completions.create({ ...ask, stream: true })) {
  const text = chunk.choices[0]?.delta?.content;
  if (text) pieces.push(text);
}
console.log(`streamed: ${pieces.join("")}`);
console.log(`pieces: ${pieces.length > 1}`);

const ids = [];
for await (const model of await client.models.list()) ids.push(model.id);
console.log(`models: ${ids.includes("agent/polyglot")}`);

await client.chat.completions.create({ ...ask, model: "no/such" }).catch((error) => console.log(`missing: ${error.status} ${error.code}`));
const stranger = new OpenAI({ baseURL, apiKey: "wrong" });
await stranger.models.list().catch((error) => console.log(`key: ${error.status}`));
