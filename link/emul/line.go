package emul

import (
	"cmp"
	"math/bits"
	"time"

	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/sched"
)

const (
	fewOvertakers = 10               // followers that overtake a packet held back, unless Config says otherwise
	maxOvertakers = 1000             //
	maxHeld       = 64               // packets held back at a time
	fullPacket    = 1500             // bytes, for how long it takes to be overtaken
	minHold       = time.Millisecond // that a packet is held back if too few follow
	minQueue      = 100              // full packets, of the default queue
	noRateQueue   = 64 << 20         // bytes under way, default without a rate
)

// line is the link proper: when packets depart, and those that have not arrived, in order of arrival. It is plain data.
type line struct {
	rate    int64 // bit/s, 0: none
	delay   time.Duration
	jitter  time.Duration
	depth   int           // followers that overtake a packet held back, at most
	holdMax time.Duration // how long a packet is held back at most
	queue   int64         // bytes
	pipeful int64         // bytes that a link without delay of timers has under way at most

	departed  sched.Time // departure of the last packet
	fraction  int64      // of its nanosecond, in 1/rate
	underWay  int64      // bytes
	ring      ring
	held      [maxHeld]heldBack
	heldCount int
}

// transit is a packet under way.
type transit struct {
	packet *packet.Packet
	at     sched.Time // of arrival
	size   int
}

// heldBack is a packet that waits to be overtaken by some more packets, until its instant at the latest.
type heldBack struct {
	transit
	overtakers int
}

// set makes l the link that c says. What is under way stays so.
func (l *line) set(c *Config, mtu int) {
	if rate := max(c.Rate, 0); rate != l.rate {
		l.rate, l.fraction = rate, 0
	}
	l.delay, l.jitter = max(c.Delay, 0), max(c.Jitter, 0)
	l.depth = min(max(cmp.Or(c.ReorderDepth, fewOvertakers), 1), maxOvertakers)
	l.holdMax = max(minHold, l.delay/4)
	if l.rate > 0 && c.ReorderDepth > 0 {
		l.holdMax = max(l.holdMax, time.Duration(int64(l.depth)*fullPacket*8*int64(time.Second)/l.rate))
	}
	switch l.queue = int64(c.Queue); {
	case l.queue > 0:
	case l.rate > 0:
		l.queue = max(minQueue*int64(mtu), l.bytesIn(2*l.delay))
	default:
		l.queue = noRateQueue
	}
	l.pipeful = l.queue + l.bytesIn(l.delay+l.jitter+l.holdMax) + minQueue*int64(mtu)
}

// room reports whether the queue takes another packet. Blocked says that arrivals are not taken off, so that what waits is more than
// what the rate makes wait.
func (l *line) room(size int, now sched.Time, blocked bool) bool {
	if l.rate == 0 {
		return l.underWay == 0 || l.underWay+int64(size) <= l.queue
	}
	if blocked && l.underWay+int64(size) > l.pipeful {
		return false
	}
	waiting := l.waiting(now)
	return waiting == 0 || waiting+int64(size) <= l.queue
}

// waiting is how many bytes are to depart after now.
func (l *line) waiting(now sched.Time) int64 { return l.bytesIn(max(l.departed.Sub(now), 0)) }

// bytesIn returns how many bytes pass in a time, 2^50 at most.
func (l *line) bytesIn(d time.Duration) int64 {
	const most, bitNanos = 1 << 50, 8 * uint64(time.Second)
	hi, lo := bits.Mul64(uint64(l.rate), uint64(d))
	if hi >= bitNanos {
		return most
	}
	bytes, _ := bits.Div64(hi, lo, bitNanos)
	return int64(min(bytes, most))
}

// depart puts a packet onto the link and returns when its last bit has left.
func (l *line) depart(size int, now sched.Time) sched.Time {
	if l.rate == 0 {
		return now
	}
	if l.departed < now {
		l.departed, l.fraction = now, 0
	}
	// Whole and fractional nanoseconds are kept apart: a packet of 100 Gbit/s has few enough that rounding each would show.
	t := int64(size)*8*int64(time.Second) + l.fraction
	l.departed = l.departed.Add(time.Duration(t / l.rate))
	l.fraction = t % l.rate
	return l.departed
}

// arrival returns when a packet arrives, unless the one before it comes later still: not before it left.
func (l *line) arrival(departure sched.Time, jitter time.Duration) sched.Time {
	return max(departure, departure.Add(l.delay).Add(jitter))
}

// push lets a packet arrive at an instant, or behind the last one pushed if that arrives later. Packets held back that it is the last to
// overtake arrive behind it.
func (l *line) push(p *packet.Packet, size int, at sched.Time) {
	l.underWay += int64(size)
	l.ring.push(transit{p, at, size})
	kept := 0
	for _, h := range l.held[:l.heldCount] {
		if at < h.at {
			h.overtakers--
		}
		if h.overtakers == 0 {
			h.at = at
			l.ring.push(h.transit)
			continue
		}
		l.held[kept] = h
		kept++
	}
	clear(l.held[kept:l.heldCount])
	l.heldCount = kept
}

// hold holds back a packet that would arrive at an instant; false if too many are held.
func (l *line) hold(p *packet.Packet, size int, at sched.Time, overtakers int) bool {
	if l.heldCount == maxHeld {
		return false
	}
	l.underWay += int64(size)
	l.held[l.heldCount] = heldBack{transit{p, at.Add(l.holdMax), size}, overtakers}
	l.heldCount++
	return true
}

// next returns the earliest arrival, Never if nothing is under way.
func (l *line) next() sched.Time {
	at, _ := l.earliest()
	return at
}

// earliest returns the earliest arrival and which of the held packets it is, -1 if it is the first of the ring or nothing.
func (l *line) earliest() (at sched.Time, held int) {
	at, held = sched.Never, -1
	if l.ring.size > 0 {
		at = l.ring.front().at
	}
	for i := range l.held[:l.heldCount] {
		if l.held[i].at < at {
			at, held = l.held[i].at, i
		}
	}
	return at, held
}

// due moves the packets that have arrived by now to the end of batch.
func (l *line) due(batch []*packet.Packet, now sched.Time) []*packet.Packet {
	for {
		at, held := l.earliest()
		if at > now || at == sched.Never {
			return batch
		}
		var t transit
		if held >= 0 {
			t = l.held[held].transit
			copy(l.held[held:], l.held[held+1:l.heldCount])
			l.heldCount--
			l.held[l.heldCount] = heldBack{}
		} else {
			t = l.ring.pop()
		}
		l.underWay -= int64(t.size)
		batch = append(batch, t.packet)
	}
}

// unsend takes back packets that had arrived: they arrive first, once more.
func (l *line) unsend(batch []*packet.Packet) {
	for i := len(batch) - 1; i >= 0; i-- {
		size := batch[i].Size()
		l.underWay += int64(size)
		l.ring.unpop(transit{batch[i], 0, size})
	}
}

// release drops everything.
func (l *line) release() {
	for l.ring.size > 0 {
		l.ring.pop().packet.Release()
	}
	for _, h := range l.held[:l.heldCount] {
		h.packet.Release()
	}
	clear(l.held[:l.heldCount])
	l.heldCount, l.underWay = 0, 0
}

// ring is a queue whose memory is kept. Its capacity is a power of two.
type ring struct {
	slots       []transit
	begin, size int
}

func (r *ring) slot(i int) *transit { return &r.slots[(r.begin+i)&(len(r.slots)-1)] }

func (r *ring) front() *transit { return r.slot(0) }

func (r *ring) push(t transit) {
	r.grow()
	*r.slot(r.size) = t
	r.size++
}

func (r *ring) unpop(t transit) {
	r.grow()
	*r.slot(-1) = t
	r.begin = (r.begin - 1) & (len(r.slots) - 1)
	r.size++
}

func (r *ring) pop() transit {
	t := *r.front()
	*r.front() = transit{}
	r.begin = (r.begin + 1) & (len(r.slots) - 1)
	r.size--
	return t
}

// grow makes room for one more.
func (r *ring) grow() {
	if r.size < len(r.slots) {
		return
	}
	larger := make([]transit, max(64, 2*len(r.slots)))
	for i := range r.size {
		larger[i] = *r.slot(i)
	}
	r.slots, r.begin = larger, 0
}
