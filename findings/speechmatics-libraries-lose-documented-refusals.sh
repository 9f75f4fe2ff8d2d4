#!/usr/bin/env bash
# What: the vendor documents these refusals, and its libraries for JavaScript do not pass them on.
# @speechmatics/real-time-client 8.5.1: an Error message right after the handshake is lost, and
# so is the Close frame. The library waits ten seconds, and reports a time-out. After
# StartRecognition, the same message is an error at once.
# @speechmatics/batch-client 5.1.0: a 401 whose body is HTML is a SyntaxError of the JSON parser,
# without the status. A 429 with the documented text is SpeechmaticsUnexpectedResponse, because
# the text is not in the library's list.
# Why it matters here: the gate refuses the handshake itself, by its status, and answers with JSON
# and a text of the list. Then both libraries report the refusal at once.
# Needs: bash, Node.js 20 or later, npm.
# Seen:
#   Error at once: SpeechmaticsRealtimeError "Timed out after 10000ms waiting for RecognitionStarted"
#   Error after StartRecognition: Error "quota_exceeded"
#   401 with HTML: SyntaxError
#   429 with JSON: SpeechmaticsUnexpectedResponse
#   401 with a text of the list: SpeechmaticsResponseError "Permission Denied", status 401
# Exit status: 0 if the output is the one above.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm install --no-audit --no-fund @speechmatics/real-time-client@8.5.1 @speechmatics/batch-client@5.1.0 ws@8.21.0 >log 2>&1 || { cat log; exit 1; }
cat >play.mjs <<'JS'
import { createServer } from "node:http";
import { once } from "node:events";
import { WebSocketServer } from "ws";
import { RealtimeClient } from "@speechmatics/real-time-client";
import { BatchClient } from "@speechmatics/batch-client";

const refusal = JSON.stringify({ message: "Error", type: "quota_exceeded", reason: "Too many sessions" });
for (const [when, wait] of [["at once", false], ["after StartRecognition", true]]) {
  const server = new WebSocketServer({ port: 0, host: "127.0.0.1" });
  server.on("connection", (socket) => {
    const refuse = () => {
      socket.send(refusal);
      socket.close(4005, "quota_exceeded");
    };
    if (wait) socket.once("message", refuse);
    else refuse();
  });
  await once(server, "listening");
  const client = new RealtimeClient({ url: `ws://127.0.0.1:${server.address().port}/v2` });
  const error = await client.start("a-key", { transcription_config: { language: "en" } }).catch((error) => error);
  console.log(`Error ${when}: ${error.constructor.name} "${error.message}"`);
}

for (const [what, status, body] of [
  ["401 with HTML", 401, "<html><head><title>401 Authorization Required</title></head></html>"],
  ["429 with JSON", 429, '{"code":429,"error":"Max concurrent running jobs exceeded"}'],
  ["401 with a text of the list", 401, '{"code":401,"error":"Permission Denied"}'],
]) {
  const server = createServer((_, answer) => answer.writeHead(status).end(body));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const client = new BatchClient({ apiKey: "a-key", apiUrl: `http://127.0.0.1:${server.address().port}/v2` });
  const error = await client.listJobs().catch((error) => error);
  const told = error.response ? ` "${error.message}", status ${error.response.code}` : "";
  console.log(`${what}: ${error.constructor.name}${told}`);
}
process.exit();
JS
timeout 60 node play.mjs | tee seen
diff seen - <<'TXT'
Error at once: SpeechmaticsRealtimeError "Timed out after 10000ms waiting for RecognitionStarted"
Error after StartRecognition: Error "quota_exceeded"
401 with HTML: SyntaxError
429 with JSON: SpeechmaticsUnexpectedResponse
401 with a text of the list: SpeechmaticsResponseError "Permission Denied", status 401
TXT
echo "as described"
