// What programs do with the vendor's libraries, unmodified. Each step prints one line of JSON.
import { readFileSync } from "node:fs";
import { BatchClient } from "@speechmatics/batch-client";
import { RealtimeClient } from "@speechmatics/real-time-client";
import { createSpeechmaticsJWT } from "@speechmatics/auth";

const { base, secure, keys, control, audio } = JSON.parse(process.env.SETTINGS);

const wav = readFileSync(audio);
const file = () => new File([wav], "speech.wav");
const config = { transcription_config: { language: "en" } };
const batch = (apiKey, url = base) => new BatchClient({ apiKey, apiUrl: url + "/v2", appId: "test" });

async function step(name, run) {
  let result;
  try {
    result = await run();
  } catch (error) {
    result = { error: error.name ?? error.constructor.name, status: error.response?.code, code: error.error ?? error.type, message: String(error.message) };
  }
  console.log(JSON.stringify({ name, ...result }));
}

const good = batch(keys.good);
const words = (transcript) => transcript.results.map((result) => result.alternatives[0].content);

// The library polls each three seconds, so that the jobs run side by side.
const mint = (type, apiKey = keys.good) => createSpeechmaticsJWT({ type, apiKey, clientRef: "ann", managementPlatformURL: base + "/v1" });
const [rt, temporary] = [await mint("rt"), await mint("batch")];
const { id } = await good.createTranscriptionJob(file(), config);
const { id: foreign } = await batch(keys.other).createTranscriptionJob(file(), config);
const { key: expiring } = await (await fetch(control + "/expiring", { method: "POST" })).json();

await Promise.all([
  step("job as text", async () => ({ text: await good.transcribe({ data: new Blob([wav]), fileName: "speech.wav" }, config, "text") })),
  step("job", async () => {
    const transcript = await good.transcribe(file(), { ...config, tracking: { title: "A; B" } });
    return { messages: words(transcript), text: transcript.job.tracking.title };
  }),
  step("job over TLS", async () => ({ text: await batch(keys.good, secure).transcribe(file(), config, "text") })),
  step("subtitles", async () => ({ text: await good.transcribe(file(), config, "srt") })),
  step("URL", async () => ({ text: await good.transcribe({ url: "https://example.com/speech.wav" }, config, "text") })),
  step("a temporary key", async () => ({ text: await batch(temporary).transcribe(file(), config, "text") })),
  step("a key that expires while the job runs", async () => {
    const client = batch(expiring);
    const result = { text: await client.transcribe(file(), config, "text") };
    try {
      await client.createTranscriptionJob(file(), config);
    } catch (error) {
      return { ...result, error: error.name, status: error.response?.code, code: error.error };
    }
    return result;
  }),
  step("no speech", () => good.transcribe(new File(["this is no audio"], "a.wav"), config).then(() => ({}), (problems) => ({ messages: problems.map((problem) => problem.message) }))),
]);

// A job can be read, listed and deleted by its account only.
await step("list", async () => {
  const ids = (await good.listJobs({ limit: 100 })).jobs.map((job) => job.id);
  return { text: String(ids.includes(id) && !ids.includes(foreign)), messages: [String(ids.length)] };
});
await step("list of the other account", async () => {
  const ids = (await batch(keys.other).listJobs()).jobs.map((job) => job.id);
  return { text: String(ids.includes(foreign) && !ids.includes(id)), messages: [String(ids.length)] };
});
await step("read another account's job", () => good.getJob(foreign));
await step("read another account's result", () => good.getJobResult(foreign));
await step("delete another account's job", () => good.deleteJob(foreign, true));
await step("delete", async () => ({ text: (await good.deleteJob(id)).job.status }));
await step("read a deleted job", () => good.getJob(id));
await step("features", () => good.getFeatureDiscovery());

for (const [name, key] of Object.entries(keys.refused)) {
  await step(name, () => batch(key).createTranscriptionJob(file(), config));
  await step("poll, " + name, () => batch(key).getJob(foreign));
  await step("mint, " + name, () => mint("rt", key));
}
await step("a temporary key for another temporary key", () => mint("rt", rt));

// The upload is larger than the buffers of a connection.
await step("a large upload with an unknown key, over TLS", () => batch("nobody", secure).createTranscriptionJob(new File([new Uint8Array(20 << 20)], "a.wav"), config));

// Opens a session, and resolves when it has been closed for the time wait. The library may connect
// again in this time. The function play gets each message.
async function stream(key, options, wait, play) {
  const { url = base, ...rest } = options;
  const client = new RealtimeClient({ url: url.replace("http", "ws") + "/v2", ...rest });
  const seen = { messages: [] };
  const closed = new Promise((resolve) => {
    const timer = setTimeout(resolve, 20000);
    client.addEventListener("socketStateChange", ({ socketState }) => {
      if (socketState !== "closed") return;
      clearTimeout(timer);
      setTimeout(resolve, wait);
    });
  });
  client.addEventListener("receiveMessage", ({ data }) => {
    if (data.message === "AddTranscript") seen.messages.push(data.metadata.transcript);
    play(data, client, seen);
  });
  const begun = Date.now();
  try {
    await client.start(key, { transcription_config: { language: "en", enable_partials: true } });
    client.socket.addEventListener("close", (event) => (seen.closed = event.code));
    play({ message: "open" }, client, seen);
  } catch (error) {
    Object.assign(seen, { error: error.constructor.name, message: error.message, took: Date.now() - begun });
  }
  await closed;
  return seen;
}

function sendAll(message, client, seen) {
  if (message.message === "open") {
    for (let at = 0; at < wav.length; at += 4096) client.sendAudio(wav.subarray(at, at + 4096));
    client.setRecognitionConfig({ enable_partials: false });
    client.stopRecognition().then(() => (seen.text = "stopped"));
  }
}

await step("live", () => stream(keys.good, {}, 0, sendAll));
await step("live over TLS", () => stream(keys.good, { url: secure }, 0, sendAll));
await step("live with a temporary key", () => stream(rt, {}, 0, sendAll));
for (const [name, key] of Object.entries(keys.refused)) {
  await step("live, " + name, () => stream(key, { appId: "refused" }, 500, () => {}));
}

// The key of the session, or the owner of its temporary key, is revoked in mid-stream.
async function cut(key, name) {
  let feeding, revoked, cut;
  const seen = await stream(key, { appId: "doomed-" + name }, 3000, (message, client, seen) => {
    if (message.message === "open") {
      let at = 0;
      feeding = setInterval(() => {
        try {
          client.sendAudio(wav.subarray(at, at + 4096));
        } catch (error) {
          seen.error ??= error.name;
        }
        at = at + 4096 < wav.length ? at + 4096 : 44;
      }, 20);
    } else if (message.message === "AddTranscript" && !revoked) {
      revoked = fetch(`${control}/revoke/${name}`, { method: "POST" }).then(() => Date.now());
    } else if (message.message === "Error") {
      cut = Date.now();
      seen.code = message.type;
    }
  });
  clearInterval(feeding);
  return { ...seen, cut: Math.max(cut - (await revoked), 1) };
}
await Promise.all([
  step("live, revoked in mid-stream", () => cut(keys.live, "live")),
  step("live with a temporary key, revoked in mid-stream", async () => cut(await mint("rt", keys.minted), "minted")),
]);
process.exit(); // timers of the library run for another ten seconds
