// What programs do with the vendor's library, unmodified. Each step prints one line of JSON.
import { createReadStream, readFileSync } from "node:fs";
import { AssemblyAI } from "assemblyai";

const { base, secure, keys, control, audio } = JSON.parse(process.env.SETTINGS);

const client = (apiKey, url = base) => new AssemblyAI({ apiKey, baseUrl: url, streamingBaseUrl: url, syncBaseUrl: url });
const often = { pollingInterval: 50 };

async function step(name, run) {
  let result;
  try {
    result = await run();
  } catch (error) {
    result = { error: error.constructor.name, status: error.status, code: error.code && String(error.code), message: String(error.message) };
  }
  console.log(JSON.stringify({ name, ...result }));
}

const wav = readFileSync(audio);
const good = client(keys.good);
const summary = (transcript) => ({ text: transcript.text, code: transcript.status, message: transcript.error, messages: transcript.words?.map((word) => word.text) });

await step("transcript", async () => summary(await good.transcripts.transcribe({ audio }, often)));
await step("transcript of bytes, over TLS", async () => summary(await client(keys.good, secure).transcripts.transcribe({ audio: wav }, often)));
await step("transcript of a stream", async () => summary(await good.transcripts.transcribe({ audio: createReadStream(audio) }, often)));
await step("transcript of no audio", async () => summary(await good.transcripts.transcribe({ audio: Buffer.from("no audio") }, often)));

const { id } = await good.transcripts.transcribe({ audio: "https://example.com/speech.wav", speaker_labels: true }, often);
await step("URL", async () => summary(await good.transcripts.get(id)));
await step("sentences", async () => ({ messages: (await good.transcripts.sentences(id)).sentences.map((sentence) => sentence.text) }));
await step("paragraphs", async () => ({ messages: (await good.transcripts.paragraphs(id)).paragraphs.map((paragraph) => paragraph.text) }));
await step("subtitles", async () => ({ messages: [await good.transcripts.subtitles(id), await good.transcripts.subtitles(id, "vtt", 32)] }));
await step("word search", async () => ({ messages: (await good.transcripts.wordSearch(id, ["speech-2", "nothing"])).matches.map((match) => match.text + "@" + match.indexes) }));
await step("redacted audio", () => good.transcripts.redactedAudio(id));

// The library follows the links of a page with its key.
await step("list", async () => {
  const seen = [];
  for (let url, page; seen.length < 20; url = page.page_details.prev_url) {
    page = await good.transcripts.list(url ?? { limit: 2 });
    if (page.transcripts.length === 0) break;
    seen.push(...page.transcripts.map((entry) => `${entry.status} ${entry.resource_url}`));
  }
  return { messages: seen };
});
await step("another account's list", async () => ({ messages: (await client(keys.other).transcripts.list()).transcripts.map((entry) => entry.id) }));
await step("another account's transcript", () => client(keys.other).transcripts.get(id));
await step("another account's deletion", () => client(keys.other).transcripts.delete(id));
await step("an unknown transcript", () => good.transcripts.get("9ea68fd3-f953-42c1-9742-976c447fb463"));
await step("deletion", async () => summary(await good.transcripts.delete(id)));
await step("after the deletion", async () => summary(await good.transcripts.get(id)));

const short = (answer) => ({ text: answer.text, messages: answer.words.map((word) => `${word.text}@${word.start}`) });
await step("connection test", async () => ({ text: String(await good.sync.warm()) }));
await step("short", async () => short(await good.sync.transcribe(audio, { timestamps: true })));
await step("short, over TLS", async () => short(await client(keys.good, secure).sync.transcribe(wav, { timestamps: true })));
await step("short, raw and live", async () => {
  const session = good.sync.openLive({ sample_rate: 16000, channels: 1 });
  for (let at = 44; at < wav.length; at += 16000) session.write(wav.subarray(at, at + 16000));
  session.close();
  return short(await session.result());
});
await step("short, no audio", () => good.sync.transcribe(Buffer.from("no audio")));

for (const [name, key] of Object.entries(keys.refused)) {
  await step(name, () => client(key).transcripts.transcribe({ audio }, often));
  await step("poll, " + name, () => client(key).transcripts.get(id));
  await step("short, " + name, () => client(key).sync.transcribe(audio));
  await step("token, " + name, () => client(key).streaming.createTemporaryToken({ expires_in_seconds: 60 }));
}
// The upload is larger than the buffers of a connection.
await step("a large upload with an unknown key, over TLS", () => client("nobody", secure).files.upload(new Uint8Array(20 << 20)));

// The key expires while the library polls. The control server stops the sandbox's clock, so the
// transcript is not completed before.
await step("a key that expires during the job", async () => {
  const { key } = await (await fetch(control + "/brief", { method: "POST" })).json();
  const { id } = await client(key).transcripts.submit({ audio });
  const result = client(key).transcripts.waitUntilReady(id, often);
  const { polls } = await (await fetch(`${control}/expired/${key}`, { method: "POST" })).json();
  const transcript = await result;
  let code;
  try {
    await client(key).transcripts.submit({ audio_url: "https://example.com/speech.wav" });
  } catch (error) {
    code = error.message;
  }
  return { ...summary(transcript), code, dials: polls };
});

// Opens a stream, and resolves when it has been closed for the time wait. The library may connect
// again in this time. The function play gets each event, and returns true if it has closed the stream.
async function stream(credential, options, wait, play) {
  const begun = Date.now();
  const transcriber = good.streaming.transcriber({
    websocketBaseUrl: secure.replace("https", "wss") + "/v3/ws", sampleRate: 16000, connectTimeout: 20000, ...credential, ...options,
  });
  const seen = { messages: [] };
  const closed = new Promise((resolve) => {
    setTimeout(resolve, 20000).unref();
    transcriber.on("close", (code, reason) => {
      seen.closed = code;
      seen.text = reason;
      setTimeout(resolve, wait);
    });
  });
  transcriber.on("error", (error) => {
    seen.error ??= error.constructor.name;
    seen.code ??= String(error.code);
    seen.message ??= error.message;
    play({ type: "error" }, transcriber, seen);
  });
  transcriber.on("turn", (turn) => {
    if (turn.turn_is_formatted) seen.messages.push(turn.transcript);
    play(turn, transcriber, seen);
  });
  if (!(await play(await transcriber.connect(), transcriber, seen))) await closed;
  return { ...seen, took: Date.now() - begun };
}

// A message has 100 ms of audio.
const pieces = [];
for (let at = 44; at + 3200 <= wav.length; at += 3200) pieces.push(wav.subarray(at, at + 3200));

async function send(event, transcriber) {
  if (event.type !== "Begin") return false;
  transcriber.updateConfiguration({ format_turns: true });
  transcriber.keepAlive();
  for (const piece of pieces) transcriber.sendAudio(piece);
  transcriber.forceEndpoint();
  await transcriber.close();
  return true;
}

await step("live", () => stream({ apiKey: keys.good }, {}, 0, send));
const token = await good.streaming.createTemporaryToken({ expires_in_seconds: 60 });
await step("live with a token", () => stream({ token }, { formatTurns: true, keytermsPrompt: ["a b", "c;d"] }, 0, send));
await step("live with a token that was used", () => stream({ token }, { prompt: "used" }, 0, send));
await step("a token for another token", () => client(token).streaming.createTemporaryToken({ expires_in_seconds: 60 }));
await step("a token for a list", () => client(token).transcripts.list());
for (const [name, key] of Object.entries(keys.refused)) {
  await step("live, " + name, () => stream({ apiKey: key }, { prompt: "refused" }, 0, send));
}
const orphan = await client(keys.gone).streaming.createTemporaryToken({ expires_in_seconds: 60 });
await fetch(control + "/revoke/gone", { method: "POST" });
for (let counts = false; !counts; ) {
  await client(keys.gone).transcripts.list().catch(() => (counts = true));
}
await step("live, a token whose key is revoked", () => stream({ token: orphan }, { prompt: "refused" }, 0, send));

// The library connects again only before the stream begins.
async function cut(name, credential) {
  let feeding, revoked, cut;
  const seen = await stream(credential, { prompt: "doomed", formatTurns: true }, 3000, (event, transcriber) => {
    if (event.type === "Begin") {
      let at = 0;
      feeding = setInterval(() => {
        try {
          transcriber.sendAudio(pieces[at++ % pieces.length]);
        } catch {
          clearInterval(feeding);
        }
      }, 20);
    } else if (event.end_of_turn && !revoked) {
      revoked = fetch(`${control}/revoke/${name}`, { method: "POST" }).then(() => Date.now());
    } else if (event.type === "error") {
      cut ??= Date.now();
    }
    return false;
  });
  clearInterval(feeding);
  return { ...seen, cut: Math.max(cut - await revoked, 1) };
}
const doomed = await client(keys.token).streaming.createTemporaryToken({ expires_in_seconds: 60 });
await Promise.all([
  step("live, revoked in mid-stream", () => cut("live", { apiKey: keys.live })),
  step("live with a token, revoked in mid-stream", () => cut("token", { token: doomed })),
]);
