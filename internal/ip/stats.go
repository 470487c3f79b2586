package ip

import "sync/atomic"

// Stats are counters, named as in RFC 4293 where it has them. What came in joined counts as the packets that it was on the wire.
type Stats struct {
	InReceives       uint64 // packets that came in
	InHdrErrors      uint64 // bad header: version, length, header checksum, options, extension headers, fragment fields
	InAddrErrors     uint64 // not for us and not to be forwarded, or with an address that may not be there
	InUnknownProtos  uint64 // for us, but nobody wants the protocol
	InDiscards       uint64 // nothing wrong with it: no interface, interface down, no use for it
	InDelivers       uint64 // handed to transport or to ICMP
	InChecksumErrors uint64 // wrong TCP, UDP or ICMP checksum
	OutRequests      uint64 // packets of our own handed down, before fragmentation
	OutNoRoutes      uint64 // no way to the destination, in either direction
	OutDiscards      uint64 // dropped by Transmit for want of room: the owner of the queues counts them, the layer gives 0
	Forwarded        uint64
	ReasmReqds       uint64 // fragments that came in
	ReasmOKs         uint64 // datagrams put together
	ReasmFails       uint64 // datagrams given up: timeout, overlap, limits
	FragOKs          uint64 // datagrams cut
	FragFails        uint64 // datagrams that were too large and must not be cut
	FragCreates      uint64 // fragments made
	ICMPIn           uint64 // ICMP messages
	ICMPOut          uint64 // ICMP messages that the layer made
	ICMPLimited      uint64 // ICMP errors not sent because of a rate limit
	ICMPImplausible  uint64 // ICMP errors ignored: quote malformed, not about a packet of ours, or impossible
	EchoRequests     uint64 // answered, or handed to Config.Echo
}

// counters is Stats while counting.
type counters struct {
	_ [0]func() // not comparable: that would be code without use

	inReceives, inHdrErrors, inAddrErrors, inUnknownProtos, inDiscards, inDelivers, inChecksumErrors atomic.Uint64
	outRequests, outNoRoutes, forwarded                                                              atomic.Uint64
	reasmReqds, reasmOKs, reasmFails, fragOKs, fragFails, fragCreates                                atomic.Uint64
	icmpIn, icmpOut, icmpLimited, icmpImplausible, echoRequests                                      atomic.Uint64

	_ [88]byte // to a multiple of two cache lines, so that interfaces do not share one
}

// statShards is how many sets of counters the interfaces share.
const statShards = 8

// count returns the counters of an interface.
func (l *Layer) count(iface int) *counters { return &l.stats[uint(iface)%statShards] }

// Stats returns the sums over all interfaces.
func (l *Layer) Stats() Stats {
	var s Stats
	for i := range l.stats {
		c := &l.stats[i]
		s.InReceives += c.inReceives.Load()
		s.InHdrErrors += c.inHdrErrors.Load()
		s.InAddrErrors += c.inAddrErrors.Load()
		s.InUnknownProtos += c.inUnknownProtos.Load()
		s.InDiscards += c.inDiscards.Load()
		s.InDelivers += c.inDelivers.Load()
		s.InChecksumErrors += c.inChecksumErrors.Load()
		s.OutRequests += c.outRequests.Load()
		s.OutNoRoutes += c.outNoRoutes.Load()
		s.Forwarded += c.forwarded.Load()
		s.ReasmReqds += c.reasmReqds.Load()
		s.ReasmOKs += c.reasmOKs.Load()
		s.ReasmFails += c.reasmFails.Load()
		s.FragOKs += c.fragOKs.Load()
		s.FragFails += c.fragFails.Load()
		s.FragCreates += c.fragCreates.Load()
		s.ICMPIn += c.icmpIn.Load()
		s.ICMPOut += c.icmpOut.Load()
		s.ICMPLimited += c.icmpLimited.Load()
		s.ICMPImplausible += c.icmpImplausible.Load()
		s.EchoRequests += c.echoRequests.Load()
	}
	return s
}
