package tcp

import (
	"math"
	"time"

	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/tcp/cc"
)

// stamp is what the delivery rate estimator keeps for each transmission (draft-ietf-ccwg-bbr-06 §4.1.2.1.2): how far delivery had come
// when it was sent. Counts are the low 32 bits of those of rate.
type stamp struct {
	deliveredAt sched.Time // P.delivered_time
	firstSent   sched.Time // P.first_send_time
	delivered   uint32     // P.delivered
	lost        uint32     // P.lost
	inFlight    uint32     // P.tx_in_flight: bytes in the network with this, itself included
	appLimited  bool       // P.is_app_limited
}

// rate estimates the delivery rate (draft-ietf-ccwg-bbr-06 §4.1). It is for as long as something is queued or in flight; what is to last
// is in rateMemory.
type rate struct {
	control     cc.Control // which is told of losses
	delivered   uint64     // C.delivered, over the life of the connection: a FIN counts too
	lost        uint64     // C.lost, since nothing was in flight
	appLimited  uint64     // C.app_limited: what is sent before so much is delivered is application-limited; 0: nothing is
	deliveredAt sched.Time // C.delivered_time
	firstSent   sched.Time // C.first_send_time
	now         sched.Time // of the ACK or timer that is being taken
}

// rateMemory is what a connection keeps of the estimates while it is idle.
type rateMemory struct {
	bytes    uint32 // of the latest sample that tells about the network; with rateLimited it was application-limited
	interval uint32 // µs, of that sample; 0: there was none
}

// perSecond is the rate of a sample, in bytes per second.
func (m *rateMemory) perSecond() int64 {
	return perSecond(int(m.bytes), time.Duration(m.interval)*time.Microsecond)
}

// perSecond is bytes in an interval as a rate; 0 without one.
func perSecond(bytes int, interval time.Duration) int64 {
	if interval <= 0 {
		return 0
	}
	return int64(uint64(bytes) * 1e9 / uint64(interval)) // bytes are less than 2^32
}

// begin starts the estimates of a flight. The application had nothing to send before: its first packets are application-limited.
func (r *rate) begin(c *Conn) {
	n := c.delivered()
	*r = rate{control: c.cc, delivered: n, appLimited: max(n, 1)}
}

// delivered is C.delivered while nothing is queued or in flight: all that was sent is acknowledged.
func (c *Conn) delivered() uint64 { return c.bytesAcked }

// sends is the first half of OnPacketSent (§4.1.2.2) for what is sent now; inFlight: bytes in the network before it.
func (r *rate) sends(now sched.Time, inFlight int) {
	if inFlight <= 0 {
		r.firstSent, r.deliveredAt = now, now
	}
}

// put is the other half: the stamp; inFlight: bytes in the network with it.
func (r *rate) put(s *stamp, inFlight int) {
	s.deliveredAt, s.firstSent, s.delivered, s.lost = r.deliveredAt, r.firstSent, uint32(r.delivered), uint32(r.lost)
	s.inFlight, s.appLimited = uint32(inFlight), r.appLimited != 0
}

// stamp is both, for n bytes.
func (r *rate) stamp(s *stamp, now sched.Time, inFlight, n int) {
	r.sends(now, inFlight)
	r.put(s, max(inFlight, 0)+n)
}

// newest is the transmission that was sent last of those that an ACK told about.
type newest struct {
	stamp
	sent sched.Time
	end  Seq
	any  bool
}

// take is UpdateRateSample (§4.1.2.3): "Update info using the newest packet".
func (p *newest) take(s *span) {
	if p.any && (s.sent < p.sent || s.sent == p.sent && !p.end.Before(s.end)) {
		return
	}
	*p = newest{stamp: s.stamp, sent: s.sent, end: s.end, any: true}
}

// sample is GenerateRateSample (§4.1.2.3) for an ACK that has newly delivered so many bytes. A sample in less than the least round trip
// would be of something that was sent again while the first of it was still on its way: its rate is not known.
func (r *rate) sample(now sched.Time, bytes int, p *newest, minRTT time.Duration, s *cc.Sample) {
	*s = cc.Sample{}
	r.delivered += uint64(bytes)
	if bytes > 0 {
		r.deliveredAt = now
	}
	if r.appLimited != 0 && r.delivered > r.appLimited {
		r.appLimited = 0 // the bubble is acknowledged and gone
	}
	if !p.any {
		return
	}
	r.firstSent = p.sent
	s.Delivered = int(uint32(r.delivered) - p.delivered)
	s.Prior = r.delivered - uint64(s.Delivered)
	s.Interval = max(p.sent.Sub(p.firstSent), now.Sub(p.deliveredAt), leastRTT)
	s.InFlight = int(p.inFlight)
	s.Lost = int(uint32(r.lost) - p.lost)
	s.AppLimited = p.appLimited
	if s.Interval >= minRTT {
		s.Rate = perSecond(s.Delivered, s.Interval)
	}
}

// lose counts what is newly lost of a transmission, and tells congestion control. What was lost after it had been sent again counts once
// more: it was in the network twice.
func (r *rate) lose(s *span, n int) {
	r.lost += uint64(n)
	if r.control != nil {
		r.control.Lost(cc.LostPacket{
			Bytes: n, InFlight: int(s.inFlight), Lost: int(uint32(r.lost) - s.lost), AppLimited: s.appLimited,
			Now: r.now, Prior: r.delivered - uint64(uint32(r.delivered)-s.delivered), Total: r.delivered,
		})
	}
}

// keepRate remembers a sample that tells about the network: one that the application has limited only if it is no less than was known.
func (c *Conn) keepRate(s *cc.Sample) {
	m := &c.rate
	us := uint64(max(s.Interval, leastRTT)) / uint64(time.Microsecond)
	if s.Rate == 0 || us > math.MaxUint32 || s.AppLimited && uint64(s.Delivered)*uint64(m.interval) < uint64(m.bytes)*us {
		return
	}
	m.bytes, m.interval = uint32(s.Delivered), uint32(us)
	c.clear(rateLimited)
	if s.AppLimited {
		c.set(rateLimited)
	}
}

// checkAppLimited is CheckIfApplicationLimited (§4.1.2.4): everything was sent, also by the stack's transmit queue, nothing waits to be
// sent again, and more would have been allowed.
func (c *Conn) checkAppLimited(f *flight) {
	f.board.rate.now = c.now
	if f.board.end() == c.sndNxt && c.Unsent() == 0 && !f.backlogged && !f.board.toResend() && f.pipe() < c.cwnd(f) {
		f.board.rate.appLimited = max(f.board.rate.delivered+uint64(f.pipe()), 1)
	}
}

// SetBacklogged says whether the stack's transmit queue is what keeps the connection from sending: then a delivery rate is not the
// application's doing (draft-ietf-ccwg-bbr-06 §4.1.2.1.1, C.pending_transmissions).
func (c *Conn) SetBacklogged(on bool) {
	if c.snd != nil {
		c.snd.backlogged = on
	}
}

// sampleRate takes the delivery rate sample of an ACK. The SYN says nothing about data.
func (c *Conn) sampleRate(f *flight, n *ackNews) {
	s := &f.ack.Sample
	f.board.rate.sample(c.now, n.bytes, &n.newest, c.rtt.min, s)
	if s.Delivered <= 1 {
		s.Rate = 0
	}
	c.keepRate(s)
}

// cwndFull reports whether the congestion window has ended a sending at any time in this round trip or the one before; round: one begins.
func (f *flight) cwndFull(round bool) bool {
	f.full = f.full || f.limited
	full := f.full || f.wasFull
	if round {
		f.wasFull, f.full = f.full, false
	}
	return full
}
