package interop

import (
	"testing"
	"time"

	"github.com/weirnet/weir/link"
	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/wire"
)

// deaf is a device that brings no ICMP errors, as if a firewall before it dropped them.
type deaf struct{ link.Device }

func (d deaf) Attach(s link.Sink) error {
	deliver := s.Deliver
	s.Deliver = func(queue int, batch []*packet.Packet) {
		kept := batch[:0]
		for _, p := range batch {
			if icmpError(p) {
				p.Release()
			} else {
				kept = append(kept, p)
			}
		}
		deliver(queue, kept)
	}
	return d.Device.Attach(s)
}

// icmpError: p is an ICMP error message, in a packet without IP options and extension headers.
func icmpError(p *packet.Packet) bool {
	var front [wire.IPv6Len + 1]byte
	n := 0
	for _, v := range p.Vec(nil) {
		n += copy(front[n:], v)
	}
	switch {
	case front[0] == 0x45 && front[9] == byte(wire.ProtoICMP):
		return front[wire.IPv4MinLen] == byte(wire.ICMPv4DstUnreachable)
	case front[0]>>4 == 6 && front[6] == byte(wire.ProtoICMPv6):
		return front[wire.IPv6Len] < 128
	}
	return false
}

// TestPathMTUBlackHole is RFC 4821's case, with kernel routers: the way is narrower in the middle, and their word of it does not reach weir.
// Its upload to a kernel server goes on in smaller segments, and finds out what the way takes.
func TestPathMTUBlackHole(t *testing.T) {
	const narrow = 1300
	inBothModes(t, func(t *testing.T, plain bool) {
		c := newChain(t, narrow, plain, func(d link.Device) link.Device { return deaf{d} })
		for _, f := range c.families {
			c.openFar(f, true) // its SYN may be lost while neighbours find each other, which makes the first RTO three seconds
			p := c.openFar(f, true)
			start := time.Now()
			c.together(
				func() error { return send(p.weir, size(4<<20)) },
				func() error { return receive(p.kernel, size(4<<20)) },
			)
			info := p.weir.Info()
			t.Logf("%s: %v, %+v", f.name, time.Since(start), info)
			headers := 20 + 20 + 12
			if farAddrs[f.name].Is6() {
				headers += 20
			}
			if info.SendMSS > narrow-headers || info.SendMSS < narrow-headers-60 {
				t.Errorf("%s: segments of %d bytes in the end, of %d that fit", f.name, info.SendMSS, narrow-headers)
			}
		}
	})
}
