package wire

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/weirnet/weir/checksum"
	"pgregory.net/rapid"
)

// tcpExample has every field of RFC 9293 §3.1 at a value of its own: SYN|ACK with MSS, SACK-permitted, timestamps, NOP, window scale.
const tcpExample = `c0 00 00 50  01 02 03 04  05 06 07 08  a0 12 fa f0  be ef 00 07
	02 04 05 b4  04 02 08 0a  11 22 33 44  55 66 77 88  01 03 03 07`

func TestTCPFields(t *testing.T) {
	h, err := ParseTCP(unhex(t, tcpExample), 40)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name      string
		got, want any
	}{
		{"SrcPort", h.SrcPort(), uint16(49152)},
		{"DstPort", h.DstPort(), uint16(80)},
		{"Seq", h.Seq(), uint32(0x01020304)},
		{"Ack", h.Ack(), uint32(0x05060708)},
		{"DataOffset", h.DataOffset(), 40},
		{"Flags", h.Flags(), SYN | ACK},
		{"Reserved", h.Reserved(), uint8(0)},
		{"Window", h.Window(), uint16(64240)},
		{"Checksum", h.Checksum(), uint16(0xbeef)},
		{"Urgent", h.Urgent(), uint16(7)},
		{"len(OptionBytes)", len(h.OptionBytes()), 20},
	} {
		if c.got != c.want {
			t.Errorf("%s = %v, want %v", c.name, c.got, c.want)
		}
	}
	// All reserved bits, all flags.
	h[12], h[13] = 0xaf, 0xff
	if h.Reserved() != 7 || h.Flags() != 0x1ff || h.DataOffset() != 40 {
		t.Errorf("%d %v %d", h.Reserved(), h.Flags(), h.DataOffset())
	}
	h[12] = 0xae
	if h.Flags().Has(AE) {
		t.Error("a reserved bit is taken for AE")
	}
}

func TestTCPErrors(t *testing.T) {
	whole := unhex(t, tcpExample)
	for _, c := range []struct {
		name   string
		offset byte
		have   int
		size   int
		want   error
	}{
		{"whole", 0xa0, 40, 40, nil},
		{"with data", 0xa0, 40, 65535, nil},
		{"no options", 0x50, 20, 20, nil},
		{"offset 4", 0x40, 40, 40, ErrHeaderLen},
		{"offset 0", 0x00, 40, 40, ErrHeaderLen},
		{"offset past the segment", 0xf0, 40, 40, ErrTotalLen},
		{"offset past the segment by 4", 0xb0, 40, 43, ErrTotalLen},
		{"offset past the contiguous bytes", 0xf0, 40, 60, ErrShort},
	} {
		b := bytes.Clone(whole)
		b[12] = c.offset
		if _, err := ParseTCP(b[:c.have], c.size); err != c.want {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	cut(whole, func(n int, b []byte) {
		if _, err := ParseTCP(b, 40); err != ErrShort {
			t.Errorf("%d bytes: %v, want ErrShort", n, err)
		}
		if got, err := TCPHeaderLen(b); n < 13 && err != ErrShort || n >= 13 && got != 40 {
			t.Errorf("%d bytes: header length %d, %v", n, got, err)
		}
	})
}

func TestTCPFlagsString(t *testing.T) {
	for _, c := range []struct {
		f    TCPFlags
		want string
	}{
		{0, "none"}, {SYN, "SYN"}, {SYN | ACK, "SYN|ACK"}, {FIN | PSH | ACK, "FIN|PSH|ACK"}, {AE, "AE"}, {1 << 9, "none"},
		{0x1ff, "FIN|SYN|RST|PSH|ACK|URG|ECE|CWR|AE"},
	} {
		if got := c.f.String(); got != c.want {
			t.Errorf("%#x is %q, want %q", uint16(c.f), got, c.want)
		}
	}
}

func TestTCPSetters(t *testing.T) {
	h := PutTCP(dirty(20), TCPFields{})
	h.SetSrcPort(1)
	h.SetDstPort(2)
	h.SetSeq(0xfffffffe)
	h.SetAck(4)
	h.SetFlags(0xffff)
	h.SetFlags(ACK | AE)
	h.SetWindow(5)
	h.SetChecksum(6)
	h.SetUrgent(7)
	if !bytes.Equal(h, unhex(t, "0001 0002 fffffffe 00000004 5110 0005 0006 0007")) {
		t.Errorf("% x", []byte(h))
	}
}

func TestTCPChecksum(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		src, dst := genAddr4().Draw(t, "src"), genAddr4().Draw(t, "dst")
		if rapid.Bool().Draw(t, "v6") {
			src, dst = genAddr6().Draw(t, "src6"), genAddr6().Draw(t, "dst6")
		}
		o := genTCPOptions().Draw(t, "options")
		data := rapid.SliceOfN(rapid.Byte(), 0, 50).Draw(t, "data")
		h := PutTCP(dirty(60), TCPFields{Seq: rapid.Uint32().Draw(t, "seq"), Flags: ACK, Checksum: 0xaaaa, Options: &o})
		h.SetChecksum(h.ComputeChecksum(src, dst, len(data), checksum.Sum(data, 0)))
		if !h.VerifyChecksum(src, dst, len(data), checksum.Sum(data, 0)) {
			t.Fatal("checksum just computed does not verify")
		}
		h[rapid.IntRange(0, len(h)-1).Draw(t, "at")] ^= 1 << rapid.IntRange(0, 1).Draw(t, "bit")
		if h.DataOffset() <= len(h) && h.VerifyChecksum(src, dst, len(data), checksum.Sum(data, 0)) {
			t.Fatal("a changed bit passes")
		}
	})
}

func genTCPOptions() *rapid.Generator[TCPOptions] {
	return rapid.Custom(func(t *rapid.T) TCPOptions {
		var o TCPOptions
		if o.HasMSS = rapid.Bool().Draw(t, "hasMSS"); o.HasMSS {
			o.MSS = rapid.Uint16().Draw(t, "mss")
		}
		if o.HasWScale = rapid.Bool().Draw(t, "hasWScale"); o.HasWScale {
			o.WScale = rapid.Byte().Draw(t, "wscale")
		}
		o.SACKPermitted = rapid.Bool().Draw(t, "sackOK")
		if o.TS = rapid.Bool().Draw(t, "ts"); o.TS {
			o.TSVal, o.TSEcr = rapid.Uint32().Draw(t, "val"), rapid.Uint32().Draw(t, "ecr")
		}
		o.NSACK = uint8(rapid.IntRange(0, 4).Draw(t, "nsack"))
		for i := range o.SACKBlocks() {
			o.SACK[i] = SACKBlock{rapid.Uint32().Draw(t, "left"), rapid.Uint32().Draw(t, "right")}
		}
		if o.HasFastOpen = rapid.Bool().Draw(t, "fastopen"); o.HasFastOpen {
			n := rapid.SampledFrom([]int{0, 4, 6, 8, 10, 12, 14, 16}).Draw(t, "cookie")
			o.FastOpen = rapid.SliceOfN(rapid.Byte(), n, n).Draw(t, "cookie bytes")
		}
		return o
	})
}

// optionsText is what o has, without what does not count.
func optionsText(o *TCPOptions) string {
	return fmt.Sprint(o.HasMSS, o.MSS, o.HasWScale, o.WScale, o.SACKPermitted, o.TS, o.TSVal, o.TSEcr, o.SACKBlocks(), o.HasFastOpen,
		len(o.FastOpen), o.FastOpen, o.AccECN, o.Malformed)
}

// blockRoom is what one more SACK block takes.
func blockRoom(o *TCPOptions) int {
	if o.NSACK == 0 {
		return 12
	}
	return 8
}

func TestTCPRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := genTCPOptions().Draw(t, "options")
		f := TCPFields{
			SrcPort: rapid.Uint16().Draw(t, "sport"), DstPort: rapid.Uint16().Draw(t, "dport"),
			Seq: rapid.Uint32().Draw(t, "seq"), Ack: rapid.Uint32().Draw(t, "ack"),
			Flags:  TCPFlags(rapid.Uint16Range(0, 0x1ff).Draw(t, "flags")),
			Window: rapid.Uint16().Draw(t, "window"), Checksum: rapid.Uint16().Draw(t, "checksum"), Urgent: rapid.Uint16().Draw(t, "urgent"),
			Options: &o,
		}
		b := dirty(61)
		put := PutTCP(b, f)
		h, err := ParseTCP(b, 60)
		if err != nil {
			t.Fatal(err)
		}
		if len(h) != len(put) || len(h) != f.HeaderLen() || b[len(h)] != 0xa5 {
			t.Fatalf("%d bytes written, %d parsed, want %d", len(put), len(h), f.HeaderLen())
		}
		got := TCPFields{h.SrcPort(), h.DstPort(), h.Seq(), h.Ack(), h.Flags(), h.Window(), h.Checksum(), h.Urgent(), &o}
		if got != f || h.Reserved() != 0 {
			t.Fatalf("got %+v, want %+v", got, f)
		}
		var back TCPOptions
		back.Parse(h.OptionBytes())
		// What does not fit is left off: blocks first, the cookie when there is no room even without them.
		want := o
		if want.HasFastOpen && o.cookieLen(o.baseLen()) == 0 {
			want.HasFastOpen, want.FastOpen = false, nil
		}
		if back.NSACK > want.NSACK || back.NSACK < want.NSACK && len(h)+blockRoom(&back) <= TCPMaxLen {
			t.Fatalf("%d of %d SACK blocks in %d bytes", back.NSACK, want.NSACK, len(h))
		}
		want.NSACK = back.NSACK
		if optionsText(&back) != optionsText(&want) {
			t.Fatalf("got %s, want %s", optionsText(&back), optionsText(&want))
		}
	})
}

func TestTCPAllocs(t *testing.T) {
	b := unhex(t, tcpExample)
	out := make([]byte, 60)
	noAllocs(t, func() {
		h, err := ParseTCP(b, 40)
		if err != nil {
			t.Fatal(err)
		}
		var o TCPOptions
		o.Parse(h.OptionBytes())
		for it := h.Options(); it.Next(); {
			_ = it.Option()
		}
		o.NSACK = 3
		g := PutTCP(out, TCPFields{Flags: h.Flags(), Options: &o})
		g.SetChecksum(g.ComputeChecksum(src6, dst6, 0, 0))
	})
}

func FuzzTCP(f *testing.F) {
	f.Add(unhex(f, tcpExample), 40)
	for _, c := range tcpOptionCases {
		b := make([]byte, 20)
		PutTCP(b, TCPFields{})
		b = append(b, unhex(f, c.bytes)...)
		b = append(b, make([]byte, -len(b)&3)...)
		b[12] = byte(len(b)) << 2
		f.Add(b, len(b))
	}
	f.Fuzz(func(t *testing.T, b []byte, size int) {
		h, err := ParseTCP(b, size)
		if err != nil {
			return
		}
		if len(h) > size || len(h) != h.DataOffset() || len(h.OptionBytes()) != len(h)-20 {
			t.Fatalf("header of %d bytes in %d", len(h), size)
		}
		var o, back TCPOptions
		o.Parse(h.OptionBytes())
		it, n := h.Options(), 0
		for it.Next() {
			n += 2 + len(it.Option().Data)
		}
		if n > len(h)-20 || it.Malformed() && !o.Malformed {
			t.Fatalf("%d bytes of options in %d", n, len(h)-20)
		}
		again := PutTCP(dirty(60), TCPFields{h.SrcPort(), h.DstPort(), h.Seq(), h.Ack(), h.Flags(), h.Window(), h.Checksum(), h.Urgent(), &o})
		if !bytes.Equal(again[:12], h[:12]) || !bytes.Equal(again[14:20], h[14:20]) || again.Flags() != h.Flags() {
			t.Fatalf("% x became % x", h, again)
		}
		// What was sent in 40 bytes without our padding may not fit with it; all else comes back.
		back.Parse(again.OptionBytes())
		if back.Malformed {
			t.Fatalf("our own options are malformed: % x", again.OptionBytes())
		}
		o.Malformed = false
		if back.NSACK != o.NSACK || back.HasFastOpen != o.HasFastOpen {
			if len(again)+blockRoom(&back) <= TCPMaxLen {
				t.Fatalf("left off with room in %d bytes", len(again))
			}
			back.NSACK, o.NSACK, back.HasFastOpen, o.HasFastOpen, back.FastOpen, o.FastOpen = 0, 0, false, false, nil, nil
		}
		if optionsText(&back) != optionsText(&o) {
			t.Fatalf("%s became %s", optionsText(&o), optionsText(&back))
		}
	})
}
