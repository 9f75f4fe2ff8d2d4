// Hands keys of 60 seconds to the users of an application.
//
// It needs Node.js 18 or later and nothing else. It reads these environment variables:
//
//   SPEECHGATE_URL  where the gateway is, such as https://asr.example.com
//   SPEECHGATE_SID  the account's service ID
//   SPEECHGATE_SPW  the account's service password
//   BIND_KEYS       "yes" for keys that are valid from the user's address only
//   HOST, PORT      where to listen; 127.0.0.1 and 8000 if they are not set

import { createServer } from "node:http";

const gateway = required("SPEECHGATE_URL").replace(/\/$/, "");
const serviceID = required("SPEECHGATE_SID");
const servicePassword = required("SPEECHGATE_SPW");
const bindKeys = process.env.BIND_KEYS === "yes";
const lifetime = 60_000; // milliseconds

function required(name) {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set`);
  return value;
}

function isLoggedIn(request) {
  // ===================== YOUR LOGIN CHECK GOES HERE =====================
  // Everyone who passes it gets a key. This placeholder accepts one session, from
  // the environment variable SESSION. Without the variable it accepts nobody.
  const session = process.env.SESSION ?? "";
  const cookies = (request.headers.cookie ?? "").split("; ");
  return session !== "" && cookies.includes(`session=${session}`);
}

function addressOfUser(request) {
  // Behind your proxy, this is the proxy's address: then read the user's address
  // from the header that the proxy writes.
  return request.socket.remoteAddress;
}

// issueKey asks the gateway for a key that is valid from address only, or from any
// address if it is empty.
async function issueKey(address) {
  const answer = await fetch(`${gateway}/issue_service_authorization`, {
    method: "POST",
    // fetch sends it as application/x-www-form-urlencoded.
    body: new URLSearchParams({ sid: serviceID, spw: servicePassword, epi: String(lifetime), ipa: address }),
    redirect: "error", // the password is for the gateway only
    signal: AbortSignal.timeout(10_000),
  });
  const text = await answer.text();
  if (answer.status !== 200) throw new Error(`${answer.status} ${text}`);
  return text;
}

async function handle(request, response) {
  const reply = (status, text) => {
    response.writeHead(status, { "Content-Type": "text/plain", "Cache-Control": "no-store" });
    response.end(text);
  };
  if (request.method !== "POST" || request.url.split("?")[0] !== "/speech-key") return reply(404, "not found\n");
  if (!isLoggedIn(request)) return reply(401, "log in first\n");
  try {
    reply(200, await issueKey(bindKeys ? addressOfUser(request) : ""));
  } catch (error) {
    // The gateway's answer says what is wrong. It is not for users.
    console.error("no key:", error.message, error.cause ?? "");
    reply(502, "no key at the moment\n");
  }
}

createServer(handle).listen(Number(process.env.PORT ?? 8000), process.env.HOST ?? "127.0.0.1");
