package tcp

import (
	"testing"
	"time"

	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/wire"
)

// RFC 7323 §5: which segments pass, whatever the timestamp clock's position in its circle.
func TestPAWS(t *testing.T) {
	const day = 24 * time.Hour
	for _, recent := range []uint32{1000, 0, 1<<31 - 1, 1<<32 - 1} {
		for _, test := range []struct {
			name  string
			flags wire.TCPFlags
			noTS  bool
			delta uint32
			idle  time.Duration
			pass  bool
			reply bool
		}{
			{name: "the same", flags: wire.ACK, pass: true},
			{name: "newer", flags: wire.ACK, delta: 1, pass: true},
			{name: "much newer", flags: wire.ACK, delta: 1<<31 - 1, pass: true},
			{name: "older", flags: wire.ACK, delta: 1<<32 - 1, reply: true},
			{name: "half the circle is older", flags: wire.ACK, delta: 1 << 31, reply: true},
			{name: "older, but a RST (§5.2)", flags: wire.RST, delta: 1<<32 - 1, pass: true},
			{name: "older, but TS.Recent is of 25 days ago (§5.5)", flags: wire.ACK, delta: 1<<32 - 1, idle: 25 * day, pass: true},
			{name: "none (§3.2): dropped in silence", flags: wire.ACK, noTS: true},
			{name: "none, in a RST", flags: wire.RST, noTS: true, pass: true},
			{name: "none, in a SYN: for RFC 5961 §4 to answer", flags: wire.SYN, noTS: true, pass: true},
		} {
			c := Conn{cfg: &Config{}, state: Established, flags: useTS, tsRecent: recent, lastRcv: 1}
			c.now = c.lastRcv.Add(test.idle)
			seg := Segment{Flags: test.flags}
			seg.Options.TS, seg.Options.TSVal = !test.noTS, recent+test.delta
			if got := c.checkTimestamps(&seg); got != test.pass || c.is(ackNow) != test.reply {
				t.Errorf("TS.Recent %d, %s: passes %v, answered %v", recent, test.name, got, c.is(ackNow))
			}
		}
	}
}

// RFC 7323 §4.3: TS.Recent is of the segment that the next ACK answers, not of a later one.
func TestKeepTimestamp(t *testing.T) {
	for _, test := range []struct {
		name string
		seq  Seq
		val  uint32
		want uint32
	}{
		{"the next segment", 500, 20, 20},
		{"one from before it, that reaches beyond it", 400, 20, 20},
		{"one behind a hole", 501, 20, 10},
		{"an old timestamp", 500, 9, 10},
	} {
		c := Conn{flags: useTS, tsRecent: 10, lastAckSent: 500}
		seg := Segment{Seq: test.seq}
		seg.Options.TS, seg.Options.TSVal = true, test.val
		if c.keepTimestamp(&seg); c.tsRecent != test.want {
			t.Errorf("%s: TS.Recent %d, want %d", test.name, c.tsRecent, test.want)
		}
	}
}

// RFC 6691: options come off the payload, SACK blocks only when there are some.
func TestDataMSS(t *testing.T) {
	for _, test := range []struct {
		name    string
		flags   connFlags
		islands int
		dsack   bool
		want    int
		blocks  int
	}{
		{"no options", 0, 0, false, 1460, 0},
		{"timestamps", useTS, 0, false, 1448, 0},
		{"SACK without need", useTS | useSACK, 0, false, 1448, 0},
		{"one block", useTS | useSACK, 1, false, 1436, 1},
		{"a D-SACK", useTS | useSACK, 0, true, 1436, 1},
		{"as many as fit beside timestamps", useTS | useSACK, 9, true, 1420, 3},
		{"as many as fit", useSACK, 9, false, 1424, 4},
		{"not agreed on", useTS, 9, true, 1448, 0},
	} {
		c := Conn{flags: test.flags, peerMSS: 1460, pathMSS: 1500, rcv: &inflow{islands: make([]*island, test.islands)}}
		if test.dsack {
			c.seldom().dsackEnd = 1
		}
		if c.dataMSS() != test.want || c.sackBlocks() != test.blocks {
			t.Errorf("%s: %d bytes and %d blocks, want %d, %d", test.name, c.dataMSS(), c.sackBlocks(), test.want, test.blocks)
		}
	}
}

// An echo says how long the round trip was only if it is of what was sent last.
func TestSampleEcho(t *testing.T) {
	const sent = sched.Time(time.Second)
	for _, test := range []struct {
		name string
		echo uint32
		want time.Duration
	}{
		{"of the retransmission", 1000, 100 * ms},
		{"of what was sent later", 1090, 10 * ms},
		{"of this instant", 1100, ms},
		{"of the first transmission", 800, 0},
		{"of the future", 1101, 0},
		{"of half a circle away", 1000 + 1<<31, 0},
	} {
		c := Conn{now: sent.Add(100 * ms), tsOffset: 1<<32 - 1050}
		o := wire.TCPOptions{TS: true, TSEcr: test.echo + c.tsOffset}
		if got := c.sampleEcho(&o, sent); got != (test.want > 0) || c.rtt.srtt != test.want {
			t.Errorf("%s: %v, want %v", test.name, c.rtt.srtt, test.want)
		}
	}
}
