package ip

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/weirnet/weir/internal/offload"
	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/wire"
)

// TestForwardSuperUDP has super-segments of UDP in every state of their checksum: what they are cut into on the way out, or are fragments of,
// is right; and a datagram without checksum, which IPv4 allows, stays one (RFC 768; RFC 8200 §8.1).
func TestForwardSuperUDP(t *testing.T) {
	families(t, func(t *testing.T, is6 bool) {
		for _, c := range []struct {
			state       packet.Checksum
			zero        bool
			size, parts int // of payload, and packets that leave
			gso         int
		}{
			{packet.ChecksumPartial, false, 500, 3, 200},
			{packet.ChecksumVerified, false, 500, 3, 200},
			{packet.ChecksumVerified, true, 500, 3, 200},
			{packet.ChecksumPartial, false, 2600, 4, 1300},
			{packet.ChecksumVerified, false, 2600, 4, 1300},
			{packet.ChecksumVerified, true, 2600, 4, 1300},
			{packet.ChecksumVerified, false, 500, 0, 0},
			{packet.ChecksumVerified, false, 500, 0, 3},
		} {
			if is6 && (c.zero || c.gso == 1300) {
				continue // neither is there
			}
			t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
				w := newWorld(t, forwarding)
				src, dst, header := peer4, far4, wire.IPv4MinLen
				if is6 {
					src, dst, header = peer6, far6, wire.IPv6Len
				}
				whole := udp(src, dst, 1, 2, pattern(c.size))
				if c.zero {
					wire.UDP(whole).SetChecksum(0)
				}
				var b []byte
				if is6 {
					b = v6(src, dst, wire.ProtoUDP, whole)
				} else {
					b = v4(src, dst, wire.ProtoUDP, whole)
				}
				w.input(ifOne, b, func(p *packet.Packet) {
					p.GSO, p.GSOSize, p.Checksum = packet.GSOUDP4, uint16(c.gso), c.state
					if is6 {
						p.GSO = packet.GSOUDP6
					}
					if c.state == packet.ChecksumPartial {
						p.CsumStart, p.CsumOffset = uint16(header), 6
						a, z := addr(src).AsSlice(), addr(dst).AsSlice()
						n := len(whole)
						p.Data().Writable(header+6, 2)
						f, _ := p.Data().PullUp(header+6, 2)
						sum := naiveSum(slices.Concat(a, z, []byte{0, 17, byte(n >> 8), byte(n)}))
						f[0], f[1] = byte(sum>>8), byte(sum)
					}
				})
				w.verifyDatagrams(t, c.parts, c.size, header, c.zero, dst)
			})
		}
	})
}

// verifyDatagrams looks at what was sent, super-segments cut as a device does, fragments put together.
func (w *world) verifyDatagrams(t *testing.T, parts, size, header int, zero bool, dst string) {
	t.Helper()
	var wires [][]byte
	for _, s := range w.sent {
		p := w.pool.Get()
		p.Data().Append(s.b)
		p.Meta = s.meta
		for _, q := range offload.Split(w.pool, p, nil) {
			wires = append(wires, slices.Concat(q.Vec(nil)...))
			q.Release()
		}
	}
	if len(wires) != parts {
		t.Fatalf("%d packets, want %d: %+v", len(wires), parts, w.Stats())
	}
	if parts == 0 {
		return
	}
	var got, datagram []byte
	for _, b := range wires {
		datagram = append(datagram, b[header:]...)
		if h := wire.IPv4(b); wire.IPVersion(b) == 4 && h.MoreFragments() {
			continue
		}
		u := wire.UDP(datagram)
		if u.Length() != len(datagram) || zero != (u.Checksum() == 0) {
			t.Errorf("a datagram of %d bytes says %d, checksum %04x", len(datagram), u.Length(), u.Checksum())
		}
		src := addr(peer4)
		if header == wire.IPv6Len {
			src = addr(peer6)
		}
		if !zero && transportSum(src, addr(dst), wire.ProtoUDP, datagram) != 0xffff {
			t.Error("wrong checksum")
		}
		got = append(got, datagram[wire.UDPLen:]...)
		datagram = nil
	}
	if !bytes.Equal(got, pattern(size)) {
		t.Errorf("%d bytes of payload arrived, or others", len(got))
	}
}
