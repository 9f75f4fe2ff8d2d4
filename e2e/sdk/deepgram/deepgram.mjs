// What programs do with the vendor's library, unmodified. Each step prints one line of JSON.
import { createReadStream, readFileSync } from "node:fs";
import { DeepgramClient } from "@deepgram/sdk";

const { base, secure, keys, control, audio } = JSON.parse(process.env.SETTINGS);

const client = (apiKey, baseUrl = base) => new DeepgramClient({ apiKey, baseUrl });
const clientWith = (accessToken) => new DeepgramClient({ accessToken, baseUrl: base });

async function step(name, run) {
  let result;
  try {
    result = await run();
  } catch (error) {
    result = { error: error.constructor.name, status: error.statusCode, code: error.body?.err_code, message: String(error.message) };
  }
  console.log(JSON.stringify({ name, ...result }));
}

const good = client(keys.good);
const transcript = (answer) => ({ text: answer.results.channels[0].alternatives[0].transcript });

await step("recording", async () => transcript(await good.listen.v1.media.transcribeFile(createReadStream(audio), { model: "nova-3", smart_format: true })));
await step("recording in memory", async () => transcript(await good.listen.v1.media.transcribeFile(readFileSync(audio), { model: "nova-3", keyterm: ["a b", "c;d"] })));
await step("recording over TLS", async () => transcript(await client(keys.good, secure).listen.v1.media.transcribeFile(createReadStream(audio), { model: "nova-3" })));
await step("URL", async () => transcript(await good.listen.v1.media.transcribeUrl({ url: "https://example.com/speech.wav", model: "nova-3" })));
await step("callback", async () => ({ text: (await good.listen.v1.media.transcribeUrl({ url: "https://example.com/speech.wav", callback: "https://example.com/" })).request_id }));
await step("models", async () => {
  const { stt } = await good.manage.v1.models.list();
  return { messages: stt.map((model) => model.name), text: (await good.manage.v1.models.get(stt[0].uuid)).name };
});
const { access_token, expires_in } = await good.auth.v1.tokens.grant({ ttl_seconds: 60 });
await step("token", async () => ({ ...transcript(await clientWith(access_token).listen.v1.media.transcribeFile(createReadStream(audio), { model: "nova-3" })), messages: [String(expires_in)] }));
await step("a token for another token", () => clientWith(access_token).auth.v1.tokens.grant());
await step("projects", () => good.manage.v1.projects.list());
for (const [name, key] of Object.entries(keys.refused)) {
  await step(name, () => client(key).listen.v1.media.transcribeFile(createReadStream(audio), { model: "nova-3" }));
}

// The upload is larger than the buffers of a connection.
await step("a large upload with an unknown key, over TLS", () => client("nobody", secure).listen.v1.media.transcribeFile(new Uint8Array(20 << 20), { model: "nova-3" }));

// Opens a stream, and resolves when it has been closed for the time wait. The library may connect
// again in this time. The function play gets each message.
async function stream(key, version, { sender = client(key), ...options }, wait, play) {
  const model = version === "v1" ? "nova-3" : "flux-general-en";
  const connection = await sender.listen[version].connect({ model, ...options });
  const seen = { messages: [] };
  const closed = new Promise((resolve) => {
    const timer = setTimeout(resolve, 20000);
    connection.on("close", (event) => {
      seen.closed = event.code;
      clearTimeout(timer);
      setTimeout(resolve, wait);
    });
  });
  connection.on("error", (error) => {
    seen.error ??= error.constructor.name;
    seen.message ??= error.message;
  });
  connection.on("message", (message) => play(message, connection, seen));
  connection.connect();
  try {
    await connection.waitForOpen();
    play({ type: "open" }, connection, seen);
  } catch (event) {
    seen.thrown = event.message;
  }
  await closed;
  connection.close();
  return seen;
}

const wav = readFileSync(audio);

function send(connection) {
  for (let at = 0; at < wav.length; at += 4096) connection.sendMedia(wav.subarray(at, at + 4096));
}

await step("live", () => stream(keys.good, "v1", { interim_results: "true", vad_events: "true", utterance_end_ms: 1000 }, 0, (message, connection, seen) => {
  if (message.type === "open") {
    connection.sendKeepAlive({ type: "KeepAlive" });
    send(connection);
    connection.sendFinalize({ type: "Finalize" });
    connection.sendCloseStream({ type: "CloseStream" });
  } else if (message.is_final && !message.from_finalize) {
    seen.messages.push(message.channel.alternatives[0].transcript);
  } else if (message.type === "Metadata") {
    seen.text = String(message.duration);
  }
}));
for (const [name, sender] of [["live over TLS", client(keys.good, secure)], ["live with a token", clientWith(access_token)]]) {
  await step(name, () => stream(keys.good, "v1", { sender }, 0, (message, connection, seen) => {
    if (message.type === "open") {
      send(connection);
      connection.sendCloseStream({ type: "CloseStream" });
    } else if (message.is_final) {
      seen.messages.push(message.channel.alternatives[0].transcript);
    }
  }));
}
await step("live, Flux", () => stream(keys.good, "v2", {}, 0, (message, connection, seen) => {
  if (message.type === "Connected") {
    send(connection);
    connection.sendCloseStream({ type: "CloseStream" });
  } else if (message.event === "EndOfTurn") {
    seen.messages.push(message.transcript);
  }
}));
for (const [name, key] of Object.entries(keys.refused)) {
  await step("live, " + name, () => stream(key, "v1", { tag: "refused" }, 500, () => {}));
  await step("live, Flux, " + name, () => stream(key, "v2", { tag: "refused" }, 500, () => {}));
}

// The library connects again after every code but 1000, up to five seconds later.
async function cut(version, name) {
  let feeding, revoked, cut;
  const seen = await stream(keys[name], version, { tag: "doomed" }, 6000, (message, connection, seen) => {
    if (message.type === "open") {
      let at = 0;
      feeding = setInterval(() => {
        if (connection.readyState !== 1) return;
        connection.sendMedia(wav.subarray(at, at + 4096));
        at = at + 4096 < wav.length ? at + 4096 : 44;
      }, 20);
    } else if ((message.is_final || message.event === "EndOfTurn") && !revoked) {
      revoked = fetch(`${control}/revoke/${name}`, { method: "POST" }).then(() => Date.now());
    } else if (message.type === "Error") {
      cut = Date.now();
      seen.code = message.variant ?? message.code;
    }
  });
  clearInterval(feeding);
  return { ...seen, cut: Math.max(cut - await revoked, 1) };
}
await Promise.all([
  step("live, revoked in mid-stream", () => cut("v1", "live")),
  step("live, Flux, revoked in mid-stream", () => cut("v2", "flux")),
]);
