package ip

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
)

// key is an address as two numbers, which compare and mask faster than a netip.Addr. An IPv4 address is v4-mapped.
type key struct{ hi, lo uint64 }

const mapped4 = 0xffff_0000_0000 // low half of ::ffff:0:0

func keyOf(a netip.Addr) key {
	b := a.As16()
	return key{binary.BigEndian.Uint64(b[:]), binary.BigEndian.Uint64(b[8:])}
}

// key4 and key6 read an address of a header.
func key4(b []byte) key { return key{0, mapped4 | uint64(binary.BigEndian.Uint32(b))} }

func key6(b []byte) key {
	return key{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}
}

func (k key) is4() bool  { return k.hi == 0 && k.lo>>32 == mapped4>>32 }
func (k key) v4() uint32 { return uint32(k.lo) }

func (k key) less(o key) bool { return k.hi < o.hi || k.hi == o.hi && k.lo < o.lo }

func (k key) and(m key) key { return key{k.hi & m.hi, k.lo & m.lo} }

// mask is the network mask of n bits out of 128.
func mask(n int) key {
	if n <= 64 {
		return key{^uint64(0) << (64 - n), 0}
	}
	return key{^uint64(0), ^uint64(0) << (128 - n)}
}

// common is the number of leading bits that k and o share.
func (k key) common(o key) int {
	if k.hi != o.hi {
		return bits.LeadingZeros64(k.hi ^ o.hi)
	}
	return 64 + bits.LeadingZeros64(k.lo^o.lo)
}

func (k key) unspecified() bool {
	if k.is4() {
		return k.v4() == 0
	}
	return k == key{}
}

func (k key) loopback() bool {
	if k.is4() {
		return k.v4()>>24 == 127
	}
	return k == key{0, 1}
}

func (k key) multicast() bool {
	if k.is4() {
		return k.v4()>>28 == 0xe
	}
	return k.hi>>56 == 0xff
}

// linkLocal reports a unicast address of link-local scope: 169.254.0.0/16 (RFC 3927), fe80::/10 (RFC 4291 §2.5.6).
func (k key) linkLocal() bool {
	if k.is4() {
		return k.v4()>>16 == 0xa9fe
	}
	return k.hi>>54 == 0x3fa
}

// zoned reports an IPv6 address that means something only together with an interface: link-local unicast, or multicast of link-local
// scope or less.
func (k key) zoned() bool {
	return !k.is4() && (k.linkLocal() || k.hi>>56 == 0xff && k.hi>>48&0xf <= scopeLink)
}

// limitedBroadcast is 255.255.255.255.
func (k key) limitedBroadcast() bool { return k == key{0, mapped4 | 0xffff_ffff} }

// reserved4 reports 240.0.0.0/4, limited broadcast included.
func (k key) reserved4() bool { return k.is4() && k.v4()>>28 == 0xf }

// Scopes of RFC 4007 §5 and RFC 6724 §3.1.
const (
	scopeLink   = 2
	scopeGlobal = 14
)

// scope is the address's scope as RFC 6724 §3.1 compares it, §3.2 for IPv4.
func (k key) scope() int {
	switch {
	case k.linkLocal() || k.loopback():
		return scopeLink
	case !k.is4() && k.multicast():
		return int(k.hi >> 48 & 0xf)
	}
	return scopeGlobal
}
