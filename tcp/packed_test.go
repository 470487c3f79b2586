package tcp

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/wire"
)

// What is packed and unpacked is what it was, at whatever point of a handshake that is.
func TestSynRecvSurvivesPacking(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		cfg := &Config{ECN: ECNMode(rnd.IntN(7)), ECNControl: rnd.IntN(2) == 0, NoECNOption: rnd.IntN(2) == 0, NoECNFallback: rnd.IntN(2) == 0}
		var reply Segment
		with := Params{ISS: Seq(rnd.Uint32()), TSOffset: rnd.Uint32(), MSS: 1000 + rnd.IntN(9000), GSOMax: 60_000, IPv6: rnd.IntN(2) == 0,
			AuthSpace: rnd.IntN(3) * 20, Options: &Options{DeferAccept: time.Duration(rnd.IntN(3)) * time.Second}}
		now := t0.Add(time.Duration(rnd.Int64N(1<<40)) * time.Microsecond)
		syn := &Segment{Seq: Seq(rnd.Uint32()), Flags: wire.SYN, ECN: uint8(rnd.IntN(4)), Options: wire.TCPOptions{
			HasMSS: rnd.IntN(2) == 0, MSS: uint16(rnd.Uint32()), TS: rnd.IntN(2) == 0, TSVal: rnd.Uint32(), SACKPermitted: rnd.IntN(2) == 0,
			HasWScale: rnd.IntN(2) == 0, WScale: uint8(rnd.IntN(20)),
		}}
		syn.Flags |= wire.TCPFlags(rnd.IntN(8)) * wire.ECE
		var r SynRecv
		r.Init(cfg, now, syn, with)
		r.Open(now, &reply)
		for range rnd.IntN(6) {
			now = now.Add(time.Duration(rnd.IntN(2_000_000)) * time.Microsecond)
			switch rnd.IntN(3) {
			case 0:
				r.Expire(now, &reply)
			case 1:
				r.Input(now, syn, &reply)
			default:
				r.Input(now, &Segment{Seq: syn.Seq + 1, Ack: r.iss + 1, Flags: wire.ACK, Options: wire.TCPOptions{TS: true, TSVal: r.tsRecent}}, &reply)
			}
			var p Packed
			r.Pack(&p)
			var back SynRecv
			with.ISS = 0
			back.Unpack(cfg, now.Add(time.Second), &p, with)
			if r.untimed && !r.waits { // the time to wait is over, whenever it was
				back.sentAt = r.sentAt
			}
			if back != r || p.Deadline() != r.Deadline() {
				t.Fatalf("unpacked\n%+v\nwas\n%+v", back, r)
			}
		}
	}
}

func TestTimeWaitSurvivesPacking(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		yes := func() bool { return rnd.IntN(2) == 0 }
		w := TimeWait{
			sndNxt: Seq(rnd.Uint32()), rcvNxt: Seq(rnd.Uint32()), tsRecent: rnd.Uint32(), tsOffset: rnd.Uint32(), window: rnd.Uint32(),
			ecn: wire.TCPFlags(rnd.IntN(512)), wscale: uint8(rnd.IntN(15)), ts: yes(), mortal: yes(), offers: yes(), length: time.Minute,
			due: sched.Time(rnd.Int64N(1 << 60)), replied: sched.Time(rnd.Int64N(1<<50) * 1000),
		}
		var p Packed
		w.Pack(&p)
		for _, later := range []time.Duration{-time.Second, 0, time.Hour} { // a batch may be slower than another one
			var back TimeWait
			back.Unpack(&Config{TimeWait: time.Minute}, w.replied.Add(later), &p)
			if back != w || p.Deadline() != w.Deadline() {
				t.Fatalf("unpacked\n%+v\nwas\n%+v", back, w)
			}
		}
	}
}
