package control

import (
	"context"
	"net"
	"sync"

	"golang.org/x/sys/unix"
)

// A peerListener accepts a bounded number of connections at a time, and asks
// the kernel who is at the other end of each.
type peerListener struct {
	*net.UnixListener
	slots  chan struct{}
	closed chan struct{}
	once   sync.Once
}

func newPeerListener(ln *net.UnixListener, limit int) *peerListener {
	return &peerListener{UnixListener: ln, slots: make(chan struct{}, limit), closed: make(chan struct{})}
}

// Accept waits for a connection. Those above the limit wait in the kernel's
// queue.
func (l *peerListener) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.AcceptUnix()
	if err != nil {
		<-l.slots
		return nil, err
	}
	pc := &peerConn{UnixConn: c, release: sync.OnceFunc(func() { <-l.slots })}
	pc.uid, pc.err = socketUID(c)
	return pc, nil
}

// Close ends a waiting Accept, also one that waits for a slot.
func (l *peerListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.UnixListener.Close()
}

// A peerConn is a connection and the uid of the process that made it, as it was
// at that time: it cannot be forged.
type peerConn struct {
	*net.UnixConn
	uid     int
	err     error // why uid is not known
	release func()
}

// Close closes the connection and frees its slot.
func (c *peerConn) Close() error {
	defer c.release()
	return c.UnixConn.Close()
}

func socketUID(c *net.UnixConn) (int, error) {
	cred, err := socketPeer(c)
	if err != nil {
		return 0, err
	}
	return int(cred.Uid), nil
}

// socketPeer returns who is at the other end of a connection.
func socketPeer(c *net.UnixConn) (*unix.Ucred, error) {
	rc, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	var cred *unix.Ucred
	var gerr error
	if err := rc.Control(func(fd uintptr) {
		cred, gerr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return nil, err
	}
	return cred, gerr
}

// peerKey is the context key of a *peerConn.
type peerKey struct{}

func withPeer(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, peerKey{}, c)
}

// peerUID returns the uid of the process that made the request's connection.
func peerUID(ctx context.Context) (uid int, known bool) {
	c, ok := ctx.Value(peerKey{}).(*peerConn)
	if !ok || c.err != nil {
		return 0, false
	}
	return c.uid, true
}
