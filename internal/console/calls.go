package console

import (
	"strings"

	"github.com/speechgate/speechgate/internal/manage"
)

// issuedKey is the data of the page issued.
type issuedKey struct {
	manage.Key

	Text  string // the secret; empty if the form was sent twice
	Calls []call
}

// call is how to use a key with one API.
type call struct {
	API                      string
	Curl, Python, JavaScript string
}

// examples are calls of each API, by dialect. {api} is the URL of the API, and {key} the key. Each
// recognizes speech.wav, and works as it is: TestConsole_ItsExamplesWorkAsTheyAre in package e2e runs
// all of them.
var examples = map[string]call{
	"amivoice": {
		Curl: `curl {api}/v1/recognize -F u={key} -F d=-a-general -F a=@speech.wav`,
		Python: `import requests

with open("speech.wav", "rb") as audio:
    answer = requests.post("{api}/v1/recognize",
        data={"u": "{key}", "d": "-a-general"}, files={"a": audio})
print(answer.json()["text"])`,
		JavaScript: `import fs from "node:fs/promises";

const form = new FormData();
form.append("u", "{key}");
form.append("d", "-a-general");
form.append("a", new Blob([await fs.readFile("speech.wav")]));
const answer = await fetch("{api}/v1/recognize", { method: "POST", body: form });
console.log((await answer.json()).text);`,
	},
	"openai": {
		Curl: `curl {api}/v1/audio/transcriptions -H "Authorization: Bearer {key}" -F model=whisper-1 -F file=@speech.wav`,
		Python: `import requests

with open("speech.wav", "rb") as audio:
    answer = requests.post("{api}/v1/audio/transcriptions", headers={"Authorization": "Bearer {key}"},
        data={"model": "whisper-1"}, files={"file": audio})
print(answer.json()["text"])`,
		JavaScript: `import fs from "node:fs";
import OpenAI from "openai"; // npm install openai

const client = new OpenAI({ baseURL: "{api}/v1", apiKey: "{key}" });
const answer = await client.audio.transcriptions.create({ model: "whisper-1", file: fs.createReadStream("speech.wav") });
console.log(answer.text);`,
	},
	"deepgram": {
		Curl: `curl "{api}/v1/listen?model=nova-3" -H "Authorization: Token {key}" -H "Content-Type: audio/wav" --data-binary @speech.wav`,
		Python: `import requests

with open("speech.wav", "rb") as audio:
    answer = requests.post("{api}/v1/listen?model=nova-3", data=audio,
        headers={"Authorization": "Token {key}", "Content-Type": "audio/wav"})
print(answer.json()["results"]["channels"][0]["alternatives"][0]["transcript"])`,
		JavaScript: `import fs from "node:fs/promises";

const answer = await fetch("{api}/v1/listen?model=nova-3", {
  method: "POST",
  headers: { Authorization: "Token {key}", "Content-Type": "audio/wav" },
  body: await fs.readFile("speech.wav"),
});
console.log((await answer.json()).results.channels[0].alternatives[0].transcript);`,
	},
	"assemblyai": {
		Curl: `url=$(curl -s {api}/v2/upload -H "Authorization: {key}" --data-binary @speech.wav | cut -d '"' -f 4)
curl {api}/v2/transcript -H "Authorization: {key}" -H "Content-Type: application/json" -d '{"audio_url": "'"$url"'"}'`,
		Python: `import time
import requests

headers = {"Authorization": "{key}"}
with open("speech.wav", "rb") as audio:
    upload = requests.post("{api}/v2/upload", headers=headers, data=audio).json()
job = requests.post("{api}/v2/transcript", headers=headers, json={"audio_url": upload["upload_url"]}).json()
while job["status"] in ("queued", "processing"):
    time.sleep(1)
    job = requests.get("{api}/v2/transcript/" + job["id"], headers=headers).json()
print(job["text"])`,
		JavaScript: `import { AssemblyAI } from "assemblyai"; // npm install assemblyai

const client = new AssemblyAI({ baseUrl: "{api}", apiKey: "{key}" });
const transcript = await client.transcripts.transcribe({ audio: "speech.wav" });
console.log(transcript.text);`,
	},
	"speechmatics": {
		Curl: `curl {api}/v2/jobs -H "Authorization: Bearer {key}" -F data_file=@speech.wav -F 'config={"type": "transcription", "transcription_config": {"language": "en"}}'`,
		Python: `import json
import time
import requests

headers = {"Authorization": "Bearer {key}"}
config = {"type": "transcription", "transcription_config": {"language": "en"}}
with open("speech.wav", "rb") as audio:
    answer = requests.post("{api}/v2/jobs", headers=headers, files={"data_file": audio}, data={"config": json.dumps(config)})
job = "{api}/v2/jobs/" + answer.json()["id"]
while requests.get(job, headers=headers).json()["job"]["status"] == "running":
    time.sleep(1)
print(requests.get(job + "/transcript?format=txt", headers=headers).text)`,
		JavaScript: `import fs from "node:fs";
import { BatchClient } from "@speechmatics/batch-client"; // npm install @speechmatics/batch-client

const client = new BatchClient({ apiUrl: "{api}/v2", apiKey: "{key}", appId: "example" });
const file = new File([fs.readFileSync("speech.wav")], "speech.wav");
console.log(await client.transcribe(file, { transcription_config: { language: "en" } }, "text"));`,
	},
}

// calls returns how to use a key with the APIs of the gateway.
func (v *visit) calls(key string) (all []call) {
	if key == "" {
		return nil
	}
	fill := strings.NewReplacer("{api}", v.apiURL(), "{key}", key)
	for _, api := range v.apis() {
		example := examples[api]
		all = append(all, call{API: api, Curl: fill.Replace(example.Curl), Python: fill.Replace(example.Python), JavaScript: fill.Replace(example.JavaScript)})
	}
	return all
}
