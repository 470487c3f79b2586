package stack

import (
	"encoding/binary"
	"net/netip"
	"syscall"

	"github.com/weirnet/weir/tcp"
	"github.com/weirnet/weir/wire"
)

// The range of ephemeral ports: more than IANA's dynamic ports (RFC 6335 §6), for RFC 6056 §3.2 wants as many as can be.
const (
	firstEphemeral = 32768
	numEphemeral   = 65536 - firstEphemeral
)

// portCounters is how many counters there are (TABLE_LENGTH of RFC 6056 §3.3.4).
const portCounters = 256

// eachPort offers ephemeral ports for a flow to remote in the order of RFC 6056 §3.3.4 (double-hash selection): a keyed offset per
// destination, and a counter that another hash picks. With one counter for all, each destination would learn how many connections go to the
// others. It stops when try returns true; false if no port would do.
func (s *Stack) eachPort(local netip.Addr, remote netip.AddrPort, try func(port uint16) bool) bool {
	var b [34]byte
	l, r := local.As16(), remote.Addr().As16()
	copy(b[:], l[:])
	copy(b[16:], r[:])
	binary.LittleEndian.PutUint16(b[32:], remote.Port())
	sum := s.portKey.Sum(b[:])
	offset, counter := uint32(sum), &s.nextTry[sum>>32%portCounters]
	for range numEphemeral {
		n := offset + counter.Add(1)
		if try(uint16(firstEphemeral + n%numEphemeral)) {
			return true
		}
	}
	return false
}

// bindPort inserts b, choosing a random ephemeral port if it has none.
func (s *Stack) bindPort(b *bind) error {
	if b.addr.Port() != 0 {
		return s.binds.insert(b, false)
	}
	addr := b.addr.Addr()
	start := uint32(s.cfg.Rand())
	for i := range uint32(numEphemeral) {
		b.addr = netip.AddrPortFrom(addr, uint16(firstEphemeral+(start+i)%numEphemeral))
		if s.binds.insert(b, true) == nil {
			return nil
		}
	}
	b.addr = netip.AddrPortFrom(addr, 0)
	return syscall.EADDRINUSE
}

// portInUse reports whether a connection, be it one in TIME-WAIT, has the port and an address of a binding. Only who does without
// SO_REUSEADDR asks; and only a wildcard has to look at every flow.
func (s *Stack) portInUse(b *bind) (used bool) {
	switch {
	case b.addr.Port() == 0:
		return false
	case !b.wildcard():
		return s.flows.locals.used(b.addr)
	}
	look := func(k *flowKey) {
		local := bind{proto: k.proto, addr: k.localAddr()}
		used = used || k.proto == b.proto && k.localPort == b.addr.Port() && b.overlaps(&local)
	}
	// Handshakes of listeners and handlers are not connections yet: flowTable.locals does not have them either.
	s.flows.each(func(f *flow) {
		if _, ok := f.owner.(*TCP); ok {
			look(&f.key)
		}
	})
	s.flows.eachRecord(func(k *flowKey, state tcp.State) {
		if state == tcp.TimeWaiting {
			look(k)
		}
	})
	return used
}

// insertFlow puts f, whose key is complete but perhaps for the local port, into the flow table.
func (s *Stack) insertFlow(f *flow, proto wire.Protocol, b *Bound) (floor issFloor, err error) {
	if f.key.localPort != 0 {
		if s.binds.claimed(proto, f.key.localAddr(), b.ReuseAddr, b.ReusePort) ||
			b.Exclusive && s.portInUse(&bind{proto: proto, addr: f.key.localAddr()}) {
			return issFloor{}, syscall.EADDRINUSE
		}
		floor, ok := s.claimFlow(f)
		if !ok {
			return issFloor{}, syscall.EADDRINUSE
		}
		return floor, nil
	}
	found := s.eachPort(f.key.localAddr().Addr(), f.key.remoteAddr(), func(port uint16) bool {
		if s.binds.used(proto, port) {
			return false
		}
		f.key.localPort = port
		var ok bool
		floor, ok = s.claimFlow(f)
		return ok
	})
	if !found {
		f.key.localPort = 0
		return issFloor{}, syscall.EADDRNOTAVAIL
	}
	return floor, nil
}
