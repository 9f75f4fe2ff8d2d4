"""Reads requests as Python's standard library does. otherparsers_test.go describes the lines."""
import io
import sys
import warnings
from urllib.parse import parse_qsl, unquote

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Python 3.13 has no cgi any more
    import cgi


def form(content_type, body):
    env = {"REQUEST_METHOD": "POST", "CONTENT_LENGTH": str(len(body))}
    if content_type:
        env["CONTENT_TYPE"] = content_type.decode("latin1")
    fields = cgi.FieldStorage(fp=io.BytesIO(body), environ=env, keep_blank_values=True)
    return [(f.name or "", f.value) for f in fields.list or []]


def pairs(text):
    for token in text.decode("utf-8", "replace").split():
        name, equals, value = token.partition("=")
        if not equals:
            name, equals, value = unquote(token).partition("=")
        name = unquote(name)
        if equals and "authorization" in (name.lower(), name.casefold(), name.upper().lower()):
            yield "authorization", unquote(value)


for line in sys.stdin:
    kind, *args = line.rstrip("\n").split(" ")
    args = [bytes.fromhex(a) for a in args]
    try:
        if kind == "query":
            found = parse_qsl(args[0].decode("utf-8", "surrogateescape"), keep_blank_values=True)
        elif kind == "pairs":
            found = pairs(args[0])
        else:
            found = form(*args)
        out = []
        for name, value in found:
            value = value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogateescape")
            out.append(name.encode("utf-8", "surrogateescape").hex() + "=" + value.hex())
        print(" ".join(out))
    except Exception:
        print("")  # a parser that gives up reads no key
