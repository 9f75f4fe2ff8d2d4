package stream_test

import (
	"fmt"
	"time"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/internal/credential"
	"github.com/speechgate/speechgate/internal/stream"
	"github.com/speechgate/speechgate/internal/wstest"
	"github.com/speechgate/speechgate/policy"
)

// A client of AmiVoice starts a session and sends audio. The proxy reads the start
// command with the upstream key. Then the key is revoked, and the client gets the last
// message and a Close frame.
func ExampleGuard() {
	client, server := wstest.Pipe() // the server has answered the handshake
	guard := stream.New(stream.Config{
		Protocol: stream.NewCommands(stream.CommandsConfig{
			Rules:    dialect.AmiVoice.Commands(),
			Upstream: credential.ReplaceWith(policy.NewSecret("UPSTREAM")),
			Authorize: func(secret policy.Secret, _ *credential.Fault) stream.Verdict {
				return stream.Verdict{OK: secret.Reveal() == "CLIENT"}
			},
		}),
		PartingTime: 50 * time.Millisecond,
	})
	conn, _ := guard.Wrap(server, nil)

	_, _ = client.Write(wstest.RawText("s 16K -a-general authorization=CLIENT"))
	_, _ = client.Write(wstest.RawBinary("paudio"))
	if guard.WaitAuthorized() { // now the caller connects to the backend, and copies from conn
		fmt.Println(wstest.ReadFrame(conn))
		fmt.Println(wstest.ReadFrame(conn))
	}

	guard.Cut("")
	fmt.Println(wstest.ReadFrame(client))
	fmt.Println(wstest.ReadFrame(client))
	guard.Close()
	// Output:
	// {fin true, opcode 1, masked false, 39 bytes "s 16K -a-general authorization=UPSTREAM"} <nil>
	// {fin true, opcode 2, masked false, 6 bytes "paudio"} <nil>
	// {fin true, opcode 1, masked false, 44 bytes "p can't feed audio data to recognizer server"} <nil>
	// {fin true, opcode 8, masked false, 2 bytes "\x03\xf0"} <nil>
}
