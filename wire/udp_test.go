package wire

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/weirnet/weir/checksum"
	"pgregory.net/rapid"
)

func TestUDPFields(t *testing.T) {
	h, err := ParseUDP(unhex(t, "04 01 00 35 00 0c be ef"), 12)
	if err != nil {
		t.Fatal(err)
	}
	if h.SrcPort() != 1025 || h.DstPort() != 53 || h.Length() != 12 || h.Checksum() != 0xbeef {
		t.Errorf("%d %d %d %#x", h.SrcPort(), h.DstPort(), h.Length(), h.Checksum())
	}
	h.SetSrcPort(1)
	h.SetDstPort(2)
	h.SetLength(65535)
	h.SetChecksum(3)
	if !bytes.Equal(h, unhex(t, "0001 0002 ffff 0003")) {
		t.Errorf("setters: % x", []byte(h))
	}
}

func TestUDPErrors(t *testing.T) {
	for _, c := range []struct {
		name string
		b    string
		size int
		want error
	}{
		{"whole", "0401 0035 000c beef", 12, nil},
		{"behind it padding", "0401 0035 000c beef", 13, nil},
		{"no data", "0401 0035 0008 beef", 8, nil},
		{"super-segment", "0401 0035 ffff beef", 65535, nil},
		{"length past the packet", "0401 0035 000c beef", 11, ErrTotalLen},
		{"length 7", "0401 0035 0007 beef", 12, ErrTotalLen},
		{"length 0, a jumbogram", "0401 0035 0000 beef", 12, ErrTotalLen},
	} {
		if _, err := ParseUDP(unhex(t, c.b), c.size); err != c.want {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	cut(unhex(t, "0401 0035 0008 beef"), func(n int, b []byte) {
		if _, err := ParseUDP(b, 8); err != ErrShort {
			t.Errorf("%d bytes: %v, want ErrShort", n, err)
		}
	})
}

// A datagram over IPv4 may have no checksum, over IPv6 it may not; a checksum that comes out 0 is sent as 0xffff (RFC 768, RFC 8200
// §8.1).
func TestUDPChecksumRules(t *testing.T) {
	mapped := netip.AddrFrom16(dst4.As16())
	for _, c := range []struct {
		name     string
		src, dst netip.Addr
		none     bool
	}{{"IPv4", src4, dst4, true}, {"v4-mapped", netip.AddrFrom16(src4.As16()), mapped, false}, {"IPv6", src6, dst6, false}} {
		h := PutUDP(dirty(8), UDPFields{SrcPort: 1, DstPort: 2, Length: 8})
		if got := h.VerifyChecksum(c.src, c.dst, 0); got != c.none {
			t.Errorf("%s without checksum: %v, want %v", c.name, got, c.none)
		}
		// A source port that makes the sum come out 0xffff, and so the checksum 0.
		h.SetSrcPort(0)
		sum := checksum.Sum(h[:6], checksum.PseudoHeader(c.src, c.dst, 17, 8))
		h.SetSrcPort(^sum)
		if got := h.ComputeChecksum(c.src, c.dst, 0); got != 0xffff {
			t.Errorf("%s: a checksum of zero is written as %#x", c.name, got)
		}
		h.SetChecksum(0xffff)
		if !h.VerifyChecksum(c.src, c.dst, 0) {
			t.Errorf("%s: a checksum of zero written as 0xffff is refused", c.name)
		}
	}
	if UDPChecksum(0) != 0xffff || UDPChecksum(0xffff) != 0xffff || UDPChecksum(1) != 0xfffe {
		t.Error("UDPChecksum")
	}
}

func TestUDPChecksum(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		src, dst := genAddr4().Draw(t, "src"), genAddr4().Draw(t, "dst")
		if rapid.Bool().Draw(t, "v6") {
			src, dst = genAddr6().Draw(t, "src6"), genAddr6().Draw(t, "dst6")
		}
		data := rapid.SliceOfN(rapid.Byte(), 0, 50).Draw(t, "data")
		h := PutUDP(dirty(8), UDPFields{rapid.Uint16().Draw(t, "sport"), rapid.Uint16().Draw(t, "dport"), 8 + len(data), 0xaaaa})
		h.SetChecksum(h.ComputeChecksum(src, dst, checksum.Sum(data, 0)))
		if !h.VerifyChecksum(src, dst, checksum.Sum(data, 0)) {
			t.Fatal("checksum just computed does not verify")
		}
		if len(data) > 0 {
			data[rapid.IntRange(0, len(data)-1).Draw(t, "at")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
			if h.VerifyChecksum(src, dst, checksum.Sum(data, 0)) {
				t.Fatal("a changed bit passes")
			}
		}
	})
}

func FuzzUDP(f *testing.F) {
	f.Add(unhex(f, "0401 0035 000c beef"), 12)
	f.Fuzz(func(t *testing.T, b []byte, size int) {
		h, err := ParseUDP(b, size)
		if err != nil {
			return
		}
		if h.Length() > size || h.Length() < UDPLen {
			t.Fatalf("length %d of %d", h.Length(), size)
		}
		again := PutUDP(dirty(8), UDPFields{h.SrcPort(), h.DstPort(), h.Length(), h.Checksum()})
		if !bytes.Equal(h, again) {
			t.Fatalf("% x became % x", h, again)
		}
		h.SetChecksum(h.ComputeChecksum(src6, dst6, 0))
		if !h.VerifyChecksum(src6, dst6, 0) {
			t.Fatal("checksum just computed does not verify")
		}
	})
}

func TestUDPAllocs(t *testing.T) {
	b := unhex(t, "0401 0035 000c beef")
	noAllocs(t, func() {
		h, _ := ParseUDP(b, 12)
		h.SetChecksum(h.ComputeChecksum(src6, dst6, 7))
		h.VerifyChecksum(src6, dst6, 7)
		PutUDP(b, UDPFields{Length: 12})
	})
}
