package wstest_test

import (
	"errors"
	"io"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/speechgate/speechgate/internal/wstest"
)

func TestAPipeBehavesAsTCPDoes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client, server := wstest.Pipe()
		if _, err := client.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		_ = client.CloseWrite()
		if all, err := io.ReadAll(server); err != nil || string(all) != "hello" {
			t.Errorf("read %q, %v", all, err)
		}

		begun := time.Now()
		_ = client.SetReadDeadline(begun.Add(time.Second))
		if _, err := client.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begun) != time.Second {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
		_ = client.SetReadDeadline(time.Time{})

		_ = server.SetWriteDeadline(time.Now().Add(time.Second))
		if n, err := server.Write(make([]byte, 1<<20)); n == 1<<20 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("wrote %d bytes, %v; want a full buffer", n, err)
		}
		_ = client.Close() // with bytes unread
		if _, err := server.Read(make([]byte, 1)); err == nil {
			t.Error("a read goes on after a reset")
		}
		_ = server.SetWriteDeadline(time.Time{})
		if _, err := server.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("wrote, %v", err)
		}
	})
}
