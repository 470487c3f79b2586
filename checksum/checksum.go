// Package checksum computes the Internet checksum (RFC 1071) and updates it in place (RFC 1624).
//
// A sum here is the folded one's complement sum of big-endian 16-bit words, not complemented; what a header carries is its
// complement, ^Sum(...). A correct packet, its checksum field included, sums to 0xffff. Of the two representations of zero, 0 comes
// out only if every word was zero.
//
// Many bytes are summed by vector instructions where the processor has them (AVX2, NEON). The build tag purego leaves them out.
package checksum

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
)

// Sum adds b, as big-endian 16-bit words (an odd last byte padded with zero), to the folded one's complement sum initial and
// returns the folded sum, not complemented. What goes into a header is ^Sum(...).
//
// b may begin at any address. To sum a byte string that lies in several places, use Combine: an odd part in the middle turns the
// bytes of what follows.
func Sum(b []byte, initial uint16) uint16 {
	// RFC 1071 §2(B): the sum does not depend on byte order, so words are added as the machine loads them and the bytes are put
	// right once at the end. §2(C): the same holds for the width, so four words are added at a time, carries going round.
	if wide && len(b) >= wideLeast {
		return Add(fold(sumMany(b)), initial)
	}
	return Add(fold(sumWords(b)), initial)
}

// wideBlock is of how many bytes sumWide takes multiples, wideLeast from how many on it is quicker than Go, and wideMost of how many at once
// its sums do not overflow.
const (
	wideBlock = 128
	wideLeast = 512
	wideMost  = 1 << 30
)

// sumMany is sumWords by vector instructions, for at least wideBlock bytes.
func sumMany(b []byte) uint64 {
	var s, c uint64
	for len(b) >= wideBlock {
		n := min(len(b), wideMost) &^ (wideBlock - 1)
		s, c = bits.Add64(s, sumWide(b[:n]), 0)
		s += c
		b = b[n:]
	}
	s, c = bits.Add64(s, sumWords(b), 0)
	return s + c
}

// sumWords is the 64-bit one's complement sum of b in the machine's byte order.
func sumWords(b []byte) uint64 {
	var s, t, c uint64
	// Two accumulators, so that the carry chain of one block does not wait for that of the block before.
	for len(b) >= 128 {
		p := (*[128]byte)(b)
		s, c = bits.Add64(s, binary.NativeEndian.Uint64(p[0:8]), 0)
		s, c = bits.Add64(s, binary.NativeEndian.Uint64(p[8:16]), c)
		s, c = bits.Add64(s, binary.NativeEndian.Uint64(p[16:24]), c)
		s, c = bits.Add64(s, binary.NativeEndian.Uint64(p[24:32]), c)
		s, c = bits.Add64(s, binary.NativeEndian.Uint64(p[32:40]), c)
		s, c = bits.Add64(s, binary.NativeEndian.Uint64(p[40:48]), c)
		s, c = bits.Add64(s, binary.NativeEndian.Uint64(p[48:56]), c)
		s, c = bits.Add64(s, binary.NativeEndian.Uint64(p[56:64]), c)
		s += c // cannot overflow: a chain that begins without carry never leaves both all ones and a carry
		t, c = bits.Add64(t, binary.NativeEndian.Uint64(p[64:72]), 0)
		t, c = bits.Add64(t, binary.NativeEndian.Uint64(p[72:80]), c)
		t, c = bits.Add64(t, binary.NativeEndian.Uint64(p[80:88]), c)
		t, c = bits.Add64(t, binary.NativeEndian.Uint64(p[88:96]), c)
		t, c = bits.Add64(t, binary.NativeEndian.Uint64(p[96:104]), c)
		t, c = bits.Add64(t, binary.NativeEndian.Uint64(p[104:112]), c)
		t, c = bits.Add64(t, binary.NativeEndian.Uint64(p[112:120]), c)
		t, c = bits.Add64(t, binary.NativeEndian.Uint64(p[120:128]), c)
		t += c
		b = b[128:]
	}
	s, c = bits.Add64(s, t, 0)
	s += c
	for len(b) >= 32 {
		p := (*[32]byte)(b)
		s, c = bits.Add64(s, binary.NativeEndian.Uint64(p[0:8]), 0)
		s, c = bits.Add64(s, binary.NativeEndian.Uint64(p[8:16]), c)
		s, c = bits.Add64(s, binary.NativeEndian.Uint64(p[16:24]), c)
		s, c = bits.Add64(s, binary.NativeEndian.Uint64(p[24:32]), c)
		s += c
		b = b[32:]
	}
	for len(b) >= 8 {
		s, c = bits.Add64(s, binary.NativeEndian.Uint64(b), 0)
		s += c
		b = b[8:]
	}
	var tail uint64 // of at most 7 bytes: cannot overflow
	if len(b) >= 4 {
		tail = uint64(binary.NativeEndian.Uint32(b))
		b = b[4:]
	}
	if len(b) >= 2 {
		tail += uint64(binary.NativeEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) > 0 {
		tail += uint64(binary.NativeEndian.Uint16([]byte{b[0], 0}))
	}
	s, c = bits.Add64(s, tail, 0)
	return s + c
}

// fold reduces a 64-bit sum in the machine's byte order to a 16-bit one in the network's.
func fold(s uint64) uint16 {
	s = s>>32 + s&0xffffffff
	s = s>>32 + s&0xffffffff
	s = s>>16 + s&0xffff
	s = s>>16 + s&0xffff
	s = s>>16 + s&0xffff
	var w [2]byte
	binary.NativeEndian.PutUint16(w[:], uint16(s))
	return binary.BigEndian.Uint16(w[:])
}

// Combine returns the sum of two byte strings set end to end, of which the first (with sum a) has length n, the second sum b:
// after an odd n the bytes of b change places (RFC 1071 §2(B)).
func Combine(a uint16, n int, b uint16) uint16 {
	if n&1 != 0 {
		b = bits.ReverseBytes16(b)
	}
	return Add(a, b)
}

// Add adds two folded sums.
func Add(a, b uint16) uint16 {
	s := uint32(a) + uint32(b)
	return uint16(s + s>>16)
}

// Update16 returns header checksum ck after one of the 16-bit words that it covers changed from old to new. RFC 1624 eqn. 3:
// HC' = ~(~HC + ~m + m').
func Update16(ck, old, new uint16) uint16 { return ^Add(Add(^ck, ^old), new) }

// UpdateAddr is Update16 for an address of 4 or 16 bytes. The two may be of different families, as in translation between them.
func UpdateAddr(ck uint16, old, new netip.Addr) uint16 {
	// The complement of a sum is the sum of the complements, so eqn. 3 holds for several words at once.
	return ^Add(Add(^ck, ^address(old)), address(new))
}

// PseudoHeader returns the folded sum of the TCP, UDP or ICMPv6 pseudo-header: for IPv4 12 bytes (addresses, zero, protocol, length;
// RFC 9293 §3.1), for IPv6 40 (RFC 8200 §8.1). Length counts transport header and payload. A super-segment's length may exceed
// 65535; its high half is then added too, so that a difference of lengths can be added to correct the sum for each part.
func PseudoHeader(src, dst netip.Addr, protocol uint8, length int) uint16 {
	s := Add(address(src), address(dst))
	s = Add(s, uint16(protocol))
	s = Add(s, uint16(length>>16))
	return Add(s, uint16(length))
}

// address is the sum of an address as it stands in a header; 0 for the invalid one.
func address(a netip.Addr) uint16 {
	switch {
	case a.Is4():
		b := a.As4()
		return Add(binary.BigEndian.Uint16(b[0:2]), binary.BigEndian.Uint16(b[2:4]))
	case a.Is6():
		b := a.As16()
		s, c := bits.Add64(binary.NativeEndian.Uint64(b[0:8]), binary.NativeEndian.Uint64(b[8:16]), 0)
		return fold(s + c)
	default:
		return 0
	}
}
