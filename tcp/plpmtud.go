package tcp

import (
	"math/bits"
	"time"

	"github.com/weirnet/weir/sched"
)

// Path MTU discovery without ICMP (RFC 4821; RFC 8899 has the same for datagrams): where full segments vanish without a word, the path is
// taken for narrower, and segments of data that are larger than the rest then probe for what it does take.

// MTUProbing is when segments probe for the MTU of the path.
type MTUProbing uint8

// The values, of which the first is the default.
const (
	MTUProbeBlackHole MTUProbing = iota // once full segments were lost again and again
	MTUProbeAlways                      // on each connection, from Config.BaseMSS up
	MTUProbeOff
)

const (
	// searchWindow is how many segments the congestion window must take for a probe: its loss is to be found by the segments that follow.
	searchWindow = 11
	// searchTries is how many probes of one size have to be lost, each alone, for that to be too large: any packet may be lost.
	searchTries = 2
	// searchStep ends the search: the last few bytes are not worth a probe.
	searchStep = 8
	// minMSS6 is the segment of the packets that each link of IPv6 takes (RFC 8200 §5).
	minMSS6 = 1220
)

// pathSearch is the search for what the path takes (RFC 4821 §7.1). Sizes are as those of mss: options are not taken off.
type pathSearch struct {
	route uint16     // what routes, interfaces and ICMP have it take
	low   uint16     // search_low: taken to work, and used
	high  uint16     // search_high: what is larger was found not to work; route at first
	size  uint16     // of the probe in flight; 0: none is
	tries uint8      // probes of the next size that were lost
	begin Seq        // of the probe in flight
	end   Seq        // behind it
	again sched.Time // when a search that is over begins anew
	// Segments of this size were lost too: perhaps size was not what those before were lost for. Then one probe may be sent whatever the
	// window, and whatever else is lost.
	doubt    bool
	doubtful bool   // the probe in flight is that one
	timeouts uint32 // when the size was cut down last, and there was no doubt
	probes   uint32 // sent
	lost     uint32 // of them, found lost while nothing else was
}

// search is what the search knows; nil: there is none.
func (c *Conn) search() *pathSearch {
	if c.rare == nil {
		return nil
	}
	return c.rare.search
}

// routeMSS is what routes, interfaces and ICMP have the path take.
func (c *Conn) routeMSS() uint16 {
	if p := c.search(); p != nil {
		return p.route
	}
	return c.pathMSS
}

// startSearch begins a connection with the base size, if each is to probe.
func (c *Conn) startSearch() {
	if c.cfg.MTUProbing == MTUProbeAlways && c.mss() > c.baseMSS() {
		c.searchFrom(c.baseMSS())
	}
}

// baseMSS is the size that about every path takes (RFC 8899 §5.1.2, BASE_PLPMTU), leastMSS the least that black holes make of it.
func (c *Conn) baseMSS() int { return max(c.cfg.baseMSS()+c.fixedOptions(), c.leastMSS()) }

func (c *Conn) leastMSS() int {
	if c.is(overIPv6) {
		return minMSS6
	}
	return c.cfg.minSendMSS() + c.fixedOptions()
}

// searchFrom makes low the size of segments, and searches for a larger one.
func (c *Conn) searchFrom(low int) {
	r := c.seldom()
	if r.search == nil {
		r.search = &pathSearch{route: c.pathMSS}
	}
	p := r.search
	p.low, p.high, p.size, p.tries = uint16(low), p.route, 0, 0
	c.usePathMSS(p.low)
}

// suspectPath is for the expiry of the retransmission timer. If ICMP has told that the segment was too large, that is so (RFC 5927 §7.2).
// If it has expired often enough in a row, of a segment that could be smaller, the path is a black hole for its size (RFC 4821 §7.7): it is
// cut down, to the base first, as RFC 8899 §5.2 has it, and then to half and half again.
func (c *Conn) suspectPath(f *flight) {
	if c.confirmClaim() {
		return
	}
	p := c.search()
	if p != nil {
		p.doubt = p.doubt || p.size == 0 && f.expiries == 1
		if p.size != 0 && p.doubtful {
			c.countLost(p)
		}
		p.size = 0 // RFC 4821 §7.6.4: "the probe is inconclusive"
	}
	if c.cfg.MTUProbing == MTUProbeOff || f.expiries < c.blackHoleRetries(f, p) {
		return
	}
	next := c.baseMSS()
	if c.mss() <= next {
		if p == nil && f.expiries < 2*suspectRetries {
			return // paths that take less than the base are about never met
		}
		next = max(c.payloadMSS()/2+c.fixedOptions(), c.leastMSS())
	}
	if next < c.mss() && f.board.headRun(next-c.fixedOptions()) {
		c.searchFrom(next)
		c.rare.search.timeouts, c.rare.search.doubt = c.hist.rtos, false
	}
}

// blackHoleRetries is how many timeouts in a row make a black hole. A path that has had some before and went on taking segments of this size
// is one that loses many packets of any size, which takes more to tell from a black hole.
func (c *Conn) blackHoleRetries(f *flight, p *pathSearch) uint8 {
	earlier := c.hist.rtos - uint32(f.expiries)
	if p != nil {
		earlier = c.hist.rtos - p.timeouts
		if earlier <= uint32(f.expiries) {
			return suspectRetries // they go on
		}
		earlier -= uint32(f.expiries)
	}
	return suspectRetries + uint8(min(bits.Len32(earlier/2), 4))
}

// headRun: more than n bytes are in flight before what is SACKed, so that more were in the segment that was sent again.
func (b *scoreboard) headRun(n int) bool {
	for i := b.head; i < len(b.list) && b.list[i].flags&spanSacked == 0; i++ {
		if b.list[i].end.minus(b.una) > n {
			return true
		}
	}
	return false
}

// top is the largest size that can be.
func (c *Conn) top(p *pathSearch) uint16 { return min(p.route, c.peerMSS) }

// next is the size to probe next; 0: the search is over. That nothing is wrong with the path after all is looked at first.
func (p *pathSearch) next(top uint16) uint16 {
	high := min(p.high, top)
	switch {
	case high <= p.low || high < top && high-p.low < searchStep:
		return 0
	case high == top:
		return top
	}
	return p.low + (high-p.low+1)/2
}

// outputSearch makes seg a probe, if it is time for one and its loss could be told and cost nothing but itself (RFC 4821 §7.3, §7.4):
// there is data enough to send behind it, window enough, and nothing that is lost. wait: new data is to wait for the ACKs that make room in
// the congestion window for it.
func (c *Conn) outputSearch(f *flight, seg *Segment, unsent, window int) (sent, wait bool) {
	p := c.rare.search
	top := c.top(p)
	if p.next(top) == 0 && p.low < top && p.again <= c.now {
		p.high, p.tries = top, 0 // RFC 4821 §7.2: the path may have become wider since
	}
	size := p.next(top)
	if size == 0 || p.size != 0 || c.state < Established || f.phase != phaseOpen && !p.doubt || f.frto == frtoSecond {
		return false, false
	}
	mss := c.dataMSS()
	n := int(size) - (c.mss() - mss)
	need := n + (c.cfg.reordering()+1)*mss
	cwnd := c.cwnd(f)
	switch {
	case p.doubt:
		need, cwnd = n, max(cwnd, n)
	case cwnd < max(searchWindow*mss, 2*n) || f.board.sacked > 0 || f.dupAcks > 0:
		return false, false
	}
	if min(unsent, window) < need || c.urgentAhead(c.sndNxt) || f.board.full() {
		return false, false
	}
	if cwnd-f.pipe() < n {
		f.limited = true
		return false, true
	}
	p.size, p.begin, p.end = size, c.sndNxt, c.sndNxt+Seq(n)
	p.probes++
	p.doubt, p.doubtful = false, p.doubt
	f.board.kind = spanProbe
	c.transmit(f, seg, n, false, n)
	return true, false
}

// searchAcked is for an ACK: if the probe is acknowledged and was not found lost before, its first bytes have arrived by itself, and its
// size works.
func (c *Conn) searchAcked(p *pathSearch) {
	if p.size == 0 || c.sndUna.Before(p.end) {
		return
	}
	size := p.size
	p.size = 0
	if size <= p.low {
		return
	}
	if p.doubtful && size >= c.top(p) {
		p.timeouts = 0 // it was no black hole: all timeouts so far were the path's manner
	}
	p.low, p.tries = min(size, p.route), 0
	c.settleSearch(p)
	c.usePathMSS(p.low)
	c.carried = max(c.carried, p.low)
}

// settleSearch sets when a search that is over begins anew.
func (c *Conn) settleSearch(p *pathSearch) {
	if p.next(c.top(p)) == 0 {
		p.again = c.now.Add(c.cfg.mtuProbeInterval())
	}
}

// checkProbe looks whether the probe was lost. If nothing else was, "the loss of a probe … MUST NOT be treated as an indication of
// congestion" (RFC 4821 §7.6.2 and RFC 8899 §3, 7): it is sent again in segments of the known size, as after a timeout, but the window
// stays. Else it tells nothing.
func (c *Conn) checkProbe(f *flight) {
	p := c.search()
	switch {
	case p == nil:
		return
	case p.size == 0 || !f.board.lostAt(p.begin):
		p.doubt = p.doubt || p.size == 0 && f.phase < phaseFast && f.board.toResend()
		return
	}
	alone := f.phase == phaseOpen && f.board.lostIn(p.begin, p.end) == f.board.lost
	if alone || p.doubtful {
		c.countLost(p)
	}
	p.size = 0
	if alone {
		c.sendProbeAgain(f, p)
	}
}

// countLost is for a probe that counts as lost.
func (c *Conn) countLost(p *pathSearch) {
	p.lost++
	if p.tries++; p.tries >= searchTries {
		p.high, p.tries = p.size-1, 0
		c.settleSearch(p)
	}
}

// sendProbeAgain has all of the probe sent again.
func (c *Conn) sendProbeAgain(f *flight, p *pathSearch) {
	f.board.loseRange(p.begin, p.end)
	if f.board.toResend() && f.phase < phaseFast {
		f.phase, f.point = phaseLoss, c.sndNxt
		f.probeAt, f.probe = sched.Never, false
	}
}

// routed is for news of what the path takes, and returns what to use of it. A probe that is larger is lost; the search goes on up to this.
func (c *Conn) routed(p *pathSearch, route uint16) uint16 {
	if p.route == route {
		return p.low
	}
	p.route, p.high, p.tries = route, route, 0
	p.low = min(p.low, route)
	if f := c.snd; p.size > route && f != nil {
		p.size = 0
		p.lost++
		c.sendProbeAgain(f, p)
	}
	return p.low
}

// lostAt: the byte at seq is in flight and lost.
func (b *scoreboard) lostAt(seq Seq) bool {
	i := b.find(later(seq, b.una))
	return i < len(b.list) && b.list[i].flags&spanLost != 0
}

// lostIn is how many bytes of [begin, end) are lost; both are in flight, or begin is before it.
func (b *scoreboard) lostIn(begin, end Seq) (n int) {
	for i := b.find(later(begin, b.una)); i < len(b.list) && b.begin(i).Before(end); i++ {
		if b.list[i].flags&spanLost != 0 {
			n += earlier(b.list[i].end, end).minus(later(b.begin(i), begin))
		}
	}
	return n
}

// loseRange marks the spans of [begin, end) as lost that are not.
func (b *scoreboard) loseRange(begin, end Seq) {
	for i := b.find(later(begin, b.una)); i < len(b.list) && b.begin(i).Before(end); i++ {
		if b.list[i].flags&(spanSacked|spanLost) == 0 {
			b.lose(i)
		}
	}
}

func (cfg *Config) baseMSS() int {
	if cfg.BaseMSS > 0 {
		return cfg.BaseMSS
	}
	return 1024
}

func (cfg *Config) minSendMSS() int {
	if cfg.MinSendMSS > 0 {
		return max(cfg.MinSendMSS, minPeerMSS)
	}
	return minMSS
}

func (cfg *Config) mtuProbeInterval() time.Duration {
	if cfg.MTUProbeInterval > 0 {
		return cfg.MTUProbeInterval
	}
	return 10 * time.Minute
}
