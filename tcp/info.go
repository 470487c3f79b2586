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
	InFlight                       int    // bytes in the network, by the sender's estimate
	Sacked, Lost, Resent           int    // bytes not acknowledged: SACKed, deemed lost, and of these sent again since
	Reordering                     int    // segments: the farthest that one has come after others, at least DupThresh
	Reorderings                    uint64 // times that segments came out of order
	LossProbes, LossProbeRepairs   uint64 // tail loss probes sent, and losses that they have repaired (RFC 8985 §7)
	DSACKs                         uint64 // ACKs that told of something that came twice (RFC 2883)
	Undos                          uint64 // recoveries that turned out to be needless
	SpuriousRTOs                   uint64 // those of them that were timeouts
	Reneged                        uint64 // times that the peer threw away what it had SACKed (RFC 2018 §8)
	SendQueue, ReceiveQueue        int    // bytes
	Congestion                     string
	PacingRate, MaxPacingRate      int64  // bytes per second; 0: not paced, no limit
	Delivered                      uint64 // bytes known to have arrived, in order or not
	DeliveryRate                   int64  // bytes per second: the latest that tells about the network; 0: not known yet
	DeliveryAppLimited             bool   // that was limited by the application
	Timestamps, SACK               bool
	FastOpened                     bool // data went with the SYN, and was acknowledged, or came with it (RFC 7413)
	SendWScale, ReceiveWScale      uint8
	ECN                            ECNInfo

	// The rest of what Linux's TCP_INFO has.
	CAState                        CAState
	Retries                        int           // timeouts since something was acknowledged
	Probes                         int           // window or keepalive probes without an answer
	Backoff                        int           // doublings of the RTO
	DelayedAck                     time.Duration // after which an ACK is sent at the latest
	ReceiveRTT                     time.Duration // the round trip as the receiver of data sees it; 0: not known
	AdvertisedMSS                  int           // what our SYN announced
	PathMTU                        int           // 0: not known here
	Unacked                        int           // segments sent and not acknowledged, those that are SACKed or lost included
	LastDataSent, LastDataReceived time.Duration // ago
	LastAckReceived                time.Duration // ago
	ReceiveSpace                   int           // bytes: the receive window as tuned
	NotSent                        int           // bytes queued and never sent
	BytesRetransmitted             uint64
	DataSegmentsSent               uint64        // with data, sent again included
	DataSegmentsReceived           uint64        // with data
	DeliveredSegments              uint64        // known to have arrived, the SYN included
	BusyTime                       time.Duration // in which data was queued or in flight
	WindowLimited, BufferLimited   time.Duration // of it, limited by the peer's window, and by the send buffer
	Rehashes                       uint64        // times that the flow label of IPv6 was changed
	TimeoutRuns                    uint64        // timeouts, those that follow upon one another counted once
	TimeoutTime                    time.Duration // how long such runs lasted
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
		SegmentsSent: uint64(c.segsSent), SegmentsReceived: uint64(c.segsReceived),
		SendQueue: c.SendQueue(), ReceiveQueue: c.ReadSize(),
		Congestion: c.cc.Name(),
		FastOpened: c.is(fastOpened), Timestamps: c.is(useTS), SACK: c.is(useSACK), SendWScale: c.sndWScale, ReceiveWScale: c.rcvWScale,
		ECN: c.ecnInfo(),
	}
	i.PacingRate, i.MaxPacingRate = c.pacingRate(), c.maxPacingRate()
	i.Delivered, i.DeliveryRate, i.DeliveryAppLimited = c.delivered(), c.rate.perSecond(), c.is(rateLimited)
	if s := c.cc.Ssthresh(); s < cc.Infinite {
		i.Ssthresh = s
	}
	if c.snd != nil {
		i.Cwnd = c.cwnd(c.snd)
		i.InFlight = c.snd.pipe()
		i.Delivered = c.snd.board.rate.delivered
		b := &c.snd.board
		i.Sacked, i.Lost, i.Resent = b.sacked+c.snd.dupBytes, b.lost, b.rtx
	}
	i.Reordering = c.cfg.reordering()
	if h := c.hist; h != nil {
		i.Retransmits, i.OutOfOrder = uint64(h.retransmits), uint64(h.outOfOrder)
		i.RTOs, i.DupAcks = uint64(h.rtos), uint64(h.dupAcks)
		i.Reordering, i.Reorderings = max(i.Reordering, h.degree), uint64(h.reorderings)
		i.LossProbes, i.LossProbeRepairs = uint64(h.probes), uint64(h.probeRecoveries)
		i.DSACKs, i.Undos, i.SpuriousRTOs, i.Reneged = uint64(h.dsacks), uint64(h.undos), uint64(h.spurious), uint64(h.reneged)
	}
	c.linuxInfo(&i)
	return i
}
