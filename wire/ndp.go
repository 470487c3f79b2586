package wire

import "net/netip"

// NDP messages are whole ICMPv6 messages, contiguous, whose checksum is known to be right. What RFC 4861 demands of their IP header
// (hop limit 255; for a neighbor solicitation from :: a solicited-node destination and no source address option; for a router
// advertisement a link-local source) is for the caller to check.

// Sizes of NDP messages without options.
const (
	RouterSolicitLen = 8
	RouterAdvertLen  = 16
	NeighborLen      = 24 // solicitation and advertisement
	RedirectLen      = 40
)

// NDPHopLimit is the hop limit of every NDP message, so that none can come from beyond the link (RFC 4861 §3.1).
const NDPHopLimit = 255

// Flags of neighbor and router advertisements, and where the flags byte has a router's preference (RFC 4191 §2.2).
const (
	flagRouter      = 0x80
	flagSolicited   = 0x40
	flagOverride    = 0x20
	flagManaged     = 0x80
	flagOther       = 0x40
	preferenceShift = 3
)

// parseNDP checks what all NDP messages have in common: type, length, code 0, and options of possible lengths (RFC 4861 §6.1, §7.1:
// a node must discard a message with an option of length 0).
func parseNDP(m ICMPv6, t ICMPv6Type, n int) error {
	if len(m) < n {
		return ErrShort
	}
	if m.Type() != t || m.Code() != 0 {
		return ErrFormat
	}
	it := NDPOptions{rest: m[n:]}
	for it.Next() {
	}
	return it.err
}

// NeighborSolicit is a view of a neighbor solicitation (RFC 4861 §4.3).
type NeighborSolicit []byte

// ParseNeighborSolicit checks a message and returns its view. Errors: ErrShort, ErrFormat (type, code, or a multicast target),
// ErrOption.
func ParseNeighborSolicit(m ICMPv6) (NeighborSolicit, error) {
	if err := parseNDP(m, ICMPv6NeighborSolicit, NeighborLen); err != nil {
		return nil, err
	}
	if m[8] == 0xff {
		return nil, ErrFormat
	}
	return NeighborSolicit(m), nil
}

// Target is the address whose hardware address is asked for.
func (m NeighborSolicit) Target() netip.Addr { return addr16(m[8:]) }

// Options iterates over the options: the source's hardware address, usually.
func (m NeighborSolicit) Options() NDPOptions { return NDPOptions{rest: m[NeighborLen:]} }

// NeighborAdvert is a view of a neighbor advertisement (RFC 4861 §4.4).
type NeighborAdvert []byte

// ParseNeighborAdvert checks a message and returns its view. Errors: ErrShort, ErrFormat (type, code, or a multicast target),
// ErrOption.
func ParseNeighborAdvert(m ICMPv6) (NeighborAdvert, error) {
	if err := parseNDP(m, ICMPv6NeighborAdvert, NeighborLen); err != nil {
		return nil, err
	}
	if m[8] == 0xff {
		return nil, ErrFormat
	}
	return NeighborAdvert(m), nil
}

// Router is the R flag: the sender is a router.
func (m NeighborAdvert) Router() bool { return m[4]&flagRouter != 0 }

// Solicited is the S flag: this answers a solicitation.
func (m NeighborAdvert) Solicited() bool { return m[4]&flagSolicited != 0 }

// Override is the O flag: a hardware address that is known already is to be replaced.
func (m NeighborAdvert) Override() bool { return m[4]&flagOverride != 0 }

// Target is the address that the hardware address belongs to.
func (m NeighborAdvert) Target() netip.Addr { return addr16(m[8:]) }

// Options iterates over the options: the target's hardware address, usually.
func (m NeighborAdvert) Options() NDPOptions { return NDPOptions{rest: m[NeighborLen:]} }

// RouterSolicit is a view of a router solicitation (RFC 4861 §4.1).
type RouterSolicit []byte

// ParseRouterSolicit checks a message and returns its view. Errors: ErrShort, ErrFormat (type or code), ErrOption.
func ParseRouterSolicit(m ICMPv6) (RouterSolicit, error) {
	if err := parseNDP(m, ICMPv6RouterSolicit, RouterSolicitLen); err != nil {
		return nil, err
	}
	return RouterSolicit(m), nil
}

// Options iterates over the options: the source's hardware address, usually.
func (m RouterSolicit) Options() NDPOptions { return NDPOptions{rest: m[RouterSolicitLen:]} }

// RouterAdvert is a view of a router advertisement (RFC 4861 §4.2).
type RouterAdvert []byte

// ParseRouterAdvert checks a message and returns its view. Errors: ErrShort, ErrFormat (type or code), ErrOption.
func ParseRouterAdvert(m ICMPv6) (RouterAdvert, error) {
	if err := parseNDP(m, ICMPv6RouterAdvert, RouterAdvertLen); err != nil {
		return nil, err
	}
	return RouterAdvert(m), nil
}

// HopLimit is the hop limit that hosts should use; 0 leaves it to them.
func (m RouterAdvert) HopLimit() uint8 { return m[4] }

// Managed is the M flag: addresses are to be had by DHCPv6.
func (m RouterAdvert) Managed() bool { return m[5]&flagManaged != 0 }

// Other is the O flag: other configuration is to be had by DHCPv6.
func (m RouterAdvert) Other() bool { return m[5]&flagOther != 0 }

// Preference is the router's preference (RFC 4191 §2.2): 1 high, 0 medium, -1 low. The reserved value counts as medium.
func (m RouterAdvert) Preference() int { return preference(m[5]) }

// Lifetime is for how many seconds the sender is a default router; 0: it is none.
func (m RouterAdvert) Lifetime() uint16 { return get16(m[6:]) }

// ReachableTime is for how many milliseconds a neighbor counts as reachable after a confirmation; 0 leaves it to the host.
func (m RouterAdvert) ReachableTime() uint32 { return get32(m[8:]) }

// RetransTimer is the time between solicitations in milliseconds; 0 leaves it to the host.
func (m RouterAdvert) RetransTimer() uint32 { return get32(m[12:]) }

// Options iterates over the options: hardware address, MTU, prefixes, routes, DNS servers.
func (m RouterAdvert) Options() NDPOptions { return NDPOptions{rest: m[RouterAdvertLen:]} }

// Redirect is a view of a redirect (RFC 4861 §4.5).
type Redirect []byte

// ParseRedirect checks a message and returns its view. Errors: ErrShort, ErrFormat (type, code, or a multicast destination),
// ErrOption.
func ParseRedirect(m ICMPv6) (Redirect, error) {
	if err := parseNDP(m, ICMPv6Redirect, RedirectLen); err != nil {
		return nil, err
	}
	if m[24] == 0xff {
		return nil, ErrFormat
	}
	return Redirect(m), nil
}

// Target is the better first hop for Destination, which is Destination itself if it is on the link.
func (m Redirect) Target() netip.Addr { return addr16(m[8:]) }

// Destination is the address whose packets go elsewhere.
func (m Redirect) Destination() netip.Addr { return addr16(m[24:]) }

// Options iterates over the options: the target's hardware address, the redirected packet.
func (m Redirect) Options() NDPOptions { return NDPOptions{rest: m[RedirectLen:]} }

// SolicitedNode is the multicast group in which the neighbor with address a listens for solicitations (RFC 4291 §2.7.1).
func SolicitedNode(a netip.Addr) netip.Addr {
	v := a.As16()
	g := [16]byte{0: 0xff, 1: 0x02, 11: 0x01, 12: 0xff}
	copy(g[13:], v[13:])
	return netip.AddrFrom16(g)
}

// preference decodes the two bits that RFC 4191 has in a flags byte.
func preference(flags byte) int {
	switch flags >> preferenceShift & 3 {
	case 1:
		return 1
	case 3:
		return -1
	}
	return 0
}

// NeighborFields is what PutNeighborSolicit and PutNeighborAdvert write; a solicitation has no flags.
type NeighborFields struct {
	Router, Solicited, Override bool
	Target                      netip.Addr
	HasHardware                 bool
	Hardware                    [6]byte // the source's in a solicitation, the target's in an advertisement
}

// Len is the number of bytes of the message.
func (f *NeighborFields) Len() int {
	if f.HasHardware {
		return NeighborLen + ndpLinkAddrLen
	}
	return NeighborLen
}

// PutNeighborSolicit writes a message into the first f.Len() bytes of b, its checksum 0, and returns its view.
func PutNeighborSolicit(b []byte, f NeighborFields) ICMPv6 {
	return putNeighbor(b, ICMPv6NeighborSolicit, 0, NDPSourceLinkAddr, &f)
}

// PutNeighborAdvert writes a message into the first f.Len() bytes of b, its checksum 0, and returns its view.
func PutNeighborAdvert(b []byte, f NeighborFields) ICMPv6 {
	var flags uint32
	if f.Router {
		flags |= flagRouter << 24
	}
	if f.Solicited {
		flags |= flagSolicited << 24
	}
	if f.Override {
		flags |= flagOverride << 24
	}
	return putNeighbor(b, ICMPv6NeighborAdvert, flags, NDPTargetLinkAddr, &f)
}

func putNeighbor(b []byte, t ICMPv6Type, rest uint32, opt NDPOptionType, f *NeighborFields) ICMPv6 {
	n := f.Len()
	m := PutICMPv6(b[:n:n], ICMPv6Fields{Type: t, Rest: rest})
	putAddr16(m[8:], f.Target)
	if f.HasHardware {
		PutNDPLinkAddr(m[NeighborLen:], opt, f.Hardware)
	}
	return m
}

// PutRouterSolicit writes a message without options into the first 8 bytes of b, its checksum 0, and returns a view of all of b, into
// which options may have been put behind them.
func PutRouterSolicit(b []byte) ICMPv6 {
	return PutICMPv6(b, ICMPv6Fields{Type: ICMPv6RouterSolicit})
}

// RouterAdvertFields is what PutRouterAdvert writes.
type RouterAdvertFields struct {
	HopLimit       uint8
	Managed, Other bool
	Lifetime       uint16 // seconds
	ReachableTime  uint32 // milliseconds
	RetransTimer   uint32 // milliseconds
}

// PutRouterAdvert writes a message without options into the first 16 bytes of b, its checksum 0, and returns a view of all of b, into
// which options may have been put behind them.
func PutRouterAdvert(b []byte, f RouterAdvertFields) ICMPv6 {
	rest := uint32(f.HopLimit)<<24 | uint32(f.Lifetime)
	if f.Managed {
		rest |= flagManaged << 16
	}
	if f.Other {
		rest |= flagOther << 16
	}
	m := PutICMPv6(b, ICMPv6Fields{Type: ICMPv6RouterAdvert, Rest: rest})
	put32(m[8:], f.ReachableTime)
	put32(m[12:], f.RetransTimer)
	return m
}
