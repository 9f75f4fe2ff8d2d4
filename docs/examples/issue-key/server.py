"""Hands keys of 60 seconds to the users of an application.

It needs Python 3.9 or later and nothing else. It reads these environment variables:

    SPEECHGATE_URL  where the gateway is, such as https://asr.example.com
    SPEECHGATE_SID  the account's service ID
    SPEECHGATE_SPW  the account's service password
    BIND_KEYS       "yes" for keys that are valid from the user's address only
    HOST, PORT      where to listen; 127.0.0.1 and 8000 if they are not set
"""

import os
import sys
import urllib.error
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

GATEWAY = os.environ["SPEECHGATE_URL"].rstrip("/")
SERVICE_ID = os.environ["SPEECHGATE_SID"]
SERVICE_PASSWORD = os.environ["SPEECHGATE_SPW"]
BIND_KEYS = os.environ.get("BIND_KEYS") == "yes"
LIFETIME = 60_000  # milliseconds


def is_logged_in(request):
    # ===================== YOUR LOGIN CHECK GOES HERE =====================
    # Everyone who passes it gets a key. This placeholder accepts one session, from
    # the environment variable SESSION. Without the variable it accepts nobody.
    session = os.environ.get("SESSION", "")
    cookies = request.headers.get("Cookie", "").split("; ")
    return session != "" and "session=" + session in cookies


def address_of_user(request):
    # Behind your proxy, this is the proxy's address: then read the user's address
    # from the header that the proxy writes.
    return request.client_address[0]


class NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args):
        return None  # makes it an error: the password is for the gateway only


gateway = urllib.request.build_opener(NoRedirects)


def issue_key(address):
    """Asks the gateway for a key that is valid from address only, or from any if empty."""
    fields = {"sid": SERVICE_ID, "spw": SERVICE_PASSWORD, "epi": LIFETIME, "ipa": address}
    call = urllib.request.Request(
        GATEWAY + "/issue_service_authorization",
        data=urllib.parse.urlencode(fields).encode(),
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    with gateway.open(call, timeout=10) as answer:
        return answer.read().decode()


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        if self.path.split("?")[0] != "/speech-key":
            self.answer(404, "not found\n")
            return
        if not is_logged_in(self):
            self.answer(401, "log in first\n")
            return
        try:
            key = issue_key(address_of_user(self) if BIND_KEYS else "")
        except urllib.error.HTTPError as error:
            # The gateway's answer says what is wrong. It is not for users.
            print("no key:", error.code, error.read().decode(), file=sys.stderr)
            self.answer(502, "no key at the moment\n")
        except OSError as error:
            print("no key:", error, file=sys.stderr)
            self.answer(502, "no key at the moment\n")
        else:
            self.answer(200, key)

    def answer(self, status, text):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    address = (os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT", "8000")))
    ThreadingHTTPServer(address, Handler).serve_forever()
