"""Uploads zeros with http.client, which reads the answer when it has sent everything.

Arguments: HOST PORT PATH BYTES CA-FILE. Prints the status, the session ID and the body.
"""
import http.client
import ssl
import sys

host, port, path, size, ca = sys.argv[1:]
connection = http.client.HTTPSConnection(host, int(port), context=ssl.create_default_context(cafile=ca))
connection.request("POST", path, body=(bytes(65536) for _ in range(int(size) // 65536)))
answer = connection.getresponse()
body = answer.read().decode()
sys.stdout.write(f"{answer.status} {answer.getheader('X-Session-ID', '-')}\n{body}")
