package ip

import (
	"net/netip"
	"syscall"
)

// Path is the answer of a route look-up: small, copied, cached by connections until Layer.Generation changes.
type Path struct {
	Iface    int
	Src, Dst netip.Addr
	NextHop  netip.Addr // Dst if on link
	MTU      int        // the path's: the interface's, or less if path-MTU discovery knows better

	ids uint64 // idSource's hash, once Push has needed it: a Path is that of one protocol's packets; 0: not yet
}

// Path looks up the way to dst: longest prefix, then source address choice (src if valid and not unspecified: it must be ours, or the
// interface AnyDestination or transparent is set). iface 0: any that is not isolated; a dst of link-local scope should come with one.
// Zones of src and dst are ignored. An address of our own is reached by the loopback interface, whatever iface says, but never one of
// an isolated interface. Errors: ENETUNREACH (no route), EADDRNOTAVAIL (src is not ours, or we have none), ENETDOWN (iface is not up).
func (l *Layer) Path(src, dst netip.Addr, iface int, transparent bool) (Path, error) {
	t := l.table.Load()
	p, err := t.path(src, dst, iface, transparent)
	if err != nil {
		return Path{}, err
	}
	if l.pmtu.used.Load() != 0 {
		p.MTU = l.pmtu.limit(p.Dst, t.Scope(p.Iface, p.Src, p.Dst), p.MTU)
	}
	return p, nil
}

// path is Path without path MTU.
func (t *Table) path(src, dst netip.Addr, iface int, transparent bool) (Path, error) {
	src, dst = src.Unmap().WithZone(""), dst.Unmap().WithZone("")
	position := -1
	if iface != 0 {
		if position = t.position(iface); position < 0 || !t.ifs[position].Up {
			return Path{}, syscall.ENETDOWN
		}
	}
	if src.IsValid() && src.IsUnspecified() {
		src = netip.Addr{}
	}
	if !dst.IsValid() || dst.IsUnspecified() {
		return Path{}, syscall.ENETUNREACH
	}
	if src.IsValid() && src.Is4() != dst.Is4() {
		return Path{}, syscall.EADDRNOTAVAIL
	}
	d := keyOf(dst)
	if d.loopback() || t.reachedByLoopback(d, position) {
		return t.loopbackPath(src, dst, position)
	}
	out, gateway, source := t.route(src, d, position)
	if out < 0 {
		return Path{}, syscall.ENETUNREACH
	}
	p := Path{Iface: t.ifs[out].Index, Dst: dst, NextHop: dst, MTU: t.ifs[out].MTU}
	if gateway.IsValid() {
		p.NextHop = gateway
	}
	var ok bool
	if p.Src, ok = t.source(src, source, d, p.NextHop, out, transparent); !ok {
		return Path{}, syscall.EADDRNOTAVAIL
	}
	return p, nil
}

// reachedByLoopback reports whether dst is an address of our own, as seen from the interface at a position (-1: from none).
func (t *Table) reachedByLoopback(dst key, position int) bool {
	if position >= 0 {
		return t.isLocal(dst, &t.ifs[position])
	}
	for i := searchAddr(t.local, dst); i < len(t.local) && t.local[i].addr == dst; i++ {
		if !t.local[i].isolated {
			return true
		}
	}
	return false
}

// loopbackPath is the way to an address of our own. Its source is dst itself, or 127.0.0.1 for all of 127.0.0.0/8.
func (t *Table) loopbackPath(src, dst netip.Addr, position int) (Path, error) {
	if t.loopback == 0 || position >= 0 && t.ifs[position].Isolated {
		return Path{}, syscall.ENETUNREACH
	}
	lo := t.Interface(t.loopback)
	if !src.IsValid() {
		if src = dst; dst.IsLoopback() && dst.Is4() {
			src = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		}
	} else if !t.isLocal(keyOf(src), lo) {
		return Path{}, syscall.EADDRNOTAVAIL
	}
	return Path{Iface: lo.Index, Src: src, Dst: dst, NextHop: dst, MTU: lo.MTU}, nil
}

// route chooses the outgoing interface (its position; -1: none), the gateway (zero: on link) and the route's preferred source. What is
// for many hosts, or for an address that only makes sense on its link, goes out by the interface asked for without a route.
func (t *Table) route(src netip.Addr, dst key, position int) (out int, gateway, source netip.Addr) {
	many := dst.multicast() || dst.limitedBroadcast()
	if position < 0 && src.IsValid() && (dst.zoned() || many) {
		position = t.owner(keyOf(src))
	}
	if position >= 0 && many {
		return position, netip.Addr{}, netip.Addr{}
	}
	r := t.routeSet(dst.is4()).find(dst, position)
	switch {
	case r != nil && many:
		return r.iface, netip.Addr{}, r.source
	case r != nil:
		return r.iface, r.gateway, r.source
	case many:
		return t.firstWith(dst.is4()), netip.Addr{}, netip.Addr{}
	}
	return -1, netip.Addr{}, netip.Addr{}
}

// owner is the position of the interface, not isolated, that an address is assigned to; -1 if there is none.
func (t *Table) owner(k key) int {
	for i := searchAddr(t.local, k); i < len(t.local) && t.local[i].addr == k; i++ {
		if !t.local[i].isolated {
			return t.position(t.local[i].iface)
		}
	}
	return -1
}

// firstWith is the position of the first interface with an address of the family that leads out of the host; -1 if there is none.
func (t *Table) firstWith(is4 bool) int {
	for i := range t.ifs {
		if !t.ifs[i].Loopback && !t.ifs[i].Isolated && len(t.info[i].addrs(is4)) != 0 {
			return i
		}
	}
	return -1
}

func (i *ifaceInfo) addrs(is4 bool) []ifaceAddr {
	if is4 {
		return i.addrs4
	}
	return i.addrs6
}

// source checks the source address asked for, or chooses one: the route's, else by RFC 6724.
func (t *Table) source(asked, preferred netip.Addr, dst key, nextHop netip.Addr, out int, transparent bool) (netip.Addr, bool) {
	ifc := &t.ifs[out]
	if asked.IsValid() {
		return asked, t.mayUse(keyOf(asked), ifc, transparent)
	}
	if preferred.IsValid() {
		return preferred, true
	}
	towards := dst
	if dst.is4() && !dst.multicast() && !dst.limitedBroadcast() {
		towards = keyOf(nextHop) // an address in the gateway's network, where the interface has several
	}
	if best := chooseSource(nil, t.info[out].addrs(dst.is4()), towards); best != nil {
		return best.addr, true
	}
	if ifc.Isolated {
		return netip.Addr{}, false
	}
	var best *ifaceAddr
	for i := range t.ifs { // an unnumbered interface borrows
		if !t.ifs[i].Isolated && !t.ifs[i].Loopback {
			best = chooseSource(best, t.info[i].addrs(dst.is4()), towards)
		}
	}
	if best == nil || best.key.linkLocal() {
		return netip.Addr{}, false
	}
	return best.addr, true
}

// mayUse reports whether a packet may leave by an interface with a source address.
func (t *Table) mayUse(src key, ifc *Interface, transparent bool) bool {
	if src.loopback() || src.multicast() || src.limitedBroadcast() {
		return false
	}
	return t.isLocal(src, ifc) || transparent || ifc.AnyDestination
}

// chooseSource returns the better of best and set for dst: rules 2 (scope) and 8 (longest matching prefix) of RFC 6724 §5; else the
// one that comes first. Rule 1 (same address) is the loopback interface's.
func chooseSource(best *ifaceAddr, set []ifaceAddr, dst key) *ifaceAddr {
	for i := range set {
		if best == nil || betterSource(&set[i], best, dst) {
			best = &set[i]
		}
	}
	return best
}

// betterSource reports whether a is strictly better than b.
func betterSource(a, b *ifaceAddr, dst key) bool {
	if sa, sb, sd := a.key.scope(), b.key.scope(), dst.scope(); sa != sb {
		if sa < sb {
			return sa >= sd
		}
		return sb < sd
	}
	return min(a.key.common(dst), a.bits) > min(b.key.common(dst), b.bits)
}
