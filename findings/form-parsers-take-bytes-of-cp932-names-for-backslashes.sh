#!/usr/bin/env bash
# What: the file name 予算.wav, in the bytes that Japanese Windows programs send (CP932:
# 97 5C 8E 5A 2E 77 61 76), loses its beginning in parsers of multipart forms, since the second
# byte of the first character is 5C, the backslash of ASCII:
# busboy 1.6.0 and multiparty 4.2.3 take the backslash for the separator of a Windows
# path, and drop all that precedes it. The same happens to 表, ソ, 能 and the 48 other
# characters of CP932 with that second byte.
# Why it matters here: such a name is valid input of a speech API, whose audio part often
# has the name of the recording. It must not make a form "malformed".
# Needs: bash, Node.js 18 or later, npm.
# Seen: the name's bytes as the parser gives them.
#   busboy 8e5a2e776176
#   multiparty efbfbd5a2e776176
# (multiparty decodes as UTF-8: efbfbd is the replacement character, for 8E.)
# Exit status: 0 if the output is the one above.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm install --silent --no-audit --no-fund busboy@1.6.0 multiparty@4.2.3 >log 2>&1 || { cat log; exit 1; }

cat >parse.cjs <<'JS'
const { Readable } = require("node:stream");
const busboy = require("busboy");
const { Form } = require("multiparty");

const name = Buffer.from("975c8e5a2e776176", "hex");
const body = Buffer.concat([
  Buffer.from('--b\r\nContent-Disposition: form-data; name="a"; filename="'), name,
  Buffer.from('"\r\nContent-Type: audio/wav\r\n\r\nRIFF\r\n--b--\r\n'),
]);
const headers = { "content-type": "multipart/form-data; boundary=b", "content-length": String(body.length) };
const request = () => Object.assign(Readable.from([body]), { headers });

const parser = busboy({ headers, defParamCharset: "latin1" });
parser.on("file", (_, content, info) => {
  console.log("busboy", Buffer.from(info.filename, "latin1").toString("hex"));
  content.resume();
});
parser.on("close", () => {
  const form = new Form();
  form.on("part", (part) => {
    console.log("multiparty", Buffer.from(part.filename).toString("hex"));
    part.resume();
  });
  form.parse(request());
});
request().pipe(parser);
JS
node parse.cjs | tee seen
diff seen - <<'TXT'
busboy 8e5a2e776176
multiparty efbfbd5a2e776176
TXT
echo "as described"
