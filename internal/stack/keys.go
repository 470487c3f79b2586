package stack

import (
	"net/netip"
	"syscall"

	"github.com/weirnet/weir/internal/ip"
	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/tcp"
	"github.com/weirnet/weir/tcp/auth"
)

// Authentication of segments by TCP-MD5 and TCP-AO. A listener has keys for many peers; each connection a Guard with its peer's, which
// the handshake's record, the connection and its TIME-WAIT record hand on.

// Keys are the listener's.
func (l *Listener) Keys() *auth.Keys { return l.keys.Load() }

// SetKeys changes the keys for connections to come. Those that there are keep theirs.
func (l *Listener) SetKeys(fn func(*auth.Keys) (*auth.Keys, error)) error {
	for {
		old := l.keys.Load()
		next, err := fn(old)
		if err != nil {
			return err
		}
		if l.keys.CompareAndSwap(old, next) {
			return nil
		}
	}
}

// SetKeys changes the keys of a connection. EINVAL: one that began without TCP-AO cannot have it (its keys are made of what the handshake
// knew), nor can one that began with it lose it.
func (t *TCP) SetKeys(fn func(*auth.Keys) (*auth.Keys, error)) error {
	return t.option(func(now sched.Time) error {
		var old *auth.Keys
		if t.manner.guard != nil {
			old = t.manner.guard.Keys()
		}
		next, err := fn(old)
		if err != nil {
			return err
		}
		next = next.For(t.flow.key.remoteAddr())
		if had, has := t.manner.guard != nil && t.manner.guard.AO(), next != nil && len(next.AO) > 0; had != has {
			return syscall.EINVAL
		}
		switch {
		case next == nil:
			t.manner.guard = nil
		case t.manner.guard == nil:
			t.manner.guard = auth.NewGuard(next, t.flow.key.localAddr(), t.flow.key.remoteAddr())
		default:
			t.manner.guard.SetKeys(next)
		}
		t.conn.SetAuthSpace(now, t.manner.guard.Space())
		return nil
	})
}

// UseAO chooses the key of TCP-AO that is signed with, by its SendID, and the one that the peer is asked to sign with, by its RecvID;
// negative: no change. ENOENT: there is no such key.
func (t *TCP) UseAO(sendID, recvID int) error {
	return t.configure(func() error {
		if t.manner.guard == nil || !t.manner.guard.AO() {
			return syscall.ENOENT
		}
		return t.manner.guard.Use(sendID, recvID)
	})
}

// AOKeys are the SendID of the key that is signed with, and the RecvID of that which the peer is asked for. ENOENT: it is not TCP-AO.
func (t *TCP) AOKeys() (current, next uint8, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.manner.guard == nil {
		return 0, 0, syscall.ENOENT
	}
	return t.manner.guard.IDs()
}

// refuseSigned sends a RST to a peer with which segments are signed, for a segment of no connection, and sends none where it would
// do no harm but no good either: the segment is not signed as it must be, or by TCP-AO, whose keys need the initial sequence numbers of a
// connection. A segment that is signed though nobody here has a key would not have an unsigned RST believed.
func (s *Stack) refuseSigned(keys *auth.Keys, seg, rst *tcp.Segment, k *flowKey, m *ip.Meta) bool {
	g := auth.NewGuard(keys, k.localAddr(), k.remoteAddr())
	if !s.authentic(g, seg, m) || g.AO() {
		return false
	}
	s.reply(k, m.Scope, rst, &manner{guard: g})
	return true
}

// keysFor are a listener's keys for a peer; l may be nil.
func (l *Listener) keysFor(peer netip.AddrPort) *auth.Keys {
	if l == nil {
		return nil
	}
	return l.keys.Load().For(peer)
}

// configure is option for what does not concern the connection's state.
func (t *TCP) configure(fn func() error) error {
	return t.option(func(sched.Time) error { return fn() })
}
