// Package stream guards a WebSocket between a client and a proxy that copies bytes
// both ways and does not know frames.
//
// In live recognition, a client's messages carry its key. A [Guard] is the part of a live
// stream between the proxy and the client's connection. It buffers a message that can have
// a key until the message is whole. If the key is accepted, the Guard forwards the message
// with the upstream key in place of the client's key. Audio is forwarded without
// buffering.
//
// A stream begins before there is a connection to the backend: [Guard.Wrap] takes the
// client's connection, after the caller has answered the handshake, and
// [Guard.WaitAuthorized] returns when the first message has been authorized. Only
// then does the caller connect to the backend, and give the proxy the connection
// that Wrap returned.
//
// # Layers
//
//  1. Package wsframe reads and writes frames. On top of it, clientReader reads the
//     client's frames and returns the bytes that may be sent to the backend, and
//     clientWriter passes on the backend's frames and masks the upstream key in them.
//  2. The closing state machine (closing.go) ends a stream.
//  3. A [Protocol] knows what the messages of one API mean. [Commands] is the
//     protocol of AmiVoice.
//
// The Guard checks each frame of a client before the backend gets the frame. Before the
// stream has been authorized, the backend gets no frame. A buffered text message is
// forwarded in one frame, even if the client sent it in fragments. So a backend that
// treats each frame as a message reads the same messages as a backend that puts fragments
// together.
//
// # How a stream ends
//
// The peer is the client. The comments of closeEvent say what each event is.
//
//	state       event        next        action
//	open        startClose   finishing   finish the backend's message
//	open        close        closed      close
//	finishing   boundary     telling     send the final message
//	finishing   timeout      closed      abort
//	finishing   failed       closed      abort
//	telling     sent         draining    drain until the peer closes
//	telling     sentClose    leaving     wait for the peer's end
//	telling     failed       closed      abort
//	draining    peerClosed   answering   send a Close frame
//	draining    peerGone     closed      close
//	draining    timeout      dismissing  send a Close frame
//	answering   sent         leaving     wait for the peer's end
//	answering   failed       closed      close
//	dismissing  sent         closed      close
//	dismissing  failed       closed      abort
//	leaving     peerGone     closed      close
//	leaving     timeout      closed      close
//	any         overdue      closed      abort
//
// What the states are for:
//
//   - open passes bytes both ways. After open, no byte of the client goes to the backend,
//     and messages of the backend that have not begun are dropped.
//   - finishing waits up to Config.FrameTime for the end of a message that the backend has
//     begun. The guard cannot send a message in the middle of it.
//   - telling writes the final message.
//   - draining reads and drops what the client still sends: a connection that is closed
//     with unread bytes is reset, and the client can lose the final message. If the client
//     has sent no Close frame Config.PartingTime after startClose, the state is dismissing.
//   - answering writes the Close frame that answers the client's Close frame.
//   - dismissing writes a Close frame to a client that has sent none in time.
//   - leaving waits for the client to close the connection.
//
// The action abort closes the socket below TLS, because a close of the TLS connection
// waits until the client takes the last alert.
//
// # Goroutines
//
// One goroutine of the proxy reads from the client, and uses the clientReader. Another one
// writes to the client, and uses the clientWriter. A goroutine that ends the stream takes
// the clientReader over, to drain the connection. The goroutines share the state of closing
// (one atomic word), the state of the Protocol, and Guard.wake. With Guard.wake, the
// goroutine that writes to the client interrupts a read from the client, because a waiting
// message can be decided on after the backend's answer.
package stream
