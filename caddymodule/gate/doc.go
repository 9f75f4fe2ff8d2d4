// Package gate has two Caddy handlers. The gate is in front of a speech API: it checks the key
// of each request, and forwards the request or refuses it. The verify endpoint is for the
// backend, which asks whether a paused job may go on.
//
// Start reading at [Gate.ServeHTTP] in serve.go, which has the steps of a request from end to
// end. A stream begins in serveStream (handshake.go). Its later events, such as the next start
// command or a revocation of its key, are in livestream.go. The verify endpoint, in verify.go,
// decides with the same decider (decider.go).
package gate
