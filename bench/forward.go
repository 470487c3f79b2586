package main

import (
	"errors"
	"fmt"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	gvpipe "gvisor.dev/gvisor/pkg/tcpip/link/pipe"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/weirnet/weir"
	"github.com/weirnet/weir/link/pipe"
)

// The router's addresses on its two links, and the host on the second.
var (
	routerA = netip.MustParseAddr("192.0.2.129")
	routerC = netip.MustParseAddr("198.18.0.129")
	hostC   = netip.MustParseAddr("198.18.0.2")
)

// forward is one stream through a router between two links: three stacks.
func forward(s setup, o options) (sample, error) {
	open := openWeirRouted
	if s.name == "gvisor/pipe" {
		open = openGvisorRouted
	}
	w, err := open(o)
	if err != nil {
		return sample{}, err
	}
	return pourAll(w, o)
}

func openWeirRouted(o options) (world, error) {
	p := pipe.Options{MTU: o.MTU, NoOffload: true}
	nearHost, nearRouter := pipe.New(p)
	farRouter, farHost := pipe.New(p)
	router, err := weirHost(nearRouter, routerA, weir.Config{Forward: true})
	if err != nil {
		return nil, err
	}
	if err := weirInterface(router, farRouter, routerC); err != nil {
		return nil, err
	}
	a, errA := weirHost(nearHost, hostA, weir.Config{})
	c, errC := weirHost(farHost, hostC, weir.Config{})
	if err := errors.Join(errA, errC); err != nil {
		return nil, err
	}
	everywhere := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	return &weirWorld{a, c, hostC}, errors.Join(
		a.SetRoutes([]weir.Route{{Prefix: everywhere, Gateway: routerA}}), c.SetRoutes([]weir.Route{{Prefix: everywhere, Gateway: routerC}}))
}

func openGvisorRouted(o options) (world, error) {
	nearHost, nearRouter := gvpipe.New(macA, macB, gvisorMTU(o))
	farRouter, farHost := gvpipe.New(macA, macB, gvisorMTU(o))
	a, errA := gvisorHost(nearHost, hostA)
	c, errC := gvisorHost(farHost, hostC)
	router, errR := gvisorStack()
	if err := errors.Join(errA, errC, errR); err != nil {
		return nil, err
	}
	if err := errors.Join(gvisorNIC(router, 1, nearRouter, routerA), gvisorNIC(router, 2, farRouter, routerC)); err != nil {
		return nil, err
	}
	var routes []tcpip.Route
	for i, addr := range []netip.Addr{routerA, routerC} {
		subnet := tcpip.AddressWithPrefix{Address: tcpip.AddrFrom4(addr.As4()), PrefixLen: 24}.Subnet()
		routes = append(routes, tcpip.Route{Destination: subnet, NIC: tcpip.NICID(i + 1)})
	}
	router.SetRouteTable(routes)
	if err := router.SetForwardingDefaultAndAllNICs(ipv4.ProtocolNumber, true); err != nil {
		return nil, fmt.Errorf("gvisor: forward: %s", err)
	}
	gvisorGateway(a, routerA)
	gvisorGateway(c, routerC)
	return &gvisorWorld{a, c, hostC}, nil
}

func gvisorGateway(s *stack.Stack, gateway netip.Addr) {
	s.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, Gateway: tcpip.AddrFrom4(gateway.As4()), NIC: nicID}})
}
