package weir

import (
	"iter"
	"net/netip"

	"github.com/weirnet/weir/tcp"
	"github.com/weirnet/weir/wire"
)

// Stats are counters since the stack's start.
type Stats struct {
	IP         IPStats
	TCP        TCPStats
	UDP        UDPStats
	Interfaces []InterfaceInfo
	// Flows is how many connections, handshakes, TIME-WAIT records and UDP flows there are now.
	Flows int
	// MemoryUsed is what the queues of all sockets hold now, in bytes of memory; MemoryBudget what they may.
	MemoryUsed, MemoryBudget int64
}

// IPStats are named as in RFC 4293 where it has them. What came in joined counts as the packets that it was on the wire.
type IPStats struct {
	InReceives       uint64 // packets that came in
	InHdrErrors      uint64 // bad header: version, length, header checksum, options, extension headers, fragment fields
	InAddrErrors     uint64 // not for us and not to be forwarded, or with an address that may not be there
	InUnknownProtos  uint64 // for us, but nobody wants the protocol
	InDiscards       uint64 // nothing wrong with it: no interface, interface down, no use for it
	InDelivers       uint64 // handed to transport or to ICMP
	InChecksumErrors uint64 // wrong TCP, UDP or ICMP checksum
	OutRequests      uint64 // packets of our own handed down, before fragmentation
	OutNoRoutes      uint64 // no way to the destination, in either direction
	OutDiscards      uint64 // could not be sent for want of room
	Forwarded        uint64
	ReasmReqds       uint64 // fragments that came in
	ReasmOKs         uint64 // datagrams put together
	ReasmFails       uint64 // datagrams given up: timeout, overlap, limits
	FragOKs          uint64 // datagrams cut
	FragFails        uint64 // datagrams that were too large and must not be cut
	FragCreates      uint64 // fragments made
	ICMPIn           uint64 // ICMP messages
	ICMPOut          uint64 // ICMP messages that the stack made
	ICMPLimited      uint64 // ICMP errors not sent because of a rate limit
	ICMPImplausible  uint64 // ICMP errors ignored: quote malformed, not about a packet of ours, or impossible
	EchoRequests     uint64 // answered, or handed to a handler
}

// TCPStats are named as in RFC 4022 where it has them.
type TCPStats struct {
	ActiveOpens, PassiveOpens uint64
	SegmentsIn, SegmentsOut   uint64 // of the wire
	BadSegments               uint64 // malformed
	ResetsOut                 uint64 // in answer to segments of no connection
	BacklogDrops              uint64 // SYNs and handshakes for which a listener's queues had no room
	RequestDrops              uint64 // requests beyond MaxPendingRequests, or Backlog
	MemoryDrops               uint64 // segments refused because the memory budget was used up
	NoRoute                   uint64 // segments dropped for want of a way
	MinTTLDrops               uint64 // segments and datagrams that came from too far away (RFC 5082)
	AuthMissing               uint64 // segments dropped because they are not signed (TCP-MD5, TCP-AO), and have to be,
	AuthUnexpected            uint64 // because they are signed though nobody has a key, or by the other kind,
	AuthUnknownKey            uint64 // because they name a key of TCP-AO that nobody knows,
	AuthBad                   uint64 // because their digest is wrong
	OrphanDrops               uint64 // closed connections that were reset because there were too many
	SynCookiesSent            uint64 // SYNs answered with a cookie, because a listener's backlog was full
	SynCookiesReceived        uint64 // ACKs with a good cookie: each makes a connection
	SynCookiesFailed          uint64 // ACKs to a listener that has sent cookies, without a good one
	FastOpenActive            uint64 // data on our SYN was acknowledged
	FastOpenActiveFail        uint64 // our SYN with a Fast Open option got lost
	FastOpenBlackhole         uint64 // a connection was cut off after a Fast Open: nobody tries for a while
	FastOpenPassive           uint64 // SYNs with a good cookie
	FastOpenPassiveFail       uint64 // SYNs with a bad one
	FastOpenOverflow          uint64 // SYNs with a good one beyond a listener's limit
	FastOpenRequests          uint64 // SYNs that asked for a cookie
}

// UDPStats are named as in RFC 4113 where it has them.
type UDPStats struct {
	DatagramsIn, DatagramsOut uint64
	NoPort                    uint64 // for no socket
	Bad                       uint64 // malformed
	Overflow                  uint64 // a socket's queue, a request's or the memory budget was full
	Unread                    uint64 // their socket was closed, or their request not accepted, before they were read
}

// Stats returns the counters.
func (s *Stack) Stats() Stats {
	in := s.inner.Stats()
	st := Stats{
		IP: IPStats(in.IP), TCP: TCPStats(in.TCP), UDP: UDPStats(in.UDP),
		Flows: in.Flows, MemoryUsed: in.MemoryUsed, MemoryBudget: in.MemoryBudget,
	}
	for _, i := range s.inner.Interfaces() {
		st.Interfaces = append(st.Interfaces, InterfaceInfo(i.Info()))
	}
	return st
}

// TCPInfo is what a connection knows about itself and its path, as of the call. Each field names the one of Linux's TCP_INFO that means the
// same.
type TCPInfo = tcp.Info

// ConnInfo describes one socket, handshake or TIME-WAIT record.
type ConnInfo struct {
	Network       string         // "tcp" or "udp"
	Local, Remote netip.AddrPort // Remote is not valid for listeners and unconnected sockets
	State         string         // TCP: as RFC 9293 spells it ("ESTABLISHED", "SYN-RECEIVED", …); UDP: "" if connected, "unconnected"
	TCP           TCPInfo        // of connections
}

// Conns walks over the sockets of the stack, handshakes in progress and TIME-WAIT records, in no particular order.
func (s *Stack) Conns() iter.Seq[ConnInfo] {
	return func(yield func(ConnInfo) bool) {
		for c := range s.inner.Conns() {
			network := "udp"
			if c.Protocol == wire.ProtoTCP {
				network = "tcp"
			}
			if !yield(ConnInfo{Network: network, Local: c.Local, Remote: c.Remote, State: c.State, TCP: c.TCP}) {
				return
			}
		}
	}
}
