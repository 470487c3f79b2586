package tcp_test

import (
	"github.com/weirnet/weir/tcp"
	"github.com/weirnet/weir/tcp/tcptest"
	"testing"
	"time"
)

func TestScratchStall(t *testing.T) {
	bad := 0
	for seed := range uint64(3000) {
		p := pick(seed << 20)
		link := tcptest.Link{Delay: choose(&p, 0, 10*time.Microsecond, 1*time.Millisecond), GSO: choose(&p, true, false)}
		mss := choose(&p, 536, 1460, 8960, 65495)
		cfg := func() *tcp.Config {
			return &tcp.Config{SendBuffer: choose(&p, 0, 4<<10, 32<<10, 100<<10), ReceiveBuffer: choose(&p, 0, 8<<10, 64<<10, 200<<10),
				NoSACK: choose(&p, false, true), NoTimestamps: choose(&p, false, true), NoWindowScale: choose(&p, false, false, true), Congestion: choose(&p, "cubic", "reno")}
		}
		tr := func(both bool) tcptest.Traffic {
			if !both {
				return tcptest.Traffic{}
			}
			return tcptest.Traffic{Send: choose(&p, 1000, 50000, 500000), Write: choose(&p, 0, 1, 100, 1000, 5000, 20000, 40000), Read: choose(&p, 0, 0, 1000, 20000), Nagle: choose(&p, false, true)}
		}
		o := tcptest.Options{Seed: seed, AtoB: link, BtoA: link, MSS: mss, A: tr(true), B: tr(choose(&p, true, false)), Config: [2]*tcp.Config{cfg(), cfg()}}
		if o.A.Write == 1 {
			o.A.Send = 1000
		}
		if o.B.Write == 1 {
			o.B.Send = 1000
		}
		if *tcp.SeedsFlag > 0 {
			if seed != uint64(*tcp.SeedsFlag) {
				continue
			}
			o.Trace = true
		}
		n := tcptest.New(o)
		var a, b tcp.Info
		for {
			more, err := n.Step()
			if err != nil {
				t.Error(err)
			}
			if !more {
				break
			}
			if c := n.End[0].Conn; c != nil {
				a = c.Info()
			}
			if c := n.End[1].Conn; c != nil {
				b = c.Info()
			}
		}
		took := max(n.Finished(0), n.Finished(1))
		// window rounds
		wnd := 4096
		rounds := time.Duration((o.A.Send+o.B.Send)/wnd + 30)
		limit := rounds*2*link.Delay + 39*time.Millisecond
		if link.Delay == 0 || link.Delay == 10*time.Microsecond {
			limit = 39 * time.Millisecond
		}
		if took > limit {
			bad++
			if bad < 15 {
				t.Logf("seed %d took %v limit %v: link %+v mss %d A %+v B %+v\n cfgA %+v\n cfgB %+v rtos %d %d", seed, took, limit, link.Delay, mss, o.A, o.B, [2]int{o.Config[0].SendBuffer, o.Config[0].ReceiveBuffer}, [2]int{o.Config[1].SendBuffer, o.Config[1].ReceiveBuffer}, a.RTOs, b.RTOs)
			}
		}
		if o.Trace {
			for _, l := range n.Trace[:min(len(n.Trace), 400)] {
				t.Log(l)
			}
		}
	}
	t.Log(bad)
}
