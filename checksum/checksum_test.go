package checksum

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

// naive is RFC 1071 read word by word.
func naive(b []byte, initial uint16) uint16 {
	sum := uint32(initial)
	for i := 0; i < len(b); i += 2 {
		w := uint32(b[i]) << 8
		if i+1 < len(b) {
			w |= uint32(b[i+1])
		}
		sum += w
		if sum > 0xffff {
			sum -= 0xffff
		}
	}
	return uint16(sum)
}

// pattern returns n bytes whose sum is sensitive to position.
func pattern(n int) []byte {
	b := make([]byte, n)
	x := uint32(1)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}

func TestKnownSums(t *testing.T) {
	for _, c := range []struct {
		name  string
		bytes []byte
		want  uint16 // of the checksum, complemented
	}{
		{"four words", []byte{0xe3, 0x4f, 0x23, 0x96, 0x44, 0x27, 0x99, 0xf3}, 0x1aff},
		{"RFC 1071 §3", []byte{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7}, ^uint16(0xddf2)},
		{"empty", nil, 0xffff},
		{"zeros stay positive zero", make([]byte, 200), 0xffff},
		{"ones", bytes.Repeat([]byte{0xff}, 200), 0},
		{"one odd byte", []byte{0xab}, ^uint16(0xab00)},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := ^Sum(c.bytes, 0); got != c.want {
				t.Errorf("checksum %04X, want %04X", got, c.want)
			}
		})
	}
}

// Every carry must come round, at any width: only extreme words make carries meet.
func TestSumCarries(t *testing.T) {
	for n := range 300 {
		for _, fill := range []byte{0, 1, 0x80, 0xfe, 0xff} {
			b := bytes.Repeat([]byte{fill}, n)
			for _, initial := range []uint16{0, 1, 0xfffe, 0xffff} {
				if got, want := Sum(b, initial), naive(b, initial); got != want {
					t.Fatalf("%d bytes %#x from %#x: %04X, want %04X", n, fill, initial, got, want)
				}
			}
		}
	}
}

func TestSumAlignments(t *testing.T) {
	all := pattern(600)
	for at := range 16 {
		for n := 0; n <= 540; n++ {
			b := all[at : at+n]
			if got, want := Sum(b, 0x1234), naive(b, 0x1234); got != want {
				t.Fatalf("%d bytes at %d: %04X, want %04X", n, at, got, want)
			}
		}
	}
}

func TestCombineSplits(t *testing.T) {
	all := pattern(131)
	want := naive(all, 0)
	for i := range all {
		for j := i; j <= len(all); j++ {
			s := Sum(all[:i], 0)
			s = Combine(s, i, Sum(all[i:j], 0))
			s = Combine(s, j, Sum(all[j:], 0))
			if s != want {
				t.Fatalf("split at %d and %d: %04X, want %04X", i, j, s, want)
			}
		}
	}
}

// What vector instructions sum is what Go sums, whatever the address, and with the carries of the largest words.
func TestSumWide(t *testing.T) {
	if !wide {
		t.Skip("no vector instructions")
	}
	for _, all := range [][]byte{pattern(1024), make([]byte, 1024), bytes.Repeat([]byte{0xff}, 1024)} {
		for at := range 64 {
			for n := wideBlock; at+n <= len(all); n += wideBlock {
				b := all[at : at+n]
				if got, want := fold(sumWide(b)), fold(sumWords(b)); got != want {
					t.Fatalf("%d bytes at %d: %04X, want %04X", n, at, got, want)
				}
			}
		}
	}
	ones := bytes.Repeat([]byte{0xff}, 64<<20)
	if got := fold(sumWide(ones)); got != 0xffff {
		t.Errorf("%d ones: %04X", len(ones), got)
	}
}

// RFC 1624 §4's example, in which eqn. 2 would give the other zero.
func TestUpdate16RFC1624(t *testing.T) {
	if got := Update16(0xdd2f, 0x5555, 0x3285); got != 0x0000 {
		t.Errorf("%04X, want 0000", got)
	}
}

func TestUpdateMatchesRecomputation(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SliceOfN(rapid.Byte(), 40, 60).Draw(t, "header")
		b[0] |= 1 // not all zero: of zero there is only one representation then
		ck := ^Sum(b, 0)
		at := 2 + 2*rapid.IntRange(0, 4).Draw(t, "word")
		new := rapid.Uint16().Draw(t, "new")
		ck = Update16(ck, binary.BigEndian.Uint16(b[at:]), new)
		binary.BigEndian.PutUint16(b[at:], new)
		if want := ^naive(b, 0); ck != want {
			t.Fatalf("word at %d: %04X, want %04X", at, ck, want)
		}
		size := rapid.SampledFrom([]int{4, 16}).Draw(t, "size")
		to := rapid.SliceOfN(rapid.Byte(), size, size).Draw(t, "addr")
		old, _ := netip.AddrFromSlice(b[12 : 12+size])
		addr, _ := netip.AddrFromSlice(to)
		ck = UpdateAddr(ck, old, addr)
		copy(b[12:], to)
		if want := ^naive(b, 0); ck != want {
			t.Fatalf("address of %d: %04X, want %04X", size, ck, want)
		}
	})
}

func TestUpdateAddrAcrossFamilies(t *testing.T) {
	a4, a6 := netip.MustParseAddr("192.0.2.33"), netip.MustParseAddr("2001:db8::7")
	rest := pattern(18)
	b4, b6 := a4.As4(), a6.As16()
	ck := ^naive(append(b4[:], rest...), 0)
	if got, want := UpdateAddr(ck, a4, a6), ^naive(append(b6[:], rest...), 0); got != want {
		t.Errorf("%04X, want %04X", got, want)
	}
	if got := UpdateAddr(ck, netip.Addr{}, netip.Addr{}); got != ck {
		t.Errorf("invalid addresses changed %04X to %04X", ck, got)
	}
}

func TestPseudoHeader(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		proto := rapid.Uint8().Draw(t, "protocol")
		length := rapid.IntRange(0, 0xffff).Draw(t, "length")
		size := rapid.SampledFrom([]int{4, 16}).Draw(t, "size")
		addrs := rapid.SliceOfN(rapid.Byte(), 2*size, 2*size).Draw(t, "addrs")
		src, _ := netip.AddrFromSlice(addrs[:size])
		dst, _ := netip.AddrFromSlice(addrs[size:])
		header := bytes.Clone(addrs)
		if size == 4 {
			header = append(header, 0, proto, byte(length>>8), byte(length))
		} else {
			header = append(header, 0, 0, byte(length>>8), byte(length), 0, 0, 0, proto)
		}
		if got, want := PseudoHeader(src, dst, proto, length), naive(header, 0); got != want {
			t.Fatalf("%v to %v: %04X, want %04X", src, dst, got, want)
		}
	})
}

func TestPseudoHeaderOfSuperSegment(t *testing.T) {
	a := netip.MustParseAddr("2001:db8::1")
	b := a.As16()
	header := append(append(b[:], b[:]...), 0x00, 0x01, 0x23, 0x45, 0, 0, 0, 6)
	if got, want := PseudoHeader(a, a, 6, 0x12345), naive(header, 0); got != want {
		t.Errorf("%04X, want %04X", got, want)
	}
}

func TestNoAllocations(t *testing.T) {
	b := pattern(1448)
	src, dst := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
	var sink uint16
	if n := testing.AllocsPerRun(100, func() {
		sink = Sum(b, PseudoHeader(src, dst, 6, len(b)))
		sink = UpdateAddr(sink, src, dst)
	}); n != 0 {
		t.Errorf("%v allocations (sum %04X)", n, sink)
	}
}

func FuzzSum(f *testing.F) {
	f.Add([]byte{0xe3, 0x4f, 0x23, 0x96, 0x44, 0x27, 0x99, 0xf3}, uint16(0), uint16(3))
	f.Add(pattern(259), uint16(0xffff), uint16(130))
	f.Add(bytes.Repeat([]byte{0xff}, 1449), uint16(1), uint16(601))
	f.Fuzz(func(t *testing.T, b []byte, initial, split uint16) {
		want := naive(b, initial)
		if got := Sum(b, initial); got != want {
			t.Fatalf("%04X, want %04X", got, want)
		}
		if got := Add(fold(sumWords(b)), initial); got != want {
			t.Fatalf("in Go: %04X, want %04X", got, want)
		}
		for from := range min(len(b), 3) { // odd addresses too
			if n := (len(b) - from) &^ (wideBlock - 1); wide && n > 0 {
				if got, want := fold(sumWide(b[from:from+n])), naive(b[from:from+n], 0); got != want {
					t.Fatalf("%d bytes from %d, wide: %04X, want %04X", n, from, got, want)
				}
			}
		}
		at := min(int(split), len(b))
		if got := Combine(Sum(b[:at], initial), at, Sum(b[at:], 0)); got != want {
			t.Fatalf("split at %d: %04X, want %04X", at, got, want)
		}
	})
}

func BenchmarkSum(b *testing.B) {
	for _, n := range []int{20, 40, 64, 256, 1448, 65536} {
		p := pattern(n + 2)[2:]
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.SetBytes(int64(n))
			var sink uint16
			for b.Loop() {
				sink = Sum(p, sink)
			}
		})
		b.Run(fmt.Sprintf("%d in Go", n), func(b *testing.B) {
			b.SetBytes(int64(n))
			var sink uint16
			for b.Loop() {
				sink = Add(fold(sumWords(p)), sink)
			}
		})
	}
}

func BenchmarkPseudoHeader(b *testing.B) {
	src, dst := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	var sink uint16
	for b.Loop() {
		sink = PseudoHeader(src, dst, 6, int(sink))
	}
}
