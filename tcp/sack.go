package tcp

import (
	"slices"
	"sort"

	"github.com/weirnet/weir/sched"
)

// span is a run of sequence numbers in flight that have the same fate. It begins where the one before it ends.
type span struct {
	sent sched.Time // of its latest transmission
	stamp
	end   Seq
	flags spanFlags
}

type spanFlags uint8

const (
	spanSacked spanFlags = 1 << iota // the peer has it (RFC 2018); excludes the next two
	spanLost                         // deemed lost
	spanRtx                          // was sent again since, and that counts as in flight; only with spanLost
	spanAgain                        // was sent more than once: no RTT sample (Karn's algorithm, RFC 6298 §3)
	spanProbe                        // larger than the rest, to see whether that passes: that it is lost says nothing about congestion
)

// maxSpans bounds the memory of a scoreboard and the work for an ACK. A SACK block that would need more is taken as the whole spans
// inside it, and what is sent is added to the last span: coarse, but never wrong.
const (
	maxSpans    = 16384 // of a flight that is large enough: slow start loses every second segment of what a long fast path holds
	fewSpans    = 1024  // of any flight
	bytesToSpan = 512   // in flight for each span above fewSpans: less is no segment's size, but a peer's that wants to make work
)

// scoreboard knows what has become of each byte in [SND.UNA, SND.NXT): a sorted list of spans without gaps. Finding a byte is a binary
// search; sending appends, acknowledging takes from the front, and each span changes its fate a few times in its life.
type scoreboard struct {
	list []span
	head int // list[:head] is free
	una  Seq // where list[head] begins

	// Bytes in spans with the flag.
	sacked, lost, rtx int
	ranges            int       // spans that were SACKed
	kind              spanFlags // of what is sent next for the first time: spanProbe makes it a span of its own

	resents    []resent // retransmissions in the order of time: see rack.go
	resentHead int      // resents[:resentHead] is free

	sackedEnd Seq // behind the highest byte that was SACKed; una or before it: none
	lossEnd   Seq // everything before it is SACKed or lost, or was sent again
	resend    Seq // nothing before it is lost and not sent again

	rate rate
}

// reset empties the board, which begins at una.
func (b *scoreboard) reset(una Seq) {
	*b = scoreboard{list: b.list[:0], resents: b.resents[:0], una: una, sackedEnd: una, lossEnd: una, resend: una}
}

// spans is how many there are.
func (b *scoreboard) spans() int { return len(b.list) - b.head }

// end is SND.NXT.
func (b *scoreboard) end() Seq {
	if b.spans() == 0 {
		return b.una
	}
	return b.list[len(b.list)-1].end
}

// flight is FlightSize (RFC 5681 §2): bytes sent and not cumulatively acknowledged.
func (b *scoreboard) flight() int { return b.end().minus(b.una) }

// pipe is RFC 6675's estimate of how many bytes are in the network.
func (b *scoreboard) pipe() int { return b.flight() - b.sacked - b.lost + b.rtx }

// toResend: something is lost and was not sent again.
func (b *scoreboard) toResend() bool { return b.lost > b.rtx }

// begin is where span i begins.
func (b *scoreboard) begin(i int) Seq {
	if i == b.head {
		return b.una
	}
	return b.list[i-1].end
}

// size is the number of bytes in span i.
func (b *scoreboard) size(i int) int { return b.list[i].end.minus(b.begin(i)) }

// find is the index of the span with the byte at; len(list) if it is not in flight.
func (b *scoreboard) find(at Seq) int {
	off := uint32(at - b.una)
	return b.head + sort.Search(b.spans(), func(i int) bool { return uint32(b.list[b.head+i].end-b.una) > off })
}

// full: there are as many spans as there may be.
func (b *scoreboard) full() bool {
	n := b.spans()
	return n >= fewSpans && (n >= maxSpans || n >= b.flight()/bytesToSpan)
}

// transmitted adds what is sent for the first time, up to end.
func (b *scoreboard) transmitted(end Seq, now sched.Time) {
	inFlight := b.pipe()
	b.rate.sends(now, inFlight)
	inFlight = max(inFlight, 0) + end.minus(b.end())
	if last := len(b.list) - 1; last >= b.head {
		s := &b.list[last]
		full := b.full()
		if full && s.flags&spanSacked != 0 {
			b.count(s.flags, -b.size(last)) // forgetting that it was SACKed does no harm
			b.ranges--
			s.flags = spanAgain
		}
		if b.kind == 0 && s.flags == 0 && s.sent == now && s.delivered == uint32(b.rate.delivered) || full && s.flags&spanLost == 0 {
			s.end, s.sent = end, now
			b.rate.put(&s.stamp, inFlight)
			if s.flags&spanAgain != 0 {
				b.logResent(b.begin(last), end, now)
			}
			return
		}
	}
	if len(b.list) == cap(b.list) && b.head >= len(b.list)/2 {
		b.list = b.list[:copy(b.list, b.list[b.head:])]
		b.head = 0
	}
	b.list = append(b.list, span{sent: now, end: end, flags: b.kind})
	b.rate.put(&b.list[len(b.list)-1].stamp, inFlight)
	b.kind = 0
}

// count adds n bytes to the counters of spans with flags.
func (b *scoreboard) count(flags spanFlags, n int) {
	if flags&spanSacked != 0 {
		b.sacked += n
	}
	if flags&spanLost != 0 {
		b.lost += n
	}
	if flags&spanRtx != 0 {
		b.rtx += n
	}
}

// underway: it may be in the network, and is not known to have arrived.
func (s *span) underway() bool {
	return s.flags&spanSacked == 0 && s.flags&(spanLost|spanRtx) != spanLost
}

// waits: it is lost and was not sent again.
func (s *span) waits() bool { return s.flags&(spanLost|spanRtx) == spanLost }

// delivery is what an ACK told about spans: how many bytes are newly known to be delivered; of those sent only once, when the oldest
// and the latest were sent, and where the first ends; whether there were others; when the first of what is acknowledged was sent last; and
// of all the transmission that was sent last.
type delivery struct {
	bytes               int
	largest             int // bytes of one span
	first, latest, head sched.Time
	lowest              Seq
	newest              newest
	timed               bool // first, latest and lowest are set
	repeated            bool // some were sent more than once

	againMax sched.Time // set before: what was sent again later than this may have arrived by an earlier transmission
	last     transmission
}

// add counts the n bytes up to end, which are in span s. Newest is the caller's to set.
func (d *delivery) add(s *span, end Seq, n int) {
	d.bytes += n
	d.largest = max(d.largest, n)
	if s.flags&spanAgain != 0 {
		d.repeated = true
		if s.sent > d.againMax {
			return
		}
	} else if !d.timed {
		d.first, d.latest, d.lowest, d.timed = s.sent, s.sent, end, true
	} else {
		d.first, d.latest, d.lowest = min(d.first, s.sent), max(d.latest, s.sent), earlier(d.lowest, end)
	}
	if t := (transmission{s.sent, end}); d.last.before(t) {
		d.last = t
	}
}

// acked takes everything before to off the board.
func (b *scoreboard) acked(to Seq, d *delivery) {
	if b.spans() > 0 {
		d.head = b.list[b.head].sent
	}
	var newest *span // looked at once, not copied for each of many spans
	for b.spans() > 0 && b.una.Before(to) {
		s := &b.list[b.head]
		n := earlier(s.end, to).minus(b.una)
		b.count(s.flags, -n)
		if s.flags&spanSacked == 0 {
			d.add(s, earlier(s.end, to), n)
			if newest == nil || newest.sent < s.sent || newest.sent == s.sent && newest.end.Before(s.end) {
				newest = s
			}
		}
		if to.Before(s.end) {
			b.una = to
			break
		}
		if s.flags&spanSacked != 0 {
			b.ranges--
		}
		b.una = s.end
		b.head++
	}
	if newest != nil {
		d.newest.take(newest)
	}
	for b.resentHead < len(b.resents) && b.resents[b.resentHead].end.AtOrBefore(to) {
		b.resentHead++
	}
	if b.spans() == 0 {
		b.list, b.head = b.list[:0], 0
	}
	b.resend = later(b.resend, b.una)
	b.lossEnd = later(b.lossEnd, b.una)
	b.sackedEnd = later(b.sackedEnd, b.una)
}

// sack marks [left, right) as with the peer. What is not in flight, or touches SND.UNA, is ignored: it would be a D-SACK (RFC 2883), a
// SACK of what was never sent, or nonsense.
func (b *scoreboard) sack(left, right Seq, d *delivery) {
	// By offsets, for a comparison of numbers 2^31 apart holds both ways.
	if l, r := uint32(left-b.una), uint32(right-b.una); l == 0 || l >= r || r > uint32(b.flight()) {
		return
	}
	i := b.find(left)
	if b.list[i].flags&spanSacked != 0 {
		if right.AtOrBefore(b.list[i].end) {
			return // known
		}
	} else if b.begin(i) != left {
		if !b.splinter(i, left) {
			b.split(i, left)
		}
		i++ // if it cannot be split, this span is left out
	}
	j := i
	for ; j < len(b.list) && b.list[j].end.AtOrBefore(right); j++ {
		b.markSacked(j, d)
	}
	if j < len(b.list) && b.begin(j).Before(right) && b.list[j].flags&spanSacked == 0 && !b.splinter(j, right) && b.split(j, right) {
		b.markSacked(j, d)
		j++
	}
	if i < j {
		b.sackedEnd = later(b.sackedEnd, b.list[j-1].end)
	}
	b.joinSacked(i, j)
}

// splinter: to split span i at a sequence number inside it would make a piece that is no segment's, on a board of many spans. Each split moves
// those behind it, and a peer that SACKs byte by byte could have that done for each byte.
func (b *scoreboard) splinter(i int, at Seq) bool {
	return b.spans() >= fewSpans && min(at.minus(b.begin(i)), b.list[i].end.minus(at)) < bytesToSpan
}

func (b *scoreboard) markSacked(i int, d *delivery) {
	s := &b.list[i]
	if s.flags&spanSacked != 0 {
		return
	}
	n := b.size(i)
	d.add(s, s.end, n)
	d.newest.take(s)
	b.count(s.flags, -n)
	s.flags = spanSacked
	b.count(s.flags, n)
	b.ranges++
}

// joinSacked makes one span of the SACKed spans [i, j) and SACKed neighbours.
func (b *scoreboard) joinSacked(i, j int) {
	if i > b.head && b.list[i-1].flags&spanSacked != 0 {
		i--
	}
	if j < len(b.list) && b.list[j].flags&spanSacked != 0 {
		j++
	}
	if j-i > 1 {
		b.list = slices.Delete(b.list, i, j-1)
		b.ranges -= j - 1 - i
	}
}

// split cuts span i at a sequence number inside it; false if that would be one span too many.
func (b *scoreboard) split(i int, at Seq) bool {
	if b.full() {
		return false
	}
	first := b.list[i]
	first.inFlight -= min(uint32(first.end-at), first.inFlight) // of the rest, which was sent after it
	first.end = at
	b.list = append(b.list, first)
	copy(b.list[i+1:], b.list[i:])
	b.list[i] = first
	return true
}

// detect marks as lost what RFC 6675 §4 (IsLost) says: bytes above which thresh discontiguous ranges, or more than (thresh-1)·SMSS
// bytes, have been SACKed. It returns how many bytes it marked.
func (b *scoreboard) detect(mss, thresh int) int {
	if b.sacked == 0 || !b.una.Before(b.sackedEnd) {
		return 0
	}
	ranges, bytes := 0, 0
	i := b.find(b.sackedEnd - 1)
	for ; i >= b.head; i-- {
		if b.list[i].flags&spanSacked == 0 {
			continue
		}
		ranges++
		bytes += b.size(i)
		if ranges >= thresh || bytes > (thresh-1)*mss {
			return b.loseBefore(i)
		}
	}
	return 0
}

// loseBefore marks the spans before span i as lost, except those SACKed. It looks at each span once.
func (b *scoreboard) loseBefore(i int) int {
	lost, known := 0, b.lossEnd
	b.lossEnd = later(known, b.begin(i))
	for i--; i >= b.head && known.Before(b.list[i].end); i-- {
		if b.list[i].flags&(spanSacked|spanLost) == 0 {
			lost += b.lose(i)
		}
	}
	return lost
}

// lose marks span i, or its retransmission, as lost.
func (b *scoreboard) lose(i int) int {
	s := &b.list[i]
	n := b.size(i)
	b.count(s.flags, -n)
	probe := s.flags&spanProbe != 0
	s.flags = s.flags&spanAgain | spanLost
	b.count(s.flags, n)
	b.resend = earlier(b.resend, b.begin(i))
	if !probe {
		b.rate.lose(s, n)
	}
	return n
}

// loseFirst marks up to n bytes of the first span as lost, if they are not SACKed or lost already. It returns how many.
func (b *scoreboard) loseFirst(n int) int {
	if b.spans() == 0 || b.list[b.head].flags&(spanSacked|spanLost) != 0 {
		return 0
	}
	if b.size(b.head) > n {
		b.split(b.head, b.una+Seq(n))
	}
	return b.lose(b.head)
}

// loseLarge marks as lost what is in flight in spans of more than n bytes.
func (b *scoreboard) loseLarge(n int) {
	for i := b.head; i < len(b.list); i++ {
		if b.list[i].flags&spanSacked == 0 && b.size(i) > n {
			b.lose(i)
		}
	}
}

// headSacked: the first byte not acknowledged was SACKed. Either the peer has reneged, or its cumulative acknowledgment is on its way.
func (b *scoreboard) headSacked() bool {
	return b.spans() > 0 && b.list[b.head].flags&spanSacked != 0
}

// loseAll marks everything as lost but what was SACKed.
func (b *scoreboard) loseAll() {
	for i := b.head; i < len(b.list); i++ {
		if b.list[i].underway() {
			b.lose(i)
		}
	}
	b.lossEnd = b.end()
}

// forget takes back that anything was SACKed: the peer has reneged. What becomes of it then is not known, nor when it was sent.
func (b *scoreboard) forget() {
	for i := b.head; i < len(b.list); i++ {
		if s := &b.list[i]; s.flags&spanSacked != 0 {
			s.flags = spanAgain
		}
	}
	b.sacked, b.ranges, b.sackedEnd = 0, 0, b.una
}

// restore takes back that anything was lost: it is in flight, by its latest transmission.
func (b *scoreboard) restore() {
	b.resents, b.resentHead = b.resents[:0], 0
	at := b.una
	for i := b.head; i < len(b.list); i++ {
		s := &b.list[i]
		s.flags &^= spanLost | spanRtx
		if s.flags&spanAgain != 0 {
			b.resents = append(b.resents, resent{s.sent, at, s.end})
		}
		at = s.end
	}
	sort.Stable((*resentsByTime)(b))
	b.lost, b.rtx = 0, 0
	b.resend, b.lossEnd = b.una, b.una
}

// next is the first range that is lost and was not sent again (NextSeg rule 1 of RFC 6675 §4), or the beginning of it, at least most
// bytes if there are; false if there is none.
func (b *scoreboard) next(most int) (begin, end Seq, ok bool) {
	if !b.toResend() {
		return 0, 0, false
	}
	for i := b.find(b.resend); i < len(b.list); i++ {
		if !b.list[i].waits() {
			continue
		}
		begin, end = b.begin(i), b.list[i].end
		for i++; i < len(b.list) && b.list[i].waits() && end.minus(begin) < most; i++ {
			end = b.list[i].end
		}
		b.resend = begin
		return begin, end, true
	}
	return 0, 0, false
}

// retransmitted marks what next gave, up to end, as sent again. It makes one span of it.
func (b *scoreboard) retransmitted(end Seq, now sched.Time) {
	i := b.find(b.resend)
	j := i
	for j+1 < len(b.list) && b.list[j].end.Before(end) {
		j++
	}
	if end.Before(b.list[j].end) {
		b.split(j, end)
	}
	b.list = slices.Delete(b.list, i, j)
	s := &b.list[i]
	n := b.size(i)
	b.rate.stamp(&s.stamp, now, b.pipe(), n)
	s.flags |= spanRtx | spanAgain
	s.sent = now
	b.rtx += n
	b.resend = s.end
	b.logResent(b.begin(i), s.end, now)
	b.joinResent(i)
}

// tailInFlight: the last byte may be in the network, and is not known to have arrived or to be lost.
func (b *scoreboard) tailInFlight() bool {
	return b.spans() > 0 && b.list[len(b.list)-1].flags&(spanSacked|spanLost) == 0
}

// resendLast marks up to n of the last bytes as sent again though they are not known to be lost (tailInFlight), and returns where they
// begin.
func (b *scoreboard) resendLast(n int, now sched.Time) Seq {
	i := len(b.list) - 1
	n = min(n, b.size(i))
	begin := b.end() - Seq(n)
	if n < b.size(i) && b.split(i, begin) {
		i++
	}
	s, size := &b.list[i], b.size(i)
	b.rate.stamp(&s.stamp, now, b.pipe()-size, size)
	s.flags = s.flags&^spanProbe | spanAgain
	s.sent = now
	b.logResent(b.begin(i), b.end(), now)
	return begin
}

// resendSYN marks our SYN, the first that is in flight, as sent again. Data may have followed it (RFC 7413 §4.2.2).
func (b *scoreboard) resendSYN(now sched.Time) {
	if b.size(b.head) > 1 {
		b.split(b.head, b.una+1)
	}
	s, size := &b.list[b.head], b.size(b.head)
	b.rate.stamp(&s.stamp, now, b.pipe()-size, size)
	s.flags |= spanAgain
	s.sent = now
	b.logResent(b.una, s.end, now)
}

// joinResent joins span i to the one before it if that has had the same fate, so that a long retransmission is not many spans.
func (b *scoreboard) joinResent(i int) {
	if i > b.head && b.list[i-1].flags == b.list[i].flags && b.list[i-1].sent == b.list[i].sent &&
		b.list[i-1].delivered == b.list[i].delivered {
		b.list = slices.Delete(b.list, i-1, i)
	}
}

// guess marks as lost what is most likely to be, when there is nothing better to send (NextSeg rules 3 and 4 of RFC 6675 §4): up to
// n bytes of the first hole below what was SACKed or, with last, the end of what is in flight. It returns how many.
func (b *scoreboard) guess(n int, last bool) int {
	if last {
		i := len(b.list) - 1
		if i < b.head || b.list[i].flags != 0 {
			return 0
		}
		if b.size(i) > n && b.split(i, b.list[i].end-Seq(n)) {
			i++
		}
		return b.lose(i)
	}
	for i := b.find(b.resend); i < len(b.list) && b.begin(i).Before(b.sackedEnd); i++ {
		if b.list[i].flags&(spanSacked|spanLost) == 0 {
			if b.size(i) > n {
				b.split(i, b.begin(i)+Seq(n))
			}
			return b.lose(i)
		}
	}
	return 0
}
