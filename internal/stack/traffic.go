package stack

import (
	"github.com/weirnet/weir/internal/ip"
	"github.com/weirnet/weir/tcp"
	"github.com/weirnet/weir/wire"
)

// Traffic is what a socket asks of IP for its packets.
type Traffic struct {
	TTL    uint8 // of IPv4, and the hop limit of IPv6; 0: the stack's
	TOS    uint8 // type of service or traffic class: the DSCP in its upper six bits. The ECN bits are the transport's
	MinTTL uint8 // what comes with less is dropped (RFC 5082); 0: nothing is
	// FlowLabel of IPv6: AutoFlowLabel, NoFlowLabel, or one of 20 bits.
	FlowLabel int32
	PathMTU   PathMTU // of TCP
}

// PathMTU is what a connection makes of the MTU of its path (IP_MTU_DISCOVER).
type PathMTU uint8

// The values of Traffic.PathMTU.
const (
	PathMTUWant     PathMTU = iota // it is looked for: packets are not to be fragmented, and ICMP is listened to
	PathMTUFragment                // the interface's is used, and routers may fragment (IPv4)
	PathMTUProbe                   // the interface's is used, but packets are not to be fragmented: what passes, segments find out
)

// Values of Traffic.FlowLabel.
const (
	// AutoFlowLabel is one for each flow, by a keyed hash of addresses and ports, so that routers may tell flows apart and keep each to its
	// way (RFC 6437 §3). A connection has another after a timeout, so that it is routed round what may have failed (as Linux does).
	AutoFlowLabel int32 = 0
	NoFlowLabel   int32 = -1
)

const ecnBits = 3 // of TOS (RFC 3168 §5)

// manner is how the packets of one connection, or of the record of one, are sent, and what is asked of those that come.
type manner struct {
	ttl, tos, minTTL uint8   // of Traffic
	pathMTU          PathMTU // of Traffic
	label            uint32  // the flow label in its upper 20 bits; the lowest says that it is AutoFlowLabel
	guard            *guard  // signs and verifies; nil: nothing is signed
}

// autoLabel is in manner.label with AutoFlowLabel.
const autoLabel = 1

// manner is that of a flow.
func (s *Stack) manner(k *flowKey, t Traffic, keys tcp.Keys) manner {
	m := manner{guard: newGuard(keys, k)}
	m.use(s, k, t)
	return m
}

// clone is a copy for another record of the flow, under another lock.
func (m *manner) clone() manner {
	c := *m
	c.guard = m.guard.clone()
	return c
}

// use makes t what is asked of IP.
func (m *manner) use(s *Stack, k *flowKey, t Traffic) {
	m.ttl, m.tos, m.minTTL, m.pathMTU = t.TTL, t.TOS, t.MinTTL, t.PathMTU
	m.label = 0
	switch {
	case t.FlowLabel > 0:
		m.label = uint32(t.FlowLabel) << 12
	case t.FlowLabel == AutoFlowLabel && k.is4():
		m.label = autoLabel
	case t.FlowLabel == AutoFlowLabel:
		m.label = max(uint32(k.hash(s.labelKey)), 1<<12) | autoLabel
	}
}

// traffic is what was given to use.
func (m *manner) traffic() Traffic {
	t := Traffic{TTL: m.ttl, TOS: m.tos, MinTTL: m.minTTL, FlowLabel: AutoFlowLabel, PathMTU: m.pathMTU}
	if m.label&autoLabel == 0 {
		if t.FlowLabel = int32(m.label >> 12); t.FlowLabel == 0 {
			t.FlowLabel = NoFlowLabel
		}
	}
	return t
}

// rehash changes an automatic flow label.
func (m *manner) rehash() {
	if m.label&autoLabel != 0 && m.label>>12 != 0 {
		m.label = max(m.label+0x9e3779b1, 1<<12) | autoLabel // far from the last
	}
}

// header is the IP header for a packet of the flow.
func (m *manner) header(proto wire.Protocol, ecn uint8) ip.Header {
	return ip.Header{Protocol: proto, TTL: m.ttl, TOS: m.tos&^ecnBits | ecn&ecnBits, FlowLabel: m.label >> 12}
}

// admits reports whether a segment may go on to its connection: it has come from near enough, and is signed as it must be. Dropped
// segments get no answer (RFC 2385 §2.0, RFC 5925 §7.5).
func (s *Stack) admits(w *manner, seg *tcp.Segment, m *ip.Meta) bool {
	if m.TTL < w.minTTL {
		s.stats.minTTLDrops.Add(1)
		return false
	}
	return w.guard == nil && seg.Options.AuthKind == 0 || s.authentic(w.guard, seg, m)
}

// ignoresICMP reports whether ICMP errors are not believed: nothing authenticates them, and the connection is to be safe from strangers
// (RFC 5925 §7.8).
func (w *manner) ignoresICMP() bool { return w.guard != nil && w.guard.IgnoresICMP() }

// authentic verifies the signature of a segment, and counts what is wrong.
func (s *Stack) authentic(g *guard, seg *tcp.Segment, m *ip.Meta) bool {
	v := tcp.SignatureUnexpected
	if g != nil {
		v = g.Verify(tcp.SignedSegment{Src: m.Src, Dst: m.Dst, Header: seg.Header, Payload: &seg.Payload}, &seg.Options)
	}
	switch v {
	case tcp.SignatureGood:
		return true
	case tcp.SignatureMissing:
		s.stats.authMissing.Add(1)
	case tcp.SignatureUnexpected:
		s.stats.authUnexpected.Add(1)
	case tcp.SignatureUnknownKey:
		s.stats.authUnknownKey.Add(1)
	case tcp.SignatureBad:
		s.stats.authBad.Add(1)
	}
	return false
}

// listenerOf is the listener that a segment of no connection is for; nil if there is none.
func (s *Stack) listenerOf(k *flowKey, m *ip.Meta) *Listener {
	l, _ := s.binds.find(protoTCP, k.localAddr(), k.remoteAddr(), m.Iface, m.Foreign).(*Listener)
	return l
}

// SetTraffic changes what the socket asks of IP: fn gets what it was.
func (t *TCP) SetTraffic(fn func(*Traffic)) error {
	return t.configure(func() error {
		traffic := t.manner.traffic()
		fn(&traffic)
		t.manner.use(t.stack, &t.flow.key, traffic)
		t.pathGen-- // refreshPath looks at the path again
		return nil
	})
}

// Traffic is what the socket asks of IP.
func (t *TCP) Traffic() Traffic {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.manner.traffic()
}

// Traffic is what the socket asks of IP.
func (u *UDP) Traffic() Traffic {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.traffic
}

// SetTraffic changes what the socket asks of IP: fn gets what it was.
func (u *UDP) SetTraffic(fn func(*Traffic)) {
	u.mu.Lock()
	defer u.mu.Unlock()
	fn(&u.traffic)
	u.labelPort = 0
}
