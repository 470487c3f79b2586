package tun

import (
	"testing"

	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/packet"
)

func vnet(flags, gso byte, headerLen, gsoSize, start, offset uint16) (h vnetHeader) {
	h[vnetFlags], h[vnetGSOType] = flags, gso
	h.setField(vnetHeaderLen, int(headerLen))
	h.setField(vnetGSOSize, int(gsoSize))
	h.setField(vnetCsumStart, int(start))
	h.setField(vnetCsumOffset, int(offset))
	return h
}

// front is an IP header of the given version and length, and a TCP header with the given data offset and flags behind it.
func front(version byte, ipHeader int, words, flags byte) []byte {
	b := make([]byte, ipHeader+60)
	b[0] = version << 4
	b[ipHeader+tcpDataOffset] = words << 4
	b[ipHeader+tcpFlags] = flags
	return b
}

func TestDecode(t *testing.T) {
	tcp4, tcp6 := front(4, 20, 8, 0x10), front(6, 40, 5, 0x10)
	tests := []struct {
		name   string
		header vnetHeader
		front  []byte
		size   int
		want   packet.Meta
		bad    bool
	}{
		{name: "nothing known", header: vnet(0, 0, 0, 0, 0, 0), front: tcp4, size: 80},
		{name: "verified", header: vnet(vnetDataValid, 0, 0, 0, 0, 0), front: tcp4, size: 80, want: packet.Meta{Checksum: packet.ChecksumVerified}},
		{name: "partial", header: vnet(vnetNeedsCsum, 0, 0, 0, 20, 6), front: tcp4, size: 80,
			want: packet.Meta{Checksum: packet.ChecksumPartial, CsumStart: 20, CsumOffset: 6}},
		{name: "partial to the last byte", header: vnet(vnetNeedsCsum, 0, 0, 0, 72, 6), front: tcp4, size: 80,
			want: packet.Meta{Checksum: packet.ChecksumPartial, CsumStart: 72, CsumOffset: 6}},
		{name: "TCP over IPv4", header: vnet(vnetNeedsCsum, vnetGSOTCP4, 0, 1448, 20, 16), front: tcp4, size: 52 + 3*1448,
			want: packet.Meta{Checksum: packet.ChecksumPartial, CsumStart: 20, CsumOffset: 16, GSO: packet.GSOTCP4, GSOSize: 1448, Segs: 3}},
		{name: "TCP over IPv6, last segment short", header: vnet(vnetNeedsCsum, vnetGSOTCP6, 0, 1440, 40, 16), front: tcp6, size: 60 + 2*1440 + 1,
			want: packet.Meta{Checksum: packet.ChecksumPartial, CsumStart: 40, CsumOffset: 16, GSO: packet.GSOTCP6, GSOSize: 1440, Segs: 3}},
		{name: "first segment with CWR", header: vnet(vnetNeedsCsum, vnetGSOTCP4|vnetGSOECN, 0, 1000, 20, 16), front: tcp4, size: 52 + 2000,
			want: packet.Meta{Checksum: packet.ChecksumPartial, CsumStart: 20, CsumOffset: 16, GSO: packet.GSOTCP4, GSOSize: 1000, Segs: 2}},
		{name: "one segment is none", header: vnet(vnetNeedsCsum, vnetGSOTCP4, 0, 1448, 20, 16), front: tcp4, size: 52 + 1448,
			want: packet.Meta{Checksum: packet.ChecksumPartial, CsumStart: 20, CsumOffset: 16}},
		{name: "UDP over IPv4", header: vnet(vnetNeedsCsum, vnetGSOUDPL4, 0, 100, 20, 6), front: tcp4, size: 28 + 200,
			want: packet.Meta{Checksum: packet.ChecksumPartial, CsumStart: 20, CsumOffset: 6, GSO: packet.GSOUDP4, GSOSize: 100, Segs: 2}},
		{name: "UDP over IPv6", header: vnet(vnetNeedsCsum, vnetGSOUDPL4, 0, 100, 40, 6), front: tcp6, size: 48 + 200,
			want: packet.Meta{Checksum: packet.ChecksumPartial, CsumStart: 40, CsumOffset: 6, GSO: packet.GSOUDP6, GSOSize: 100, Segs: 2}},

		{name: "empty", header: vnet(0, 0, 0, 0, 0, 0), size: 0, bad: true},
		{name: "sum past the end", header: vnet(vnetNeedsCsum, 0, 0, 0, 73, 6), front: tcp4, size: 80, bad: true},
		{name: "sum far past the end", header: vnet(vnetNeedsCsum, 0, 0, 0, 65535, 65535), front: tcp4, size: 80, bad: true},
		{name: "sum of the network header", header: vnet(vnetNeedsCsum, 0, 0, 0, 0, 10), front: tcp4, size: 80, bad: true},
		{name: "super-segment with complete sum", header: vnet(0, vnetGSOTCP4, 0, 1448, 20, 16), front: tcp4, size: 3000, bad: true},
		{name: "super-segment of nothing", header: vnet(vnetNeedsCsum, vnetGSOTCP4, 0, 0, 20, 16), front: tcp4, size: 3000, bad: true},
		{name: "IPv4 in IPv6's", header: vnet(vnetNeedsCsum, vnetGSOTCP6, 0, 1448, 20, 16), front: tcp4, size: 3000, bad: true},
		{name: "IPv6 in IPv4's", header: vnet(vnetNeedsCsum, vnetGSOTCP4, 0, 1448, 40, 16), front: tcp6, size: 3000, bad: true},
		{name: "unknown kind", header: vnet(vnetNeedsCsum, 3, 0, 1448, 20, 6), front: tcp4, size: 3000, bad: true},
		{name: "TCP header of 16 bytes", header: vnet(vnetNeedsCsum, vnetGSOTCP4, 0, 1448, 20, 16), front: front(4, 20, 4, 0), size: 3000, bad: true},
		{name: "TCP header past the end", header: vnet(vnetNeedsCsum, vnetGSOTCP4, 0, 10, 20, 16), front: front(4, 20, 15, 0), size: 80 - 1, bad: true},
		{name: "TCP header behind the front", header: vnet(vnetNeedsCsum, vnetGSOTCP4, 0, 10, 1000, 16), front: tcp4, size: 3000, bad: true},
		{name: "TCP with UDP's sum", header: vnet(vnetNeedsCsum, vnetGSOTCP4, 0, 1448, 20, 6), front: tcp4, size: 3000, bad: true},
		{name: "UDP with TCP's sum", header: vnet(vnetNeedsCsum, vnetGSOUDPL4, 0, 1448, 20, 16), front: tcp4, size: 3000, bad: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var m packet.Meta
			ok := tt.header.decode(&m, tt.front[:min(len(tt.front), tt.size)], tt.size)
			if ok == tt.bad {
				t.Fatalf("decode = %v, want %v", ok, !tt.bad)
			}
			if ok && m != tt.want {
				t.Errorf("decoded %+v, want %+v", m, tt.want)
			}
		})
	}
}

func TestEncode(t *testing.T) {
	tests := []struct {
		name  string
		meta  packet.Meta
		front []byte
		want  vnetHeader
		bad   bool
	}{
		{name: "complete", front: front(4, 20, 5, 0), want: vnet(0, 0, 0, 0, 0, 0)},
		{name: "verified by somebody else", meta: packet.Meta{Checksum: packet.ChecksumVerified}, front: front(4, 20, 5, 0), want: vnet(0, 0, 0, 0, 0, 0)},
		{name: "partial", meta: packet.Meta{Checksum: packet.ChecksumPartial, CsumStart: 40, CsumOffset: 6}, front: front(6, 40, 5, 0),
			want: vnet(vnetNeedsCsum, 0, 0, 0, 40, 6)},
		{name: "TCP over IPv4", front: front(4, 24, 8, 0x10), want: vnet(vnetNeedsCsum, vnetGSOTCP4, 24+32, 1448, 24, 16),
			meta: packet.Meta{Checksum: packet.ChecksumPartial, CsumStart: 24, CsumOffset: 16, GSO: packet.GSOTCP4, GSOSize: 1448}},
		{name: "TCP over IPv6 with CWR", front: front(6, 40, 5, tcpCWR), want: vnet(vnetNeedsCsum, vnetGSOTCP6|vnetGSOECN, 60, 1440, 40, 16),
			meta: packet.Meta{Checksum: packet.ChecksumPartial, CsumStart: 40, CsumOffset: 16, GSO: packet.GSOTCP6, GSOSize: 1440}},
		{name: "UDP", front: front(4, 20, 0, tcpCWR), want: vnet(vnetNeedsCsum, vnetGSOUDPL4, 28, 1200, 20, 6),
			meta: packet.Meta{Checksum: packet.ChecksumPartial, CsumStart: 20, CsumOffset: 6, GSO: packet.GSOUDP4, GSOSize: 1200}},
		{name: "super-segment with complete sum", front: front(4, 20, 5, 0), meta: packet.Meta{GSO: packet.GSOTCP4, GSOSize: 1448}, bad: true},
		{name: "without size", front: front(4, 20, 5, 0), bad: true,
			meta: packet.Meta{Checksum: packet.ChecksumPartial, CsumStart: 20, CsumOffset: 16, GSO: packet.GSOTCP4}},
		{name: "without transport header", front: front(4, 20, 5, 0)[:30], bad: true,
			meta: packet.Meta{Checksum: packet.ChecksumPartial, CsumStart: 20, CsumOffset: 16, GSO: packet.GSOTCP4, GSOSize: 1448}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := packet.NewPool(nil).Get()
			p.Meta = tt.meta
			p.Data().Append(tt.front)
			h := vnet(0xff, 0xff, 1, 1, 1, 1) // of the packet before
			// The headers may lie in pieces.
			for cut := range tt.front {
				if ok := h.encode(p, buffer.Vec{tt.front[:cut], nil, tt.front[cut:]}); ok == tt.bad {
					t.Fatalf("encode = %v, want %v", ok, !tt.bad)
				}
				if !tt.bad && h != tt.want {
					t.Fatalf("encoded % x, want % x", h, tt.want)
				}
			}
		})
	}
}

// What decode accepts leads nobody past the end of the packet, and encodes to a header that decodes to the same.
func FuzzVnetHeader(f *testing.F) {
	h := vnet(vnetNeedsCsum, vnetGSOTCP4, 52, 1448, 20, 16)
	f.Add(append(h[:], front(4, 20, 8, 0x10)...), uint16(4000))
	h = vnet(vnetDataValid, 0, 0, 0, 0, 0)
	f.Add(append(h[:], 0x60), uint16(0))
	f.Fuzz(func(t *testing.T, b []byte, more uint16) {
		if len(b) < vnetHeaderSize {
			return
		}
		h, rest := vnetHeader(b), b[vnetHeaderSize:]
		size := len(rest) + int(more)
		p := packet.NewPool(nil).Get()
		if !h.decode(&p.Meta, rest, size) {
			return
		}
		if p.Checksum == packet.ChecksumPartial && int(p.CsumStart)+int(p.CsumOffset)+2 > size {
			t.Fatalf("sum at %d+%d of %d bytes", p.CsumStart, p.CsumOffset, size)
		}
		if p.GSO != packet.GSONone {
			if p.Segs < 2 || p.GSOSize == 0 || int(p.Segs-1)*int(p.GSOSize) >= size {
				t.Fatalf("%d segments of %d in %d bytes", p.Segs, p.GSOSize, size)
			}
		}
		var again vnetHeader
		var m packet.Meta
		v := buffer.Vec{rest}
		if !again.encode(p, v) || !again.decode(&m, rest, size) {
			t.Fatal("cannot say again what was said")
		}
		if m.Checksum == packet.ChecksumNone { // that it was verified is not said to the kernel, which does not listen
			m.Checksum = p.Checksum
		}
		if m != p.Meta {
			t.Fatalf("decoded %+v, then %+v", p.Meta, m)
		}
	})
}
