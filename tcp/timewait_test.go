package tcp

import (
	"testing"
	"time"
	"unsafe"

	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/wire"
)

func TestTimeWaitSize(t *testing.T) {
	if n := unsafe.Sizeof(TimeWait{}); n > 64 {
		t.Errorf("TimeWait is %d bytes, want at most 64", n)
	}
}

// newTimeWait is a record of a connection that has received up to 499 (the FIN), and sent up to 8999.
func newTimeWait(ts bool) *TimeWait {
	return &TimeWait{sndNxt: 9000, rcvNxt: 500, ts: ts, offers: true, tsRecent: 77, window: 60000, wscale: 2,
		length: time.Minute, due: t0.Add(time.Minute), replied: t0.Add(-replyInterval)}
}

// RFC 9293 §3.10.7.4 in TIME-WAIT, RFC 1337, RFC 6191 §2, RFC 7323 §5.3.
func TestTimeWaitArrives(t *testing.T) {
	old, same, newer := wire.TCPOptions{TS: true, TSVal: 76}, wire.TCPOptions{TS: true, TSVal: 77}, wire.TCPOptions{TS: true, TSVal: 78}
	for _, tt := range []struct {
		name     string
		ts       bool
		seg      Segment
		want     TimeWaitVerdict
		restarts bool
	}{
		{"FIN again", false, Segment{Seq: 499, Ack: 9000, Flags: wire.FIN | wire.ACK}, TimeWaitReply, true},
		{"FIN again, with timestamps", true, Segment{Seq: 499, Ack: 9000, Flags: wire.FIN | wire.ACK, Options: same}, TimeWaitReply, true},
		{"FIN of before", false, Segment{Seq: 450, Ack: 9000, Flags: wire.FIN | wire.ACK}, TimeWaitReply, false},
		{"FIN, PAWS", true, Segment{Seq: 499, Ack: 9000, Flags: wire.FIN | wire.ACK, Options: old}, TimeWaitReply, false},
		{"ACK", false, Segment{Seq: 500, Ack: 9000, Flags: wire.ACK}, TimeWaitKeep, false},
		{"ACK, PAWS", true, Segment{Seq: 500, Ack: 9000, Flags: wire.ACK, Options: old}, TimeWaitReply, false},
		{"ACK of more than was sent", false, Segment{Seq: 500, Ack: 9001, Flags: wire.ACK}, TimeWaitReply, false},
		{"data behind the FIN", false, Segment{Seq: 501, Ack: 9000, Flags: wire.ACK | wire.FIN}, TimeWaitKeep, false},
		{"no ACK", false, Segment{Seq: 500, Flags: wire.PSH}, TimeWaitKeep, false},
		{"old duplicate", false, Segment{Seq: 300, Ack: 9000, Flags: wire.ACK}, TimeWaitReply, false},
		{"right of the window", false, Segment{Seq: 500 + 60000, Ack: 9000, Flags: wire.ACK}, TimeWaitReply, false},
		{"RST", false, Segment{Seq: 500, Flags: wire.RST}, TimeWaitKeep, false},
		{"RST with ACK", false, Segment{Seq: 500, Ack: 9000, Flags: wire.RST | wire.ACK}, TimeWaitKeep, false},
		{"SYN above", false, Segment{Seq: 500, Flags: wire.SYN}, TimeWaitReopen, false},
		{"SYN far above", false, Segment{Seq: 500 + 1<<30, Flags: wire.SYN}, TimeWaitReopen, false},
		{"SYN below", false, Segment{Seq: 499, Flags: wire.SYN}, TimeWaitReply, false},
		{"SYN below, timestamps only now", false, Segment{Seq: 100, Flags: wire.SYN, Options: old}, TimeWaitReopen, false},
		{"SYN below, newer", true, Segment{Seq: 100, Flags: wire.SYN, Options: newer}, TimeWaitReopen, false},
		{"SYN above, older", true, Segment{Seq: 600, Flags: wire.SYN, Options: old}, TimeWaitReply, false},
		{"SYN above, same instant", true, Segment{Seq: 600, Flags: wire.SYN, Options: same}, TimeWaitReopen, false},
		{"SYN below, same instant", true, Segment{Seq: 400, Flags: wire.SYN, Options: same}, TimeWaitReply, false},
		{"SYN above, timestamps no longer", true, Segment{Seq: 600, Flags: wire.SYN}, TimeWaitReopen, false},
		{"SYN below, timestamps no longer", true, Segment{Seq: 400, Flags: wire.SYN}, TimeWaitReply, false},
		{"SYN-ACK", false, Segment{Seq: 600, Ack: 9000, Flags: wire.SYN | wire.ACK}, TimeWaitReply, false},
	} {
		w := newTimeWait(tt.ts)
		now := t0.Add(30 * time.Second)
		var reply Segment
		if got := w.Input(now, &tt.seg, &reply); got != tt.want {
			t.Errorf("%s: verdict %d, want %d", tt.name, got, tt.want)
		}
		if tt.want == TimeWaitReply {
			if reply.Seq != 9000 || reply.Ack != 500 || reply.Flags != wire.ACK || reply.Window != 15000 || reply.Options.TS != tt.ts {
				t.Errorf("%s: reply %+v", tt.name, reply)
			}
			if tt.ts && reply.Options.TSEcr != 77 {
				t.Errorf("%s: TSecr %d", tt.name, reply.Options.TSEcr)
			}
		}
		want := t0.Add(time.Minute)
		if tt.restarts {
			want = now.Add(time.Minute)
		}
		if w.Deadline() != want {
			t.Errorf("%s: deadline %v after the beginning", tt.name, w.Deadline().Sub(t0))
		}
	}
}

func TestTimeWaitWithoutTimestamps(t *testing.T) {
	w := newTimeWait(false)
	w.offers = false
	var reply Segment
	if v := w.Input(t0, &Segment{Seq: 100, Flags: wire.SYN, Options: wire.TCPOptions{TS: true, TSVal: 1}}, &reply); v != TimeWaitReply {
		t.Errorf("verdict %d: timestamps that will not be used protect nothing", v)
	}
	if w.NextISS() != 9000 {
		t.Errorf("NextISS %d is not beyond what was sent", w.NextISS())
	}
}

// Only the retransmitted FIN is always answered.
func TestTimeWaitReplyLimit(t *testing.T) {
	w := newTimeWait(false)
	var reply Segment
	count := func(seg *Segment) (replies int) {
		for ms := range sched.Time(1000) {
			if w.Input(t0+ms*sched.Time(time.Millisecond), seg, &reply) == TimeWaitReply {
				replies++
			}
		}
		return replies
	}
	if n := count(&Segment{Seq: 100, Ack: 9000, Flags: wire.ACK}); n != 2 {
		t.Errorf("%d replies to old duplicates in a second", n)
	}
	if n := count(&Segment{Seq: 499, Ack: 9000, Flags: wire.FIN | wire.ACK}); n != 1000 {
		t.Errorf("%d replies to 1000 FINs", n)
	}
}
