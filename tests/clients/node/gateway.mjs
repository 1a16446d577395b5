// The surfaces of the gateway by the packages that people use: openai, the AI SDK, Anthropic's.
// Each line that is printed is one thing that worked; the test knows them all.
import Anthropic from "@anthropic-ai/sdk";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateObject, generateText, stepCountIs, streamText, tool } from "ai";
import OpenAI from "openai";
import { z } from "zod";

globalThis.AI_SDK_LOG_WARNINGS = false;
const baseURL = `${process.env.AGENTOS_HTTP}/v1`;
const apiKey = process.env.AGENTOS_TOKEN;
const ours = new OpenAI({ baseURL, apiKey });
const theirs = new Anthropic({ baseURL: process.env.AGENTOS_HTTP, apiKey });

const stream = ours.responses.stream({ model: "scripted/hello", input: "hi" });
let deltas = 0;
stream.on("response.output_text.delta", () => (deltas += 1));
const final = await stream.finalResponse();
console.log(`responses streamed: ${final.output_text} ${deltas}`);

const message = theirs.messages.stream({ model: "scripted/hello", max_tokens: 50, messages: [{ role: "user", content: "hi" }] });
const whole = await message.finalMessage();
console.log(`messages streamed: ${whole.content[0].text} ${whole.stop_reason}`);

const weather = tool({
  description: "The weather of a city",
  inputSchema: z.object({ city: z.string() }),
  execute: async ({ city }) => `${city} is sunny`,
});
const compatible = createOpenAICompatible({ name: "agentos", baseURL, apiKey, includeUsage: true, supportsStructuredOutputs: true });
for (const [name, of] of [
  ["ai responses", createOpenAI({ baseURL, apiKey })],
  ["ai chat", compatible],
]) {
  const spoken = streamText({ model: of("scripted/hello"), prompt: "hi" });
  let text = "";
  for await (const piece of spoken.textStream) text += piece;
  console.log(`${name} streamed: ${text} ${(await spoken.usage).outputTokens}`);
  const used = await generateText({
    model: of("scripted/weather"),
    tools: { weather },
    stopWhen: stepCountIs(3),
    prompt: "Paris?",
  });
  console.log(`${name} tools: ${used.steps[0].toolResults[0].output}, ${used.text}`);
  const { object } = await generateObject({ model: of("scripted/json"), schema: z.object({ city: z.string() }), prompt: "where?" });
  console.log(`${name} object: ${object.city}`);
}
