"""Uploads a form as requests does when all fields are in files=: upload.py URL KEY"""
import sys
import urllib.request

url, key = sys.argv[1:]
body = b""
for name, value in (("u", key), ("d", "-a-general"), ("a", "RIFF and so on")):
    body += f'--8d2f0100\r\nContent-Disposition: form-data; name="{name}"; filename="{name}"\r\n\r\n{value}\r\n'.encode()
body += b"--8d2f0100--\r\n"
request = urllib.request.Request(url, body, {"Content-Type": "multipart/form-data; boundary=8d2f0100"})
print(urllib.request.urlopen(request).read().decode(), end="")
