package tcp_test

import (
	"testing"
	"time"

	"github.com/weirnet/weir/tcp"
	"github.com/weirnet/weir/tcp/tcptest"
)

// pace is a world without loss: buffers from less than a chunk to many, segments from small to as large as a link takes them, writes of any
// size, Nagle's algorithm on and off, and readers that keep up or do not.
func pace(seed uint64) tcptest.Options {
	p := pick(seed << 20)
	link := tcptest.Link{Delay: choose(&p, 0, 10*time.Microsecond, time.Millisecond), GSO: choose(&p, true, false)}
	config := func() *tcp.Config {
		return &tcp.Config{
			SendBuffer: choose(&p, 0, 4<<10, 32<<10, 100<<10), ReceiveBuffer: choose(&p, 0, 8<<10, 64<<10, 200<<10), NoSACK: choose(&p, false, true),
			NoTimestamps: choose(&p, false, true), NoWindowScale: choose(&p, false, false, true), Congestion: choose(&p, "cubic", "reno", "bbr"),
		}
	}
	traffic := func() tcptest.Traffic {
		t := tcptest.Traffic{
			Send: choose(&p, 0, 1000, 50000, 500000), Write: choose(&p, 0, 1, 100, 1000, 5000, 20000, 40000),
			Read: choose(&p, 0, 100, 1000, 20000), ReadEvery: choose(&p, 0, 0, 100*time.Microsecond, time.Millisecond), Nagle: choose(&p, false, true),
		}
		if t.Write == 1 {
			t.Send = min(t.Send, 1000)
		}
		return t
	}
	return tcptest.Options{
		Seed: seed, AtoB: link, BtoA: link, A: traffic(), B: traffic(), Config: [2]*tcp.Config{config(), config()},
		MSS: choose(&p, 536, 1460, 8960, 65495),
	}
}

// Where nothing is lost, nothing waits for a timer: not for a delayed ACK, but at most once while a connection learns that its application
// does not reply, not for the override timeout of silly-window avoidance or a window probe, and no segment is sent twice, which it would be
// if the receiver dropped what it has offered to take.
func TestNothingWaitsWithoutLoss(t *testing.T) {
	for seed := range uint64(seeds(25, 100)) {
		o := pace(seed)
		n := tcptest.New(o)
		var infos [2]tcp.Info
		for more := true; more; {
			var err error
			if more, err = n.Step(); err != nil {
				t.Fatal(err)
			}
			for i, e := range n.End {
				if e.Conn != nil {
					infos[i] = e.Conn.Info()
				}
			}
		}
		// A buffer of 4 KiB, less what a chunk wastes of it, is what goes in a round trip, which includes the reader's pause.
		limit := 40 * time.Millisecond
		for i, to := range []tcptest.Traffic{o.B, o.A} {
			from := []tcptest.Traffic{o.A, o.B}[i]
			limit += time.Duration(from.Send/2000+20) * (2*o.AtoB.Delay + to.ReadEvery)
			if to.Read > 0 {
				limit += time.Duration(from.Send/to.Read) * to.ReadEvery
			}
		}
		if took := max(n.Finished(0), n.Finished(1)); took > limit || infos[0].Retransmits+infos[1].Retransmits > 0 {
			t.Errorf("seed %d took %v, want at most %v; %d and %d segments were sent again", seed, took, limit, infos[0].Retransmits,
				infos[1].Retransmits)
		}
		if err := n.Close(); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
	}
}
