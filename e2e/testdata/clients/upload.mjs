// Uploads zeros with fetch: URL BYTES. Prints the status, the session ID and the body.
// NODE_EXTRA_CA_CERTS names the CA.
const [url, size] = process.argv.slice(2);
async function* zeros() {
  for (let sent = 0; sent < Number(size); sent += 65536) yield new Uint8Array(65536);
}
const answer = await fetch(url, { method: "POST", body: zeros(), duplex: "half" });
process.stdout.write(`${answer.status} ${answer.headers.get("x-session-id") ?? "-"}\n${await answer.text()}`);
