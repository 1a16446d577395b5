// Offers a function and calls it with nothing but a WebSocket: no SDK of any kind.
// Run `agentos start` first; then: AGENTOS_TOKEN=$(agentos token) node hello.mjs
import WebSocket from "ws"; // Node 22 and browsers have one built in

const url = process.env.AGENTOS_URL ?? "ws://127.0.0.1:49134";
const socket = new WebSocket(`${url}?token=${process.env.AGENTOS_TOKEN ?? ""}`);
const send = (message) => socket.send(JSON.stringify(message));

socket.on("open", () => {
  send({ type: "registerfunction", id: "hello-websocket::greet" });
  send({ type: "invokefunction", invocation_id: "my-first-call", function_id: "hello-websocket::greet", data: "Ada" });
});

socket.on("message", (text) => {
  const message = JSON.parse(text);
  if (message.type === "invokefunction") {
    const { invocation_id, function_id, data } = message;
    send({ type: "invocationresult", invocation_id, function_id, result: `hello ${data}` });
  }
  if (message.type === "invocationresult" || message.type === "error") {
    console.log(message.error ? `${message.error.code}: ${message.error.message}` : message.result);
    socket.close();
  }
});
