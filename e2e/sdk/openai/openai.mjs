// What programs do with the vendor's library, unmodified. Each step prints one line of JSON.
import { createReadStream, readFileSync } from "node:fs";
import OpenAI, { toFile } from "openai";
import { OpenAIRealtimeWS } from "openai/realtime/ws";

const { base, secure, keys, control, audio } = JSON.parse(process.env.SETTINGS);

const client = (apiKey, baseURL = base, more = {}) => new OpenAI({ apiKey, baseURL: baseURL + "/v1", ...more });

const speech = () => createReadStream(audio);

async function step(name, run) {
  const begun = Date.now();
  let result;
  try {
    result = await run();
  } catch (error) {
    result = { error: error.constructor.name, status: error.status, code: error.code, message: String(error.message), request: error.requestID };
  }
  console.log(JSON.stringify({ name, took: Date.now() - begun, ...result }));
}

const good = client(keys.good);

await step("transcription", async () => {
  const { text } = await good.audio.transcriptions.create({ file: speech(), model: "whisper-1" });
  return { text };
});
await step("transcription over TLS", async () => {
  const file = await toFile(readFileSync(audio), 'a"b.wav');
  const { text } = await client(keys.good, secure).audio.transcriptions.create({ model: "whisper-1", file, language: "en" });
  return { text };
});
await step("srt", async () => ({ text: await good.audio.transcriptions.create({ file: speech(), model: "whisper-1", response_format: "srt" }) }));
await step("verbose", async () => {
  const { text, segments, duration } = await good.audio.transcriptions.create({ file: speech(), model: "whisper-1", response_format: "verbose_json" });
  return { text, messages: segments.map((s) => s.text), duration };
});
await step("stream", async () => {
  const stream = await good.audio.transcriptions.create({ file: speech(), model: "gpt-4o-transcribe", stream: true });
  const messages = [];
  let text = "";
  for await (const event of stream) {
    if (event.type === "transcript.text.delta") messages.push(event.delta);
    if (event.type === "transcript.text.done") text = event.text;
  }
  return { messages, text };
});
await step("translation", async () => ({ text: (await good.audio.translations.create({ file: speech(), model: "whisper-1" })).text }));
await step("models", async () => {
  const messages = [];
  for await (const model of good.models.list()) messages.push(model.id);
  return { messages, text: (await good.models.retrieve("whisper-1")).id };
});
await step("a model that does not exist", () => good.models.retrieve("whisper-9"));
for (const [name, key] of Object.entries(keys.refused)) {
  await step(name, () => client(key).audio.transcriptions.create({ file: speech(), model: "whisper-1" }));
}
// The upload is larger than the buffers of a connection. If the answer is lost, the library uploads three times.
await step("a large upload with an unknown key, over TLS", async () => {
  const file = new File([new Uint8Array(40 << 20)], "large.wav");
  await client("nobody", secure, { defaultQuery: { large: "yes" } }).audio.transcriptions.create({ file, model: "whisper-1" });
});

// Opens a session, and resolves once it is closed. The function play gets each event.
function session(key, props, play) {
  return new Promise((resolve) => {
    const seen = { messages: [], dials: 0 };
    const rt = new OpenAIRealtimeWS(props, client(key, secure));
    const closed = (code) => {
      seen.closed = code;
      // If the library connects again, it does so in this time.
      setTimeout(() => {
        rt.close();
        resolve(seen);
      }, props.reconnect ? 3000 : 0);
    };
    rt.on("reconnecting", () => seen.dials++);
    rt.on("error", (error) => {
      seen.error ??= error.constructor.name;
      seen.code ??= error.error?.code;
      seen.message ??= error.message;
    });
    if (props.reconnect) rt.on("close", closed);
    else rt.socket.on("close", closed);
    rt.on("event", (event) => play(event, rt, seen));
  });
}

function* appends(wav) {
  for (let at = 44; at < wav.length; at += 4800) {
    yield { type: "input_audio_buffer.append", audio: wav.subarray(at, at + 4800).toString("base64") };
  }
}

const wav = readFileSync(audio);

await step("realtime", () => session(keys.good, { intent: "transcription" }, (event, rt, seen) => {
  if (event.type === "session.created") {
    rt.send({ type: "session.update", session: { type: "transcription", audio: { input: { transcription: { model: "gpt-4o-transcribe" } } } } });
  } else if (event.type === "session.updated") {
    for (const append of appends(wav)) rt.send(append);
  } else if (event.type === "conversation.item.input_audio_transcription.completed") {
    seen.messages.push(event.transcript);
    if (seen.messages.length === 3) rt.close();
  }
}));
// A server has a client secret minted, for one of its users.
await step("a client secret", async () => {
  const made = await good.realtime.clientSecrets.create({
    expires_after: { anchor: "created_at", seconds: 60 },
    session: { type: "transcription", audio: { input: { transcription: { model: "gpt-4o-transcribe" } } } },
  });
  const seen = await session(made.value, { intent: "transcription" }, (event, rt, seen) => {
    if (event.type === "session.created") rt.close();
  });
  return { ...seen, text: made.value, took: made.expires_at - Math.floor(Date.now() / 1000) };
});
await step("a client secret for a transcription", async () => {
  const made = await good.realtime.clientSecrets.create({});
  await client(made.value).audio.transcriptions.create({ file: speech(), model: "whisper-1" });
});
for (const [name, key] of Object.entries(keys.refused)) {
  await step("a client secret of " + name, () => client(key).realtime.clientSecrets.create({}));
}
for (const [name, key] of Object.entries(keys.refused)) {
  await step("realtime, " + name, () => session(key, { intent: "transcription" }, () => {}));
}
// A client secret ends with the key that it was minted for.
const ownedByDoomed = await client(keys.doomed).realtime.clientSecrets.create({});
// The library may connect again by itself: a revoked key must not do so for ever.
await step("realtime, revoked in mid-stream", async () => {
  let feeding, revoked;
  const seen = await session(keys.doomed, { model: "gpt-4o-transcribe", reconnect: true, reconnectInitialDelay: 100 }, (event, rt, seen) => {
    if (event.type === "session.created") {
      const pieces = [...appends(wav)];
      let at = 0;
      feeding = setInterval(() => rt.send(pieces[at++ % pieces.length]), 20);
    } else if (event.type === "conversation.item.input_audio_transcription.completed" && !revoked) {
      revoked = fetch(control + "/revoke/doomed", { method: "POST" }).then(() => Date.now());
    } else if (event.type === "error") {
      clearInterval(feeding);
      seen.cut = Date.now();
    }
  });
  clearInterval(feeding);
  return { ...seen, cut: seen.cut - await revoked };
});
await step("realtime, a client secret whose key is revoked", () => session(ownedByDoomed.value, { intent: "transcription" }, () => {}));
