// Package stream guards a WebSocket between a client and a proxy that copies bytes
// both ways and knows nothing of frames.
//
// In live recognition, a client's messages carry its key. A [Guard] buffers such a message
// until it is whole. If the key is accepted, the Guard forwards the message with the
// upstream key in place of the client's key. Audio is forwarded as it comes.
//
// A stream begins before the backend knows of it: [Guard.Wrap] takes the client's
// connection, after the caller has answered the handshake, and
// [Guard.WaitAuthorized] returns when the first message has been authorized. Only
// then does the caller connect to the backend, and hand the proxy the connection
// that Wrap returned.
//
// # Layers
//
//  1. Package wsframe reads and writes frames. On top of it, clientReader reads the
//     client's frames and yields what may go on to the backend, and clientWriter
//     passes on the backend's frames and masks the upstream key in them.
//  2. The closing state machine (closing.go) ends a stream.
//  3. A [Protocol] knows what the messages of one API mean. [Commands] is the
//     protocol of AmiVoice.
//
// No frame of a client reaches the backend unchecked, and no frame at all before the
// stream has been authorized. A text message that is buffered goes on in one frame,
// however many fragments the client sent, so that a backend that takes each frame
// for a message reads the same messages as one that puts fragments together.
//
// # How a stream ends
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
//   - finishing gives the backend's message that has begun Config.FrameTime to end. There
//     is no place for a message of the guard inside it.
//   - telling writes the final message.
//   - draining reads and drops what the client still sends: a connection that is closed
//     with bytes unread is reset, and the client may lose the final message.
//     Config.PartingTime after startClose, the client gets a Close frame and the
//     connection is closed.
//   - answering and dismissing write a Close frame: answering after the client's Close
//     frame, dismissing after the time is over.
//   - leaving waits for the client to close the connection.
//   - abort closes the socket under TLS, which would wait for the client to take the
//     last alert.
//
// # Goroutines
//
// The proxy's goroutine that reads from the client owns the clientReader, and the one that
// writes to the client owns the clientWriter. A goroutine that closes the stream takes the
// reader over, to drain it. The goroutines share the state of closing (one atomic word),
// the state of the Protocol, and Guard.wake. With Guard.wake, the goroutine that writes to
// the client interrupts the goroutine that reads from it: after the backend's answer, a
// waiting message can be decided on.
package stream
