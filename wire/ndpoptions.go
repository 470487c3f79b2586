package wire

import "net/netip"

// NDPOptionType is the first byte of an NDP option.
type NDPOptionType uint8

// NDP option types.
const (
	NDPSourceLinkAddr   NDPOptionType = 1  // RFC 4861 §4.6.1
	NDPTargetLinkAddr   NDPOptionType = 2  // RFC 4861 §4.6.1
	NDPPrefixInfo       NDPOptionType = 3  // RFC 4861 §4.6.2
	NDPRedirectedHeader NDPOptionType = 4  // RFC 4861 §4.6.3
	NDPMTU              NDPOptionType = 5  // RFC 4861 §4.6.4
	NDPNonce            NDPOptionType = 14 // RFC 3971, used by RFC 7527
	NDPRouteInfo        NDPOptionType = 24 // RFC 4191 §2.3
	NDPDNSServers       NDPOptionType = 25 // RFC 8106 §5.1
	NDPDNSSearch        NDPOptionType = 31 // RFC 8106 §5.2
)

// Lengths of NDP options, type and length bytes included.
const (
	ndpOptionUnit    = 8 // what the length byte counts
	ndpLinkAddrLen   = 8
	ndpMTULen        = 8
	ndpMinDNSServers = 24
	ndpPrefixLen     = 32
)

// Flags of a prefix information option.
const (
	flagOnLink     = 0x80
	flagAutonomous = 0x40
)

// NDPOption is one option of an NDP message.
type NDPOption struct {
	Type NDPOptionType
	Data []byte // behind type and length; 6, 14, 22 … bytes
}

// NDPOptions goes through the options of an NDP message; its end and an impossible length end it. In a message that its Parse
// function let pass there is no such length.
type NDPOptions struct {
	rest   []byte
	option NDPOption
	err    error
}

// Next goes to the next option, and reports whether there is one.
func (it *NDPOptions) Next() bool {
	b := it.rest
	it.rest = nil
	if len(b) == 0 {
		return false
	}
	if len(b) < 2 || b[1] == 0 || int(b[1])*ndpOptionUnit > len(b) {
		it.err = ErrOption
		return false
	}
	n := int(b[1]) * ndpOptionUnit
	it.option = NDPOption{Type: NDPOptionType(b[0]), Data: b[2:n:n]}
	it.rest = b[n:]
	return true
}

// Option is the option that Next went to.
func (it *NDPOptions) Option() NDPOption { return it.option }

// Err is ErrOption if the iteration ended at an option with an impossible length, else nil.
func (it *NDPOptions) Err() error { return it.err }

// is reports whether o has a type and at least n bytes, type and length included.
func (o NDPOption) is(t NDPOptionType, n int) bool { return o.Type == t && len(o.Data)+2 >= n }

// Hardware returns the hardware address in a source or target link-layer address option; false if o is none.
func (o NDPOption) Hardware() ([6]byte, bool) {
	if !o.is(NDPSourceLinkAddr, ndpLinkAddrLen) && !o.is(NDPTargetLinkAddr, ndpLinkAddrLen) {
		return [6]byte{}, false
	}
	return [6]byte(o.Data), true
}

// MTU returns the link's MTU in an MTU option, as sent; false if o is none.
func (o NDPOption) MTU() (uint32, bool) {
	if !o.is(NDPMTU, ndpMTULen) {
		return 0, false
	}
	return get32(o.Data[2:]), true
}

// PrefixInfo is the contents of a prefix information option. A lifetime of 0xffffffff is without end.
type PrefixInfo struct {
	Prefix            netip.Prefix // masked
	OnLink            bool         // addresses in Prefix are on the link
	Autonomous        bool         // hosts may make themselves addresses in Prefix
	ValidLifetime     uint32       // seconds
	PreferredLifetime uint32       // seconds
}

// Prefix returns the contents of a prefix information option; false if o is none, or its prefix is longer than an address.
func (o NDPOption) Prefix() (PrefixInfo, bool) {
	if !o.is(NDPPrefixInfo, ndpPrefixLen) {
		return PrefixInfo{}, false
	}
	p, err := addr16(o.Data[14:]).Prefix(int(o.Data[0]))
	if err != nil {
		return PrefixInfo{}, false
	}
	return PrefixInfo{
		Prefix:            p,
		OnLink:            o.Data[1]&flagOnLink != 0,
		Autonomous:        o.Data[1]&flagAutonomous != 0,
		ValidLifetime:     get32(o.Data[2:]),
		PreferredLifetime: get32(o.Data[6:]),
	}, true
}

// RouteInfo is the contents of a route information option.
type RouteInfo struct {
	Prefix     netip.Prefix // masked
	Preference int          // 1 high, 0 medium, -1 low
	Lifetime   uint32       // seconds; 0xffffffff is without end
}

// Route returns the contents of a route information option; false if o is none, its prefix is longer than an address or than the
// bytes that there are for it, or its preference is the reserved one (RFC 4191 §2.3: to be ignored).
func (o NDPOption) Route() (RouteInfo, bool) {
	if !o.is(NDPRouteInfo, ndpOptionUnit) || o.Data[1]>>preferenceShift&3 == 2 {
		return RouteInfo{}, false
	}
	bits := int(o.Data[0])
	var a [ipv6AddrLen]byte
	n := copy(a[:], o.Data[6:])
	if bits > n*8 {
		return RouteInfo{}, false
	}
	p, err := netip.AddrFrom16(a).Prefix(bits)
	if err != nil {
		return RouteInfo{}, false
	}
	return RouteInfo{Prefix: p, Preference: preference(o.Data[1]), Lifetime: get32(o.Data[2:])}, true
}

// DNSServers returns the addresses in a recursive DNS server option and for how many seconds they are good (0xffffffff: without
// end); false if o is none.
func (o NDPOption) DNSServers() (servers AddrList, lifetime uint32, ok bool) {
	if !o.is(NDPDNSServers, ndpMinDNSServers) {
		return AddrList{}, 0, false
	}
	n := (len(o.Data) - 6) / ipv6AddrLen
	return AddrList{b: o.Data[6 : 6+n*ipv6AddrLen], size: ipv6AddrLen}, get32(o.Data[2:]), true
}

// PutNDPLinkAddr writes a source or target link-layer address option into b and returns its length, 8.
func PutNDPLinkAddr(b []byte, t NDPOptionType, a [6]byte) int {
	b[0], b[1] = uint8(t), ndpLinkAddrLen/ndpOptionUnit
	return 2 + copy(b[2:ndpLinkAddrLen], a[:])
}

// PutNDPMTU writes an MTU option into b and returns its length, 8.
func PutNDPMTU(b []byte, mtu uint32) int {
	put32(b, uint32(NDPMTU)<<24|ndpMTULen/ndpOptionUnit<<16)
	put32(b[4:], mtu)
	return ndpMTULen
}

// PutNDPPrefix writes a prefix information option into b and returns its length, 32.
func PutNDPPrefix(b []byte, p PrefixInfo) int {
	b[0], b[1] = uint8(NDPPrefixInfo), ndpPrefixLen/ndpOptionUnit
	b[2], b[3] = uint8(p.Prefix.Bits()), 0
	if p.OnLink {
		b[3] |= flagOnLink
	}
	if p.Autonomous {
		b[3] |= flagAutonomous
	}
	put32(b[4:], p.ValidLifetime)
	put32(b[8:], p.PreferredLifetime)
	put32(b[12:], 0)
	putAddr16(b[16:], p.Prefix.Masked().Addr())
	return ndpPrefixLen
}
