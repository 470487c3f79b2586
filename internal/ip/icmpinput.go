package ip

import (
	"net/netip"
	"syscall"

	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/wire"
)

// Error is an ICMP error about a packet that we sent, plausible as far as ip can say: Src was ours.
type Error struct {
	_                [0]func()  // no ==: its code would be in every program
	Src, Dst         netip.Addr // of the quoted packet: Src is local, Dst remote
	SrcPort, DstPort uint16     // of a quoted echo request: SrcPort is the identifier, DstPort the sequence number
	Protocol         wire.Protocol
	Seq              uint32 // TCP: quoted sequence number
	HasSeq           bool
	Scope            int
	Errno            error // portable syscall.E…: ECONNREFUSED, EHOSTUNREACH, ENETUNREACH, EACCES, EMSGSIZE, EPROTO…
	Hard             bool  // port or protocol unreachable, prohibited (RFC 1122 §4.2.3.9)
	Unreachable      bool  // destination unreachable: what was sent there will not arrive
	MTU              int   // packet too big / fragmentation needed: next-hop MTU (0: not given), not below what SetPathMTU takes
	Batch            any   // what the caller of Input gave
}

// meaning is what an ICMP error says to a socket: the errors that Linux gives for it.
type meaning struct {
	errno syscall.Errno
	hard  bool
}

// unreachable4 is the meaning of destination unreachable, by code (RFC 792, RFC 1122 §3.2.2.1, RFC 1812 §5.2.7.1). Where an errno does
// not exist on every system there stands EHOSTUNREACH.
var unreachable4 = [...]meaning{
	wire.ICMPv4NetUnreachable:      {syscall.ENETUNREACH, false},
	wire.ICMPv4HostUnreachable:     {syscall.EHOSTUNREACH, false},
	wire.ICMPv4ProtoUnreachable:    {syscall.ENOPROTOOPT, true},
	wire.ICMPv4PortUnreachable:     {syscall.ECONNREFUSED, true},
	wire.ICMPv4FragNeeded:          {syscall.EMSGSIZE, false},
	wire.ICMPv4SourceRouteFailed:   {syscall.EOPNOTSUPP, false},
	wire.ICMPv4NetUnknown:          {syscall.ENETUNREACH, true},
	wire.ICMPv4HostUnknown:         {syscall.EHOSTUNREACH, true}, // Linux: EHOSTDOWN
	wire.ICMPv4HostIsolated:        {syscall.EHOSTUNREACH, true}, // Linux: ENONET
	wire.ICMPv4NetProhibited:       {syscall.ENETUNREACH, true},
	wire.ICMPv4HostProhibited:      {syscall.EHOSTUNREACH, true},
	wire.ICMPv4NetUnreachableTOS:   {syscall.ENETUNREACH, false},
	wire.ICMPv4HostUnreachableTOS:  {syscall.EHOSTUNREACH, false},
	wire.ICMPv4AdminProhibited:     {syscall.EHOSTUNREACH, true},
	wire.ICMPv4PrecedenceViolation: {syscall.EHOSTUNREACH, true},
	wire.ICMPv4PrecedenceCutoff:    {syscall.EHOSTUNREACH, true},
}

// unreachable6 is the same for ICMPv6 (RFC 4443 §3.1).
var unreachable6 = [...]meaning{
	wire.ICMPv6NoRoute:            {syscall.ENETUNREACH, false},
	wire.ICMPv6AdminProhibited:    {syscall.EACCES, true},
	wire.ICMPv6BeyondScope:        {syscall.EHOSTUNREACH, false},
	wire.ICMPv6AddressUnreachable: {syscall.EHOSTUNREACH, false},
	wire.ICMPv6PortUnreachable:    {syscall.ECONNREFUSED, true},
	wire.ICMPv6SourcePolicy:       {syscall.EACCES, true},
	wire.ICMPv6RejectRoute:        {syscall.EACCES, true},
}

// errorFor4 takes an ICMP error message and tells the socket concerned. It owns p.
func (l *Layer) errorFor4(in *inbound, p *packet.Packet, m *Meta) {
	size := p.Size() - p.HeaderSize()
	b, _ := p.Peek(min(size, maxQuote))
	icmp := wire.ICMPv4(b)
	q, err := wire.ParseQuote4(icmp.Quoted())
	e := Error{Scope: m.Scope}
	ok := err == nil
	switch icmp.Type() {
	case wire.ICMPv4DstUnreachable:
		if int(icmp.Code()) >= len(unreachable4) {
			ok = false
			break
		}
		e.Errno, e.Hard, e.Unreachable = unreachable4[icmp.Code()].errno, unreachable4[icmp.Code()].hard, true
		if ok && icmp.Code() == wire.ICMPv4FragNeeded {
			e.MTU, ok = mtu4(icmp.MTU(), q.TotalLen, l.cfg.MinPathMTU)
		}
	case wire.ICMPv4TimeExceeded:
		e.Errno = syscall.EHOSTUNREACH
	case wire.ICMPv4ParamProblem:
		e.Errno, e.Hard = syscall.EPROTO, true
	default: // source quench and redirect: obsolete (RFC 6633), not for hosts that route
		drop(p, &in.c.inDiscards)
		return
	}
	l.report(in, p, m, &e, &q, ok)
}

// errorFor6 is the same for ICMPv6 (RFC 4443 §3).
func (l *Layer) errorFor6(in *inbound, p *packet.Packet, m *Meta) {
	size := p.Size() - p.HeaderSize()
	b, _ := p.Peek(min(size, maxQuote))
	icmp := wire.ICMPv6(b)
	q, err := wire.ParseQuote6(icmp.Quoted())
	e := Error{Scope: m.Scope}
	ok := err == nil
	switch icmp.Type() {
	case wire.ICMPv6DstUnreachable:
		if int(icmp.Code()) >= len(unreachable6) {
			ok = false
			break
		}
		e.Errno, e.Hard, e.Unreachable = unreachable6[icmp.Code()].errno, unreachable6[icmp.Code()].hard, true
	case wire.ICMPv6PacketTooBig:
		// RFC 8201 §4: less than the IPv6 minimum link MTU is to be discarded. Nor can what fitted have been too big.
		e.Errno, e.MTU = syscall.EMSGSIZE, int(icmp.MTU())
		ok = ok && icmp.MTU() >= wire.IPv6MinMTU && icmp.MTU() < uint32(q.TotalLen)
	case wire.ICMPv6TimeExceeded:
		e.Errno = syscall.EHOSTUNREACH
	case wire.ICMPv6ParamProblem:
		e.Errno, e.Hard = syscall.EPROTO, true
	default: // RFC 4443 §2.4 (a) wants unknown errors to reach the upper layer; none of ours would know what to do with one
		drop(p, &in.c.inDiscards)
		return
	}
	l.report(in, p, m, &e, &q, ok)
}

// report completes e from the quote and hands it up, if the quoted packet can be one that we sent: its source is the address that the
// error came to (our own, or one that we speak for), and its transport header is quoted as far as sockets are found by it (RFC 792: 8
// bytes). Whether such a packet is in flight is transport's to judge (RFC 5927 §4.1). It owns p.
func (l *Layer) report(in *inbound, p *packet.Packet, m *Meta, e *Error, q *wire.Quote, ok bool) {
	ok = ok && !m.Multi && q.Src == m.Dst && !q.Later && len(q.Transport) >= 8
	if ok {
		e.Src, e.Dst, e.Protocol = q.Src, q.Dst, q.Protocol
		e.Seq, e.HasSeq = q.TCPSeq()
		if e.SrcPort, e.DstPort, ok = q.Ports(); !ok {
			e.SrcPort, e.DstPort, ok = q.EchoID()
		}
		if dst := keyOf(q.Dst); dst.zoned() || keyOf(q.Src).zoned() {
			e.Scope = in.ifc.Index
		}
	}
	if !ok {
		drop(p, &in.c.icmpImplausible)
		return
	}
	if l.cfg.Error != nil {
		e.Batch = in.batch
		l.cfg.Error(in.now, e)
	}
	p.Release()
}

// plateaus are the MTUs of RFC 1191 §7.1 that can still be met, with the tunnels of today.
var plateaus = [...]int{65535, 32000, 17914, 8166, 4352, 2002, 1492, 1280, 1006, 576, minPathMTU4}

// mtu4 is the MTU that a "fragmentation needed" message about a packet of the given total length tells, if that can be: what a router
// older than RFC 1191 leaves out is guessed as the next plateau below the packet.
func mtu4(told, total, least int) (int, bool) {
	if told == 0 {
		for _, mtu := range plateaus {
			if mtu < total {
				return max(mtu, least), true
			}
		}
		return 0, false
	}
	if told < wire.IPv4MinMTU || told >= total {
		return 0, false
	}
	return max(told, least), true
}
