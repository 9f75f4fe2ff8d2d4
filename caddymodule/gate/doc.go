// Package gate is the gate, the handler in front of a speech API that decides whether a
// request may use its key, and the verify endpoint, where a backend asks whether a job
// may go on.
//
// Start reading at [Gate.ServeHTTP], which is a request's way from end to end. The way
// of a stream is serveStream in stream.go; what happens to a stream later is in
// livestream.go.
package gate
