package tcp

import (
	"time"

	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/tcp/cc"
)

// Info is a snapshot of a connection. In parentheses are the fields of Linux's TCP_INFO, without tcpi_, that mean the same; where the kernel
// counts in segments and we in bytes, or it in microseconds, the comment says so. Counters are of the connection's whole life.
type Info struct {
	State                     State         // (state)
	RTT, RTTVar, RTO          time.Duration // smoothed round trip, its variation, retransmission timeout (rtt, rttvar, rto: in µs)
	MinRTT                    time.Duration // the least of late (min_rtt: in µs)
	Cwnd                      int           // congestion window in bytes (snd_cwnd: in segments)
	Ssthresh                  int           // slow start threshold in bytes, 0: none yet (snd_ssthresh: in segments)
	SendMSS, ReceiveMSS       int           // bytes of payload of a full segment: what we may send, and the largest seen (snd_mss, rcv_mss)
	SendWindow                int           // the peer's window in bytes (snd_wnd)
	ReceiveWindow             int           // the window we offer, in bytes (rcv_wnd)
	BytesSent                 uint64        // of payload, sent again included (bytes_sent)
	BytesAcked                uint64        // of payload (bytes_acked)
	BytesReceived             uint64        // of payload, in order (bytes_received)
	SegmentsSent              uint64        // of the wire, all kinds (segs_out)
	SegmentsReceived          uint64        // the same, as far as what was joined tells (segs_in)
	Retransmits               uint64        // segments sent again (total_retrans)
	RTOs                      uint64        // expiries of the retransmission timer (total_rto)
	OutOfOrder                uint64        // segments that came ahead of others (rcv_ooopack)
	DupAcks                   uint64        // duplicate ACKs that came
	InFlight                  int           // bytes in the network, by the sender's estimate: what is sent, less what is SACKed or lost
	Sacked, Lost, Resent      int           // bytes not acknowledged: SACKed, deemed lost, and of these sent again since (sacked, lost, retrans: in segments)
	Reordering                int           // segments: the farthest that one has come after others, at least DupThresh (reordering)
	Reorderings               uint64        // times that segments came out of order at the peer (reord_seen)
	LossProbes                uint64        // tail loss probes sent (RFC 8985 §7)
	LossProbeRepairs          uint64        // losses that these have repaired
	DSACKs                    uint64        // ACKs that told of something that came twice, RFC 2883 (dsack_dups)
	Undos                     uint64        // recoveries that turned out to be needless: the window is as before
	SpuriousRTOs              uint64        // those of them that were timeouts
	Reneged                   uint64        // times that the peer threw away what it had SACKed (RFC 2018 §8)
	SendQueue                 int           // bytes written and not acknowledged (SIOCOUTQ)
	ReceiveQueue              int           // bytes to be read (SIOCINQ)
	Congestion                string        // the congestion control (TCP_CONGESTION)
	PacingRate                int64         // bytes per second, 0: not paced (pacing_rate)
	MaxPacingRate             int64         // bytes per second, 0: no limit (max_pacing_rate)
	Delivered                 uint64        // bytes known to have arrived, in order or not
	DeliveryRate              int64         // bytes per second: the latest that tells about the network, 0: not known yet (delivery_rate)
	DeliveryAppLimited        bool          // that was limited by the application (delivery_rate_app_limited)
	Timestamps, SACK          bool          // agreed on (options: TCPI_OPT_TIMESTAMPS, TCPI_OPT_SACK)
	FastOpened                bool          // data went with the SYN, and was acknowledged, or came with it, RFC 7413 (options: TCPI_OPT_SYN_DATA)
	SendWScale, ReceiveWScale uint8         // window scale: the peer's, by which what it offers is multiplied, and ours (snd_wscale, rcv_wscale)
	ECN                       ECNInfo

	CAState              CAState       // of congestion control and recovery (ca_state)
	Retries              int           // timeouts since something was acknowledged (retransmits)
	Probes               int           // window or keep-alive probes without an answer (probes)
	Backoff              int           // doublings of the RTO (backoff)
	DelayedAck           time.Duration // after which an ACK is sent at the latest (ato: in µs)
	ReceiveRTT           time.Duration // the round trip as the receiver of data sees it, 0: not known (rcv_rtt: in µs)
	AdvertisedMSS        int           // bytes: what our SYN announced (advmss)
	PathMTU              int           // bytes, 0: not known here (pmtu)
	Unacked              int           // segments sent and not acknowledged, those that are SACKed or lost included (unacked)
	LastDataSent         time.Duration // ago; since the open if there was none (last_data_sent: in ms)
	LastDataReceived     time.Duration // ago; 0 if there was none (last_data_recv: in ms)
	LastAckReceived      time.Duration // ago: the last segment in the window (last_ack_recv: in ms)
	ReceiveSpace         int           // bytes: the receive window as tuned (rcv_space)
	NotSent              int           // bytes written and never sent (notsent_bytes)
	BytesRetransmitted   uint64        // (bytes_retrans)
	DataSegmentsSent     uint64        // with data, sent again included (data_segs_out)
	DataSegmentsReceived uint64        // with data (data_segs_in)
	DeliveredSegments    uint64        // known to have arrived, the SYN included; by size, where segments were cut anew (delivered)
	BusyTime             time.Duration // in which data was queued or in flight (busy_time: in µs)
	WindowLimited        time.Duration // of it, limited by the peer's window (rwnd_limited: in µs)
	BufferLimited        time.Duration // of it, limited by the send buffer (sndbuf_limited: in µs)
	Rehashes             uint64        // timeouts after which another flow label is used, where it is automatic (rehash)
	TimeoutRuns          uint64        // timeouts, those that follow upon one another counted once (total_rto_recoveries)
	TimeoutTime          time.Duration // how long such runs lasted (total_rto_time: in ms)
	PathProbes           uint64        // segments that probed for the MTU of the path (RFC 4821)
	PathProbesLost       uint64        // of them, lost alone
}

// InfoAt is Info as of now. (Info counts times up to the latest instant that the connection has seen.)
func (c *Conn) InfoAt(now sched.Time) Info {
	c.tick(now)
	return c.Info()
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
