package stack

import (
	"syscall"

	"github.com/weirnet/weir/internal/ip"
	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/tcp"
)

// Authentication of segments by TCP-MD5 and TCP-AO. A listener has keys for many peers; each connection a guard with its peer's, which
// the handshake's record, the connection and its TIME-WAIT record hand on. The digests are made by package tcp/auth, which is not imported
// here: it comes with the keys of those who use it.

// guard is a tcp.Guard in the space of one pointer; nil: nothing is signed.
type guard struct{ tcp.Guard }

// newGuard is what a connection needs of a socket's keys; nil for none.
func newGuard(keys tcp.Keys, k *flowKey) *guard {
	if keys == nil {
		return nil
	}
	if g := keys.Guard(k.localAddr(), k.remoteAddr()); g != nil {
		return &guard{g}
	}
	return nil
}

// clone is a guard of its own for the same connection.
func (g *guard) clone() *guard {
	if g == nil {
		return nil
	}
	return &guard{g.Clone()}
}

// space is how many bytes of options signing takes.
func (g *guard) space() int {
	if g == nil {
		return 0
	}
	return g.Space()
}

// ao reports whether TCP-AO protects the connection.
func (g *guard) ao() bool { return g != nil && g.AO() }

// keyring is where a listener has its keys, which readers take without a lock.
type keyring struct{ keys tcp.Keys }

// guard is that for a connection to the listener, which may be nil.
func (l *Listener) guard(k *flowKey) *guard {
	if l == nil {
		return nil
	}
	return newGuard(l.keys.Load().keys, k)
}

// SetKeys changes the keys for connections to come. Those that there are keep theirs.
func (l *Listener) SetKeys(change tcp.KeyChange) error {
	for {
		old := l.keys.Load()
		next, err := change(old.keys)
		if err != nil {
			return err
		}
		if l.keys.CompareAndSwap(old, &keyring{next}) {
			return nil
		}
	}
}

// SetKeys changes the keys of a connection. EINVAL: one that began without TCP-AO cannot have it (its keys are made of what the handshake
// knew), nor can one that began with it lose it. EBUSY: the key that is signed with, or that the peer is asked for, would go.
func (t *TCP) SetKeys(change tcp.KeyChange) error {
	return t.option(func(now sched.Time) error {
		var old tcp.Keys
		had := t.manner.guard
		if had != nil {
			old = had.Keys()
		}
		keys, err := change(old)
		if err != nil {
			return err
		}
		next := newGuard(keys, &t.flow.key)
		if had.ao() != next.ao() {
			return syscall.EINVAL
		}
		if had != nil && next != nil {
			if err := had.SetKeys(keys); err != nil {
				return err
			}
			next = had // it knows the connection
		}
		t.manner.guard = next
		t.conn.SetAuthSpace(now, next.space())
		return nil
	})
}

// UseAO chooses the key of TCP-AO that is signed with, by its SendID, and the one that the peer is asked to sign with, by its RecvID;
// negative: no change. ENOENT: there is no such key.
func (t *TCP) UseAO(sendID, recvID int) error {
	return t.configure(func() error {
		if !t.manner.guard.ao() {
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
func (s *Stack) refuseSigned(g *guard, seg, rst *tcp.Segment, k *flowKey, m *ip.Meta) bool {
	if !s.authentic(g, seg, m) || g.ao() {
		return false
	}
	s.reply(k, m.Scope, rst, &manner{guard: g})
	return true
}

// configure is option for what does not concern the connection's state.
func (t *TCP) configure(fn func() error) error {
	return t.option(func(sched.Time) error { return fn() })
}
