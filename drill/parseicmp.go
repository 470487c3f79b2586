package drill

import (
	"maps"
	"slices"

	"github.com/weirnet/weir/wire"
)

// icmpCode is a code of "unreachable" messages by the names that scripts have; v4 and v6 number them differently. -1: not there.
type icmpCode struct {
	typ4, code4, typ6, code6 int
}

const none = -1

// icmpNames are the names of ICMP errors.
var icmpNames = map[string]icmpCode{
	"net_unreachable":          {3, int(wire.ICMPv4NetUnreachable), 1, int(wire.ICMPv6NoRoute)},
	"host_unreachable":         {3, int(wire.ICMPv4HostUnreachable), 1, int(wire.ICMPv6AddressUnreachable)},
	"protocol_unreachable":     {3, int(wire.ICMPv4ProtoUnreachable), 4, int(wire.ICMPv6UnknownNextHeader)},
	"port_unreachable":         {3, int(wire.ICMPv4PortUnreachable), 1, int(wire.ICMPv6PortUnreachable)},
	"frag_needed":              {3, int(wire.ICMPv4FragNeeded), 2, 0},
	"packet_too_big":           {3, int(wire.ICMPv4FragNeeded), 2, 0},
	"source_route_failed":      {3, int(wire.ICMPv4SourceRouteFailed), none, none},
	"net_unreachable_for_tos":  {3, int(wire.ICMPv4NetUnreachableTOS), none, none},
	"host_unreachable_for_tos": {3, int(wire.ICMPv4HostUnreachableTOS), none, none},
	"net_unknown":              {3, int(wire.ICMPv4NetUnknown), none, none},
	"host_unknown":             {3, int(wire.ICMPv4HostUnknown), none, none},
	"source_host_isolated":     {3, int(wire.ICMPv4HostIsolated), none, none},
	"net_prohibited":           {3, int(wire.ICMPv4NetProhibited), none, none},
	"host_prohibited":          {3, int(wire.ICMPv4HostProhibited), none, none},
	"pkt_filtered":             {3, int(wire.ICMPv4AdminProhibited), 1, int(wire.ICMPv6AdminProhibited)},
	"admin_prohibited":         {3, int(wire.ICMPv4AdminProhibited), 1, int(wire.ICMPv6AdminProhibited)},
	"precedence_violation":     {3, int(wire.ICMPv4PrecedenceViolation), none, none},
	"precedence_cutoff":        {3, int(wire.ICMPv4PrecedenceCutoff), none, none},
	"no_route":                 {none, none, 1, int(wire.ICMPv6NoRoute)},
	"not_neighbour":            {none, none, 1, int(wire.ICMPv6BeyondScope)},
	"addr_unreachable":         {none, none, 1, int(wire.ICMPv6AddressUnreachable)},
	"policy_fail":              {none, none, 1, int(wire.ICMPv6SourcePolicy)},
	"reject_route":             {none, none, 1, int(wire.ICMPv6RejectRoute)},
}

// parseICMP reads: unreachable NAME [mtu N] [QUOTE], time_exceeded, source_quench, echo_request id N seq N (N), echo_reply…
func (s *scanner) parseICMP() *icmpSpec {
	m := &icmpSpec{mtu: -1}
	s.blanks()
	at := s.at
	switch w := s.takeWord("a kind of ICMP message"); w {
	case "unreachable":
		s.blanks()
		m.name = s.takeWord("a code of ICMP unreachable")
		if _, ok := icmpNames[m.name]; !ok {
			s.fail(at, "unknown ICMP code %s", m.name)
		}
	case "time_exceeded", "source_quench", "packet_too_big", "parameter_problem":
		m.name = w
	case "echo_request", "echo_reply":
		m.name = w
		s.parseEcho(m)
		return m
	default:
		s.fail(at, "unknown ICMP message %s: expected unreachable, time_exceeded, packet_too_big, parameter_problem, source_quench, "+
			"echo_request or echo_reply", w)
	}
	s.blanks()
	if s.word() == "mtu" {
		s.at += 3
		m.mtu = int(s.within("an MTU", 0, maxUint32))
	}
	s.parseQuote(m)
	return m
}

// parseQuote reads [1:1001(1000)], what the message says about; without it, it is about the last segment that was sent.
func (s *scanner) parseQuote(m *icmpSpec) {
	s.blanks()
	if s.peek() != '[' {
		return
	}
	s.at++
	s.blanks()
	if s.word() == "udp" {
		s.at += 3
		m.udp = &udpSpec{s.parenthesised("the number of bytes", 0, 65507)}
	} else {
		m.quote = &segmentSpec{headerLen: -1, anyOptions: true}
		s.parseRange(m.quote)
	}
	s.blanks()
	if s.peek() != ']' {
		s.expected("\"]\"")
	}
	s.at++
}

func (s *scanner) parseEcho(m *icmpSpec) {
	for _, f := range []struct {
		name string
		to   *int
	}{{"id", &m.id}, {"seq", &m.seq}} {
		s.blanks()
		if s.word() == f.name {
			s.at += len(f.name)
			*f.to = int(s.within(f.name, 0, 65535))
		}
	}
	s.blanks()
	if s.peek() == '(' {
		m.length = s.parenthesised("the number of bytes", 0, 65507)
	}
}

// icmpOrder is the names in the order in which one is chosen to describe a message: of two that mean the same, the usual one first.
func icmpOrder() []string {
	names := []string{"net_unreachable", "host_unreachable", "port_unreachable", "frag_needed", "admin_prohibited"}
	return append(names, slices.Sorted(maps.Keys(icmpNames))...)
}
