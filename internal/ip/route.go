package ip

import (
	"cmp"
	"errors"
	"net/netip"
	"slices"
	"strconv"

	"github.com/weirnet/weir/internal/order"
)

// routeSet finds the longest matching prefix: one sorted list of networks for each prefix length in use, the longest first. A look-up
// is a binary search a length, of which there are few, and allocates nothing.
type routeSet struct {
	lengths  []routeLength
	networks []routeNetwork // of all lengths, the longest first, then by address
	routes   []route        // of all networks, each network's best first
}

// routeLength is all networks of one prefix length: networks[first:end].
type routeLength struct {
	mask       key
	first, end int
}

// routeNetwork is all routes to one network: routes[first:end].
type routeNetwork struct {
	addr       key
	first, end int
}

// route is a Route as look-ups want it.
type route struct {
	net      key
	bits     int // of 128
	metric   int
	implied  bool // on-link, of an interface's address
	gateway  netip.Addr
	source   netip.Addr
	iface    int // position in Table.ifs
	isolated bool
}

// addRoutes builds both sets out of the given and the implied routes.
func (t *Table) addRoutes(routes []Route) error {
	var r4, r6 []route
	add := func(r route) {
		if r.net.is4() && r.bits >= 96 {
			r4 = append(r4, r)
		} else {
			r6 = append(r6, r)
		}
	}
	for i := range t.info {
		for _, set := range [][]ifaceAddr{t.info[i].addrs4, t.info[i].addrs6} {
			for _, a := range set {
				add(route{net: a.key.and(mask(a.bits)), bits: a.bits, implied: true, iface: i, isolated: t.ifs[i].Isolated})
			}
		}
	}
	t.routes4.build(r4)
	t.routes6.build(r6) // so far: for gateways
	for _, given := range routes {
		r, err := t.newRoute(given)
		if err != nil {
			return err
		}
		if t.ifs[r.iface].Up {
			add(r)
		}
	}
	t.routes4.build(r4)
	t.routes6.build(r6)
	return nil
}

// newRoute checks a Route.
func (t *Table) newRoute(given Route) (route, error) {
	fail := func(why string) (route, error) {
		return route{}, errors.New("ip: route to " + given.Prefix.String() + ": " + why)
	}
	if !given.Prefix.IsValid() || given.Prefix.Addr().Is4In6() && given.Prefix.Bits() < 96 {
		return fail("the prefix is not valid")
	}
	prefix := unmapPrefix(given.Prefix).Masked()
	gateway, source := given.Gateway.Unmap(), given.Source.Unmap()
	is4 := prefix.Addr().Is4()
	if gateway.IsValid() {
		if gateway.Is4() != is4 {
			return fail("gateway " + gateway.String() + " is of the other family")
		}
		if k := keyOf(gateway); k.unspecified() || k.multicast() || k.loopback() || k.limitedBroadcast() || t.isLocalAnywhere(k) {
			return fail("gateway " + gateway.String() + " is not the address of another host")
		}
	}
	position := t.position(given.Iface)
	if given.Iface == 0 && gateway.IsValid() {
		if on := t.routeSet(is4).find(keyOf(gateway), -1); on != nil {
			position = on.iface
		}
	}
	if position < 0 {
		return fail("there is no interface " + strconv.Itoa(given.Iface) + "; name one, or a gateway that is on link")
	}
	if source.IsValid() && source.Is4() != is4 {
		return fail("source " + source.String() + " is of the other family")
	}
	r := route{net: keyOf(prefix.Addr()), bits: prefix.Bits(), metric: given.Metric, iface: position, isolated: t.ifs[position].Isolated}
	if is4 {
		r.bits += 96
	}
	r.gateway = gateway.WithZone("")
	if source.IsValid() && t.isLocalAnywhere(keyOf(source)) {
		r.source = source.WithZone("")
	}
	return r, nil
}

func (t *Table) routeSet(is4 bool) *routeSet {
	if is4 {
		return &t.routes4
	}
	return &t.routes6
}

// build sorts routes into the set: the longest prefix first, then by network, then lower metric, then those given before those implied.
func (s *routeSet) build(routes []route) {
	routes = slices.Clone(routes)
	order.Stable(routes, func(a, b *route) bool {
		return cmp.Or(b.bits-a.bits, compareKeys(a.net, b.net), cmp.Compare(a.metric, b.metric), compareBools(a.implied, b.implied)) < 0
	})
	*s = routeSet{routes: routes}
	for i, r := range routes {
		if i == 0 || routes[i-1].bits != r.bits {
			s.lengths = append(s.lengths, routeLength{mask: mask(r.bits), first: len(s.networks)})
		}
		if i == 0 || routes[i-1].bits != r.bits || routes[i-1].net != r.net {
			s.networks = append(s.networks, routeNetwork{addr: r.net, first: i})
		}
		s.networks[len(s.networks)-1].end = i + 1
		s.lengths[len(s.lengths)-1].end = len(s.networks)
	}
}

func compareBools(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// find returns the best route to dst by the interface at a position, or (-1) by any interface that is not isolated; nil if there is none.
func (s *routeSet) find(dst key, position int) *route {
	for i := range s.lengths {
		n := s.network(&s.lengths[i], dst)
		if n == nil {
			continue
		}
		for j := n.first; j < n.end; j++ {
			if r := &s.routes[j]; r.iface == position || position < 0 && !r.isolated {
				return r
			}
		}
	}
	return nil
}

// network finds dst's network among those of one length; nil if it is not there.
func (s *routeSet) network(l *routeLength, dst key) *routeNetwork {
	want := dst.and(l.mask)
	lo, hi := l.first, l.end
	for lo < hi {
		if mid := int(uint(lo+hi) >> 1); s.networks[mid].addr.less(want) {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == l.end || s.networks[lo].addr != want {
		return nil
	}
	return &s.networks[lo]
}
