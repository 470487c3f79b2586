package ip

import (
	"errors"
	"math"
	"net/netip"
	"slices"
	"sort"
	"strconv"

	"github.com/weirnet/weir/internal/order"
	"github.com/weirnet/weir/wire"
)

// Interface describes one interface in a Table.
type Interface struct {
	Index          int // ≥ 1
	Name           string
	MTU            int
	Up             bool
	Addrs          []netip.Prefix // address and on-link prefix
	Groups         []netip.Addr   // multicast groups joined, besides all-nodes and the solicited-node groups of Addrs
	AnyDestination bool           // unicast for any address is ours (never loopback, unspecified, multicast, broadcast, link-local)
	Isolated       bool           // scope of its own: flows on it never mix with those of other interfaces
	Loopback       bool
	TxChecksum     bool // the device finishes partial checksums
}

// Route sends a prefix to an interface, by way of Gateway if that is valid.
type Route struct {
	Prefix  netip.Prefix
	Gateway netip.Addr
	Iface   int        // 0: the interface with the longest on-link prefix that contains Gateway
	Source  netip.Addr // preferred source address, as long as it is assigned; zero: chosen
	Metric  int        // lower wins among equal prefixes
}

// Table is all that packets read of the configuration: immutable. On-link routes of the interfaces' prefixes are implied. Interfaces
// that are not up have neither addresses nor routes in it. The zero Table has no interface.
//
// An address counts as ours on whatever interface a packet for it comes in (RFC 1122 §3.3.4.2, the weak model), except that isolated
// interfaces know only their own, and that link-local addresses belong to their interface.
type Table struct {
	ifs        []Interface // by Index
	info       []ifaceInfo // of ifs
	loopback   int         // index of the first loopback interface that is up; 0: none
	local      []localAddr // by addr
	broadcasts []localAddr // directed broadcast addresses, by addr
	groups     []localAddr // multicast groups, by addr
	routes4    routeSet
	routes6    routeSet
}

// ifaceInfo is what Table has worked out about an interface.
type ifaceInfo struct {
	addrs4, addrs6 []ifaceAddr
}

// ifaceAddr is one of an interface's addresses.
type ifaceAddr struct {
	key  key
	addr netip.Addr
	bits int // of the prefix, of 128
}

// localAddr is an address that means us on one interface.
type localAddr struct {
	addr     key
	iface    int
	isolated bool // the interface is
}

// NewTable checks and builds a Table. The slices are not kept. Errors say which interface or route is wrong, and why.
func NewTable(ifs []Interface, routes []Route) (*Table, error) {
	t := &Table{ifs: slices.Clone(ifs), info: make([]ifaceInfo, len(ifs))}
	order.Stable(t.ifs, func(a, b *Interface) bool { return a.Index < b.Index })
	for i := range t.ifs {
		ifc := &t.ifs[i]
		if err := checkInterface(ifc); err != nil {
			return nil, err
		}
		if i > 0 && t.ifs[i-1].Index == ifc.Index {
			return nil, ifc.fault("the same index as " + t.ifs[i-1].Name + "; give each its own")
		}
		ifc.Addrs, ifc.Groups = slices.Clone(ifc.Addrs), slices.Clone(ifc.Groups)
		if ifc.Up {
			t.addInterface(ifc, &t.info[i])
		}
	}
	for _, set := range [][]localAddr{t.local, t.broadcasts, t.groups} {
		order.Stable(set, func(a, b *localAddr) bool { return a.addr.less(b.addr) })
	}
	if err := t.addRoutes(routes); err != nil {
		return nil, err
	}
	return t, nil
}

func compareKeys(a, b key) int {
	switch {
	case a.less(b):
		return -1
	case b.less(a):
		return 1
	}
	return 0
}

// fault is the error that an interface has something which cannot be.
func (ifc *Interface) fault(what string) error {
	return errors.New("ip: interface " + strconv.Quote(ifc.Name) + " has " + what)
}

func checkInterface(ifc *Interface) error {
	if ifc.Index < 1 || ifc.Index > math.MaxInt32 {
		return ifc.fault("index " + strconv.Itoa(ifc.Index) + "; it must be from 1 to 2^31-1")
	}
	if ifc.MTU < wire.IPv4MinMTU || ifc.MTU > wire.IPv4MaxMTU {
		return ifc.fault("MTU " + strconv.Itoa(ifc.MTU) + "; it must be from " + strconv.Itoa(wire.IPv4MinMTU) + " to " + strconv.Itoa(wire.IPv4MaxMTU))
	}
	for _, a := range ifc.Addrs {
		if !a.IsValid() || a.Addr().IsUnspecified() || a.Addr().IsMulticast() || keyOf(a.Addr()).limitedBroadcast() {
			return ifc.fault("address " + a.String() + "; it must be one unicast address with its prefix length")
		}
		if a.Addr().IsLoopback() && !ifc.Loopback {
			return ifc.fault("address " + a.String() + "; loopback addresses belong to a loopback interface")
		}
		if a.Addr().Is4In6() && a.Bits() < 96 {
			return ifc.fault("address " + a.String() + "; write the IPv4 prefix itself")
		}
	}
	for _, g := range ifc.Groups {
		if !g.IsMulticast() {
			return ifc.fault("joined " + g.String() + ", which is not a multicast group")
		}
	}
	return nil
}

// addInterface enters an interface that is up.
func (t *Table) addInterface(ifc *Interface, info *ifaceInfo) {
	if ifc.Loopback && t.loopback == 0 {
		t.loopback = ifc.Index
	}
	for _, prefix := range ifc.Addrs {
		prefix = unmapPrefix(prefix)
		a := ifaceAddr{key: keyOf(prefix.Addr()), addr: prefix.Addr().WithZone(""), bits: prefix.Bits()}
		t.local = append(t.local, localAddr{a.key, ifc.Index, ifc.Isolated})
		if a.addr.Is4() {
			a.bits += 96
			info.addrs4 = append(info.addrs4, a)
			if a.bits <= 126 { // RFC 3021: a /31 has no broadcast address
				m := mask(a.bits)
				t.broadcasts = append(t.broadcasts, localAddr{key{0, a.key.lo | ^m.lo}, ifc.Index, ifc.Isolated})
			}
		} else {
			info.addrs6 = append(info.addrs6, a)
			t.groups = append(t.groups, localAddr{solicitedNode(a.key), ifc.Index, ifc.Isolated})
		}
	}
	for _, g := range ifc.Groups {
		t.groups = append(t.groups, localAddr{keyOf(g), ifc.Index, ifc.Isolated})
	}
}

// unmapPrefix makes a v4-mapped prefix an IPv4 one.
func unmapPrefix(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() {
		return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p
}

// The groups that every node is in: 224.0.0.1 (RFC 1112 §4), ff01::1 and ff02::1 (RFC 4291 §2.7.1).
var (
	allHosts4      = key{0, mapped4 | 0xe000_0001}
	allNodesIface6 = key{0xff01 << 48, 1}
	allNodesLink6  = key{0xff02 << 48, 1}
)

// solicitedNode is the group ff02::1:ffXX:XXXX of an address (RFC 4291 §2.7.1).
func solicitedNode(k key) key { return key{0xff02 << 48, 0x1_ff00_0000 | k.lo&0xff_ffff} }

// Interface returns the interface with an index; nil if there is none.
func (t *Table) Interface(index int) *Interface {
	if i := t.position(index); i >= 0 {
		return &t.ifs[i]
	}
	return nil
}

// Interfaces returns all interfaces, by index. The caller must not change them.
func (t *Table) Interfaces() []Interface { return t.ifs }

// position is where the interface with an index is in ifs; -1 if there is none.
func (t *Table) position(index int) int {
	if i := index - 1; uint(i) < uint(len(t.ifs)) && t.ifs[i].Index == index {
		return i // indices without gaps, as they mostly are
	}
	i := sort.Search(len(t.ifs), func(i int) bool { return t.ifs[i].Index >= index })
	if i == len(t.ifs) || t.ifs[i].Index != index {
		return -1
	}
	return i
}

// IsLocal reports whether an address is assigned to us, on any interface that is up (iface 0), or as seen from one interface: see
// Table. Loopback addresses are ours too if a loopback interface is up (and iface is 0 or it).
func (t *Table) IsLocal(a netip.Addr, iface int) bool {
	if !a.IsValid() {
		return false
	}
	k := keyOf(a)
	if iface == 0 {
		return t.isLocalAnywhere(k)
	}
	ifc := t.Interface(iface)
	return ifc != nil && ifc.Up && t.isLocal(k, ifc)
}

// isLocal reports whether k is ours for packets on an interface. Over the loopback interface every address is reached that no isolated
// interface has.
func (t *Table) isLocal(k key, ifc *Interface) bool {
	if k.loopback() {
		return ifc.Loopback
	}
	return t.has(t.local, k, ifc)
}

// has looks k up in a sorted set, as seen from an interface.
func (t *Table) has(set []localAddr, k key, ifc *Interface) bool {
	for i := searchAddr(set, k); i < len(set) && set[i].addr == k; i++ {
		if set[i].iface == ifc.Index || !set[i].isolated && !ifc.Isolated && (ifc.Loopback || !k.zoned()) {
			return true
		}
	}
	return false
}

// isLocalAnywhere reports whether k is ours on any interface.
func (t *Table) isLocalAnywhere(k key) bool {
	if k.loopback() {
		return t.loopback != 0
	}
	i := searchAddr(t.local, k)
	return i < len(t.local) && t.local[i].addr == k
}

// searchAddr is the position of the first entry that is not less than k.
func searchAddr(set []localAddr, k key) int {
	if len(set) <= 8 {
		for i := range set {
			if !set[i].addr.less(k) {
				return i
			}
		}
		return len(set)
	}
	lo, hi := 0, len(set)
	for lo < hi {
		if mid := int(uint(lo+hi) >> 1); set[mid].addr.less(k) {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// isBroadcast reports whether k is an IPv4 broadcast address, limited or directed, as seen from an interface.
func (t *Table) isBroadcast(k key, ifc *Interface) bool {
	return k.is4() && (k.limitedBroadcast() || t.has(t.broadcasts, k, ifc))
}

// inGroup reports whether packets to a multicast group on an interface are for us.
func (t *Table) inGroup(k key, ifc *Interface) bool {
	switch k {
	case allHosts4, allNodesLink6:
		return true
	case allNodesIface6:
		return ifc.Loopback
	}
	for i := searchAddr(t.groups, k); i < len(t.groups) && t.groups[i].addr == k; i++ {
		if t.groups[i].iface == ifc.Index {
			return true
		}
	}
	return false
}

// Scope is Meta.Scope of the packets between two addresses on an interface: its index if it is isolated or one of them means something
// only together with it, else 0.
func (t *Table) Scope(iface int, a, b netip.Addr) int {
	ifc := t.Interface(iface)
	if ifc == nil {
		return 0
	}
	return scopeOf(ifc, keyOf(a), keyOf(b))
}

// scopeOf is Meta.Scope of a packet that came in by an interface.
func scopeOf(ifc *Interface, src, dst key) int {
	if ifc.Isolated || src.zoned() || dst.zoned() {
		return ifc.Index
	}
	return 0
}
