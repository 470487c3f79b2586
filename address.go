package weir

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"syscall"

	"github.com/weirnet/weir/internal/stack"
	"github.com/weirnet/weir/wire"
)

// network is a parsed network name.
type network struct {
	proto  string       // "tcp", "udp" or "ip"
	family stack.Family // of "tcp4", …
	icmp   wire.Protocol
}

// protoOf is the protocol of "tcp4", "udp6", … .
func protoOf(network string) string {
	for network != "" && (network[len(network)-1] == '4' || network[len(network)-1] == '6') {
		network = network[:len(network)-1]
	}
	return network
}

// parseNetwork understands "tcp", "tcp4", "tcp6", "udp…", and "ip…:icmp" with its protocol by name or number.
func parseNetwork(name string) (network, error) {
	base, proto, hasProto := name, "", false
	if i := strings.IndexByte(name, ':'); i >= 0 { // strings.Cut would be 3 KB: it searches for strings
		base, proto, hasProto = name[:i], name[i+1:], true
	}
	n := network{proto: protoOf(base)}
	switch base {
	case "tcp", "udp", "ip":
	case "tcp4", "udp4", "ip4":
		n.family = stack.IPv4
	case "tcp6", "udp6", "ip6":
		n.family = stack.IPv6
	default:
		return n, net.UnknownNetworkError(name)
	}
	if hasProto != (n.proto == "ip") {
		return n, net.UnknownNetworkError(name)
	}
	switch proto {
	case "":
	case "icmp", "1":
		n.icmp = wire.ProtoICMP
		if n.family == stack.IPv6 && proto == "icmp" {
			n.icmp = wire.ProtoICMPv6
		}
	case "ipv6-icmp", "58":
		n.icmp = wire.ProtoICMPv6
	default:
		return n, net.UnknownNetworkError(name)
	}
	return n, nil
}

// suits reports whether an address is of the network's family.
func (n network) suits(a netip.Addr) bool {
	switch n.family {
	case stack.IPv4:
		return a.Is4()
	case stack.IPv6:
		return !a.Is4()
	}
	return true
}

// lookupNetwork is the network name for LookupNetIP.
func (n network) lookupNetwork() string { return [...]string{"ip", "ip4", "ip6"}[n.family] }

// resolve turns "host:port" (of an "ip" network: a host) into addresses, at least one. An empty host gives the zero Addr.
func (s *Stack) resolve(ctx context.Context, n network, address string) ([]netip.AddrPort, error) {
	host, port := address, uint16(0)
	if n.proto != "ip" {
		h, p, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		if port, err = parsePort(n.proto, p); err != nil {
			return nil, err
		}
		host = h
	}
	if host == "" {
		return []netip.AddrPort{netip.AddrPortFrom(netip.Addr{}, port)}, nil
	}
	if a, err := netip.ParseAddr(host); err == nil {
		if a = a.Unmap(); !n.suits(a) {
			return nil, &net.AddrError{Err: errNoSuitableAddress.Error(), Addr: host}
		}
		return []netip.AddrPort{netip.AddrPortFrom(a, port)}, nil
	}
	addrs, err := s.LookupNetIP(ctx, n.lookupNetwork(), host)
	if err != nil {
		return nil, err
	}
	all := make([]netip.AddrPort, len(addrs))
	for i, a := range addrs {
		all[i] = netip.AddrPortFrom(a, port)
	}
	return all, nil
}

// services are the ports that have a name here: package net has more from the machine's files, which a stack of its own does not read.
var services = map[string]uint16{
	"domain": 53, "ftp": 21, "http": 80, "https": 443, "imap": 143, "imaps": 993, "ntp": 123, "pop3": 110, "pop3s": 995, "smtp": 25,
	"ssh": 22, "submission": 587, "telnet": 23,
}

// parsePort understands a number from 0 to 65535, a well-known name, and the empty string: 0.
func parsePort(proto, port string) (uint16, error) {
	if port == "" {
		return 0, nil
	}
	n, digits := 0, port
	if port[0] == '+' || port[0] == '-' { // as package net has it
		digits = port[1:]
	}
	for _, c := range []byte(digits) {
		if c < '0' || c > '9' {
			digits = ""
			break
		}
		n = min(10*n+int(c-'0'), 1<<16)
	}
	switch {
	case digits == "":
		if p, ok := services[lowerASCII(port)]; ok {
			return p, nil
		}
		return 0, &net.DNSError{Err: "unknown port", Name: proto + "/" + port, IsNotFound: true}
	case n > 65535 || n > 0 && port[0] == '-':
		return 0, &net.AddrError{Err: "invalid port", Addr: port}
	}
	return uint16(n), nil
}

// target splits what a call names as its far or local end into an address without zone and the number of the interface that zone or
// name ask for. A link-local address of IPv6 must have one: EINVAL, as kernels say.
func (s *Stack) target(a netip.AddrPort, iface string) (netip.AddrPort, int, error) {
	addr := a.Addr().Unmap()
	if zone := addr.Zone(); zone != "" {
		iface = zone
	}
	index, err := s.ifaceIndex(iface)
	switch {
	case err != nil:
		return a, 0, err
	case index == 0 && addr.Is6() && addr.IsLinkLocalUnicast():
		return a, 0, syscall.EINVAL
	}
	return netip.AddrPortFrom(addr.WithZone(""), a.Port()), index, nil
}

// addr is an address in net's type for the network, nil if it is not valid.
func (n network) addr(a netip.AddrPort) net.Addr {
	switch n.proto {
	case "tcp":
		return tcpAddr(a)
	case "udp":
		return udpAddr(a)
	}
	return ipAddr(a.Addr())
}
