package drill

import (
	"net/netip"

	"github.com/weirnet/weir/tcp/auth"
	"github.com/weirnet/weir/wire"
)

// flow is one connection (or pair of UDP ports) as the script sees it: how its numbers and those of the wire differ.
//
// The peer's sequence numbers and timestamps are those of the script. The host's are mapped: its initial sequence number is what the
// script gives its SYN, and what the script calls its timestamps is remembered for the peer to echo.
type flow struct {
	proto         wire.Protocol
	local, remote netip.AddrPort

	known   bool   // the host's SYN was seen, or what counts as it
	offset  uint32 // wire less script, of the host's sequence numbers
	first   uint32 // the host's first data byte, as the script counts
	peerSYN uint32 // sequence number of the peer's SYN
	hasSYN  bool   // peerSYN is set
	fresh   bool   // the peer has sent another SYN: the next SYN of the host is of a new connection
	nextSYN uint32 // sequence number of that

	labels   map[uint32]uint32 // the script's TSval → the wire's, of the host
	hasStamp bool
	stamp    uint32 // wire less script, of the latest TSval
	firstVal uint32 // of the first TSval, as the script has it
	firstOff uint32 // the same for the first, which the clock is checked against

	guard      *auth.Guard // of the peer, with TCP-AO
	fastCookie []byte      // the last Fast Open cookie that the host gave, to this connection or one before
	lastSent   []byte      // the last packet that the host sent, for ICMP to quote
	lastData   []byte      // the same, with data or SYN or FIN
	unchecked  bool        // the bytes that the host sends are not the pattern
}

// restart makes the mapping anew: the same ports, another connection.
func (f *flow) restart() {
	*f = flow{proto: f.proto, local: f.local, remote: f.remote, fastCookie: f.fastCookie}
}

func (f *flow) ackToWire(n uint32) uint32 { return n + f.offset }

func (f *flow) seqToScript(n uint32) uint32 { return n - f.offset }

func (f *flow) ecrToWire(n uint32) uint32 {
	if v, ok := f.labels[n]; ok {
		return v
	}
	if n == 0 {
		return 0
	}
	return n + f.stamp
}

func (f *flow) cookie() []byte { return f.fastCookie }

// learnStamp remembers what the script calls a TSval of the host.
func (f *flow) learnStamp(script, onWire uint32) {
	if f.labels == nil {
		f.labels = map[uint32]uint32{}
	}
	f.labels[script] = onWire
	f.stamp = onWire - script
	if !f.hasStamp {
		f.hasStamp, f.firstOff, f.firstVal = true, f.stamp, script
	}
}

// pattern is the byte at a place of a stream, so that what arrives can be told from what should.
func pattern(i uint32) byte { return byte(i>>16 ^ i>>8 ^ i*7) }

// fillPattern makes n bytes of a stream from one place on.
func fillPattern(from uint32, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = pattern(from + uint32(i))
	}
	return b
}

// wrongByte is the place of the first byte that is not the stream's; -1: none.
func wrongByte(b []byte, from uint32) int {
	for i := range b {
		if b[i] != pattern(from+uint32(i)) {
			return i
		}
	}
	return -1
}

// findFlow is the flow of two ends; nil: none yet.
func (r *runner) findFlow(proto wire.Protocol, local, remote netip.AddrPort) *flow {
	for i := len(r.flows) - 1; i >= 0; i-- {
		if f := r.flows[i]; f.proto == proto && f.local == local && f.remote == remote {
			return f
		}
	}
	return nil
}

// openFlow is the flow of two ends, made if there is none; it is the current one then.
func (r *runner) openFlow(proto wire.Protocol, local, remote netip.AddrPort) *flow {
	f := r.findFlow(proto, local, remote)
	if f == nil {
		f = &flow{proto: proto, local: local, remote: remote}
		if r.currentTCP != nil {
			f.fastCookie = r.currentTCP.fastCookie // a cookie is a client's, not a connection's
		}
		r.flows = append(r.flows, f)
	}
	r.setCurrent(f)
	return f
}

func (r *runner) setCurrent(f *flow) {
	r.current = f
	if f.proto == wire.ProtoUDP {
		r.currentUDP = f
	} else {
		r.currentTCP = f
	}
}

// firstPeerPort is the peer's first ephemeral port.
const firstPeerPort = 49152

// flowOf is the flow that a line of the script is about: the one it names, else the current one, else a new one to the last port that
// was bound.
func (r *runner) flowOf(p *packetEvent, proto wire.Protocol) *flow {
	cur := r.currentTCP
	if proto == wire.ProtoUDP {
		cur = r.currentUDP
	}
	if !p.addressed() && cur != nil {
		r.current = cur
		return cur
	}
	peer, host := p.src, p.dst
	if !p.in {
		peer, host = p.dst, p.src
	}
	set := &r.script.set
	if !peer.Addr().IsValid() {
		peer = netip.AddrPortFrom(set.remote(), peer.Port())
		if host.Addr().IsValid() && host.Addr().Is6() {
			peer = netip.AddrPortFrom(set.remote6, peer.Port())
		}
	}
	if !host.Addr().IsValid() {
		host = netip.AddrPortFrom(set.local(), host.Port())
		if peer.Addr().Is6() {
			host = netip.AddrPortFrom(set.local6, host.Port())
		} else {
			host = netip.AddrPortFrom(set.local4, host.Port())
		}
	}
	if !p.addressed() {
		port := r.lastTCPPort
		if proto == wire.ProtoUDP {
			port = r.lastUDPPort
		}
		if port == 0 {
			port = set.bindPort
		}
		host = netip.AddrPortFrom(host.Addr(), port)
		peer = netip.AddrPortFrom(peer.Addr(), r.nextPeerPort)
		r.nextPeerPort++
	}
	return r.openFlow(proto, host, peer)
}
