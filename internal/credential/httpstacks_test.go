package credential

// httpStacks are forms that HTTP libraries send when applications use them in usual but
// untidy ways: file names in other charsets, the label of a form on its parts, fields in
// another order. The forms of curl, Node.js and Go were recorded.
var httpStacks = []client{
	{name: "Retrofit's RequestBody of multipart/form-data", contentType: "multipart/form-data; boundary=e7f2a1b0-34aa", body: lines(
		"--e7f2a1b0-34aa", `Content-Disposition: form-data; name="u"`, "Content-Transfer-Encoding: binary", "Content-Type: multipart/form-data; charset=utf-8", "Content-Length: LENGTH", "", "KEY",
		"--e7f2a1b0-34aa", `Content-Disposition: form-data; name="d"`, "Content-Type: multipart/form-data", "Content-Length: DLEN", "", "-a-general authorization=DKEY",
		"--e7f2a1b0-34aa", `Content-Disposition: form-data; name="a"; filename="t.wav"`, "Content-Type: multipart/form-data", "Content-Length: 18", "", "AUDIO",
		"--e7f2a1b0-34aa--")},
	{name: "a file name before the name", contentType: "multipart/form-data; boundary=B", body: lines(
		"--B", `Content-Disposition: form-data; filename="key.txt"; name="u"`, "", "KEY",
		"--B", `content-disposition: form-data; filename="t.wav"; name="a"`, "content-type: audio/wav", "", "AUDIO", "--B--")},
	{name: "curl, d from a file", contentType: "multipart/form-data; boundary=------------------------9d282ab81a112100", body: lines(
		"--------------------------9d282ab81a112100", `Content-Disposition: form-data; name="u"`, "", "KEY",
		"--------------------------9d282ab81a112100", `Content-Disposition: form-data; name="d"`, "", "-a-general\n",
		"--------------------------9d282ab81a112100", `Content-Disposition: form-data; name="a"; filename="音声.wav"`, "Content-Type: application/octet-stream", "", "AUDIO",
		"--------------------------9d282ab81a112100--")},
	{name: "curl, a Windows path and quotes", contentType: "multipart/form-data; boundary=------------------------874a8b5bd7a1ef56", body: lines(
		"--------------------------874a8b5bd7a1ef56", `Content-Disposition: form-data; name="u"`, "", "KEY",
		"--------------------------874a8b5bd7a1ef56", `Content-Disposition: form-data; name="a"; filename="C:\My %22x%22.wav"`, "Content-Type: audio/wav", "", "AUDIO",
		"--------------------------874a8b5bd7a1ef56--")},
	{name: "curl 7.80, escaped quotes", contentType: "multipart/form-data; boundary=------------------------1", body: lines(
		"--------------------------1", `Content-Disposition: form-data; name="u"`, "", "KEY",
		"--------------------------1", `Content-Disposition: form-data; name="a"; filename="C:\\My \"x\".wav"`, "", "AUDIO", "--------------------------1--")},
	{name: "Node's fetch, two lines of d", contentType: "multipart/form-data; boundary=----formdata-undici-075672974042", body: lines(
		"------formdata-undici-075672974042", `Content-Disposition: form-data; name="u"`, "", "KEY",
		"------formdata-undici-075672974042", `Content-Disposition: form-data; name="d"`, "", "-a-general\r\n\tx  y",
		"------formdata-undici-075672974042", `Content-Disposition: form-data; name="a"; filename="予算%22表.wav"`, "Content-Type: audio/wav", "", "AUDIO",
		"------formdata-undici-075672974042--")},
	{name: "axios with form-data, a Windows path", contentType: "multipart/form-data; boundary=--------------------------08c789bff37bab6ad364836b", body: lines(
		"----------------------------08c789bff37bab6ad364836b", `Content-Disposition: form-data; name="u"`, "", "KEY",
		"----------------------------08c789bff37bab6ad364836b", `Content-Disposition: form-data; name="a"; filename="C:\音\表%22.wav"`, "Content-Type: audio/wave", "", "AUDIO",
		"----------------------------08c789bff37bab6ad364836b--")},
	{name: "a file name in CP932", contentType: "multipart/form-data; boundary=B", body: lines(
		"--B", `Content-Disposition: form-data; name="u"`, "", "KEY",
		"--B", "Content-Disposition: form-data; name=\"a\"; filename=\"\x97\x5c\x8e\x5a\x95\x5c\"", "Content-Type: audio/wav", "", "AUDIO", "--B--")},
	{name: "a file name in CP932 before the name", contentType: "multipart/form-data; boundary=B", body: lines(
		"--B", "Content-Disposition: form-data; filename=\"\x83\x5c\x83\x74\x83\x67\x94\x5c\"; name=\"u\"", "", "KEY",
		"--B", "Content-Disposition: form-data; filename=\"\x95\x5c\"; name=\"a\"", "Content-Type: audio/wav", "", "AUDIO", "--B--")},
	{name: "escaped quotes before the name", contentType: "multipart/form-data; boundary=B", body: lines(
		"--B", `Content-Disposition: form-data; name="u"`, "", "KEY",
		"--B", `Content-Disposition: form-data; filename="C:\\\"t\".wav"; name="a"`, "", "AUDIO", "--B--")},
	{name: "requests, all in files=", contentType: "multipart/form-data; boundary=8d2f0100aa431fd0c0c6d9438b304904", body: lines(
		"--8d2f0100aa431fd0c0c6d9438b304904", `Content-Disposition: form-data; name="u"; filename="u"`, "", "KEY",
		"--8d2f0100aa431fd0c0c6d9438b304904", `Content-Disposition: form-data; name="d"; filename="d"`, "", "-a-general authorization=DKEY",
		"--8d2f0100aa431fd0c0c6d9438b304904", `Content-Disposition: form-data; name="a"; filename="a"`, "", "AUDIO",
		"--8d2f0100aa431fd0c0c6d9438b304904--")},
	{name: "aiohttp", contentType: "multipart/form-data; boundary=e04d5e1cbd4e4b6f9a", body: lines(
		"--e04d5e1cbd4e4b6f9a", "Content-Type: text/plain; charset=utf-8", `Content-Disposition: form-data; name="u"`, "", "KEY",
		"--e04d5e1cbd4e4b6f9a", "Content-Type: audio/wav", `Content-Disposition: form-data; name="a"; filename="%E9%9F%B3 %22q%22.wav"; filename*=utf-8''%E9%9F%B3%20%22q%22.wav`, "", "AUDIO",
		"--e04d5e1cbd4e4b6f9a--")},
	{name: ".NET Framework, an encoded word", contentType: "multipart/form-data; boundary=8dcc24cb", body: lines(
		"--8dcc24cb", "Content-Type: text/plain; charset=utf-8", "Content-Disposition: form-data; name=u", "", "KEY",
		"--8dcc24cb", `Content-Disposition: form-data; name=a; filename="=?utf-8?B?6Z+z?="; filename*=utf-8''%E9%9F%B3`, "", "AUDIO",
		"--8dcc24cb--")},
	{name: "Indy", contentType: "multipart/form-data; boundary=--------112816081506451", body: lines(
		"----------112816081506451", `Content-Disposition: form-data; name="d"`, "Content-Type: text/plain", "Content-Transfer-Encoding: quoted-printable", "", "grammarFileNames=3D-a-general",
		"----------112816081506451", `Content-Disposition: form-data; name="c"`, "Content-Type: text/plain", "Content-Transfer-Encoding: quoted-printable", "", "16K",
		"----------112816081506451", `Content-Disposition: form-data; name="u"`, "Content-Type: text/plain; charset=utf-8", "", "KEY",
		"----------112816081506451", `Content-Disposition: form-data; name="a"; filename="t.wav"`, "Content-Type: audio/x-wav", "Content-Transfer-Encoding: binary", "", "AUDIO",
		"----------112816081506451--")},
	{name: "Dart's http", contentType: "multipart/form-data; boundary=dart-http-boundary-x+Y_z.1", body: lines(
		"--dart-http-boundary-x+Y_z.1", `content-disposition: form-data; name="u"`, "", "KEY",
		"--dart-http-boundary-x+Y_z.1", `content-disposition: form-data; name="d"`, "content-type: text/plain; charset=utf-8", "content-transfer-encoding: binary", "", "-a-general profileWords=音",
		"--dart-http-boundary-x+Y_z.1", "content-type: audio/wav", `content-disposition: form-data; name="a"; filename="t.wav"`, "", "AUDIO",
		"--dart-http-boundary-x+Y_z.1--")},
	{name: "Ruby's multipart-post", contentType: "multipart/form-data; boundary=-----------RubyMultipartPost-1a2b", body: lines(
		"-------------RubyMultipartPost-1a2b", `Content-Disposition: form-data; name="u"`, "", "KEY",
		"-------------RubyMultipartPost-1a2b", `Content-Disposition: form-data; name="a"; filename="t.wav"`, "Content-Length: 18", "Content-Type: audio/wav", "Content-Transfer-Encoding: binary", "", "AUDIO",
		"-------------RubyMultipartPost-1a2b--")},
	{name: "Alamofire", contentType: "multipart/form-data; boundary=alamofire.boundary.1a2b3c4d", body: lines(
		"--alamofire.boundary.1a2b3c4d", `Content-Disposition: form-data; name="u"`, "", "KEY",
		"--alamofire.boundary.1a2b3c4d", `Content-Disposition: form-data; name="a"; filename="t.wav"`, "Content-Type: audio/vnd.wave", "", "AUDIO",
		"--alamofire.boundary.1a2b3c4d--")},
	{name: "Qt", contentType: `multipart/form-data; boundary="boundary_.oOo._MTA0Mjg5Nw=="`, body: lines(
		"--boundary_.oOo._MTA0Mjg5Nw==", `Content-Disposition: form-data; name="u"`, "", "KEY",
		"--boundary_.oOo._MTA0Mjg5Nw==", "Content-Type: audio/wav", `Content-Disposition: form-data; name="a"; filename="t.wav"`, "", "AUDIO",
		"--boundary_.oOo._MTA0Mjg5Nw==--")},
	{name: "extra fields with names of their own", contentType: "multipart/form-data; boundary=B", body: lines(
		"--B", `Content-Disposition: form-data; name="利用者"`, "", "田中",
		"--B", `Content-Disposition: form-data; name="files[0]"; filename=my notes.txt; size=3`, "X-Note:\tseen", "Content-Transfer-Encoding: base64", "", "YQ==",
		"--B", `Content-Disposition: form-data; name="u"`, "", "KEY",
		"--B", `Content-Disposition: form-data; name="a"; filename=my voice/1.wav`, "Content-Type: audio/wav;", " name=t", "Content-Encoding: gzip", "Content-Length: 999", "", "AUDIO", "--B--")},
}
