# Receives the gateway's events, and checks their signatures.
import base64
import hashlib
import hmac
import json
import os
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

SECRET = base64.b64decode(os.environ["WEBHOOK_SECRET"].removeprefix("whsec_"))
seen = set()  # the webhook-id of each event; a real receiver keeps it in a database


def is_signed(header, body):
    sent = header.get("webhook-timestamp", "")
    if not sent.isdigit() or abs(time.time() - int(sent)) > 300:
        return False  # an old request that somebody has recorded
    text = f"{header.get('webhook-id', '')}.{sent}.".encode() + body
    want = base64.b64encode(hmac.new(SECRET, text, hashlib.sha256).digest()).decode()
    given = header.get("webhook-signature", "").split()
    return any(hmac.compare_digest(one.encode(), f"v1,{want}".encode()) for one in given)


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not is_signed(self.headers, body):
            self.send_error(401)
            return
        if self.headers["webhook-id"] not in seen:
            seen.add(self.headers["webhook-id"])
            event = json.loads(body)
            print(event["type"], json.dumps(event["data"], sort_keys=True), flush=True)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


HTTPServer(("127.0.0.1", int(os.environ.get("PORT", "8090"))), Receiver).serve_forever()
