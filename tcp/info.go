package tcp

import (
	"time"

	"github.com/weirnet/weir/tcp/cc"
)

// Info is a snapshot; durations and counts as Linux's TCP_INFO means them.
type Info struct {
	State                          State
	RTT, RTTVar, MinRTT, RTO       time.Duration
	Cwnd                           int    // bytes
	Ssthresh                       int    // bytes; 0: none yet
	SendMSS, ReceiveMSS            int    // payload of a full segment: what we may send, and the largest seen
	SendWindow, ReceiveWindow      int    // bytes, scaled
	BytesSent, BytesAcked          uint64 // BytesSent counts retransmissions too
	BytesReceived                  uint64
	SegmentsSent, SegmentsReceived uint64 // of the wire, as far as known
	Retransmits                    uint64 // segments
	RTOs                           uint64
	OutOfOrder, DupAcks            uint64
	InFlight                       int // bytes
	SendQueue, ReceiveQueue        int // bytes
	Congestion                     string
	PacingRate, MaxPacingRate      int64  // bytes per second; 0: not paced, no limit
	Delivered                      uint64 // bytes known to have arrived, in order or not
	DeliveryRate                   int64  // bytes per second: the latest that tells about the network; 0: not known yet
	DeliveryAppLimited             bool   // that was limited by the application
	Timestamps, SACK               bool
	FastOpened                     bool // data went with the SYN, and was acknowledged, or came with it (RFC 7413)
	SendWScale, ReceiveWScale      uint8
	ECN                            ECNInfo
}

// Info tells how the connection is doing. The zero Conn gives the zero Info.
func (c *Conn) Info() Info {
	if c.cfg == nil {
		return Info{}
	}
	i := Info{
		State: c.state, RTT: c.rtt.srtt, RTTVar: c.rtt.rttvar, MinRTT: c.rtt.min, RTO: c.rto(c.snd),
		Cwnd: c.cc.Cwnd(), SendMSS: c.payloadMSS(), ReceiveMSS: int(c.rcvMSS),
		SendWindow: int(c.sndWnd), ReceiveWindow: c.offered(),
		BytesSent: c.bytesSent, BytesAcked: c.bytesAcked, BytesReceived: c.bytesReceived,
		SegmentsSent: c.segsSent, SegmentsReceived: c.segsReceived,
		Retransmits: uint64(c.retransmits), RTOs: uint64(c.rtos), OutOfOrder: uint64(c.outOfOrder), DupAcks: uint64(c.dupAcks),
		SendQueue: c.SendQueue(), ReceiveQueue: c.ReadSize(),
		Congestion: c.cc.Name(),
		FastOpened: c.is(fastOpened), Timestamps: c.is(useTS), SACK: c.is(useSACK), SendWScale: c.sndWScale, ReceiveWScale: c.rcvWScale,
		ECN: c.ecnInfo(),
	}
	i.PacingRate, i.MaxPacingRate = c.pacingRate(), c.pace.most
	i.Delivered, i.DeliveryRate, i.DeliveryAppLimited = c.rate.delivered, c.rate.perSecond(), c.rate.appLimited
	if s := c.cc.Ssthresh(); s < cc.Infinite {
		i.Ssthresh = s
	}
	if c.snd != nil {
		i.Cwnd = c.cwnd(c.snd)
		i.InFlight = c.snd.pipe()
		i.Delivered = c.snd.board.rate.delivered
	}
	return i
}
