package tcp

import (
	"time"

	"github.com/weirnet/weir/sched"
)

// rare is what few connections ask for, or meet with.
type rare struct {
	_      [0]func() // no ==: its code would be in every program
	err    error     // see reason
	fast   *fastOpen // see fast
	tracer *tracer   // nil: off
	pace   pace

	dsackLeft    Seq // what came twice, to be reported (RFC 2883) until dsackEnd; equal: nothing
	dsackEnd     Seq
	finWait2     int32  // ms; 0: as Config says; negative: an orphan does not wait in FIN-WAIT-2
	notSentLowat uint32 // bytes; 0: Config's
	rcvLowat     uint32 // bytes; 0: 1
	clamp        uint32 // the largest window to offer, in bytes; 0: none
	rcvUp        Seq    // RCV.UP, behind the peer's urgent byte; with urgentIn
	challengedAt uint32 // ms: when the interval began in which challenges were counted
	challenges   uint8

	claimSeq      Seq         // what ICMP has said was too large, with claim
	claim, narrow uint16      // what TooBig was told and is not known to be true, 0: nothing; what was found true
	search        *pathSearch // nil: there is none
}

// seldom is c.rare, made if there was none.
func (c *Conn) seldom() *rare {
	if c.rare == nil {
		c.rare = new(rare)
	}
	return c.rare
}

// dataMode is how data is sent and received.
type dataMode uint16

const (
	corked     dataMode = 1 << iota // SetCork
	more                            // the last write had MoreToCome
	unfinished                      // the last write had Unfinished
	fixedSend                       // the send buffer was set by SetBuffers
	urgentOut                       // flight.up is not acknowledged
	urgentIn                        // rare.rcvUp is not read
	pingPong                        // requests and replies take turns: a reply carries the ACK
	refused                         // data was refused for want of memory
)

// corkTime is for how long data that does not fill a segment waits for more, at most, as Linux has it for TCP_CORK.
const corkTime = 200 * time.Millisecond

// keptWrites is how many ends of writes are remembered.
const keptWrites = 8

// pushing is what the send side knows of the application's writes.
type pushing struct {
	ends    [keptWrites]Seq // behind the last byte of writes that are not acknowledged, ascending
	writes  uint8           // how many of ends there are
	release Seq             // what is before it is not held back any more
	up      Seq             // SND.UP, behind the urgent byte; with urgentOut
	corkAt  sched.Time      // when what is held back goes all the same; Never: nothing is
}

// noteWrite remembers where a write ends. Of many that wait for the network the ends in the middle are forgotten: they are sent in full
// segments together, and the last is what counts.
func (c *Conn) noteWrite(f *flight, flags WriteFlags) {
	c.mode &^= more | unfinished
	if f.queue.Size() > maxBufferLimit {
		return // its end is too far away to be a sequence number
	}
	end := c.queueStart() + Seq(f.queue.Size())
	if flags&Urgent != 0 {
		c.mode |= urgentOut
		f.up = end
		if f.persist {
			c.set(pendProbe) // RFC 9293 §3.8.6.1, through a closed window too: the peer is told at once
		}
	}
	switch {
	case flags&MoreToCome != 0:
		c.mode |= more
	case flags&Unfinished != 0:
		c.mode |= unfinished
	case f.writes == keptWrites:
		f.ends[keptWrites-1] = end
	default:
		f.ends[f.writes] = end
		f.writes++
	}
}

// forgetWrites drops what is before ack.
func (c *Conn) forgetWrites(f *flight, ack Seq) {
	n := 0
	for n < int(f.writes) && f.ends[n].AtOrBefore(ack) {
		n++
	}
	if n > 0 {
		f.writes = uint8(copy(f.ends[:], f.ends[n:f.writes]))
	}
	f.release = later(f.release, ack)
	if c.mode&urgentOut != 0 && f.up.AtOrBefore(ack) {
		c.mode &^= urgentOut
	}
}

// endsWrite: the byte before end is the last of a write. Its segment has PSH (RFC 9293 §3.9.1.2, MUST-61, asks for no more than the end of
// what is queued), each time it is sent.
func (f *flight) endsWrite(end Seq) bool {
	for _, at := range f.ends[:f.writes] {
		if at == end {
			return true
		}
	}
	return false
}

// SetCork: on, data that does not fill a segment is held back, for 200 ms at most, until more comes or it is switched off (TCP_CORK).
func (c *Conn) SetCork(on bool) {
	if on {
		c.mode |= corked
		return
	}
	c.mode &^= corked | more
	if c.is(noDelay) {
		c.uncork()
	}
}

// uncork lets go of what is queued now.
func (c *Conn) uncork() {
	if f := c.snd; f != nil {
		f.corkAt = sched.Never
		f.release = c.queueStart() + Seq(min(f.queue.Size(), maxBufferLimit))
	}
}

// expireCork: what is held back has waited for long enough.
func (c *Conn) expireCork() {
	if f := c.snd; f != nil && f.corkAt <= c.now {
		c.uncork()
	}
}

// holdBack is how many bytes of a last small segment to hold back, which is all of them or none. They wait for more while a cork is in or
// more was promised; while the write that they are of goes on and something is in flight; and with Nagle's algorithm while an earlier
// small segment is not acknowledged (RFC 9293 §3.7.4, in the form of Minshall). What is urgent or followed by the FIN goes.
func (c *Conn) holdBack(f *flight, small int) int {
	if small == 0 || c.is(finQueued) || c.mode&urgentOut != 0 || !f.release.Before(c.sndNxt+Seq(c.Unsent())) {
		return 0
	}
	if c.mode&(corked|more) != 0 {
		if f.corkAt == sched.Never {
			f.corkAt = c.now.Add(corkTime)
		}
		return small
	}
	f.corkAt = sched.Never
	if c.mode&unfinished != 0 && c.sndUna != c.sndNxt {
		return small
	}
	if c.is(noDelay) || !c.sndUna.Before(f.smallEnd) {
		return 0
	}
	return small
}
