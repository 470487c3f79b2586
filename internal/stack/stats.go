package stack

import (
	"iter"
	"net/netip"
	"sync/atomic"

	"github.com/weirnet/weir/internal/ip"
	"github.com/weirnet/weir/tcp"
	"github.com/weirnet/weir/wire"
)

// counters are those of transport; ip and the interfaces have their own.
type counters struct {
	_ [0]func() // not comparable: that would be code without use

	activeOpens, passiveOpens, segsIn, segsOut, badSegments, resetsOut atomic.Uint64
	orphanDrops                                                        atomic.Uint64
	backlogDrops, requestDrops, memoryDrops, noRoute                   atomic.Uint64
	cookiesSent, cookiesReceived, cookiesFailed                        atomic.Uint64
	fastActive, fastActiveFail, fastBlackhole                          atomic.Uint64
	fastPassive, fastPassiveFail, fastOverflow, fastRequests           atomic.Uint64
	minTTLDrops, authMissing, authUnexpected, authUnknownKey, authBad  atomic.Uint64
	udpIn, udpOut, udpNoPort, udpBad, udpOverflow, udpUnread           atomic.Uint64
}

// Stats are counters since the stack's start.
type Stats struct {
	IP  ip.Stats
	TCP TCPStats
	UDP UDPStats
	// Flows in the table: connections, handshakes, TIME-WAIT records, UDP flows.
	Flows int
	// MemoryUsed is the chunk capacity that socket queues hold, in bytes; MemoryBudget what they may.
	MemoryUsed, MemoryBudget int64
}

// TCPStats are named after RFC 4022 where it has them.
type TCPStats struct {
	ActiveOpens, PassiveOpens uint64
	SegmentsIn, SegmentsOut   uint64 // of the wire
	BadSegments               uint64 // malformed
	ResetsOut                 uint64 // in answer to segments of no connection
	BacklogDrops              uint64 // SYNs and handshakes for which a listener's queues had no room
	RequestDrops              uint64 // SYNs beyond MaxPendingRequests
	MemoryDrops               uint64 // segments refused because the memory budget was used up
	NoRoute                   uint64 // segments dropped for want of a way
	MinTTLDrops               uint64 // segments and datagrams that came from too far away (RFC 5082)
	AuthMissing               uint64 // segments dropped because they are not signed (TCP-MD5, TCP-AO), and have to be,
	AuthUnexpected            uint64 // because they are signed though nobody has a key, or by the other kind,
	AuthUnknownKey            uint64 // because they name a key of TCP-AO that nobody knows,
	AuthBad                   uint64 // because their digest is wrong
	OrphanDrops               uint64 // closed connections that were reset because there were too many
	SynCookiesSent            uint64 // SYNs answered with a cookie
	SynCookiesReceived        uint64 // ACKs with a good cookie
	SynCookiesFailed          uint64 // ACKs to a listener that has sent cookies, without a good one
	FastOpenActive            uint64 // data on our SYN was acknowledged
	FastOpenActiveFail        uint64 // our SYN with a Fast Open option got lost
	FastOpenBlackhole         uint64 // a connection was cut off after a Fast Open: nobody tries for a while
	FastOpenPassive           uint64 // SYNs with a good cookie
	FastOpenPassiveFail       uint64 // SYNs with a bad one
	FastOpenOverflow          uint64 // SYNs with a good one beyond a listener's limit
	FastOpenRequests          uint64 // SYNs that asked for a cookie
}

// UDPStats are named after RFC 4113 where it has them.
type UDPStats struct {
	DatagramsIn, DatagramsOut uint64
	NoPort                    uint64 // for no socket
	Bad                       uint64 // malformed
	Overflow                  uint64 // a socket's queue, a request's or the memory budget was full
	Unread                    uint64 // their socket was closed, or their request not accepted, before they were read
}

// Stats returns the counters.
func (s *Stack) Stats() Stats {
	c := &s.stats
	used, budget := s.Memory()
	layer := s.ip.Stats()
	for _, i := range s.Interfaces() {
		layer.OutDiscards += i.stats.txDropped.Load() // the queues are ours, and so is counting what they drop
	}
	return Stats{
		IP: layer,
		TCP: TCPStats{
			ActiveOpens: c.activeOpens.Load(), PassiveOpens: c.passiveOpens.Load(), SegmentsIn: c.segsIn.Load(), SegmentsOut: c.segsOut.Load(),
			BadSegments: c.badSegments.Load(), ResetsOut: c.resetsOut.Load(), BacklogDrops: c.backlogDrops.Load(),
			RequestDrops: c.requestDrops.Load(), MemoryDrops: c.memoryDrops.Load(), NoRoute: c.noRoute.Load(),
			MinTTLDrops: c.minTTLDrops.Load(), AuthMissing: c.authMissing.Load(), AuthUnexpected: c.authUnexpected.Load(),
			AuthUnknownKey: c.authUnknownKey.Load(), AuthBad: c.authBad.Load(),
			OrphanDrops:    c.orphanDrops.Load(),
			SynCookiesSent: c.cookiesSent.Load(), SynCookiesReceived: c.cookiesReceived.Load(), SynCookiesFailed: c.cookiesFailed.Load(),
			FastOpenActive: c.fastActive.Load(), FastOpenActiveFail: c.fastActiveFail.Load(), FastOpenBlackhole: c.fastBlackhole.Load(),
			FastOpenPassive: c.fastPassive.Load(), FastOpenPassiveFail: c.fastPassiveFail.Load(), FastOpenOverflow: c.fastOverflow.Load(),
			FastOpenRequests: c.fastRequests.Load(),
		},
		UDP: UDPStats{
			DatagramsIn: c.udpIn.Load(), DatagramsOut: c.udpOut.Load(), NoPort: c.udpNoPort.Load(), Bad: c.udpBad.Load(),
			Overflow: c.udpOverflow.Load(), Unread: c.udpUnread.Load(),
		},
		Flows: s.flows.len(), MemoryUsed: used, MemoryBudget: budget,
	}
}

// ConnInfo describes one flow.
type ConnInfo struct {
	Protocol      wire.Protocol
	Local, Remote netip.AddrPort // Remote is not valid for listeners and unconnected sockets
	State         string         // TCP: as RFC 9293 spells it; UDP: "" if connected, "unconnected"
	TCP           tcp.Info       // of connections
}

// Conns walks over sockets, handshakes and TIME-WAIT records: each that is there when its turn comes.
func (s *Stack) Conns() iter.Seq[ConnInfo] {
	return func(yield func(ConnInfo) bool) {
		var all []ConnInfo
		s.binds.each(func(b *bind) { all = append(all, describeBind(b)) })
		s.flows.each(func(f *flow) { all = append(all, describeFlow(f)) })
		s.flows.eachRecord(func(k *flowKey, state tcp.State) {
			all = append(all, ConnInfo{Protocol: k.proto, Local: k.localAddr(), Remote: k.remoteAddr(), State: state.String()})
		})
		for _, c := range all {
			if !yield(c) {
				return
			}
		}
	}
}

func describeBind(b *bind) ConnInfo {
	c := ConnInfo{Protocol: b.proto, Local: b.addr, State: "unconnected"}
	if b.proto == protoTCP {
		c.State = "LISTEN"
	}
	return c
}

func describeFlow(f *flow) ConnInfo {
	c := ConnInfo{Protocol: f.key.proto, Local: f.key.localAddr(), Remote: f.key.remoteAddr()}
	switch o := f.owner.(type) {
	case *TCP:
		c.TCP = o.Info()
		c.State = c.TCP.State.String()
	case *opening:
		c.State = tcp.SynReceived.String()
	}
	return c
}
