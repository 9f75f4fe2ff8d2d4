#!/usr/bin/env bash
# What: two WebSocket clients send one long text message in several frames, although
# the caller hands them the text as a whole:
#   - github.com/gorilla/websocket v1.5.3, WriteMessage on a client's connection: above
#     4,096 bytes (its default write buffer). On a server's connection it sends one frame.
#   - the npm package websocket 1.0.35, send of w3cwebsocket: above 16,384 bytes.
# Why it matters here: a start command with a few hundred inline words is longer. A
# server that takes each frame for a message reads half a command.
# Needs: bash, Go 1.24 or later, Node.js 18 or later, npm.
# Seen (opcode/final/payload length of each frame):
#   gorilla 4096: 1/1/4096
#   gorilla 4097: 1/0/4096 0/1/1
#   npm 16384: 1/1/16384
#   npm 16385: 1/0/16384 0/1/1
# Exit status: 0 if the output is the one above.
set -euo pipefail
dir=$(mktemp -d)
trap 'chmod -R u+w "$dir"; rm -rf "$dir"' EXIT
cd "$dir"

# A server that accepts a handshake and prints the frames of the first text message.
cat >server.mjs <<'JS'
import crypto from "node:crypto";
import net from "node:net";

const guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"; // RFC 6455, section 1.3
net.createServer((socket) => {
  let data = Buffer.alloc(0), open = false;
  const frames = [];
  socket.on("data", (chunk) => {
    data = Buffer.concat([data, chunk]);
    if (!open) {
      const end = data.indexOf("\r\n\r\n");
      if (end < 0) return;
      const key = /^sec-websocket-key: *(\S+)/im.exec(data.toString("latin1"))[1];
      const accept = crypto.createHash("sha1").update(key + guid).digest("base64");
      socket.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n" +
        `Connection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`);
      data = data.subarray(end + 4);
      open = true;
    }
    while (data.length >= 4) {
      let length = data[1] & 127, head = 2;
      if (length === 126) { length = data.readUInt16BE(2); head = 4; }
      if (data.length < head + 4 + length) return;
      const final = data[0] >> 7;
      frames.push(`${data[0] & 15}/${final}/${length}`);
      data = data.subarray(head + 4 + length);
      if (final) {
        console.log(frames.join(" "));
        process.exit();
      }
    }
  });
}).listen(Number(process.argv[2]), "127.0.0.1");
JS

mkdir gorilla
cat >gorilla/main.go <<'GO'
package main

import (
	"log"
	"os"
	"strconv"
	"strings"

	"github.com/gorilla/websocket"
)

func main() {
	size, _ := strconv.Atoi(os.Args[2])
	conn, _, err := websocket.DefaultDialer.Dial("ws://127.0.0.1:"+os.Args[1]+"/", nil)
	if err != nil {
		log.Fatal(err)
	}
	if err := conn.WriteMessage(websocket.TextMessage, []byte(strings.Repeat("s", size))); err != nil {
		log.Fatal(err)
	}
	_, _, _ = conn.ReadMessage() // the server goes away
}
GO
(cd gorilla && go mod init example.com/client && go get github.com/gorilla/websocket@v1.5.3 && go build -o ../gorilla-client .) >log 2>&1 || { cat log; exit 1; }

npm install --silent --no-audit --no-fund websocket@1.0.35 >log 2>&1 || { cat log; exit 1; }
cat >npm-client.cjs <<'JS'
const { w3cwebsocket } = require("websocket");
const [port, size] = process.argv.slice(2);
const socket = new w3cwebsocket(`ws://127.0.0.1:${port}/`);
socket.onopen = () => socket.send("s".repeat(Number(size)));
socket.onclose = socket.onerror = () => process.exit();
JS

free_port() { node -e 'const s=require("net").createServer().listen(0,"127.0.0.1",()=>{console.log(s.address().port);s.close()})'; }
try() { # name, size, client...
	local port
	port=$(free_port)
	timeout 30 node server.mjs "$port" >frames &
	local server=$!
	for _ in $(seq 100); do (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && break; sleep 0.05; done
	timeout 30 "${@:3}" "$port" "$2" || true
	wait "$server"
	echo "$1 $2: $(cat frames)"
}
{
	try gorilla 4096 ./gorilla-client
	try gorilla 4097 ./gorilla-client
	try npm 16384 node npm-client.cjs
	try npm 16385 node npm-client.cjs
} | tee seen
diff seen - <<'TXT'
gorilla 4096: 1/1/4096
gorilla 4097: 1/0/4096 0/1/1
npm 16384: 1/1/16384
npm 16385: 1/0/16384 0/1/1
TXT
echo "as described"
