package tcp

import (
	"testing"
	"time"

	"github.com/weirnet/weir/sched"
)

// manyHoles is a board as full as it gets: each second segment was SACKed, the others were sent again, long ago but for the last few.
func manyHoles() (*scoreboard, sched.Time) {
	b := new(scoreboard)
	b.reset(0)
	const mss = 1000
	now := sched.Time(time.Second)
	for i := Seq(1); i <= maxSpans; i++ {
		now++
		b.transmitted(i*mss, now)
	}
	for i := Seq(1); i < maxSpans-2; i += 2 {
		b.sack(i*mss, (i+1)*mss, &delivery{})
	}
	r := transmission{now, maxSpans * mss}
	b.loseBeforeTime(r, now)
	for _, _, ok := b.next(mss); ok; _, _, ok = b.next(mss) {
		now++
		b.retransmitted(b.resend+mss, now)
	}
	return b, now
}

// An ACK that tells nothing about what is in flight costs little, however much that is: RACK looks at the oldest transmission of each kind,
// not at all spans.
func TestRackLooksAtLittle(t *testing.T) {
	b, now := manyHoles()
	if b.spans() < maxSpans*3/4 {
		t.Fatal(b.spans(), "spans")
	}
	if err := b.check(); err != nil {
		t.Fatal(err)
	}
	first := b.resents[b.resentHead]
	// What arrived was sent just before the oldest retransmission: nothing is lost, and nothing may become so.
	if lost, _, next := b.loseBeforeTime(transmission{first.sent - 1, 0}, now); lost != 0 || next != sched.Never {
		t.Errorf("%d bytes lost, the next at %v", lost, next)
	}
	// The first three retransmissions are lost, the fourth is not yet; and so is the last segment, which was sent once.
	fourth := b.resents[b.resentHead+3].sent
	lost, again, next := b.loseBeforeTime(transmission{now + 1, 0}, fourth-1)
	if lost != 4000 || again != 3000 || next != fourth {
		t.Errorf("%d bytes lost, %d of them again, the next at %v, want 4000, 3000, %v", lost, again, next, fourth)
	}
	if err := b.check(); err != nil {
		t.Error(err)
	}
}

// BenchmarkRackDetect is RACK's work for an ACK with a full scoreboard in which nothing is lost yet.
func BenchmarkRackDetect(b *testing.B) {
	board, now := manyHoles()
	b.ReportAllocs()
	for b.Loop() {
		board.loseBeforeTime(transmission{now + 1, 0}, 0)
	}
}

// BenchmarkSACKFull is an ACK that fills and makes a hole in a full scoreboard: two binary searches, and spans that move.
func BenchmarkSACKFull(b *testing.B) {
	board, _ := manyHoles()
	clean := append([]span(nil), board.list...)
	counters := [...]int{board.sacked, board.lost, board.rtx, board.ranges}
	b.ReportAllocs()
	for b.Loop() {
		board.list = append(board.list[:0], clean...)
		board.sacked, board.lost, board.rtx, board.ranges = counters[0], counters[1], counters[2], counters[3]
		board.sack(2000, 3000, &delivery{})
	}
}

// BenchmarkSACKBytes is an ACK of a peer that SACKs what is in flight byte by byte, in four places.
func BenchmarkSACKBytes(b *testing.B) {
	var board scoreboard
	board.reset(0)
	for i := Seq(1); i <= maxSpans/2; i++ {
		board.transmitted(i*1448, sched.Time(1e9)+sched.Time(i))
	}
	at := Seq(1)
	b.ReportAllocs()
	for b.Loop() {
		for i := range Seq(4) {
			board.sack(i*100*1448+at, i*100*1448+at+1, &delivery{})
		}
		at++
	}
}

// A peer that SACKs parts of segments does not fill a large board with pieces of them; whole segments are marked one by one.
func TestSACKedSplinters(t *testing.T) {
	const mss = 1448
	var b scoreboard
	b.reset(0)
	b.transmitted(maxSpans*mss, sched.Time(time.Second))
	for i := Seq(1); i < 2*fewSpans; i += 2 {
		b.sack(i*mss, (i+1)*mss, &delivery{})
	}
	spans, sacked := b.spans(), b.sacked
	if spans < 2*fewSpans || sacked != fewSpans*mss {
		t.Errorf("%d spans, %d bytes SACKed", spans, sacked)
	}
	for i := Seq(3 * fewSpans); i < 4*fewSpans; i++ {
		b.sack(i*mss+1, i*mss+2, &delivery{})
	}
	for i := Seq(2); i < fewSpans; i += 2 {
		b.sack(i*mss, i*mss+100, &delivery{})
	}
	if b.spans() > spans+fewSpans || b.sacked < sacked {
		t.Errorf("%d spans and %d bytes SACKed, then %d and %d", spans, sacked, b.spans(), b.sacked)
	}
	if err := b.check(); err != nil {
		t.Error(err)
	}
}
