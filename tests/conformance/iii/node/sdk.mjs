// What differs between the generations of the npm package, and nothing else.

export async function sdk(generation) {
  if (generation === "11") {
    const { registerWorker, TriggerAction, http, Logger } = await import("iii-sdk-11");
    return {
      registerWorker,
      TriggerAction,
      http,
      logger: (name) => new Logger(undefined, name),
      createChannel: (worker, size) => worker.createChannel(size),
      createStream: (worker, name, stream) => worker.createStream(name, stream),
      abilities: ["g11", "shared-functions", "large-messages"],
    };
  }
  const { registerWorker, TriggerAction } = await import("iii-sdk-22");
  const { createChannel, createStream } = await import("iii-sdk-22/helpers");
  const { http } = await import("@iii-dev/helpers/http");
  const { Logger } = await import("@iii-dev/helpers/observability");
  return {
    registerWorker,
    TriggerAction,
    http,
    logger: (name) => new Logger(undefined, name),
    createChannel,
    createStream,
    abilities: ["g22", "shared-functions", "large-messages", "call-metadata", "unregister-trigger"],
  };
}
