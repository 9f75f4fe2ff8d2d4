//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/speechgate/speechgate/policy"
)

// loop plays the clients of a proxy and the backend behind the proxy, in one thread and with
// non-blocking sockets. So it costs little CPU time, and waits only for the proxy.
type loop struct {
	poll     int
	listener int
	addr     string // the backend's address
	socks    []*sock
	events   []unix.EpollEvent
	scratch  []byte
	backend  backend
	sending  []*sock // the connections with events to send
	run      *run    // nil while nothing is sent
	waits    bool    // whether a turn waits for events
	err      error
}

// sock is a connection of a client or a connection to the backend.
type sock struct {
	fd      int
	client  bool
	in      []byte // the bytes of a message with an incomplete head
	body    body   // the message's body, while it arrives
	head    []byte // the message's head, while its body arrives
	got     int    // the bytes of the body that have arrived; see run.content
	events  int    // the events of the answer that have not been sent
	keyed   bool   // whether the backend has found its key in the message
	out     []byte // the part of writing that is not written yet
	writing []byte // the buffer behind out
	waiting bool   // whether epoll reports when the socket is writable

	busy  bool          // whether the client waits for an answer
	due   time.Duration // when its request was due, since the start of the run
	class int
}

func newLoop(b backend) (*loop, error) {
	poll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	l := &loop{poll: poll, backend: b, events: make([]unix.EpollEvent, 256), scratch: make([]byte, 256<<10)}
	if l.listener, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
		return nil, err
	}
	loopback := [4]byte{127, 0, 0, 1}
	if err := unix.Bind(l.listener, &unix.SockaddrInet4{Addr: loopback}); err != nil {
		return nil, err
	}
	if err := unix.Listen(l.listener, 4096); err != nil {
		return nil, err
	}
	name, err := unix.Getsockname(l.listener)
	if err != nil {
		return nil, err
	}
	inet, _ := name.(*unix.SockaddrInet4)
	l.addr = netip.AddrPortFrom(netip.AddrFrom4(loopback), uint16(inet.Port)).String()
	err = l.watch(unix.EPOLL_CTL_ADD, l.listener, unix.EPOLLIN)
	return l, err
}

// end closes all connections.
func (l *loop) end() {
	for _, s := range l.socks {
		if s != nil {
			_ = unix.Close(s.fd)
		}
	}
	_ = unix.Close(l.listener)
	_ = unix.Close(l.poll)
}

func (l *loop) watch(op, fd int, events uint32) error {
	return unix.EpollCtl(l.poll, op, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)})
}

func (l *loop) fail(err error) {
	if l.err == nil {
		l.err = err
	}
}

// add adds a connected socket.
func (l *loop) add(fd int, client bool) *sock {
	for len(l.socks) <= fd {
		l.socks = append(l.socks, nil)
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	s := &sock{fd: fd, client: client}
	l.socks[fd] = s
	if err := l.watch(unix.EPOLL_CTL_ADD, fd, unix.EPOLLIN); err != nil {
		l.fail(err)
	}
	return s
}

// dial connects a client.
func (l *loop) dial(addr string) (*sock, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())}); err != nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: err}
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, err
	}
	return l.add(fd, true), nil
}

func (l *loop) close(s *sock) {
	l.socks[s.fd] = nil
	_ = unix.Close(s.fd)
}

// turn handles the events that have happened, and does not wait for events. If it waited,
// it would sleep too long, and the proxy would pay for waking it up. It waits only if
// another thread needs the core.
func (l *loop) turn() {
	ms := 0
	if l.waits {
		ms = 100
	}
	if len(l.sending) > 0 {
		ms = 0
		l.sendEvents()
	}
	n, err := unix.EpollWait(l.poll, l.events, ms)
	if err != nil && !errors.Is(err, unix.EINTR) {
		l.fail(err)
	}
	if n == 0 && !l.waits { // another thread may use this core
		_, _, _ = unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
	}
	for _, e := range l.events[:max(n, 0)] {
		fd := int(e.Fd)
		if fd == l.listener {
			l.accept()
			continue
		}
		s := l.socks[fd]
		if s != nil && e.Events&unix.EPOLLOUT != 0 {
			l.flush(s)
		}
		if s != nil && l.socks[fd] == s && e.Events&^unix.EPOLLOUT != 0 {
			l.read(s)
		}
	}
}

func (l *loop) accept() {
	for {
		fd, _, err := unix.Accept4(l.listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		if err != nil {
			return
		}
		l.add(fd, false)
	}
}

// send writes a message that fits into the socket's buffer.
func (l *loop) send(s *sock, message []byte) {
	s.writing = message
	s.out = message
	l.flush(s)
}

func (l *loop) flush(s *sock) {
	for len(s.out) > 0 {
		n, err := unix.Write(s.fd, s.out)
		if errors.Is(err, unix.EAGAIN) {
			if !s.waiting {
				s.waiting = true
				_ = l.watch(unix.EPOLL_CTL_MOD, s.fd, unix.EPOLLIN|unix.EPOLLOUT)
			}
			return
		}
		if err != nil {
			l.lost(s, err)
			return
		}
		s.out = s.out[n:]
	}
	if s.waiting {
		s.waiting = false
		_ = l.watch(unix.EPOLL_CTL_MOD, s.fd, unix.EPOLLIN)
	}
}

// lost closes a connection that has ended. A connection to the backend may end; a
// connection of a client may not.
func (l *loop) lost(s *sock, err error) {
	if s.client {
		l.fail(fmt.Errorf("the proxy closed a client's connection: %w", err))
	}
	l.close(s)
}

var errEnd = errors.New("end of file")

// read reads the bytes that have arrived, and handles each whole message.
func (l *loop) read(s *sock) {
	n, err := unix.Read(s.fd, l.scratch)
	switch {
	case errors.Is(err, unix.EAGAIN):
		return
	case err != nil:
		l.lost(s, err)
		return
	case n == 0:
		l.lost(s, errEnd)
		return
	}
	got := l.scratch[:n]
	for len(got) > 0 && l.socks[s.fd] == s {
		if !s.body.ended() {
			taken, content, err := s.body.next(got)
			if err != nil {
				l.fail(err)
				return
			}
			if got = got[taken:]; s.client && l.run != nil {
				l.run.content(s, content)
			} else if !s.client && !s.keyed { // the form head comes first
				s.keyed = bytes.Contains(content, l.backend.key)
				l.checkForeign(s, content)
			}
			if s.body.ended() {
				l.message(s)
			}
			continue
		}
		if len(s.in) > 0 { // rare: the head arrives in several pieces
			s.in = append(s.in, got...)
			got = bytes.Clone(s.in)
			s.in = s.in[:0]
		}
		end := bytes.Index(got, []byte("\r\n\r\n"))
		if end < 0 {
			s.in = append(s.in, got...)
			return
		}
		s.head = append(s.head[:0], got[:end+4]...)
		got = got[end+4:]
		s.keyed = !s.client && bytes.Contains(s.head, l.backend.key)
		l.checkForeign(s, s.head)
		var err error
		if s.body, err = bodyOf(s.head, s.client && l.run != nil && l.run.answer != nil); err != nil {
			l.fail(err)
			return
		}
		if s.got = 0; s.body.ended() {
			l.message(s)
		}
	}
}

// checkForeign fails if a client's key has reached a backend that has its own key.
func (l *loop) checkForeign(s *sock, text []byte) {
	if !s.client && len(l.backend.key) > 0 && bytes.Contains(text, []byte(policy.KeyPrefix)) {
		l.fail(errors.New("the backend has got a client's key"))
	}
}

// sendEvents sends the next event to each connection that waits for one, so that each event is
// a write of its own.
func (l *loop) sendEvents() {
	l.sending = slices.DeleteFunc(l.sending, func(s *sock) bool {
		if l.socks[s.fd] != s {
			return true // the connection is closed
		}
		if len(s.out) > 0 {
			return false // the event before is not written yet
		}
		s.events--
		l.send(s, appendEvent(s.writing[:0], s.events))
		return s.events == 0
	})
}

// message handles a whole message.
func (l *loop) message(s *sock) {
	if !s.client {
		if !s.keyed {
			l.fail(fmt.Errorf("a request without the backend's key: %.300q", s.head))
			return
		}
		var answer []byte
		if answer, s.events = l.backend.answer(s.head, s.writing[:0]); s.events > 0 {
			l.sending = append(l.sending, s)
		}
		l.send(s, answer)
		return
	}
	if l.run == nil || !s.busy {
		l.fail(fmt.Errorf("an answer that nobody asked for: %.200q", s.head))
		return
	}
	s.busy = false
	l.run.answered(s)
}
